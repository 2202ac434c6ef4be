"""Who is to blame for a file that fails: the file, the engine, the conversion or the precision.

A few trials tell, each the same comparison of single steps with the model, under the gates of its
own precision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from trm_export.artifacts.host_kinds import HOST_KINDS
from trm_export.errors import ParityError, UsageError
from trm_export.explain.trial import forced, fresh, least_cosine
from trm_export.exporters.choices import Choices
from trm_export.exporters.export import format_named
from trm_export.exporters.format import Format
from trm_export.exporters.shared import Shared
from trm_runtime.open import open_runner
from trm_runtime.parity import ParityResult, Puzzles, check


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One trial.

    Attributes:
        what: was compared with the model.
        passed: None where there is nothing to compare.
        cosine: least forced, of any float tensor and step.
        relative_l2: largest forced of any; None where no single step can be seen.
        remark: the verdict, or why there is nothing to compare.
    """

    what: str
    passed: bool | None
    cosine: float | None
    relative_l2: float | None
    remark: str


@dataclasses.dataclass(frozen=True)
class Attempts:
    """The trials of one file."""

    file: Attempt
    plain: Attempt  # the same file, graph optimisation off
    again: Attempt  # a fresh export with the same choices
    exact: Attempt  # fp32 in the same format
    other: Attempt  # the same precision in the other format and engine

    def __iter__(self) -> Iterator[Attempt]:
        return iter((self.file, self.plain, self.again, self.exact, self.other))


def attempts_on(
    shared: Shared,
    path: Path,
    kind: Format,
    choices: Choices,
    result: ParityResult,
    puzzles: Puzzles,
    calibrated: Puzzles,
    said: Callable[[str], object],
) -> Attempts:
    """Makes and compares what it takes; ``calibrated`` are puzzles as an export is given them."""

    def made(what: str, kind: Format, choices: Choices) -> Attempt:
        said(what)
        try:
            with fresh(shared, kind, choices, calibrated) as trial:
                return _judged(what, forced(shared, trial, puzzles))
        except (ParityError, UsageError) as error:
            return Attempt(what, None, None, None, str(error))

    other = format_named(HOST_KINDS[kind.name].twin)
    free = dataclasses.replace(choices, batch=None, recursion=None, engine=None)
    exact = dataclasses.replace(choices, precision="fp32", keep=(), integer_io=False)
    engine, precision = other.engines[0], choices.precision
    said("graph optimisation off")
    return Attempts(
        _judged("this file", result),
        _plain(shared, path, kind, puzzles),
        made("a fresh export of it", kind, choices),
        made(f"fp32 in {kind.name}", kind, exact),
        made(f"{precision} in {other.name} ({engine})", other, free),
    )


def _plain(shared: Shared, path: Path, kind: Format, puzzles: Puzzles) -> Attempt:
    what = "graph optimisation off"
    engine = HOST_KINDS[kind.name].file.engine
    if not engine.can_be_plain:
        return Attempt(what, None, None, None, f"{engine.name} has no switch for it")
    runner = open_runner(path, optimised=False)
    return _judged(what, check(shared.golden(puzzles), runner, steps_only=True))


def _judged(what: str, result: ParityResult) -> Attempt:
    cosine = least_cosine(result) if result.forced else None
    return Attempt(what, result.passed, cosine, result.forced_error, result.verdict)


def conclusion(found: Attempts, choices: Choices, kind: Format) -> str:
    """One sentence that begins with who is to blame."""
    if found.file.passed:
        return "nothing: every single step is within the gates; what differs adds up over steps."
    if found.plain.passed:
        return (
            "the engine: the same file passes with graph optimisation off, so that an optimisation "
            "changes what it computes."
        )
    if found.again.passed:
        return (
            "the file: a fresh export with the same choices passes, so this one was changed after "
            "its export, or made from other weights or by another version; export it again."
        )
    if choices.precision == "fp32" or found.exact.passed is False:
        return f"the conversion: already fp32 in {kind.name} does not compute what Keras computes."
    if found.other.passed:
        return (
            f"the precision, as {kind.name} has it: fp32 passes here, and {choices.precision} "
            f"passes in {HOST_KINDS[kind.name].twin}."
        )
    return (
        f"the precision: fp32 in {kind.name} passes, and {choices.precision} loses too much in "
        "either format; keep layers in float with --keep or --auto-keep."
    )
