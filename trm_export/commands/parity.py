"""`trm-export parity MODEL FILES...`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trm_export.commands.support.explanations import Explain
from trm_export.commands.support.file_arguments import each_once
from trm_export.commands.support.model_options import (
    HaltRule,
    HaltThreshold,
    Identifiers,
    MaxSteps,
    ModelOptions,
    SeqLen,
    TaskName,
    TrustModule,
)
from trm_export.commands.support.options import AsJson, Force
from trm_export.commands.support.puzzle_options import BlanksOption, refuse_words
from trm_export.commands.support.recording_options import DeviceName, Recording, RequireGpu

if TYPE_CHECKING:
    from trm_export.parity.checking import Spread
    from trm_export.parity.document import JudgedFile, ReportDocument
    from trm_export.parity.parts import Parts
    from trm_runtime.parity import Golden

ModelFile = Annotated[Path, typer.Argument(help="The .keras file: what is true.")]
Artifacts = Annotated[list[Path], typer.Argument(help="The exported files to judge.")]
PuzzleFile = Annotated[
    Path | None, typer.Option("--puzzles", help="Puzzles of your own: CSV, lines, .npz or folder.")
]
GoldenFile = Annotated[
    Path | None,
    typer.Option(help="A recording of the model by `reference`, instead of running it again."),
]
Count = Annotated[int, typer.Option(min=1, help="How many puzzles, at most.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Rows a step, where the files allow any.")]
Jobs = Annotated[int, typer.Option(min=1, help="Processes to spread the work over.")]
RayAddress = Annotated[
    str | None,
    typer.Option("--ray", help="Spread it over this Ray cluster; local starts Ray here."),
]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads of an engine.")]
GateFile = Annotated[
    Path | None, typer.Option("--gate", help="Gates of your own, a JSON file.")
]  # fmt: skip
BenchFile = Annotated[
    Path | None, typer.Option("--bench", help="What `bench -o` wrote of these files, for costs.")
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", help="Also write the JSON document to this file.")
]
Report = Annotated[
    Path | None,
    typer.Option(help="Write a report: this .html, and the same as .md and .json beside it."),
]
Control = Annotated[
    bool | None,
    typer.Option(
        "--control/--no-control",
        help="Measure the noise floor; if neither is said, where a report is written and the model "
        "can be computed in float64.",
    ),
]

_STATES = 100_000_000  # bytes of states of a golden that is not kept


def parity(
    model: ModelFile,
    artifacts: Artifacts,
    puzzles: PuzzleFile = None,
    golden: GoldenFile = None,
    task: TaskName = None,
    blanks: BlanksOption = None,
    count: Count = 200,
    batch_size: BatchSize = 64,
    jobs: Jobs = 1,
    ray: RayAddress = None,
    threads: Threads = None,
    gate: GateFile = None,
    control: Control = None,
    device: DeviceName = "auto",
    require_gpu: RequireGpu = False,
    bench: BenchFile = None,
    output: Output = None,
    report: Report = None,
    explain: Explain = False,
    trust_module: TrustModule = None,
    seq_len: SeqLen = None,
    max_steps: MaxSteps = None,
    halt_rule: HaltRule = None,
    halt_threshold: HaltThreshold = None,
    identifiers: Identifiers = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Judge whether exported files still think the same thoughts as their model.

    Exit code 5 when one does not; the first thing that went wrong is named. With -o or --report
    a command that was killed goes on where it was.
    """
    from trm_export.checkpoints.keras_file import require_keras
    from trm_export.commands.support.console import emit, progress
    from trm_export.commands.support.explanations import explained, show_explanation
    from trm_export.commands.support.parity_tables import show_files
    from trm_export.errors import ParityError
    from trm_export.parity.checking import Check, check_files
    from trm_export.parity.document import judged
    from trm_runtime.open import open_runner
    from trm_runtime.parity.gates import read_gates
    from trm_runtime.parity.golden_file import read_golden

    _refuse_targets(output, report, force=force)
    spread = _spread(jobs, ray)
    require_keras(model)
    refuse_words(puzzles, task, blanks)
    _refuse_beside_golden(golden, {
        "--puzzles": puzzles, "--task": task, "--blanks": blanks, "--require-gpu": require_gpu,
        "--device": device != "auto", "--control": control is not None, "--seq-len": seq_len,
        "--max-steps": max_steps, "--halt-rule": halt_rule, "--halt-threshold": halt_threshold,
        "--puzzle-identifiers": identifiers,
    })  # fmt: skip
    artifacts = each_once(artifacts)
    contracts = [open_runner(artifact).contract for artifact in artifacts]
    gates = None if gate is None else read_gates(gate)
    costs = _costs(bench)
    said = ModelOptions(
        trust_module, seq_len, max_steps, halt_rule, identifiers, halt_threshold=halt_threshold
    )
    if report is None:
        control = bool(control)
    recording = Recording(
        model, said, contracts[0], puzzles, task, blanks, count, batch_size, device, require_gpu,
        control, _STATES,
    )  # fmt: skip
    key = {"gates": gates, "threads": threads}
    with _work(report or output, recording, artifacts, golden, key) as parts:
        source = golden or parts.folder / "golden.npz"
        reference = read_golden(source) if source.exists() else recording.into(source)
        recording.refuse_other(reference, source)
        checks = [Check(source, path, gates, batch_size, threads) for path in artifacts]
        with progress("Comparing", 1.0) as advance:
            results = check_files(reference, checks, parts, spread=spread, progress=advance)
            files = [
                judged(path, contract, result, costs.get(path.name))
                for path, contract, result in zip(artifacts, contracts, results, strict=True)
            ]
        found = _document(source, reference, files)
        _write(found, files, output, report, force=force)
        why = explained(model, said, files, reference) if explain else {}
    if as_json:
        document = found if len(files) > 1 else _single(files[0])
        told = {path: one.to_json() for path, one in why.items()}
        emit({**document, "explanations": told} if explain else document)
    else:
        show_files(files, str(model), report, reference.about.provenance.get("no_control"))
        for path, one in why.items():
            show_explanation(path, one)
    if not all(file.result for file in files):
        raise typer.Exit(ParityError.exit_code)


