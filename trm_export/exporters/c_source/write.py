"""`generate`: a model as a folder of C source, compiled and compared with Keras before it is there.

The contract lies in the folder and beside it; `memory.json` has the sizes of the static memory.
"""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from trm_export.errors import ParityError, TargetError, UsageError
from trm_export.exporters.c_source.again import Again, again_of, refusal
from trm_export.exporters.c_source.arrays import LANES, dense_layers, weights_of
from trm_export.exporters.c_source.compiled import compiled_server, compiler
from trm_export.exporters.c_source.fitting import INTEGER, Choice, filled, fitting, more_exact
from trm_export.exporters.c_source.layout import Layout, layout_of
from trm_export.exporters.c_source.limits import Fit, Limits
from trm_export.exporters.c_source.source import source_files
from trm_export.exporters.export_result import ExportResult
from trm_export.exporters.format import Tell, refuse_quantized, silent
from trm_export.exporters.kept_layers import chosen
from trm_export.exporters.shared import Shared
from trm_export.files import (
    refuse_overwrite,
    refuse_source,
    require_suffix,
    sha256_file,
    sidecar,
    size_on_disk,
    write_together,
)
from trm_export.leftovers import scratch_folder
from trm_export.model import TRM, is_own
from trm_export.own_files import SOURCE_MEMORY
from trm_export.parity import valid_answers
from trm_export.step.signature import contract_for
from trm_export.step.step_model import StepModel
from trm_export.version import TOOL
from trm_runtime.contract import StepContract
from trm_runtime.file_kinds import SOURCE_CONTRACT
from trm_runtime.parity import Puzzles, check
from trm_runtime.servers.runner import ServerRunner

PRECISION = "fp32"  # unless another is chosen
_WIDEST = 1 << 16  # inputs of a matrix whose int8 products fit 32 bits


def generate(
    model: StepModel,
    folder: Path,
    puzzles: Puzzles,
    precision: str | None,
    *,
    keep: Sequence[str] = (),
    limits: Limits | None = None,
    judged: Puzzles | None = None,
    tries: int = 1,
    force: bool = False,
    source: Path | None = None,
    tell: Tell = silent,
) -> ExportResult:
    """Writes the C source of a model into a new folder, compiles it and compares it with Keras.

    Args:
        model: one of our own class that computes in float32.
        folder: target; its contract is also written beside it as ``<folder>.json``.
        puzzles: real puzzles for the check of single steps.
        precision: one of `LANES`; None for fp32, or the first that fits.
        keep: names or patterns of layers that stay float32 in int8.
        limits: of the microcontroller; tiles are chosen to fit as well, and in int8 layers
            stay float32 as far as they fit and lower the error.
        judged: puzzles on which the code is compared in full, beyond single steps.
        tries: how often a puzzle can be asked; with 1 the code has no function for it.
        force: replace a folder that this tool did not make.
        source: the file the model was loaded from, which is never replaced.
        tell: called with what is being done.

    Raises:
        UsageError: the model or the precision is not supported, or does not fit, with the reasons.
        ParityError: the code does not compute what Keras computes; nothing is written.
    """
    problems = list(refusals(model, precision or PRECISION))
    if problems:
        raise UsageError(" ".join(problems))
    contract = contract_for(model, batch=1, precision=precision or PRECISION)
    if (problem := refusal(contract, tries)) is not None:
        raise UsageError(problem)
    again = again_of(contract, tries)
    require_suffix(folder, "")
    if source is not None:
        refuse_source(folder, source)
    refuse_overwrite(folder, force=force)
    shared, kept = Shared(model), _kept(model, precision, keep)
    choice = Choice(precision or PRECISION, keep=kept)
    room = again.within(limits) if again else limits
    if room is not None:
        choice = fitting(model.keras, room, precision, kept)
        if choice.precision == INTEGER:
            tell("Ranking the layers")
            choice = filled(shared, room, choice, puzzles)
    contract = contract_for(model, batch=1, precision=choice.precision)
    with write_together(force=force) as writing:
        new, beside = writing(folder), writing(sidecar(folder))
        start = time.perf_counter()
        layout = _write(model.keras, contract, new, choice, again)
        written = time.perf_counter()
        try:
            tell("Compiling, and comparing with Keras")
            error, verdict = _checked(shared, puzzles, judged, new)
        except ParityError as problem:
            more = more_exact(model.keras) if choice.precision == INTEGER else ""
            reason = f"{problem}{more}".rstrip(".")
            raise ParityError(f"{folder} was not written: {reason}.") from None
        ended = time.perf_counter()
        beside.write_text(contract.to_json(), encoding="utf-8")
    return ExportResult(
        folder, contract, "c", "rolled", size_on_disk(folder), written - start, ended - written,
        error, verdict, kept=choice.keep,
        fit=Fit(
            choice.precision, choice.rows, choice.keep, layout.flash, layout.ram,
            limits or Limits(),
        ),
    )  # fmt: skip


