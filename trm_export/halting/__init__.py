"""When a row may stop: accuracy against steps, and the threshold that is chosen from it."""
