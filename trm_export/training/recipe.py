"""Training recipes: all settings, the seed included, that determine a training run."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

from trm_export.errors import UsageError, refuse_unknown
from trm_export.tasks.task import blanks_span
from trm_runtime.message_text import shown
from trm_runtime.scalars import as_integer, as_real
from trm_runtime.strict_json import LARGEST


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
        dtype: of the computation, ``"float32"`` or ``"mixed_bfloat16"``; weights are float32.
        ponder_cost, q_weight: see `ACTTrainer`.
        blanks: range of blanks of the training puzzles.
        act_steps: ACT steps of a training row at most; few bring new puzzles into the batch sooner.
            0 for the model's own.
        ramp: share of the run in which the ACT steps grow from ``act_steps`` to the model's own;
            0 for none, and ``act_steps`` throughout.
        mastery: share of training rows that reach their goal with which an epoch brings one more
            ACT step, up to the number of the task's lessons, and then all (`Curriculum`); a run
            that begins with the weights of another has all from the start. 0 for no lessons: every
            ACT step is asked for the solution.
        minimal_fraction: share of training rows that are minimal puzzles.
        hard_fraction: share of training rows that need guesses, all levels alike.
        validation_blanks: blanks of the validation puzzles, ``"minimal"`` or ``"hard"``.
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
    dtype: str = "float32"
    ponder_cost: float = 0.0
    q_weight: float = 0.5
    blanks: tuple[int, int] | None = None
    act_steps: int = 0
    ramp: float = 0.0
    mastery: float = 0.0
    minimal_fraction: float = 0.0
    hard_fraction: float = 0.0
    validation_blanks: Any = None
    validation_count: int = 128
    steps_per_epoch: int = 100
    validate_every: int = 5
    seed: int = 0
    start: str | None = None

    def __post_init__(self) -> None:
        problems = list(_problems(self))
        if problems:
            raise UsageError(" ".join(problems))
        for name in _INTEGERS:  # numbers of NumPy are none of JSON
            object.__setattr__(self, name, as_integer(getattr(self, name)))
        for name in _REALS:
            object.__setattr__(self, name, _of_python(getattr(self, name)))
        if self.blanks is not None:
            object.__setattr__(self, "blanks", blanks_span(self.blanks))
        validation = self.validation_blanks
        validation = tuple(validation) if isinstance(validation, list) else validation
        object.__setattr__(self, "validation_blanks", as_integer(validation) or validation)

    @property
    def epochs(self) -> int:
        """Epochs of the whole run."""
        return -(-self.steps // self.epoch_steps)

    @property
    def epoch_steps(self) -> int:
        """Steps of one epoch: ``steps_per_epoch``, or all of them in a shorter run."""
        return min(self.steps_per_epoch, self.steps)


_LOSSES = ("stablemax", "softmax")
_DTYPES = ("float32", "mixed_bfloat16")
_WHOLE = ("steps", "batch_size", "validation_count", "steps_per_epoch", "validate_every")
_INTEGERS = (*_WHOLE, "warmup_steps", "act_steps", "seed")
_REALS = (
    "learning_rate", "weight_decay", "ema", "ponder_cost", "q_weight", "ramp", "mastery",
    "minimal_fraction", "hard_fraction",
)  # fmt: skip
_MOST = 2**31 - 1  # of what ends in an int32


def _of_python(number: float) -> float | None:
    return number if isinstance(number, int | float) else as_real(number)


def _problems(recipe: Recipe) -> Iterator[str]:
    """What is wrong with this recipe, a sentence a field."""
    kinds = {**dict.fromkeys(_INTEGERS, "an integer"), **dict.fromkeys(_REALS, "a number")}
    wrong = [
        f"The {name} must be {kind}, got {shown(getattr(recipe, name))}."
        for name, kind in kinds.items()
        if (as_real if name in _REALS else as_integer)(getattr(recipe, name)) is None
    ]
    if wrong:
        yield from wrong
        return
    for name in _WHOLE:
        if not 1 <= getattr(recipe, name) <= _MOST:
            yield f"The {name} must be 1 to {_MOST:,}, got {getattr(recipe, name)}."
    if not 0 <= recipe.warmup_steps <= _MOST:
        yield f"The warmup_steps must be 0 to {_MOST:,}, got {recipe.warmup_steps}."
    if not 0 <= recipe.act_steps <= _MOST:
        yield f"The act_steps must be 0 to {_MOST:,}, got {recipe.act_steps}."
    if not 0 <= recipe.seed < 2**32:
        yield f"The seed must be 0 to {2**32 - 1:,}, got {recipe.seed}."
    if not 0 < recipe.learning_rate <= LARGEST:
        yield f"The learning_rate must be finite and above 0, got {recipe.learning_rate}."
    for name in ("weight_decay", "ponder_cost", "q_weight"):
        if not 0 <= getattr(recipe, name) <= LARGEST:
            yield f"The {name} must be finite and 0 or more, got {getattr(recipe, name)}."
    if not 0 <= recipe.ema < 1:
        yield f"The ema must be 0 or more and below 1, got {recipe.ema}."
    if not 0 <= recipe.mastery < 1:
        yield f"The mastery must be 0 or more and below 1, got {recipe.mastery}."
    for name in ("minimal_fraction", "hard_fraction", "ramp"):
        if not 0 <= getattr(recipe, name) <= 1:
            yield f"The {name} must be 0 to 1, got {getattr(recipe, name)}."
    if recipe.blanks is not None and blanks_span(recipe.blanks) is None:
        yield f"The blanks must be a number or a (least, most) range, got {shown(recipe.blanks)}."
    if recipe.ramp and recipe.mastery:
        yield "The ramp and the mastery both set the ACT steps; one of them must be 0."
    if recipe.loss not in _LOSSES:
        yield f"The loss must be {' or '.join(_LOSSES)}, got {shown(recipe.loss)}."
    if recipe.dtype not in _DTYPES:
        yield f"The dtype must be {' or '.join(_DTYPES)}, got {shown(recipe.dtype)}."


# The paper's settings, except for its batch of 768; for a GPU, and not run to the end here.
_LARGE: dict[str, Any] = {
    "steps": 100_000, "batch_size": 64, "learning_rate": 1e-4, "warmup_steps": 2000,
    "loss": "stablemax",
}  # fmt: skip
_MAZE: dict[str, Any] = {
    "steps": 6000, "warmup_steps": 100, "ema": 0.99, "q_weight": 0.03, "mastery": 0.6,
    "steps_per_epoch": 50, "validate_every": 10,
}  # fmt: skip
RECIPES = {
    "sudoku4": Recipe(
        "sudoku4", "sudoku4", steps=8000, batch_size=64, learning_rate=2e-3, ema=0.998,
        validation_count=400, steps_per_epoch=500, validate_every=4,
    ),
    "sudoku9": Recipe(
        "sudoku9", "sudoku9", steps=4500, ema=0.99, blanks=(35, 60), validation_blanks=50,
    ),
    "sudoku9-hard": Recipe(
        "sudoku9", "sudoku9", steps=120_000, learning_rate=7e-4, dtype="mixed_bfloat16",
        q_weight=0.1, blanks=(35, 60), hard_fraction=0.8, act_steps=8, ramp=0.1,
        validation_blanks="hard", validation_count=256, steps_per_epoch=200, validate_every=5,
    ),
    "maze9": Recipe("maze9", "maze9", **_MAZE),
    "maze11": Recipe("maze11", "maze11", **_MAZE),
    "maze30": Recipe("maze30", "paper-maze", weight_decay=1.0, **_LARGE),
    "arc1": Recipe("arc1", "paper-arc", **_LARGE),
    "arc2": Recipe("arc2", "paper-arc", **_LARGE),
    "paper-sudoku-mlp": Recipe("sudoku9", "paper-sudoku-mlp", weight_decay=1.0, **_LARGE),
    "paper-sudoku-att": Recipe("sudoku9", "paper-sudoku-att", weight_decay=1.0, **_LARGE),
}  # fmt: skip
RECIPES |= {"paper-maze": RECIPES["maze30"], "paper-arc": RECIPES["arc1"]}


def recipe_for(name: str, **changes: Any) -> Recipe:
    """The recipe of a task or a preset, with the ``changes`` that are not None.

    Raises:
        UsageError: for a name without a recipe, listing those that have one, and for values out
            of range.
    """
    refuse_unknown("recipe for", name, RECIPES)
    return with_changes(RECIPES[name], **changes)


def unlike(name: str, recipe: Recipe) -> dict[str, Any]:
    """The fields in which a recipe is not that of this name."""
    usual = recipe_for(name)
    fields = (field.name for field in dataclasses.fields(recipe))
    values = {field: getattr(recipe, field) for field in fields}
    return {field: value for field, value in values.items() if value != getattr(usual, field)}


def with_changes(recipe: Recipe, **changes: Any) -> Recipe:
    """The recipe with those of the ``changes`` that are not None."""
    given = {name: value for name, value in changes.items() if value is not None}
    known = [field.name for field in dataclasses.fields(recipe)]
    unknown = [name for name in given if name not in known]
    if unknown:
        raise UsageError(
            f"A recipe has no field {', '.join(unknown)}; choose from {', '.join(known)}."
        )
    return dataclasses.replace(recipe, **given)