def _kept(model: StepModel, precision: str | None, patterns: Sequence[str]) -> tuple[str, ...]:
    """The layers that the patterns choose, of those that int8 would round."""
    if not patterns:
        return ()
    if precision != INTEGER:
        raise UsageError("c: a layer can be kept in float32 only in int8; add --precision int8.")
    rounded = tuple(dense_layers(model.keras))
    names = tuple(name for name in chosen(model, patterns) if name in rounded)
    if len(names) == len(rounded):
        raise UsageError("c: these patterns keep every layer; use --precision fp32 instead.")
    return names


def refusals(model: StepModel, precision: str) -> Iterator[str]:
    """Why this model cannot be C source, a sentence a reason."""
    if precision not in LANES:
        yield f"c: precision must be {' or '.join(LANES)}, got {precision!r}."
    yield from refuse_quantized(model.keras)
    if not is_own(model.keras):
        yield (
            f"c: {type(model.keras).__name__} has a step of its own, and code is only generated "
            "for that of this package's TRM; use onnx or tflite."
        )
    elif model.keras.compute_dtype != "float32":
        yield (
            f"c: the model computes in {model.keras.compute_dtype}, but only float32 models are "
            "supported; build the model with dtype float32 and load the weights into it."
        )
    elif max(model.keras.config.positions, model.keras.config.hidden_size) >= _WIDEST:
        yield f"c: the model is too large; positions and width must be less than {_WIDEST:,}."


def _write(
    model: TRM,
    contract: StepContract,
    folder: Path,
    choice: Choice,
    again: Again | None = None,
) -> Layout:
    """Writes all files of the folder; returns its memory."""
    weights = weights_of(model, choice.precision, choice.keep)
    layout = layout_of(model, weights, choice.rows)
    folder.unlink(missing_ok=True)
    folder.mkdir()
    layout = again.added_to(layout) if again else layout
    files = source_files(model, weights, layout, contract, again)
    files[SOURCE_CONTRACT] = contract.to_json()
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    digests = {name: sha256_file(folder / name) for name in sorted(files)}
    facts = {"tool": TOOL, **layout.document(), "kept_in_float": choice.keep, "sha256": digests}
    (folder / SOURCE_MEMORY).write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return layout


def _checked(
    shared: Shared, puzzles: Puzzles, judged: Puzzles | None, folder: Path
) -> tuple[float | None, str]:
    """The worst forced error of a step of the compiled code, and the verdict."""
    found = compiler()
    if found is None:
        return None, "Not checked: this machine has no C compiler (cc, gcc or clang)."
    with scratch_folder() as scratch:
        server = compiled_server(folder, scratch / "serve", [found, "-O3"])
        if not os.access(server, os.X_OK):  # mounted without programs
            raise TargetError(
                f"The folder for temporary files, {scratch.parent}, runs no programs, and the code "
                "is checked by one. Set TMPDIR to another."
            )
        with ServerRunner(shlex.quote(str(server))) as runner:
            result = check(shared.golden(puzzles), runner, steps_only=True)
            if result.broken is None and judged is not None:
                valid = valid_answers(runner.contract)
                result = check(shared.golden(judged), runner, valid=valid)
    if result.broken is not None:
        raise ParityError(result.verdict)
    return result.forced_error, result.verdict