def _refuse_targets(output: Path | None, report: Path | None, *, force: bool) -> None:
    from trm_export.errors import UsageError
    from trm_export.files import refuse_overwrite, require_suffix
    from trm_export.report import report_files

    for path, suffix in ((output, ".json"), (report, ".html")):
        if path is not None:
            require_suffix(path, suffix)
    targets = [] if report is None else report_files(report)
    if output is not None and output in targets:
        raise UsageError(f"--report writes {output}, too; leave out -o, or name another file.")
    for path in (*targets, *([] if output is None else [output])):
        refuse_overwrite(path, force=force)


def _refuse_beside_golden(golden: Path | None, given: dict[str, Any]) -> None:
    """A recording has its own puzzles, device and halting: what contradicts it is not ignored."""
    from trm_export.errors import UsageError

    said = [name for name, value in given.items() if value not in (None, False)]
    if golden is not None and said:
        raise UsageError(f"{', '.join(said)}: a golden is recorded already; leave it out.")


def _spread(jobs: int, ray: str | None) -> Spread:
    """Who measures: this process, several of this machine, or a cluster."""
    from trm_export.errors import UsageError
    from trm_export.parity.checking import here

    if ray is not None:
        if jobs > 1:
            raise UsageError("--jobs is for this machine alone; leave it out with --ray.")
        from trm_export.parity.ray_engine import over_ray, require_ray

        require_ray()
        return partial(over_ray, address=ray)
    if jobs > 1:
        from trm_export.parity.processes import over_processes

        return partial(over_processes, jobs=jobs)
    return here


@contextmanager
def _work(
    target: Path | None,
    recording: Recording,
    artifacts: Sequence[Path],
    golden: Path | None,
    key: dict[str, Any],
) -> Iterator[Parts]:
    """Where parts are kept: beside the file to write, or nowhere for long."""
    from trm_export.errors import RejectedInputError, UsageError
    from trm_export.files import sha256_tree
    from trm_export.leftovers import scratch_folder
    from trm_export.parity.parts import Parts, beside
    from trm_runtime.json_values import plain
    from trm_runtime.measure import load_engine

    given = [*artifacts, *([] if golden is None else [golden])]
    digests = {str(path): sha256_tree(path) for path in given}
    engines = sorted({load_engine(path) for path in artifacts})
    job = plain({**recording.job(), **key, "files": digests, "engines": engines})
    if target is None:
        with scratch_folder() as folder:
            yield Parts(Path(folder, "parity"), job)
        return
    parts = Parts(beside(target), job)
    try:
        yield parts
    except (RejectedInputError, UsageError):  # going on would not help
        parts.remove()
        raise
    parts.remove()


def _costs(path: Path | None) -> dict[str, Any]:
    """The rows of a bench document by the names of their files."""
    import json

    from trm_export.errors import RejectedInputError

    if path is None:
        return {}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        wrong = [
            row for row in rows if not isinstance(row["step_ms"] + row["load_ms"], float | int)
        ]
        if wrong:
            raise TypeError("a time is no number")
        return {row["file"]: row for row in rows}
    except OSError as error:
        raise RejectedInputError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise RejectedInputError(
            f"{path}: is no document of trm-export bench; write it with: trm-export bench -o {path}"
        ) from error


def _document(source: Path, reference: Golden, files: list[JudgedFile]) -> ReportDocument:
    from trm_export.commands.support.command_line import command_line
    from trm_export.files import sha256_file
    from trm_export.parity.document import report_document

    return report_document(reference, sha256_file(source), files, command_line())


def _single(file: JudgedFile) -> dict[str, Any]:
    from trm_export import TOOL, __version__

    return {**file.result.to_json(), "tool": f"{TOOL} {__version__}"}


def _write(
    found: ReportDocument,
    files: list[JudgedFile],
    output: Path | None,
    report: Path | None,
    *,
    force: bool,
) -> None:
    import json

    from trm_export.files import atomic_write
    from trm_runtime.json_values import plain

    if output is not None:
        document = plain(found if len(files) > 1 else _single(files[0]))
        with atomic_write(output, force=force) as new:
            new.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")
    if report is not None:
        from trm_export.report import write_report

        write_report(plain(found), report, force=force)
