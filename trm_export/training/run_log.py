"""The log of a training run, a line an epoch, as it is read again. Needs no framework."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from trm_export.errors import RejectedInputError, reason_of
from trm_runtime.limits import FILE_MB
from trm_runtime.regular_file import open_regular

VALIDATED = ("val_exact", "val_exact_all_steps", "val_steps", "val_threshold")
"""The columns of an epoch that was validated."""


def logged(log: Path) -> list[dict[str, str]]:
    """The rows of a log; those that are no rows of one are left out."""
    if not log.exists():
        return []
    try:
        with io.TextIOWrapper(open_regular(log, FILE_MB), encoding="utf-8", newline="") as file:
            rows = [*csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RejectedInputError(f"{log}: not the log of a run: {reason_of(error)}.") from error
    return [row for row in rows if _is_row(row)]


def _is_row(row: dict[str, str]) -> bool:
    """Whether it has an epoch, and finite numbers or nothing in the other columns."""
    try:
        finite = all(math.isfinite(float(text)) for text in row.values() if text)
        return finite and int(row["epoch"]) >= 0
    except (KeyError, TypeError, ValueError):
        return False


def best_logged(rows: Sequence[Mapping[str, str]]) -> float:
    """The best validation among rows of a log, -1 where there is none."""
    values = [row.get(VALIDATED[0]) for row in rows]
    return max((float(value) for value in values if value), default=-1.0)
