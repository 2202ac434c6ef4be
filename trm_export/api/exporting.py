"""`export` and `export_all`: write a model as one checked file, or in all formats."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from trm_export.api.arguments import (
    ARTIFACTS,
    FilePath,
    ModelLike,
    Progress,
    counts_of,
    file_of,
    names_of,
    path_of,
    reporter,
    stem_of,
)
from trm_export.api.loading import as_step_model, refuse_model
from trm_export.artifacts.host_kinds import HOST_KINDS
from trm_export.errors import UsageError, refuse_unknown
from trm_export.exporters.choices import (
    FORMATS,
    PRECISIONS,
    Choices,
    refuse_check,
    refuse_target,
    refuse_words,
    target_name,
)
from trm_export.files import refuse_overwrite, sidecar
from trm_export.leftovers import finished_files
from trm_export.own_files import C_HEADER, C_SOURCE
from trm_export.step.model_facts import ModelHints
from trm_export.tasks.selection import PuzzleSource, refuse_puzzles, select_puzzles
from trm_runtime.message_text import shown
from trm_runtime.scalars import as_integer, as_real

if TYPE_CHECKING:
    from trm_export.exporters.export_result import ExportResult, ExportSet, SetEntry
    from trm_export.step.step_model import StepModel
    from trm_export.tasks import PuzzleSet

MOST_PERCENT = 1000.0  # of a file's bytes that float layers may add
_SHIPPED, _OWN = 6, 64  # puzzles of calibration and check, at most


def export(
    model: ModelLike,
    path: FilePath | None = None,
    *,
    format: str | None = None,
    precision: str = "fp32",
    batch: int | str | None = None,
    granularity: str = "step",
    recursion: str | None = None,
    target: str | None = None,
    puzzle_table: str = "internal",
    integer_io: bool = False,
    ports: str = "bool",
    c_array: bool = False,
    keep: str | Iterable[str] = (),
    auto_keep: float | None = None,
    auto_keep_count: int = 64,
    check: str = "auto",
    puzzles: PuzzleSource | None = None,
    trust: Sequence[str] = (),
    hints: ModelHints | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> ExportResult:
    """Writes the model as one file, opens it as on a device and compares it with Keras.

    The step contract is written beside the file as ``<path>.json``.

    Args:
        model: a `.keras` file or a Keras model on the TensorFlow backend.
        path: the file to write, or the folder of a SavedModel; ``artifacts/<name>`` if None.
        format: ``"onnx"``, ``"tflite"`` or ``"saved-model"``; that of the suffix of `path` if None.
        precision: ``"fp32"``, ``"fp16"``, ``"int8"``, ``"int8-static"`` or ``"int4"``.
        batch: rows of a call, ``"free"`` for a dynamic batch; None for the format's default.
        granularity: one call is one ACT ``"step"``, the complete ``"loop"`` or one ``"block"``.
        recursion: ``"unrolled"``, ``"rolled"``, or None for the format's default.
        target: the engine the file is for: with tflite ``"litert"``, ``"tflite-runtime"`` or
            ``"tflite-micro"``.
        puzzle_table: puzzle embeddings ``"internal"``, or ``"external"`` in a file beside it.
        integer_io: int8 inputs and outputs; only for int8-static.
        ports: dtype of ``halted``, ``"bool"`` or ``"int32"`` for engines without bool.
        c_array: also ``<path>.c`` and ``<path>.h``, for the target ``"tflite-micro"``.
        keep: layers that stay float32, names or patterns such as ``"*down"``.
        auto_keep: keep the worst layers in float, one after the other, until the file passes its
            gates; they may add at most so many percent of bytes. The result has the `search`.
        auto_keep_count: puzzles on which `auto_keep` judges every file.
        check: ``"auto"`` compares the first four steps and the last with Keras, but of a model
            whose step takes 0.05 s and more only the first, the second, the last and a reset;
            ``"full"`` every step.
        puzzles: for calibration and check, the first 64 (of a data-set folder, of its split
            "train"); see `PuzzleSource`. A few shipped ones if None.
        trust: packages whose code may run, for a model whose class is not ours.
        hints: what a model of another class does not state itself.
        force: replace a file that this tool did not make.
        progress: called with 0, because the time is unknown, and what is being done.

    Raises:
        BackendError: Keras does not run on TensorFlow.
        UsageError: choices that this format or this model does not support, with the reasons.
        CheckpointError, ProtocolError: see `load`.
        OverwriteError: the file exists and was not made by this tool.
        ParityError: the file does not compute what Keras computes, nor does any that `auto_keep`
            tried (AutoKeepError, whose `search` has the details); nothing was written.
    """
    kind, rows = format_for(path, format), as_integer(batch)
    choices = Choices(
        precision,
        batch if rows is None else rows,
        granularity,
        recursion,
        target,
        puzzle_table,
        integer_io,
        ports,
        names_of("keep", keep),
    )
    searched = auto_keep is not None
    wanted = replace(choices, keep=choices.keep or ("*",)) if searched else choices
    refuse_words(kind, wanted)
    auto_keep = _most_added(auto_keep)
    (auto_keep_count,) = counts_of(auto_keep_count=auto_keep_count)
    refuse_check(check)
    report = reporter(progress)
    refuse_model(model, trust)
    file = path_of("path", path, ARTIFACTS / target_name(stem_of(model), kind, wanted))
    source = file_of(model)
    refuse_target(kind, file, source)
    refuse_overwrite(file, force=force)
    if c_array:
        _refuse_array(target, file, force)
    refuse_puzzles(puzzles, None, None)
    step_model = as_step_model(model, trust, hints)
    from trm_export.exporters import export as exporter
    from trm_export.exporters.shared import Shared

    form, probes = exporter.format_named(kind), _chosen(step_model, puzzles, _SHIPPED, _OWN)

    def tell(what: str) -> None:
        report(0.0, what)

    shared = Shared(step_model, check)
    if auto_keep is None:
        result = exporter.export(
            step_model,
            file,
            probes,
            form,
            choices,
            force=force,
            shared=shared,
            source=source,
            tell=tell,
        )
    else:
        from trm_export.explain.auto_keep import auto_keep as keep_worst

        judged = _chosen(step_model, puzzles, auto_keep_count, auto_keep_count)
        result = keep_worst(
            step_model,
            file,
            probes,
            form,
            choices,
            budget=auto_keep,
            judged=judged,
            force=force,
            shared=shared,
            source=source,
            tell=tell,
        )
    return _with_array(result, force) if c_array else result


def export_all(
    model: ModelLike,
    folder: FilePath = ARTIFACTS,
    *,
    granularity: str = "step",
    puzzle_table: str = "internal",
    check: str = "auto",
    puzzles: PuzzleSource | None = None,
    trust: Sequence[str] = (),
    hints: ModelHints | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> ExportSet:
    """Writes every format and precision that the model supports into `folder`, each checked.

    A combination that is not supported, or a file that fails its check, is an entry with the
    reason. For the arguments and the errors see `export`.
    """
    refuse_words(next(iter(FORMATS)), Choices(granularity=granularity, puzzle_table=puzzle_table))
    refuse_check(check)
    report, most = reporter(progress), len(FORMATS) * len(PRECISIONS)
    refuse_model(model, trust)
    refuse_puzzles(puzzles, None, None)
    step_model = as_step_model(model, trust, hints)
    from trm_export.exporters.export_all import export_all as write_all
    from trm_export.exporters.export_result import ExportSet

    entries: list[SetEntry] = []
    with finished_files() as finished:
        for entry in write_all(
            step_model,
            stem_of(model),
            path_of("folder", folder),
            _chosen(step_model, puzzles, _SHIPPED, _OWN),
            granularity=granularity,
            puzzle_table=puzzle_table,
            check=check,
            force=force,
            source=file_of(model),
            tell=lambda what: report(len(entries) / most, what),
        ):
            entries.append(entry)
            finished += [entry.path] if entry.result else []
            report(len(entries) / most, f"{entry.format} {entry.precision}")
    return ExportSet(tuple(entries))


def format_for(path: FilePath | None, name: str | None) -> str:
    """The format that is given, or that of the path's suffix; UsageError without either."""
    if name is not None:
        refuse_unknown("format", name, FORMATS)
        return name
    known = ", ".join(FORMATS)
    if path is None:
        raise UsageError(f"Give the path of the file, or its format: {known}.")
    suffix = path_of("path", path).suffix
    for kind in HOST_KINDS.values():
        if kind.file.suffix == suffix:
            return kind.file.name
    raise UsageError(f"{path}: no format has the suffix {suffix!r}; give the format: {known}.")


