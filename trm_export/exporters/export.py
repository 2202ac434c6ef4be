"""`export`: write a Keras model in any format, and check the file before it gets its name.

The choices are checked, the file is written under a temporary name, opened with the device's own
driver and compared with Keras on real puzzles; only then it is renamed.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import keras

from trm_export.artifacts.host_kinds import HOST_KINDS
from trm_export.errors import (
    BackendError,
    ParityError,
    RejectedInputError,
    TRMError,
    UsageError,
    reason_of,
    refuse_unknown,
)
from trm_export.exporters.choices import (
    RECURSIONS,
    USUAL,
    Choices,
    refuse_target,
    refuse_words,
)
from trm_export.exporters.export_result import ExportResult
from trm_export.exporters.file_check import file_check, opened
from trm_export.exporters.format import Documents, Format, Job, Tell, refuse_quantized, silent
from trm_export.exporters.integer_io import integer_contract
from trm_export.exporters.kept_layers import chosen
from trm_export.exporters.measured import measured_text
from trm_export.exporters.puzzle_table_file import table_bytes, table_sha256
from trm_export.exporters.shared import Shared
from trm_export.files import (
    KEEP,
    MEASURED,
    refuse_overwrite,
    remove_others,
    sidecar,
    size_on_disk,
    write_together,
)
from trm_export.model import is_own
from trm_export.step.keras_runner import TRACING
from trm_export.step.signature import contract_for, outgoing
from trm_export.step.step_model import AnyModel, adapt
from trm_export.version import TOOL
from trm_runtime.contract import PUZZLE_TABLE_SUFFIX
from trm_runtime.declared import check_calls, check_rows
from trm_runtime.integer import has_int8_io, has_int32_halted
from trm_runtime.open import embedded_contract
from trm_runtime.parity import Puzzles


def format_named(name: str) -> Format:
    """The format of that name; UsageError for an unknown one."""
    refuse_unknown("format", name, HOST_KINDS)
    kind = HOST_KINDS[name]
    found: Format = kind.load(kind.exporter)
    return found


def export(
    model: AnyModel,
    path: Path,
    puzzles: Puzzles,
    kind: Format,
    choices: Choices = USUAL,
    *,
    force: bool = False,
    shared: Shared | None = None,
    source: Path | None = None,
    tell: Tell = silent,
) -> ExportResult:
    """Writes the model as one file, re-opens it with the device's driver and checks it.

    Args:
        model: one that follows the protocol, on the TensorFlow backend.
        path: target; its contract is written beside it as ``<path>.json``, and so are the
            `Documents` and an external puzzle table, see `sidecar`.
        puzzles: real puzzles for calibration and check.
        kind: see `format_named`.
        choices: see `Choices`.
        force: replace a file this tool did not make.
        shared: of the same model, for several exports of it.
        source: the file the model was loaded from, which not even ``force`` replaces.
        tell: called with what is being done.

    Raises:
        BackendError: Keras does not run on TensorFlow.
        UsageError: choices that this format or this model does not support, with the reasons, or
            a path with another suffix, or the path of the model itself.
        ProtocolError: a third-party model cannot be traced.
        RejectedInputError: a puzzle takes more calls, or a batch more memory, than devices accept.
        ParityError: the file does not compute what Keras computes; nothing is written.
    """
    job = plan(model, puzzles, kind, choices, shared)
    return produce(job, path, kind, force=force, source=source, tell=tell)


def produce(
    job: Job,
    path: Path,
    kind: Format,
    *,
    force: bool = False,
    source: Path | None = None,
    checked: bool = True,
    tell: Tell = silent,
) -> ExportResult:
    """Does a planned job; see `export`. Unchecked files are only for measuring size and speed."""
    refuse_target(kind.name, path, source)
    refuse_overwrite(path, force=force)
    lost = _is_tuned(path)
    with write_together(force=force) as writing:
        table = _table(writing, job, path)
        new, beside = writing(path), writing(sidecar(path))
        start = time.perf_counter()
        tell(f"Converting to {kind.name}, {job.contract.precision}")
        job, texts = build(job, kind, new)
        written = time.perf_counter()
        job.shared.return_memory()
        tell(f"Checking {kind.name}, {job.contract.precision}, against Keras")
        error, verdict, more = _checked(job, (new, table), path, kind) if checked else _UNCHECKED
        ended = time.perf_counter()
        documents = {sidecar(path, ending): text for ending, text in {**texts, **more}.items()}
        for target, text in documents.items():
            writing(target).write_text(text, encoding="utf-8")
        beside.write_text(job.contract.to_json(), encoding="utf-8")
    remove_others(path, documents)
    return ExportResult(
        path, job.contract, kind.name, RECURSIONS[job.rolled], size_on_disk(path),
        written - start, ended - written, error, verdict, tuple(documents),
        None if table is None else sidecar(path, PUZZLE_TABLE_SUFFIX), job.keep, tuning_lost=lost,
    )  # fmt: skip


def _is_tuned(path: Path) -> bool:
    """Whether a file is there that `tune` has written into."""
    try:
        found = embedded_contract(path)
    except TRMError:  # there is none, or one of another kind or damaged
        return False
    return (found.halt, found.confidence) != (found.halt.untuned, None)


def build(job: Job, kind: Format, path: Path) -> tuple[Job, Documents]:
    """Writes a planned job to a temporary path, unchecked: only the file itself.

    Returns the job with the contract of the file, and the documents that belong beside it.
    """
    with TRACING:
        if job.integer_io and not has_int8_io(job.contract):
            job = dataclasses.replace(job, contract=integer_contract(job))
        documents = _written(job, kind, path)
        return job, {**documents, **_kept(job)}


def _kept(job: Job) -> Documents:
    """The document that lists the layers that stay in float."""
    if not job.keep:
        return {}
    facts = {"tool": TOOL, "precision": job.contract.precision, "kept_in_float": job.keep}
    return {KEEP: json.dumps(facts, indent=2) + "\n"}


def _table(writing: Callable[[Path], Path], job: Job, path: Path) -> Path | None:
    """Writes the external puzzle table, if it is one, under a temporary name."""
    if job.contract.puzzle_table_sha256 is None:
        return None
    new = writing(sidecar(path, PUZZLE_TABLE_SUFFIX))
    new.write_bytes(table_bytes(job.model.keras))
    return new


def plan(
    model: AnyModel,
    puzzles: Puzzles,
    kind: Format,
    choices: Choices = USUAL,
    shared: Shared | None = None,
) -> Job:
    """The job that `export` would do; raises what it raises for choices that are not supported."""
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise BackendError(
            f"Export needs the TensorFlow backend, but Keras runs on {backend}; "
            "start again with KERAS_BACKEND=tensorflow."
        )
    refuse_words(kind.name, choices)
    known = shared is not None and shared.model.keras is model
    model = shared.model if shared is not None and known else adapt(model)
    external = choices.puzzle_table == "external"
    batch = kind.batch if choices.batch is None else choices.batch
    contract = contract_for(
        model,
        batch=batch if isinstance(batch, int) else None,
        precision=choices.precision,
        granularity=choices.granularity,
        packages=("keras", "tensorflow", *kind.packages),
        puzzle_table_sha256=table_sha256(model.keras) if external else None,
        ports=choices.ports,
    )
    check_rows(contract, contract.batch or 1)
    check_calls(contract, contract.max_steps)
    default = model.passes is not None and kind.rolls(contract)
    rolled = choices.recursion == "rolled" if choices.recursion else default
    engine = choices.engine or kind.engines[0]
    shared = shared or Shared(model)
    keep = chosen(model, choices.keep)
    job = Job(model, contract, rolled, engine, puzzles, shared, choices.integer_io, keep)
    problems = [*_refusals(job), *kind.refusals(job)]
    if problems:
        raise UsageError(" ".join(problems))
    return job


def _refusals(job: Job) -> Iterator[str]:
    """Choices that no format supports for this model, a sentence each."""
    yield from refuse_quantized(job.model.keras)
    if job.contract.puzzle_table_sha256 is not None and job.contract.precision == "int8-static":
        yield (
            "An external puzzle table is not supported with int8-static; use an internal table, or "
            "int8."
        )
    if job.integer_io and job.contract.precision != "int8-static":
        yield (
            f"Int8 I/O needs calibrated ranges, and {job.contract.precision} has none; use "
            "int8-static."
        )
    elif job.integer_io and job.contract.granularity == "loop":
        yield (
            "Int8 I/O is not supported for granularity loop, which has no carry as input or "
            "output; use granularity step or block."
        )
    logical = [spec.name for spec in outgoing(job.contract) if spec.dtype == "bool"]
    if has_int32_halted(job.contract) and logical:
        yield (
            f"Ports int32 are for halted only, but the model has {', '.join(logical)} in bool as "
            "well; use ports bool, or make these int32 in the model."
        )
    if job.rolled and job.contract.granularity == "block":
        yield "A block is a single pass, which cannot be rolled; drop the recursion option."
    if job.model.passes is not None:
        return
    own = is_own(job.model.keras)
    name = type(job.model.keras).__name__
    why = "the seed family has two" if own else f"{name} has a step of its own"
    if job.rolled:
        yield f"A rolled recursion needs a model with one shared stack, and {why}; use unrolled."
    if job.contract.granularity == "block":
        yield (
            f"Granularity block needs a model with one shared stack, and {why}; use granularity "
            "step."
        )


def _written(job: Job, kind: Format, path: Path) -> Documents:
    """Writes the job; UsageError for a third-party model that cannot be converted."""
    try:
        return kind.write(job, path) or {}
    except (TypeError, ValueError) as error:
        if is_own(job.model.keras) or isinstance(error, TRMError):
            raise
        raise _unconvertible(job, kind.name, reason_of(error)) from error


def _unconvertible(job: Job, kind: str, reason: str) -> UsageError:
    name = type(job.model.keras).__name__
    return UsageError(f"{name} cannot be converted to {kind}: {reason}; try another format.")


_Check = tuple[float | None, str, Documents]
_UNCHECKED: _Check = (None, "not checked", {})


def _checked(job: Job, written: tuple[Path, Path | None], path: Path, kind: Format) -> _Check:
    """The worst forced error of the written file, opened as on a device, verdict and document.

    UsageError for a third-party model whose file the engine refuses.
    """
    file, table = written
    try:
        candidate = opened(job, file, table)
    except RejectedInputError as error:
        if is_own(job.model.keras):
            raise
        reason, _, _ = str(error).removeprefix(f"{file}: ").partition("; update ")
        raise _unconvertible(job, kind.name, reason) from error
    found = file_check(job, candidate)
    if not found.passed:
        raise ParityError(f"{path} was not written: {found.verdict}")
    text = measured_text(found.result, found.golden, file)
    documents = {} if text is None else {MEASURED: text}
    return found.result.forced_error, found.verdict, documents
