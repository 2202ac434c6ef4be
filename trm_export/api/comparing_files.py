"""What `compare` finds out about each file, one thing after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_export.api.arguments import Progress
from trm_export.api.frameworks import load_keras
from trm_export.api.model_source import ModelSource
from trm_export.api.speed import file_costs, model_cost, this_machine
from trm_export.artifacts.contract_rewrite import embedded_contract
from trm_export.artifacts.inspection import inspect_file
from trm_export.device_cost import DeviceCost
from trm_export.parity.checking import Check, Spread, check_files
from trm_export.parity.confidence_rung import confidence_rung, traced
from trm_export.parity.document import Cost, JudgedFile, Timed, judged
from trm_export.parity.engine_rung import engine_rung, fault_rung
from trm_export.parity.tries_rung import solved_again, tries_rung
from trm_runtime.contract import StepContract
from trm_runtime.parity import Golden, Rung
from trm_runtime.parity.gates import gates_of, is_integer
from trm_runtime.parity.result import FAILED, OK
from trm_runtime.runner import StepRunner

if TYPE_CHECKING:
    from trm_export.explain.explanation import Explanation
    from trm_export.parity.parts import Parts


def judged_files(
    reference: Golden,
    checks: Sequence[Check],
    contracts: Sequence[StepContract],
    costs: Sequence[Cost | None],
    parts: Parts,
    spread: Spread,
    tell: Progress,
) -> tuple[JudgedFile, ...]:
    """The files, each with its result, its costs and what it needs of a device."""
    results = check_files(
        reference, checks, parts, spread=spread, progress=lambda share: tell(share, "Comparing")
    )
    return tuple(
        replace(
            judged(check.artifact, contract, result, cost, check.engine),
            device=device,
            granularity=embedded_contract(check.artifact).granularity,
        )
        for check, contract, result, cost, device in zip(
            checks, contracts, results, costs, map(_device, checks), strict=True
        )
    )


def _device(check: Check) -> DeviceCost | None:
    """What the file of a check needs of a device."""
    found: DeviceCost | None = getattr(inspect_file(check.artifact), "device", None)
    return found


def with_engine(
    reference: Golden, files: Sequence[JudgedFile], threads: int | None, engine: str | None
) -> tuple[JudgedFile, ...]:
    """The files with what the engine does, unless the contracts differ."""

    def rung(file: JudgedFile) -> Rung | None:
        if not file.result.ran:
            return None
        own = engine_rung(file.path, reference, threads, engine)
        broken = file.result.broken
        known = own is not None and own.status in (OK, FAILED)  # by a recording of the file
        if engine is None or broken is None or known:
            return own
        given = file.result.gates
        gates = None if given == gates_of(file.contract) else given
        return fault_rung(file.path, reference, broken, gates, threads, engine) or own

    return tuple(file.with_itself(rung(file)) for file in files)


def _assumed(files: Sequence[JudgedFile]) -> StepContract:
    """The contract of a file of the model, for what the model does not state itself."""
    return next((file for file in files if file.result.ran), files[0]).contract


def with_weights(
    source: ModelSource, files: Sequence[JudgedFile], gated: bool, tell: Progress
) -> tuple[JudgedFile, ...]:
    """The files with what each stores compared with the model, unless the contracts differ."""
    load_keras(any_backend=True)
    from trm_export.explain.weights_rung import weights_reports

    wanted = [file for file in files if file.result.ran]
    source = replace(source, assumed=_assumed(files))
    paths = [file.path for file in wanted]
    reports = weights_reports(lambda: source.open(any_backend=True), paths, gated, tell)
    return tuple(file.with_weights(*next(reports)) if file in wanted else file for file in files)


def with_tries(
    source: ModelSource | None,
    files: Sequence[JudgedFile],
    reference: Golden,
    again: dict[str, Any],
    threads: int | None,
    engine: str | None,
    tell: Progress,
) -> tuple[JudgedFile, ...]:
    """The files with the rung about several tries; without a source the model is not asked."""
    tell(0.0, "Trying again")
    model = None
    if source is not None:
        model = solved_again(reference, _keras_runner(source, files), again)
    rungs = (tries_rung(file.path, reference, model, again, threads, engine) for file in files)
    return tuple(file.with_last(rung) for file, rung in zip(files, rungs, strict=True))


def with_confidence(
    source: ModelSource | None,
    files: Sequence[JudgedFile],
    reference: Golden,
    abstain: float,
    threads: int | None,
    engine: str | None,
    tell: Progress,
) -> tuple[JudgedFile, ...]:
    """The files with the rung about confidence; without a source the model is not asked."""
    tell(0.0, "Measuring the confidence")
    model = None
    if source is not None and all(chunk.labels is not None for chunk in reference.chunks):
        model = traced(reference, _keras_runner(source, files))
    rungs = [
        confidence_rung(file.path, reference, model, abstain, threads, engine) for file in files
    ]
    return tuple(
        replace(file.with_last(rung), confidence=report)
        for file, (rung, report) in zip(files, rungs, strict=True)
    )


def _keras_runner(source: ModelSource, files: Sequence[JudgedFile]) -> StepRunner:
    """The model on any backend."""
    load_keras(any_backend=True)
    from trm_export.step.keras_runner import KerasRunner

    return KerasRunner(replace(source, assumed=files[0].contract).open(any_backend=True))


def timed_files(
    source: ModelSource,
    files: Sequence[JudgedFile],
    known: Sequence[Path],
    golden: Golden,
    device: str,
    tell: Progress,
    engine: str | None,
) -> tuple[tuple[JudgedFile, ...], Timed | None]:
    """The files with their costs, and those of the model.

    Files whose costs are ``known`` are not timed; beside times of another run the model is not
    timed either, as this machine is not that of all times.
    """
    paths = [file.path for file in files if file.path not in known]
    costs = dict(zip(paths, file_costs(paths, golden, tell, engine), strict=True))
    timed = tuple(replace(file, cost=costs.get(file.path, file.cost)) for file in files)
    if known:
        return timed, None
    load_keras(any_backend=True)
    source = replace(source, assumed=_assumed(files))
    model = model_cost(source.open(any_backend=True), golden, device)
    return timed, Timed(this_machine(), model)


def explained_files(
    source: ModelSource, files: Sequence[JudgedFile], golden: Golden, tell: Progress
) -> dict[str, Explanation]:
    """Explanations of each file that fails, and of each file in integers."""
    wanted = [f for f in files if not f.result or is_integer(f.contract.precision)]
    if not wanted:
        return {}
    load_keras()
    from trm_export.explain.failing_files import explain_files

    source = replace(source, assumed=wanted[0].contract)
    return explain_files(source.open(), wanted, golden, tell)
