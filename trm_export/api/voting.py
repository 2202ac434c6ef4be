"""`evaluate` with votes on ARC problems: what has no effect then, the figures and the boards."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

import numpy as np

from trm_export.errors import UsageError
from trm_export.tasks.arc_grids import SIDE, encode
from trm_export.tasks.voting import ArcScore, VotedGrid
from trm_runtime.message_text import counted

Array = np.ndarray[Any, Any]


def refuse_unused(option: str, **given: Any) -> None:
    """UsageError for arguments of `evaluate` that do nothing with votes, which `option` asks for.

    Those that have their default are passed over.
    """
    refuse_named(option, unused(**given))


def unused(**given: Any) -> list[str]:
    """The names of those that do nothing with votes and do not have their default."""
    from trm_export.api.evaluating import evaluate  # which imports this module

    usual = inspect.signature(evaluate).parameters
    return [name for name, value in given.items() if _is_set(value, usual[name].default)]


def refuse_named(option: str, names: Sequence[str]) -> None:
    """The same for the arguments of these names, if there is one."""
    if names:
        raise UsageError(
            f"{' and '.join(f'--{name}' for name in names)}: without effect with {option}, because "
            "every grid of an ARC problem is asked once in each symmetry; drop "
            f"{'it' if len(names) == 1 else 'them'}."
        )


def _is_set(value: Any, usual: Any) -> bool:
    return value is not None if usual is None else bool(value != usual)


def figures_of(score: ArcScore, problems: int) -> dict[str, Any]:
    """The figures of the document."""
    return {
        "problems": problems,
        "grids": len(score.asked),
        "copies": score.copies,
        "exact_one_attempt": score.exact(1),
        "exact_two_attempts": score.exact(2),
        "problems_two_attempts": score.problems_solved(2),
        "mean_steps": score.mean_steps,
        "nonfinite": score.nonfinite,
    }


def board_of(one: VotedGrid) -> tuple[Array, Array, str]:
    """The tokens (900,) of the right grid and of the answer, and a title.

    The answer is empty where no copy gave a grid.
    """
    first = next(iter(one.candidates), None)
    answer = np.zeros(SIDE * SIDE, np.int32) if first is None else encode(first.answer)
    votes = counted(0 if first is None else first.votes, "vote")
    return encode(one.right), answer, f"{one.problem}: {votes}"
