"""`trm-export bench MODEL [FILE...]`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
    opened,
)
from trm_export.commands.support.options import AsJson, Force

if TYPE_CHECKING:
    from trm_export.artifacts.benchmark import BenchFailure, BenchRow
    from trm_export.step.step_model import StepModel
    from trm_export.tasks import PuzzleSet

Model = Annotated[
    str, typer.Argument(help="A .keras file, or a preset such as paper-sudoku-mlp (cost only).")
]
Files = Annotated[
    list[Path] | None, typer.Argument(help="Exported files; without any the whole set is made.")
]
Count = Annotated[int, typer.Option(min=1, help="How many puzzles to solve.")]
Report = Annotated[
    Path | None, typer.Option("--output", "-o", help="Also write the JSON document to this file.")
]


def bench(
    model: Model,
    files: Files = None,
    count: Count = 200,
    report: Report = None,
    trust_module: TrustModule = None,
    seq_len: SeqLen = None,
    max_steps: MaxSteps = None,
    halt_rule: HaltRule = None,
    halt_threshold: HaltThreshold = None,
    identifiers: Identifiers = None,
    task: TaskName = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Measure load and step time, memory, accuracy and equality with Keras, file by file.

    A file that cannot be measured is named after the others; the exit code is that of the worst.
    """
    from trm_export.api.frameworks import load_keras
    from trm_export.checkpoints.keras_file import require_keras
    from trm_export.commands.support.console import emit, progress, remark
    from trm_export.files import refuse_overwrite, require_suffix
    from trm_export.leftovers import scratch_folder

    if report is not None:
        require_suffix(report, ".json")
        refuse_overwrite(report, force=force)
    if model.endswith(".keras"):
        require_keras(model)
    load_keras()
    from trm_export.artifacts.benchmark import BenchFailure

    said = ModelOptions(
        trust_module, seq_len, max_steps, halt_rule, identifiers, task, halt_threshold
    )
    trained, trm, stem = _model(model, said)
    puzzles = _puzzles(trm, count)
    reference = _reference(trm, puzzles) if trained else None
    named = each_once(files or ())
    found: list[BenchRow | BenchFailure] = []
    with scratch_folder() as folder, progress("Measuring") as advance:
        for row in _rows(trm, stem, named, Path(folder), puzzles, reference):
            found.append(row)
            advance(len(found), row.file)
    failures = [row for row in found if isinstance(row, BenchFailure)]
    rows = [row for row in found if not isinstance(row, BenchFailure)]
    document = _document(model, trm, puzzles, reference, rows, failures)
    if report is not None:
        _write(document, report, force=force)
    if as_json:
        emit(document)
    else:
        if rows:
            _show(rows, trained, puzzles.kind)
        for failure in failures:
            remark(f"Error: {failure.reason}")
    if failures:
        raise typer.Exit(max(failure.exit_code for failure in failures))


def _model(name: str, said: ModelOptions) -> tuple[bool, StepModel, str]:
    """Whether it is trained, the model, and the stem for the names of its files."""
    from trm_export.model import PRESETS, TRM, preset
    from trm_export.step.step_model import adapt

    if name in PRESETS:
        return False, adapt(TRM(**preset(name))), name
    return True, opened(Path(name), said), Path(name).stem


def _puzzles(trm: StepModel, count: int) -> PuzzleSet:
    from trm_export.commands.support.puzzle_options import shipped_puzzles
    from trm_export.exporters.probe import probe_puzzles
    from trm_export.tasks import find_task

    task = find_task(trm)
    return probe_puzzles(trm, count) if task is None else shipped_puzzles(task, None, count)


def _reference(trm: StepModel, puzzles: PuzzleSet) -> Any:
    from trm_export.step.keras_runner import KerasRunner
    from trm_runtime import solve

    return solve(KerasRunner(trm), puzzles.feeds(trm.num_puzzle_identifiers), batch_size=256)


def _rows(
    trm: StepModel,
    stem: str,
    files: Sequence[Path],
    folder: Path,
    puzzles: PuzzleSet,
    reference: Any,
) -> Iterator[BenchRow | BenchFailure]:
    import dataclasses

    from trm_export.artifacts.benchmark import BenchFailure
    from trm_export.artifacts.benchmark import bench as measured
    from trm_export.errors import ParityError, TRMError
    from trm_export.exporters.export_all import export_all
    from trm_export.exporters.probe import probe_puzzles

    labels = puzzles.targets if reference is not None else None
    tokens = puzzles.inputs if reference is not None else puzzles.inputs[:1]
    for file in files:
        try:
            row: BenchRow | BenchFailure = measured(file, tokens, labels, reference)
        except TRMError as error:
            row = BenchFailure(file.name, str(error), error.exit_code)
        yield row
    if files:
        return
    trained = reference is not None
    for made in export_all(trm, stem, folder, probe_puzzles(trm), checked=trained):
        if made.failed is not None:
            yield BenchFailure(made.path.name, made.failed, ParityError.exit_code)
        if made.result is not None:
            cost = measured(made.path, tokens, labels, reference)
            yield dataclasses.replace(cost, export_seconds=made.result.seconds)


def _document(
    name: str,
    trm: StepModel,
    puzzles: PuzzleSet,
    reference: Any,
    rows: Sequence[BenchRow],
    failures: Sequence[BenchFailure],
) -> dict[str, Any]:
    import trm_export
    from trm_runtime.doctor import examine

    exact = None
    if reference is not None and puzzles.labels is not None:
        exact = float(puzzles.exact(reference.answers).mean())
    return {
        "tool": f"trm-export {trm_export.__version__}",
        "kind": "bench",
        "model": name,
        "puzzles": puzzles.kind,
        "parameters": trm.keras.count_params(),
        "machine": examine(),
        "reference": {
            "exact": exact,
            "mean_steps": None if reference is None else float(reference.steps.mean()),
        },
        "rows": list(rows),
        "failures": list(failures),
    }


def _write(document: dict[str, Any], path: Path, *, force: bool) -> None:
    import json

    from trm_export.files import atomic_write
    from trm_runtime.json_values import plain

    with atomic_write(path, force=force) as new:
        new.write_text(json.dumps(plain(document), indent=2, allow_nan=False) + "\n")


def _show(rows: Sequence[BenchRow], trained: bool, kind: str) -> None:
    from trm_export.commands.support.console import bytes_text, remark, show_columns

    heads = ["file", "size", "export", "load", "step", "RAM"]
    heads += ["exact", "same", "steps"] if trained else []
    table = []
    for row in rows:
        line = [row.file, bytes_text(row.bytes), _number(row.export_seconds, ".1f")]
        line += [f"{row.load_ms:.0f}", f"{row.step_ms:.1f}", _number(row.resident_mb, ".0f")]
        if trained:
            line += [_number(row.exact, ".1%"), _number(row.answers_equal, ".1%"),
                     f"{row.mean_steps:.2f}"]  # fmt: skip
        table.append(line)
    show_columns("What each file costs and answers", heads, table, ("file",))
    engines = ", ".join(dict.fromkeys(row.engine for row in rows))
    decided = "; same: answers equal to Keras; steps: their mean" if trained else ""
    remark(
        f"On {engines}; {kind}: {rows[0].puzzles}; one process a row. Export in s, load and step "
        f"in ms; RAM: MB added by opening and running{decided}."
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
