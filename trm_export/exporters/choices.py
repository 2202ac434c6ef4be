"""The options of an export, their values, and the name of its file.

Imports no framework, so that a command can check its options before it loads one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from trm_export.artifacts.host_kinds import HOST_KINDS
from trm_export.errors import UsageError
from trm_export.files import refuse_source, require_suffix
from trm_runtime.contract import GRANULARITIES
from trm_runtime.message_text import shown
from trm_runtime.scalars import as_integer

PRECISIONS = ("fp32", "fp16", "int8", "int8-static", "int4")
CALIBRATED = ("int8-static", "int4")  # from rollouts; a document beside the file has what was found
RECURSIONS = ("unrolled", "rolled")
PORTS = ("bool", "int32")  # dtype of `halted`
PLACES = ("internal", "external")  # of the puzzle table
CHECKS = ("auto", "full")  # of a new file: "auto" looks at few steps of a big model
MAX_ROWS = 2**31 - 1  # what an int32 dimension holds
FORMATS = HOST_KINDS.keys()
"""Names of the formats that can be written."""


@dataclasses.dataclass(frozen=True)
class Choices:
    """The options of one export. ``None``: the default of the format.

    Attributes:
        precision: one of `PRECISIONS`.
        batch: fixed number of rows of a call, ``"free"`` for a dynamic batch, or None.
        granularity: ``"step"``, ``"loop"`` or ``"block"``.
        recursion: ``"unrolled"``, ``"rolled"``, or None for the better one by measurement.
        engine: one of the format's engines.
        puzzle_table: ``"internal"``, or ``"external"`` for a graph that takes the rows of the
            puzzle embeddings, and a file of them beside it.
        integer_io: int8 I/O: states and scores enter and leave as int8; only with int8-static.
        ports: dtype of ``halted``; ``"int32"`` for engines without bool inputs and outputs.
        keep: layers that stay float32, names or patterns as in `layers.chosen`.
    """

    precision: str = "fp32"
    batch: int | str | None = None
    granularity: str = "step"
    recursion: str | None = None
    engine: str | None = None
    puzzle_table: str = "internal"
    integer_io: bool = False
    ports: str = "bool"
    keep: tuple[str, ...] = ()


USUAL = Choices()


def target_name(stem: str, name: str, choices: Choices) -> str:
    """``<stem>.<suffix>`` in the format `name`; every option that is not the default is in it."""
    options = ((choices.precision, USUAL.precision), (choices.granularity, USUAL.granularity))
    marks = [value for value, default in options if value != default]
    marks += ["integer-io"] if choices.integer_io else []
    marks += [f"{choices.ports}-ports"] if choices.ports != USUAL.ports else []
    marks += ["keep"] if choices.keep else []
    return "-".join([stem, *marks]) + HOST_KINDS[name].ending


def refuse_words(name: str, choices: Choices) -> None:
    """UsageError, with every reason, for choices that the format `name` does not have."""
    problems = list(_wrong_words(name, choices))
    if problems:
        raise UsageError(" ".join(problems))


def refuse_check(check: str) -> None:
    """UsageError for a word that is not in `CHECKS`."""
    if check not in CHECKS:
        raise UsageError(f"The check must be {' or '.join(CHECKS)}, got {check!r}.")


def refuse_target(name: str, path: Path, source: Path | None = None) -> None:
    """UsageError for a path that a file of the format `name` must not have.

    A driver is chosen by the suffix, and `source`, which the model was loaded from, is never
    replaced.
    """
    if source is not None:
        refuse_source(path, source)
    require_suffix(path, HOST_KINDS[name].file.suffix)


def _wrong_words(name: str, choices: Choices) -> Iterator[str]:
    engines = HOST_KINDS[name].targets
    words = {
        "precision": (choices.precision, PRECISIONS),
        "granularity": (choices.granularity, GRANULARITIES),
        "recursion": (choices.recursion or RECURSIONS[0], RECURSIONS),
        "target": (choices.engine or engines[0], engines),
        "puzzle table": (choices.puzzle_table, PLACES),
        "ports": (choices.ports, PORTS),
    }
    for choice, (word, known) in words.items():
        if word not in known:
            yield f"{name}: {choice} must be {' or '.join(known)}, got {word!r}."
    if choices.keep and choices.precision == "fp32":
        yield f"{name}: fp32 keeps every layer in float anyway; choose a smaller precision."
    batch = choices.batch
    if batch not in (None, "free") and not 1 <= (as_integer(batch) or 0) <= MAX_ROWS:
        yield f"{name}: batch must be 1 to {MAX_ROWS:,}, or free, got {shown(batch)}."
