"""`export_c`: a model as C source that needs no interpreter."""

from __future__ import annotations

from collections.abc import Sequence
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
from trm_export.exporters.c_source.limits import limits_of
from trm_export.files import refuse_overwrite, refuse_source, require_suffix

if TYPE_CHECKING:
    from trm_export.exporters.export_result import ExportResult

_PROBES = 6  # puzzles of the check of single steps
_JUDGED = 64  # puzzles on which a choice that fits is judged in full


def export_c(
    model: ModelLike,
    folder: FilePath | None = None,
    *,
    precision: str | None = None,
    keep: str | Sequence[str] = (),
    fit: str | None = None,
    tries: int = 1,
    force: bool = False,
    progress: Progress | None = None,
) -> ExportResult:
    """Writes the model as a folder of portable C99: no interpreter, no heap, no files.

    The code is compiled, if this machine has a C compiler, and compared with Keras before the
    folder gets its name. The step contract is in the folder and beside it.

    Args:
        model: a `.keras` file or a Keras model of class `TRM`, on any backend.
        folder: the folder to write; ``artifacts/<name>_c`` if None.
        precision: ``"fp32"``, or ``"int8"`` for byte weights and integer products; None for fp32,
            or for the first of them that fits.
        keep: names or patterns of layers that stay float32 in int8.
        fit: what the microcontroller has, such as ``"flash=512k,ram=96k"``. In int8 layers
            stay float32 as far as they fit and lower the error, and the code must pass every gate
            on some puzzles, not only single steps.
        tries: how often a puzzle can be asked, by `trm_solve_again`; with 1 there is no such
            function, and no memory for it.
        force: replace a folder that this tool did not make.
        progress: called with 0, because the time is unknown, and what is being done.

    Raises:
        UsageError: the model or the precision is not supported, or does not fit, with the reasons.
        CheckpointError: see `load`.
        OverwriteError: the folder exists and was not made by this tool.
        ParityError: the code does not compute what Keras computes; nothing was written.
    """
    mark = "" if precision in (None, "fp32") else f"-{precision}"
    target = path_of("folder", folder, ARTIFACTS / f"{stem_of(model)}{mark}_c")
    source = file_of(model)
    require_suffix(target, "")
    if source is not None:
        refuse_source(target, source)
    refuse_overwrite(target, force=force)
    report = reporter(progress)
    limits = None if fit is None else limits_of(fit)
    names, (tries,) = names_of("keep", keep), counts_of(tries=tries)
    refuse_model(model)
    step_model = as_step_model(model, any_backend=True)
    from trm_export.exporters.c_source.write import generate
    from trm_export.exporters.probe import probe_puzzles

    return generate(
        step_model,
        target,
        probe_puzzles(step_model, _PROBES),
        precision,
        keep=names,
        limits=limits,
        judged=None if limits is None else probe_puzzles(step_model, _JUDGED),
        tries=tries,
        force=force,
        source=source,
        tell=lambda what: report(0.0, what),
    )
