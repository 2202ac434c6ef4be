"""Read the choices of an export back from its file, so that it can be exported again."""

from __future__ import annotations

from pathlib import Path

import onnx

from trm_export.artifacts.inspection import inspect_file
from trm_export.errors import UsageError
from trm_export.exporters.choices import RECURSIONS, Choices
from trm_export.exporters.export import format_named
from trm_export.exporters.format import Format
from trm_export.exporters.kept_layers import layers
from trm_export.exporters.onnx_graph import graphs
from trm_export.exporters.tflite_keep import float_layers
from trm_export.step.step_model import AnyModel, adapt
from trm_runtime.integer import has_integer_ports

_FORMATS = {".onnx": "onnx", ".tflite": "tflite"}
_LOOPS = {"Loop", "WHILE"}


def format_of(path: Path) -> Format:
    """The format of a file; UsageError for another kind of file."""
    name = "saved-model" if path.is_dir() else _FORMATS.get(path.suffix.lower())
    if name is None:
        raise UsageError(f"{path}: expected an ONNX or TFLite file or a SavedModel folder.")
    return format_named(name)


def choices_of(path: Path, model: AnyModel) -> Choices:
    """The choices of `export` that give this file, for this model."""
    info = inspect_file(path)
    contract = getattr(info, "contract", None)
    if contract is None:
        raise UsageError(
            f"{path}: has no step contract, so it cannot be exported again for comparison; give a "
            "file that trm-export wrote."
        )
    operators = getattr(info, "nodes", None) or getattr(info, "operators", {})
    can_roll = contract.granularity == "step" and adapt(model).passes is not None
    is_known = can_roll and not path.is_dir()  # a SavedModel does not show its recursion
    rolled = not _LOOPS.isdisjoint(operators)
    return Choices(
        precision=contract.precision,
        batch="free" if contract.batch is None else contract.batch,
        granularity=contract.granularity,
        recursion=RECURSIONS[rolled] if is_known else None,
        puzzle_table="internal" if contract.puzzle_table_sha256 is None else "external",
        integer_io=has_integer_ports(contract),
        keep=() if contract.precision == "fp32" else _kept(path, model),
    )


def _kept(path: Path, model: AnyModel) -> tuple[str, ...]:
    """Layers in float32, those included that every export keeps in float32."""
    known = layers(model)
    if path.is_dir():
        return ()
    if path.suffix.lower() == ".tflite":
        return float_layers(path.read_bytes(), known)
    proto = onnx.load_model_from_string(path.read_bytes())
    tensors = [tensor for graph in graphs(proto.graph) for tensor in graph.initializer]
    floats = {t.name for t in tensors if t.data_type == onnx.TensorProto.FLOAT}
    return tuple(name for name in known if name in floats)
