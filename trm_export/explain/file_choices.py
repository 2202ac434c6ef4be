"""Read the choices of an export back from its file, so that it can be exported again."""

from __future__ import annotations

from pathlib import Path

from trm_export.artifacts.host_kinds import HOST_KINDS, host_kind
from trm_export.artifacts.inspection import inspect_file
from trm_export.errors import UsageError
from trm_export.explain.walker import walker_of
from trm_export.exporters.choices import RECURSIONS, Choices
from trm_export.exporters.export import format_named
from trm_export.exporters.format import Format
from trm_export.exporters.kept_layers import layers
from trm_export.step.step_model import AnyModel, adapt
from trm_runtime.integer import has_int8_io, has_int32_halted

_LOOPS = {"Loop", "WHILE"}


def format_of(path: Path) -> Format:
    """The format of a file; UsageError for another kind of file."""
    kind = host_kind(path)
    if kind is None or not kind.walker:
        titles = [known.file.title for known in HOST_KINDS.values() if known.walker]
        raise UsageError(f"{path}: cannot be explained; give a file in {' or '.join(titles)}.")
    return format_named(kind.file.name)


def choices_of(path: Path, model: AnyModel) -> Choices:
    """The choices of `export` that give this file, for this model."""
    info = inspect_file(path)
    contract = getattr(info, "contract", None)
    if contract is None:
        raise UsageError(
            f"{path}: has no step contract, so it cannot be exported again for comparison; give a "
            "file that trm-export wrote."
        )
    operators = getattr(info, "nodes", None) or getattr(info, "operators", None)
    step = contract.granularity == "step" and adapt(model).passes is not None
    is_known = step and operators is not None  # a SavedModel does not show its recursion
    rolled = not _LOOPS.isdisjoint(operators or ())
    return Choices(
        precision=contract.precision,
        batch="free" if contract.batch is None else contract.batch,
        granularity=contract.granularity,
        recursion=RECURSIONS[rolled] if is_known else None,
        engine=getattr(info, "target", None),
        puzzle_table="internal" if contract.puzzle_table_sha256 is None else "external",
        integer_io=has_int8_io(contract),
        ports="int32" if has_int32_halted(contract) else "bool",
        keep=() if contract.precision == "fp32" else _kept(path, model),
    )


def _kept(path: Path, model: AnyModel) -> tuple[str, ...]:
    """Layers in float32, those included that every export keeps in float32."""
    kind = format_of(path)
    return walker_of(kind.name).kept(path, layers(model))
