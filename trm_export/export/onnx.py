"""ONNX: one ACT step as a graph with named tensors and the contract in its metadata.

TensorFlow traces the step, tf2onnx converts it, and what leaves here has the contract's names,
an IR and an opset that onnxruntime 1.18 opens, and no external data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trm_export.export.format import Format, Job
from trm_export.export.signature import graph_function, incoming, outgoing
from trm_export.model import TRM
from trm_runtime.contract import METADATA_KEY, CarrySpec, StepContract, TensorSpec

OPSET = 17
MAX_IR_VERSION = 10


def write(job: Job, path: Path) -> None:
    """Writes the graph as one `.onnx` file."""
    proto = convert(job.model, job.contract, rolled=job.rolled)
    path.write_bytes(proto.SerializeToString())


def convert(model: TRM, contract: StepContract, *, rolled: bool = False) -> Any:
    """The graph as an `onnx.ModelProto` in the contract's names, the contract in its metadata."""
    import tensorflow as tf
    import tf2onnx

    function = graph_function(model, contract, rolled=rolled)
    entering = incoming(contract)

    def positional(*tensors: Any) -> dict[str, Any]:
        return function(**{spec.name: x for spec, x in zip(entering, tensors, strict=True)})

    proto, _ = tf2onnx.convert.from_function(
        tf.function(positional),
        input_signature=[tf.TensorSpec(s.shape, s.dtype, name=s.name) for s in entering],
        opset=OPSET,
        custom_op_handlers={"SelectV2": (_select_as_where, [])},
    )
    _declare(proto.graph.input, entering)
    _declare(proto.graph.output, outgoing(contract))
    proto.ir_version = min(proto.ir_version, MAX_IR_VERSION)
    proto.producer_name, _, proto.producer_version = contract.made_by.tool.partition(" ")
    proto.doc_string = f"A TRM, one call is one ACT {contract.granularity}."
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, contract.to_json()
    return proto


def _select_as_where(ctx: Any, node: Any, name: str, args: Any) -> None:
    """A select stays a select: tf2onnx's own `c * x + (1 - c) * y` lets a stale NaN through."""
    node.type = "Where"


def _declare(values: Any, specs: Sequence[TensorSpec | CarrySpec]) -> None:
    """Writes the contract's shapes on the graph's tensors; tf2onnx may have lost some."""
    shapes = {spec.name: spec.shape for spec in specs}
    for value in values:
        dims = value.type.tensor_type.shape
        dims.ClearField("dim")
        for size in shapes[value.name]:
            dim = dims.dim.add()
            if size is None:
                dim.dim_param = "batch"
            else:
                dim.dim_value = size


def _refusals(job: Job) -> Iterator[str]:
    if job.contract.precision != "fp32":
        yield f"onnx: {job.contract.precision} is not written yet."


def _rolls(contract: StepContract) -> bool:
    """onnxruntime shares packed weights, so unrolled passes cost no memory and run faster."""
    return False


FORMAT = Format(
    name="onnx",
    suffix=".onnx",
    packages=("tf2onnx", "onnx"),
    engines=("onnxruntime",),
    batch=None,
    write=write,
    rolls=_rolls,
    refusals=_refusals,
)