def _refuse_array(target: str | None, file: Path, force: bool) -> None:
    from trm_export.exporters.tflite_micro_array import refuse_without_arena

    if target != "tflite-micro":
        raise UsageError("A C array is only for --target tflite-micro; drop --c-array.")
    refuse_without_arena()
    for ending in (C_HEADER, C_SOURCE):
        refuse_overwrite(sidecar(file, ending), force=force)


def _with_array(result: ExportResult, force: bool) -> ExportResult:
    from trm_export.exporters.tflite_micro_array import write_c_array

    written = write_c_array(result.path, force=force)
    return replace(result, documents=(*result.documents, *written))


def _most_added(budget: float | None) -> float | None:
    percent = as_real(budget)
    if budget is not None and (percent is None or not 0 <= percent <= MOST_PERCENT):
        raise UsageError(
            f"The percent of bytes for auto_keep must be 0 to {MOST_PERCENT:g}, got "
            f"{shown(budget)}."
        )
    return percent


def _chosen(model: StepModel, puzzles: PuzzleSource | None, shipped: int, own: int) -> PuzzleSet:
    """So many of the caller's own puzzles, or so many of the shipped ones."""
    from trm_export.exporters.probe import probe_puzzles
    from trm_export.step.signature import contract_for

    if puzzles is None:
        return probe_puzzles(model, shipped)
    return select_puzzles(contract_for(model), puzzles, None, None, own, split="train")
