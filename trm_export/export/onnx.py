"""ONNX: one ACT step as a graph with named tensors and the contract in its metadata.

TensorFlow traces the step, tf2onnx converts it, and what leaves here has the contract's names,
an IR and an opset that onnxruntime 1.18 opens, and no external data.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trm_export.export.format import Format, Job
from trm_export.export.onnx_convert import converted
from trm_export.model import TRM
from trm_runtime.contract import METADATA_KEY, StepContract


def write(job: Job, path: Path) -> None:
    """Writes the graph as one `.onnx` file."""
    proto = convert(job.model, job.contract, rolled=job.rolled)
    path.write_bytes(proto.SerializeToString())


def convert(model: TRM, contract: StepContract, *, rolled: bool = False) -> Any:
    """The graph as an `onnx.ModelProto` in the contract's names, the contract in its metadata."""
    proto = converted(model, contract, rolled=rolled)
    proto.producer_name, _, proto.producer_version = contract.made_by.tool.partition(" ")
    proto.doc_string = f"A TRM, one call is one ACT {contract.granularity}."
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, contract.to_json()
    return proto


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
