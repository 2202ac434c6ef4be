"""The halting threshold: accuracy against steps, and the choice of a threshold."""
