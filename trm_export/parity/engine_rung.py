"""The rung `engine`: a file against itself, so that neither its weights nor its precision count.

With a recording of the file beside it the file is compared as on a device: to the last bit, or
within the floor of the engine that recorded it. Without one, the rung reports how far the engine is
from itself when it runs in another way. Where a file fails on an engine that was chosen, the one
that runs without a choice shows whether the file or the engine is at fault.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from trm_export.errors import TRMError, reason_of
from trm_export.files import RECORDING, sidecar
from trm_export.parity.engine_control import own_control
from trm_export.tasks import PuzzleSet
from trm_runtime.file_kinds import kind_of
from trm_runtime.measure import load_engine
from trm_runtime.message_text import counted
from trm_runtime.open import open_runner
from trm_runtime.parity import Gates, Golden, Rung, check, record
from trm_runtime.parity.file_golden import engine_hop
from trm_runtime.parity.golden_file import read_golden
from trm_runtime.parity.judge import VALUES
from trm_runtime.parity.result import ENGINE, FAILED, NOT_JUDGED, OK, REPORTED
from trm_runtime.runner import StepRunner

_PUZZLES = 2  # without a recording


def engine_rung(
    path: Path, reference: Golden, threads: int | None, engine: str | None = None
) -> Rung | None:
    """The rung of a file; None for a loop, which has no steps.

    `reference` is a recording of the model, whose first puzzles are used where the file has no
    recording; `threads` are those of the engine, see `open_runner` for `engine`.
    """
    try:
        runner = open_runner(path, threads, engine=engine)
        if runner.contract.granularity == "loop":
            return None
        if sidecar(path, RECORDING).is_file():
            return _recorded(read_golden(sidecar(path, RECORDING)), path, runner, threads, engine)
        return _unrecorded(reference, path, runner, threads, engine)
    except TRMError as error:
        return Rung(ENGINE, NOT_JUDGED, reason_of(error))


def fault_rung(
    path: Path,
    reference: Golden,
    broken: Rung,
    gates: Gates | None,
    threads: int | None,
    engine: str,
) -> Rung | None:
    """The rung of a file that fails at ``broken``, if its engine is at fault.

    It is if another engine was chosen than the one that runs without a choice, and that one passes
    with the same puzzles and gates. Only the steps are run where these fail.
    """
    if broken.name not in VALUES or not kind_of(path).is_other(engine):
        return None
    try:
        steps_only = broken.name == VALUES[0]
        usual = check(reference, open_runner(path, threads), gates=gates, steps_only=steps_only)
    except TRMError:
        return None
    if not usual:
        return None
    here, there = load_engine(path, engine), load_engine(path)
    passes = "computes its single steps within the gates" if steps_only else "passes with it"
    text = f"{here} is at fault with this file, because {there} {passes}"
    return replace(broken, name=ENGINE, summary=f"{text}: {broken.summary}")


def _recorded(
    golden: Golden, path: Path, runner: StepRunner, threads: int | None, engine: str | None
) -> Rung:
    hop = engine_hop(golden, path, threads, engine)
    if hop is None:
        return Rung(ENGINE, NOT_JUDGED, f"{sidecar(path, RECORDING).name} is of a model")
    result = check(golden, runner, gates=hop.gates, steps_only=True)
    here, there = load_engine(path, engine), golden.about.provenance["engine"]
    if result.broken is not None:
        text = f"{here} does not compute what {there} recorded of this file"
        return Rung(ENGINE, FAILED, f"{text}: {result.broken.summary}", result.broken.problems)
    if hop.exact:
        return Rung(ENGINE, OK, f"{here} gives every value of its recording to the last bit")
    differs = f"differs from the recording by {there} by {result.forced_error or 0.0:.1e}"
    limit = hop.gates.relative_l2  # None: judged by its precision, such as bf16
    at_most = "" if limit is None else f", at most {limit:.1e}"
    return Rung(ENGINE, OK, f"{here} {differs}{at_most}")


def _unrecorded(
    reference: Golden, path: Path, runner: StepRunner, threads: int | None, engine: str | None
) -> Rung:
    tokens = {name: rows[:_PUZZLES] for name, rows in reference.chunks[0].tokens.items()}
    golden = record(runner, PuzzleSet.of_tokens(tokens))
    errors = own_control(golden, path, threads, lambda share: None, engine)["errors"]
    found = ", ".join(f"{error:.1e} ({what})" for what, error in errors.items())
    puzzles = counted(golden.puzzles, "puzzle")
    return Rung(
        ENGINE, REPORTED, f"{load_engine(path, engine)} on {puzzles} against itself: {found}"
    )
