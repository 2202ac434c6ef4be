"""`bench`: size, speed, memory and accuracy of exported files, each in a separate process."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_export.api.arguments import (
    FilePath,
    ModelLike,
    Progress,
    again_of,
    counts_of,
    file_of,
    path_of,
    reporter,
    stem_of,
)
from trm_export.api.loading import as_step_model, refuse_model
from trm_export.artifacts.benchmark import BenchFailure, BenchRow
from trm_export.artifacts.benchmark import bench as bench_file
from trm_export.artifacts.file_list import each_once
from trm_export.artifacts.inspection import inspect_file
from trm_export.device_cost import DeviceCost
from trm_export.errors import (
    NonfiniteError,
    ParityError,
    RejectedInputError,
    TRMError,
    UsageError,
)
from trm_export.exporters.choices import FORMATS, PRECISIONS
from trm_export.files import (
    atomic_write,
    distinct_names,
    refuse_document,
    refuse_overwrite,
    require_suffix,
)
from trm_export.leftovers import scratch_folder
from trm_export.step.model_facts import ModelHints, given_hints
from trm_export.tasks import Blanks, PuzzleSet
from trm_export.tasks.selection import PuzzleSource, refuse_puzzles, select_puzzles
from trm_export.version import TOOL, __version__
from trm_runtime.display import Shown, Table, bytes_text
from trm_runtime.doctor import examine
from trm_runtime.file_kinds import kind_of
from trm_runtime.json_values import json_object, plain
from trm_runtime.loop import solve
from trm_runtime.message_text import counted
from trm_runtime.try_options import CHOOSE, SIGMA, VARY

if TYPE_CHECKING:
    from trm_export.step.step_model import StepModel
    from trm_runtime.solution import Solution

__all__ = ["BenchResult", "bench"]

_HEADS = ("file", "size", "export", "load", "step", "of peak", "RAM")
_DECIDED = ("exact", "same", "steps")


@dataclass(frozen=True, repr=False)
class BenchResult(Shown):
    """Files measured on this machine; truthy where none failed or computes NaN.

    Attributes:
        document: everything, in JSON types.
        rows: the files that were measured.
        failures: the files that could not be measured.
        trained: whether the model is trained, so that its answers are meaningful.
    """

    document: dict[str, Any]
    rows: tuple[BenchRow, ...]
    failures: tuple[BenchFailure, ...]
    trained: bool

    def __bool__(self) -> bool:
        return not self.exit_code

    def to_json(self) -> dict[str, Any]:
        """The document, in JSON types."""
        return json_object(self.document)

    @property
    def exit_code(self) -> int:
        """The highest exit code of a failure, or of a file that computes NaN; 0 without any."""
        codes = [failure.exit_code for failure in self.failures]
        return max([0, *codes, *(error.exit_code for error in self.nonfinite)])

    @property
    def nonfinite(self) -> tuple[NonfiniteError, ...]:
        """An error for each file that was measured, but computes NaN or infinity."""
        bad = (row for row in self.rows if row.nonfinite)
        return tuple(NonfiniteError(row.file, row.nonfinite, row.puzzles) for row in bad)

    @property
    def legend(self) -> str:
        """The meaning of the columns, and the engines; empty without rows."""
        if not self.rows:
            return ""
        engines = ", ".join(dict.fromkeys(row.engine for row in self.rows))
        decided = "; same: answers equal to Keras; steps: their mean" if self.trained else ""
        return (
            f"On {engines}; {self.document['puzzles']}: {self.rows[0].puzzles}; one process a row. "
            "Export in s, load and step in ms; of peak: the share of the speed of a large float32 "
            "product in numpy that the products of a step reach, above 1 where int8 or products "
            f"that fit the cache are faster; RAM: MB added by opening and running{decided}."
        )

    @property
    def summary(self) -> str:
        """How many files were measured, and their time a step."""
        failed = f", {len(self.failures)} failed" if self.failures else ""
        steps = ", ".join(f"{row.file} {row.step_ms:.1f} ms a step" for row in self.rows)
        return f"{counted(len(self.rows), 'file')} measured{failed}. {steps}"

    def tables(self) -> tuple[Table, ...]:
        """The files that were measured, if any, and why others were not."""
        heads = _HEADS + (_DECIDED if self.trained else ())
        rows = [_cells(row, trained=self.trained) for row in self.rows]
        costs = Table("Size, speed and accuracy of each file", rows, heads, ("file",))
        why = Table("Not measured", [(one.file, one.reason) for one in self.failures])
        return (*([costs] if self.rows else []), *([why] if self.failures else []))


def _cells(row: BenchRow, *, trained: bool) -> tuple[str, ...]:
    cost = (
        row.file,
        bytes_text(row.bytes),
        _number(row.export_seconds, ".1f"),
        f"{row.load_ms:.0f}",
        f"{row.step_ms:.1f}",
        _number(row.of_peak, ".2f"),
        _number(row.resident_mb, ".0f"),
    )
    if not trained:
        return cost
    shares = _number(row.exact, ".1%"), _number(row.answers_equal, ".1%")
    return (*cost, *shares, f"{row.mean_steps:.2f}")


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def bench(
    model: ModelLike,
    files: FilePath | Iterable[FilePath] = (),
    *,
    puzzles: PuzzleSource | None = None,
    blanks: Blanks | str | None = None,
    count: int = 200,
    engine: str | None = None,
    output: FilePath | None = None,
    task: str | None = None,
    tries: int = 1,
    vary: str = VARY[0],
    choose: str = CHOOSE[0],
    seed: int = 0,
    sigma: float = SIGMA,
    trust: Sequence[str] = (),
    hints: ModelHints | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> BenchResult:
    """Measure load and step time, memory, accuracy and equality with Keras, file by file.

    Args:
        model: see `ModelLike`, or the name of a preset such as `paper-sudoku-mlp` (cost only).
        files: one exported file, or several; without any the whole set is exported and measured.
        puzzles: see `PuzzleSource`; shipped test puzzles if not given.
        blanks: of the shipped puzzles: a number, `minimal` or `hard`.
        count: how many puzzles to solve, at most.
        engine: the files', such as `openvino:bf16`; see `open_runner`.
        output: a .json file to write the document to.
        task: name of the task of the model's tokens; the one that fits the model if not given.
        tries, vary, choose, seed, sigma: see `trm_runtime.solve`; steps are then those of all
            tries together.
        trust: packages whose code may run.
        hints: what the model does not state itself.
        force: replace a file that this tool did not make.
        progress: called with the share done, and the file.

    Raises:
        UsageError: an unknown value or engine, or a name that does not end in .json.
        OverwriteError: `output` was not made by this tool.
        RejectedInputError: the model cannot be used. A file that cannot be measured is among the
            `failures` instead.
    """
    count, tries = counts_of(count=count, tries=tries)
    again, tell = again_of(tries, vary, choose, seed, sigma), reporter(progress)
    refuse_puzzles(puzzles, task, blanks)
    named = each_once(files)
    if engine is not None and not named:
        raise UsageError("--engine is for given files; name them, or drop --engine.")
    _refuse_engine(named, engine)
    target = None if output is None else path_of("output", output)
    if target is not None:
        require_suffix(target, ".json")
        refuse_document(target)
        refuse_overwrite(target, force=force)
    if not isinstance(model, str) or model.endswith(".keras"):
        refuse_model(model, trust)
    given = given_hints(hints)
    found = _opened(model, trust, given if task is None else replace(given, task=task))
    trained = found.trained
    chosen = select_puzzles(found.model, puzzles, task, blanks, count)
    reference = _reference(found.model, chosen, again) if trained else None
    entries = list[BenchRow | BenchFailure]()
    most = len(named) or len(FORMATS) * len(PRECISIONS)
    with scratch_folder() as folder:
        for row in _rows(found, named, Path(folder), chosen, reference, again, engine):
            entries.append(row)
            tell(min(len(entries) / most, 1.0), row.file)
    rows = tuple(row for row in entries if isinstance(row, BenchRow))
    failures = tuple(row for row in entries if isinstance(row, BenchFailure))
    document = _document(found, chosen, reference, rows, failures)
    if tries > 1:
        document["tries"] = again
    if target is not None:
        with atomic_write(target, force=force) as new:
            new.write_text(json.dumps(plain(document), indent=2, allow_nan=False) + "\n")
    return BenchResult(document, rows, failures, trained)


def _refuse_engine(files: Sequence[Path], engine: str | None) -> None:
    """UsageError for what is no engine of a file; a file that cannot be read fails later."""
    for file in files:
        with suppress(RejectedInputError):
            kind_of(file).chosen(engine)


@dataclass(frozen=True)
class _Benched:
    """The model that files are compared with; for a preset only the cost is meaningful."""

    model: StepModel
    name: str  # as the caller gave it
    stem: str  # of the names of its files
    trained: bool


def _opened(model: ModelLike, trust: Sequence[str], hints: ModelHints) -> _Benched:
    from trm_export.api.frameworks import load_keras

    load_keras()
    from trm_export.model import PRESETS, TRM, preset
    from trm_export.step.step_model import adapt

    if isinstance(model, str) and model in PRESETS:
        return _Benched(adapt(TRM(**preset(model))), model, model, trained=False)
    name = model if isinstance(model, str) else str(file_of(model) or stem_of(model))
    return _Benched(as_step_model(model, trust, hints), name, stem_of(model), trained=True)


def _reference(model: StepModel, puzzles: PuzzleSet, again: dict[str, Any]) -> Solution:
    from trm_export.step.keras_runner import KerasRunner

    feeds = puzzles.feeds(model.num_puzzle_identifiers)
    return solve(KerasRunner(model), feeds, batch_size=256, **again)


def _rows(
    found: _Benched,
    files: Sequence[Path],
    folder: Path,
    puzzles: PuzzleSet,
    reference: Solution | None,
    again: dict[str, Any],
    engine: str | None,
) -> Iterator[BenchRow | BenchFailure]:
    """The given files; without any the whole set, exported into the folder."""
    from trm_export.exporters.export_all import export_all
    from trm_export.exporters.probe import probe_puzzles

    labels = puzzles.targets if found.trained else None
    count = len(puzzles) if found.trained else 1
    named = puzzles.feeds(found.model.num_puzzle_identifiers)
    feeds = {name: array[:count] for name, array in named.items()}
    identifiers = feeds.get("puzzle_identifiers")
    given = feeds["inputs"], labels, reference, identifiers, again, engine
    for file, name in zip(files, distinct_names(files), strict=True):
        try:
            row: BenchRow | BenchFailure = replace(_row(file, *given), file=name)
        except TRMError as error:
            row = BenchFailure(name, str(error), error.exit_code)
        yield row
    if files:
        return
    probes = probe_puzzles(found.model)
    for entry in export_all(found.model, found.stem, folder, probes, checked=found.trained):
        if entry.failed is not None:
            yield BenchFailure(entry.path.name, entry.failed, ParityError.exit_code)
        if entry.result is not None:
            cost = _row(entry.path, *given)
            yield replace(cost, export_seconds=entry.result.seconds)


def _row(file: Path, *given: Any) -> BenchRow:
    row = bench_file(file, *given)
    device: DeviceCost | None = getattr(inspect_file(file), "device", None)
    if device is None or device.macs_step is None:
        return row
    operations = 2 * device.macs_step * row.batch
    return replace(row, of_peak=operations / (row.step_ms * 1e6) / row.peak_gflops)


def _document(
    found: _Benched,
    puzzles: PuzzleSet,
    reference: Solution | None,
    rows: Sequence[BenchRow],
    failures: Sequence[BenchFailure],
) -> dict[str, Any]:
    exact = None
    if reference is not None and puzzles.labels is not None:
        exact = float(puzzles.exact(reference.answers).mean())
    return {
        "tool": f"{TOOL} {__version__}",
        "kind": "bench",
        "model": found.name,
        "puzzles": puzzles.kind,
        "parameters": found.model.keras.count_params(),
        "machine": examine(),
        "reference": {
            "exact": exact,
            "mean_steps": None if reference is None else reference.mean_steps,
        },
        "rows": list(rows),
        "failures": list(failures),
    }
