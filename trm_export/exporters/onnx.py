"""ONNX: one ACT step as a graph with named tensors and the contract in its metadata.

TensorFlow traces the step and tf2onnx converts it; the file has the contract's names, an IR and an
opset that onnxruntime 1.18 opens, and no external data.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from trm_export.exporters import onnx_precision
from trm_export.exporters.format import Documents, Format, Job, refuse_half
from trm_export.exporters.kept_layers import weights
from trm_export.exporters.onnx_calibrate import calibrate
from trm_export.exporters.onnx_convert import body_names, converted, weight_names
from trm_export.exporters.onnx_graph import name_nodes
from trm_export.exporters.onnx_int4 import stored_in_four_bits
from trm_export.exporters.onnx_int4_calibrate import moved_codes, nearest_codes
from trm_export.exporters.onnx_int8_calibrate import has_scales, int8_scales
from trm_export.exporters.onnx_ports import add_int8_io
from trm_export.exporters.onnx_products import quantise
from trm_export.exporters.onnx_smoothing import smooth
from trm_export.exporters.smoothing import smoothed
from trm_export.files import CALIBRATION
from trm_runtime.contract import METADATA_KEY, StepContract
from trm_runtime.drivers.onnx_file import sealed
from trm_runtime.integer import float_contract


def write(job: Job, path: Path) -> Documents:
    """Writes the graph as one `.onnx` file; returns the document of a calibration."""
    proto = convert(job)
    documents = _quantise(job, proto.graph)
    add_int8_io(proto.graph, job.contract)
    name_nodes(proto.graph)
    path.write_bytes(sealed(proto.SerializeToString()))
    return documents


def _quantise(job: Job, graph: Any) -> Documents:
    """Converts the graph to the precision of the contract, except for the layers to keep."""
    precision = job.contract.precision
    if precision == "fp16":
        onnx_precision.halve(graph, weight_names(job.model) - set(job.keep))
    elif precision == "int8":
        scales = int8_scales(job)
        smooth(graph, smoothed(weights(job.model), scales.channels, _body(job)))
        quantise(graph, _body(job), onnx_precision.Rows(grids=scales.grids))
        return {CALIBRATION: scales.to_json()} if has_scales(job.model) else {}
    elif precision == "int4":
        codes = moved_codes(job)
        store = stored_in_four_bits(codes.moved, partial(nearest_codes, job))
        quantise(graph, _body(job), onnx_precision.Rows(store, codes.grids))
        return {CALIBRATION: codes.to_json()}
    elif precision == "int8-static":
        calibration = calibrate(job)
        ranges = {grid.tensor: grid for grid in calibration.tensors}
        quantise(graph, _body(job), onnx_precision.static(ranges))
        return {CALIBRATION: calibration.to_json()}
    return {}


def _body(job: Job) -> set[str]:
    return body_names(job.model) - set(job.keep)


def convert(job: Job) -> Any:
    """The float32 `onnx.ModelProto` in the contract's names, the contract in its metadata."""
    contract = job.contract
    proto = converted(job, float_contract(contract), rolled=job.rolled)
    proto.producer_name, _, proto.producer_version = contract.made_by.tool.partition(" ")
    proto.doc_string = f"A TRM, one call is one ACT {contract.granularity}."
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, contract.to_json()
    return proto


def _refusals(job: Job) -> Iterator[str]:
    return refuse_half(job, "onnx")


def _rolls(contract: StepContract) -> bool:
    """onnxruntime shares packed weights, so unrolled passes cost no memory and run faster.

    Of a file in int4 the nodes of unrolled passes would be a large part.
    """
    return contract.precision == "int4" and contract.granularity != "block"


FORMAT = Format(
    name="onnx",
    packages=("tf2onnx", "onnx"),
    write=write,
    rolls=_rolls,
    refusals=_refusals,
)
