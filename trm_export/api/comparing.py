"""`compare`: whether exported files still compute what their model computes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trm_export.api.arguments import (
    FilePath,
    ModelLike,
    Progress,
    again_of,
    count_or_none,
    counts_of,
    path_of,
    reporter,
)
from trm_export.api.comparing_files import (
    explained_files,
    judged_files,
    timed_files,
    with_confidence,
    with_engine,
    with_tries,
    with_weights,
)
from trm_export.api.comparison import Comparison
from trm_export.api.model_source import ModelSource
from trm_export.api.recording import RecordingJob
from trm_export.artifacts.contract_rewrite import embedded_contract
from trm_export.artifacts.file_list import each_once
from trm_export.errors import OtherWeightsError, UsageError
from trm_export.files import sha256_file
from trm_export.parity.bench_document import rows_for
from trm_export.parity.checking import Check
from trm_export.parity.comparing import kept_parts, refuse_beside_golden, spread_over
from trm_export.parity.document import JudgedFile, report_document
from trm_export.report.outputs import refuse_targets, write_outputs
from trm_export.step.model_facts import ModelHints, given_hints, hinted
from trm_export.tasks.selection import (
    COUNT,
    PuzzleSource,
    puzzle_file,
    read_choice,
    refuse_puzzles,
    select_puzzles,
)
from trm_runtime.certainty import check_abstain
from trm_runtime.message_text import shown
from trm_runtime.open import open_runner, runner_contract
from trm_runtime.parity import Gates
from trm_runtime.parity.contracts import other_sizes, sizes_of
from trm_runtime.parity.gates import read_gates
from trm_runtime.parity.golden_file import read_golden
from trm_runtime.scalars import check_flags
from trm_runtime.try_options import CHOOSE, SIGMA, VARY

if TYPE_CHECKING:
    from trm_export.explain.explanation import Explanation
    from trm_export.tasks import Blanks

__all__ = ["Comparison", "compare"]

_STATES = 100_000_000  # bytes of states of a golden that is not kept


def compare(
    model: ModelLike,
    files: FilePath | Iterable[FilePath],
    *,
    puzzles: PuzzleSource | None = None,
    golden: FilePath | None = None,
    task: str | None = None,
    blanks: Blanks | str | None = None,
    count: int | None = None,
    batch_size: int = 64,
    jobs: int = 1,
    ray: str | None = None,
    threads: int | None = None,
    engine: str | None = None,
    gates: Gates | FilePath | None = None,
    control: bool | None = None,
    device: str = "auto",
    require_gpu: bool = False,
    tries: int = 1,
    vary: str = VARY[0],
    choose: str = CHOOSE[0],
    seed: int = 0,
    sigma: float = SIGMA,
    abstain: float | None = None,
    weights: bool = False,
    explain: bool = False,
    report: FilePath | None = None,
    output: FilePath | None = None,
    bench: FilePath | None = None,
    speed: bool | None = None,
    complete: bool = False,
    trust: Sequence[str] = (),
    hints: ModelHints | None = None,
    force: bool = False,
    progress: Progress | None = None,
    command: str | None = None,
) -> Comparison:
    """Compare exported files with their model, from names and shapes to accuracy.

    With `output` or `report` the same call resumes after a kill.

    Args:
        model: the reference; see `ModelLike`.
        files: one exported file, or several.
        puzzles: see `PuzzleSource`; shipped test puzzles if not given.
        golden: a recording of the model by `record`, instead of running it again.
        task: name of the task of the puzzles; the one that fits the model if not given.
        blanks: of the shipped puzzles: a number, `minimal` or `hard`.
        count: how many puzzles, at most; 200 if not given. Those of a golden are all compared.
        batch_size: rows a step, for files with a dynamic batch.
        jobs: how many processes of this machine share the work.
        ray: address of a Ray cluster that shares the work; `local` starts Ray here.
        threads: of an engine.
        engine: the files', such as `openvino:bf16`; see `open_runner`.
        gates: the gates, or their JSON file; those of each file's precision if not given.
        control: measure the noise floor; None: only if a report is written and the model can be
            computed in float64.
        device: where the model runs: `auto` (a GPU where Keras finds one), `gpu` or `cpu`.
        require_gpu: fail without a GPU.
        tries, vary, choose, seed, sigma: see `trm_runtime.solve`; with several tries one more rung
            reports what the model and each file solve with them.
        abstain: a probability: one more rung reports how sure the model and each file are of their
            answers, how well that holds, and which answers are below it.
        weights: judge what a file stores also where another tool quantized it, which is only
            reported otherwise, or where its contract records other weights.
        explain: find the first bad operator and the cause of failing files, and rank the layers of
            int8 files. Takes several exports.
        report: an .html file to write a report to, with .md and .json beside it.
        output: a .json file to write the document to.
        bench: a document of `bench` of these files, for their costs.
        speed: time a step of each file and of the model on this machine; None: only if a report
            is written, and with `bench` only the files that have no row there.
        complete: a file of other weights is a file that fails, also where there is no other file
            and nothing is written, which is an OtherWeightsError otherwise.
        trust: packages whose code may run.
        hints: what the model does not state itself.
        force: replace files that this tool did not make.
        progress: called with the share of a stage that is done, and the stage.
        command: the line that repeats the comparison, for the report.

    Raises:
        UsageError: an unknown value, or options that contradict each other.
        OverwriteError: a file to write was not made by this tool.
        RejectedInputError: the model, a file, the puzzles or the golden cannot be used.
        OtherWeightsError: by their contracts no file was made from this model; raised before
            anything is computed. Not with `weights`, `explain` or `golden`, which compare them all
            the same, nor with `report`, `output` or `complete`, for which they are files that fail.
    """
    tell = reporter(progress)
    check_flags("control", "speed", control=control, speed=speed, weights=weights,
        explain=explain, complete=complete, require_gpu=require_gpu)  # fmt: skip
    if not isinstance(command, str | None):
        raise UsageError(f"command: expected the text of a command line, got {shown(command)}.")
    given = {"output": output, "report": report, "golden": golden, "bench": bench}
    wanted, page, recording, timings = (
        None if path is None else path_of(name, path) for name, path in given.items()
    )
    refuse_targets(wanted, page, _read(golden, bench, gates, puzzles), force=force)
    batch_size, jobs, tries = counts_of(batch_size=batch_size, jobs=jobs, tries=tries)
    threads, count = count_or_none("threads", threads), count_or_none("count", count)
    again = again_of(tries, vary, choose, seed, sigma)
    if abstain is not None:
        abstain = check_abstain(abstain)
    demanded = _gates(gates)
    spread = spread_over(jobs, ray)
    source = ModelSource(model, trust, hints)
    source.refuse()
    refuse_puzzles(puzzles, task, blanks)
    if recording is not None:
        refuse_beside_golden(
            {
                "--puzzles": puzzles is not None,
                "--task": task is not None,
                "--blanks": blanks is not None,
                "--count": count is not None,
                "--require-gpu": require_gpu,
                "--device": device != "auto",
                "--control": control is not None,
                **hinted(given_hints(hints)),
            }
        )
    count = COUNT if count is None else count
    if explain and engine is not None:
        raise UsageError("--explain runs the first engine of a kind of file; drop --engine.")
    artifacts = each_once(files)
    if not artifacts:
        raise UsageError("There is no file to compare; give at least one exported file.")
    any_weights = recording is not None or weights or explain
    others = {} if any_weights else _of_other_weights(source, artifacts)
    if len(others) == len(artifacts) and not (complete or page or wanted):
        raise OtherWeightsError(others, source.name)
    own = next((n for n, path in enumerate(artifacts) if path not in others), 0)
    puzzles, blanks = read_choice(puzzles, blanks)
    if puzzles is not None and not any_weights and artifacts[own] not in others:
        select_puzzles(runner_contract(artifacts[own]), puzzles, task, blanks, count)  # or refuses
    contracts = [open_runner(artifact, engine=engine).contract for artifact in artifacts]
    costs = rows_for(timings, artifacts, engine)
    floor = bool(control) if report is None else control
    source, name = replace(source, assumed=contracts[own]), str(source.file or source.name)
    job = RecordingJob(
        source, puzzles, task, blanks, count, batch_size, device, require_gpu, floor, _STATES
    )
    key = {**job.document(), "gates": demanded, "threads": threads}
    with kept_parts(page or wanted, key, artifacts, recording, engine) as parts:
        origin = recording or parts.folder / "golden.npz"
        reference = read_golden(origin) if origin.exists() else job.into(origin, progress=tell)
        job.refuse_other(reference, origin)
        checks = [
            Check(origin, path, demanded, batch_size, threads, engine, any_weights)
            for path in artifacts
        ]
        found = judged_files(reference, checks, contracts, costs, parts, spread, tell)
        found = with_engine(reference, found, threads, engine)
        found = with_weights(source, found, weights, tell)
        asked = None if recording is not None else source
        if tries > 1:
            found = with_tries(asked, found, reference, again, threads, engine, tell)
        if abstain is not None:
            found = with_confidence(asked, found, reference, abstain, threads, engine, tell)
        timed = None
        if page is not None if speed is None else speed:
            known = () if speed else [file.path for file in found if file.cost is not None]
            found, timed = timed_files(source, found, known, reference, device, tell, engine)

        def result(
            files: Sequence[JudgedFile], explanations: Mapping[str, Explanation] | None = None
        ) -> Comparison:
            """The result, of which the files that were asked for are written."""
            line, digest = command or _call(name, artifacts), sha256_file(origin)
            document = report_document(reference, digest, files, line, timed)
            comparison = Comparison(name, tuple(files), document, page, explanations)
            write_outputs(comparison.to_json(), document, wanted, page, force=force)
            return comparison

        comparison = result(found)
        if explain:
            explanations = explained_files(source, found, reference, tell)
            told = {path: one.told() for path, one in explanations.items()}
            found = tuple(replace(f, explanation=told.get(str(f.path))) for f in found)
            comparison = result(found, explanations)
    return comparison


def _read(
    golden: FilePath | None,
    bench: FilePath | None,
    gates: Gates | FilePath | None,
    puzzles: PuzzleSource | None,
) -> list[Path]:
    """The files that are read besides the model and its exports."""
    gate_file = gates if isinstance(gates, str | os.PathLike) else None
    given = {"golden": golden, "bench": bench, "gates": gate_file, "puzzles": puzzle_file(puzzles)}
    return [path_of(name, path) for name, path in given.items() if path is not None]


def _gates(given: Gates | FilePath | None) -> Gates | None:
    if given is None or isinstance(given, Gates):
        return given
    if isinstance(given, str | os.PathLike):
        return read_gates(Path(given))
    raise UsageError(f"gates: expected a Gates object or the path of its file, got {shown(given)}.")


def _of_other_weights(source: ModelSource, artifacts: Sequence[Path]) -> dict[Path, list[str]]:
    """The files whose contracts record other weights, and where their sizes are not the model's."""
    contracts = {path: embedded_contract(path) for path in artifacts}
    recorded = {path: found.made_by.weights_sha256 for path, found in contracts.items()}
    same = {sha256: source.has_weights(sha256) for sha256 in set(recorded.values())}
    others = [path for path, sha256 in recorded.items() if not same[sha256]]
    sizes = source.sizes() if others else {}
    return {path: list(other_sizes(sizes, sizes_of(contracts[path]))) for path in others}


def _call(model: str, artifacts: Sequence[Path]) -> str:
    return f"trm_export.compare({model!r}, {[str(path) for path in artifacts]!r}, ...)"
