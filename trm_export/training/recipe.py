"""Training recipes: everything that, with a seed, decides what a training run does."""

from __future__ import annotations

import dataclasses
from typing import Any

from trm_runtime.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Recipe:
    """One training run.

    Attributes:
        task: name of the task the puzzles come from.
        preset: name of the model configuration.
        steps: optimizer steps, rounded up to whole epochs; each is one ACT step of
            ``batch_size`` rows.
        batch_size: slots of the carry.
        learning_rate: peak; warmed up linearly, then a cosine down to a tenth.
        warmup_steps: steps of the warm-up.
        weight_decay: decoupled, of AdamW.
        ema: momentum of the weight average that is evaluated and saved (paper: 0.999).
        loss: ``"stablemax"`` (paper) or ``"softmax"``.
        ponder_cost: see `ACTTrainer`.
        blanks: range of blanks of the training puzzles.
        minimal_fraction: share of training rows that are minimal puzzles.
        validation_blanks: blanks of the validation puzzles, or ``"minimal"``.
        validation_count: validation puzzles.
        steps_per_epoch: steps between two lines of the log and two backups.
        validate_every: epochs between two validations.
        seed: of weights, puzzles, augmentation and exploration.
        start: SHA-256 of the weights it starts from; None for random ones.
    """

    task: str
    preset: str
    steps: int
    batch_size: int = 32
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    weight_decay: float = 0.1
    ema: float = 0.999
    loss: str = "softmax"
    ponder_cost: float = 0.0
    blanks: tuple[int, int] | None = None
    minimal_fraction: float = 0.0
    validation_blanks: Any = None
    validation_count: int = 128
    steps_per_epoch: int = 100
    validate_every: int = 5
    seed: int = 0
    start: str | None = None

    def __post_init__(self) -> None:
        whole = ("steps", "batch_size", "validation_count", "steps_per_epoch", "validate_every")
        wrong = [name for name in whole if getattr(self, name) < 1]
        if wrong:
            raise UsageError(f"{', '.join(wrong)} must be at least 1.")

    @property
    def epochs(self) -> int:
        """Epochs of the whole run."""
        return -(-self.steps // self.epoch_steps)

    @property
    def epoch_steps(self) -> int:
        """Steps of one epoch: ``steps_per_epoch``, or all of them in a shorter run."""
        return min(self.steps_per_epoch, self.steps)


RECIPES = {
    "sudoku4": Recipe(
        "sudoku4", "sudoku4", steps=8000, batch_size=64, learning_rate=2e-3, ema=0.998,
        validation_count=400, steps_per_epoch=500, validate_every=4,
    ),
    "sudoku9": Recipe(
        "sudoku9", "sudoku9", steps=4500, ema=0.99, blanks=(35, 60), validation_blanks=50,
    ),
}  # fmt: skip


def recipe_for(task: str, **changes: Any) -> Recipe:
    """The recipe of a task, with the ``changes`` that are not None.

    Raises:
        UsageError: for a task without a recipe, listing those that have one.
    """
    if task not in RECIPES:
        raise UsageError(f"There is no recipe for {task!r}; choose from {', '.join(RECIPES)}.")
    given = {name: value for name, value in changes.items() if value is not None}
    return dataclasses.replace(RECIPES[task], **given)
