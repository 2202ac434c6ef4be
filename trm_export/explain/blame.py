"""Find the cause of a failing file: the file, the engine, the conversion or the precision.

A few trials find it, each a comparison of single steps with the model, with the gates that are
given for the file, or else with those of the trial's own precision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from trm_export.artifacts.host_kinds import HOST_KINDS
from trm_export.errors import ParityError, UsageError
from trm_export.explain.trial import forced, fresh
from trm_export.exporters.choices import Choices
from trm_export.exporters.export import format_named
from trm_export.exporters.format import Format
from trm_export.exporters.keep_search import least_cosine
from trm_export.exporters.shared import Shared
from trm_runtime.open import open_runner
from trm_runtime.parity import Gates, ParityResult, Puzzles, check, gates_for


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One trial.

    Attributes:
        what: the file that was compared with the model.
        passed: None where there is nothing to compare.
        usual: whether it passes the gates of its precision, which others may be given for.
        cosine: least forced, of any float tensor and step.
        relative_l2: largest forced of any; None where single steps cannot be compared.
        remark: the verdict, or why there is nothing to compare.
    """

    what: str
    passed: bool | None
    usual: bool | None
    cosine: float | None
    relative_l2: float | None
    remark: str


@dataclasses.dataclass(frozen=True)
class Attempts:
    """The trials of one file."""

    file: Attempt
    plain: Attempt  # the same file, graph optimisation off
    again: Attempt  # a new export with the same choices
    exact: Attempt  # fp32 in the same format
    other: Attempt  # the same precision in the other format and engine

    def __iter__(self) -> Iterator[Attempt]:
        return iter((self.file, self.plain, self.again, self.exact, self.other))

    @property
    def deciding(self) -> Attempts:
        """The trials by the gates that tell the cause.

        Those of each precision where the file fails them as well, and a new export fails the given
        ones.
        """
        if self.file.usual or self.plain.passed or self.again.passed:
            return self
        return Attempts(*(dataclasses.replace(one, passed=one.usual) for one in self))


def attempts_on(
    shared: Shared,
    path: Path,
    kind: Format,
    choices: Choices,
    result: ParityResult,
    given: Gates | None,
    puzzles: Puzzles,
    calibrated: Puzzles,
    report: Callable[[str], object],
) -> Attempts:
    """Makes all trials and compares them.

    ``given`` are the gates of all; None: those of each precision. ``calibrated`` are puzzles as
    `export` takes them.
    """

    def attempt(what: str, kind: Format, choices: Choices) -> Attempt:
        report(what)
        try:
            with fresh(shared, kind, choices, calibrated) as trial:
                result = forced(shared, trial, puzzles, given)
                return _judged(what, result, choices.precision)
        except (ParityError, UsageError) as error:
            return Attempt(what, None, None, None, None, str(error))

    other = format_named(HOST_KINDS[kind.name].twin)
    other_choices = dataclasses.replace(choices, batch=None, recursion=None, engine=None)
    exact = dataclasses.replace(choices, precision="fp32", keep=(), integer_io=False)
    engine, precision = other.engines[0], choices.precision
    report("graph optimisation off")
    return Attempts(
        _judged("this file", result, precision),
        _plain(shared, path, kind, precision, given, puzzles),
        attempt("a new export of it", kind, choices),
        attempt(f"fp32 in {kind.name}", kind, exact),
        attempt(f"{precision} in {other.name} ({engine})", other, other_choices),
    )


def _plain(
    shared: Shared, path: Path, kind: Format, precision: str, given: Gates | None, puzzles: Puzzles
) -> Attempt:
    what = "graph optimisation off"
    engine = HOST_KINDS[kind.name].file.engine
    if not engine.can_be_plain:
        return Attempt(what, None, None, None, None, f"{engine.name} has no switch for it")
    runner = open_runner(path, optimised=False)
    result = check(shared.golden(puzzles), runner, gates=given, steps_only=True)
    return _judged(what, result, precision)


def _judged(what: str, result: ParityResult, precision: str) -> Attempt:
    cosine, usual = None, result.passed
    if result.forced:
        cosine, gates = least_cosine(result), gates_for(precision)
        usual = not any(error.problem(gates) for error in result.forced)
    return Attempt(what, result.passed, usual, cosine, result.forced_error, result.verdict)


def conclusion(attempts: Attempts, choices: Choices, kind: Format) -> str:
    """One sentence that begins with the cause."""
    attempts = attempts.deciding
    if attempts.file.passed:
        return "nothing: every single step is within the gates; differences add up over the steps."
    if attempts.plain.passed:
        return (
            "the engine: the same file passes with graph optimisation off, so an optimisation "
            "changes its results."
        )
    if attempts.again.passed:
        return (
            "the file: a new export with the same choices passes, so this one was changed after "
            "its export, or has other weights, or was exported by another version; export it again."
        )
    if choices.precision == "fp32" or attempts.exact.passed is False:
        if attempts.again.usual:
            return (
                f"the gates: every new export of {choices.precision} in {kind.name} fails the "
                "given ones as this file does, and passes the usual ones of that precision; give "
                "wider ones."
            )
        return f"the conversion: fp32 in {kind.name} does not compute what Keras computes either."
    if attempts.other.passed:
        return (
            f"the precision in {kind.name}: fp32 passes in this format, and {choices.precision} "
            f"passes in {HOST_KINDS[kind.name].twin}."
        )
    return (
        f"the precision: fp32 in {kind.name} passes, and {choices.precision} loses too much in "
        "either format; keep layers in float with --keep or --auto-keep."
    )
