"""ACT training: trainer, losses, recipes, evaluation."""
