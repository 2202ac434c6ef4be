"""Inspect an `.onnx` file with the onnx package: versions, nodes, weights, contract.

Runs nothing and opens no other file than the contract beside it. Knows nothing about Keras.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError

from trm_export.artifacts.onnx_cost import onnx_cost
from trm_export.artifacts.sidecar import complaints, lost_contract, sidecar_state
from trm_export.device_cost import DeviceCost
from trm_export.errors import RejectedInputError, reason_of
from trm_export.files import sha256_file
from trm_runtime.contract import METADATA_KEY, StepContract
from trm_runtime.drivers.onnx_file import contract_text, seal_problem
from trm_runtime.drivers.onnx_wire import external_tensors, metadata_value
from trm_runtime.regular_file import check_regular
from trm_runtime.verify import differences

_ENGINES = (("1.14", 18, 8), ("1.15", 19, 9), ("1.17", 20, 9), ("1.18", 21, 10))
"""onnxruntime release, the newest opset and the newest IR version it opens
(https://onnxruntime.ai/docs/reference/compatibility.html)."""

_MAX_BYTES = 1 << 31  # of a protobuf message


@dataclass(frozen=True)
class OnnxFileInfo:
    """The facts in an `.onnx` file; truthy unless it has a contract that a driver refuses."""

    path: str
    size: int  # bytes
    sha256: str
    producer: str
    ir_version: int
    opsets: dict[str, int]  # domain -> version; "" is ONNX's own
    oldest_onnxruntime: str | None  # None: newer than every release in our table
    nodes: dict[str, int]  # operator -> count, bodies of loops included
    weight_bytes: dict[str, int]  # dtype -> bytes of initializers, bodies included
    external_tensors: tuple[str, ...]  # kept in other files, which drivers refuse
    contract: StepContract | None
    contract_problems: tuple[str, ...]  # why it cannot be read, or how the graph differs from it
    checksum_problem: str | None  # of an export of ours: what is wrong with it
    sidecar: str  # "same", "differs", "missing" or why `<file>.json` cannot be read
    device: DeviceCost | None = None  # of an export that fits its contract

    def __bool__(self) -> bool:
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the file is damaged, or contradicts its contract."""
        return (*self.contract_problems, *filter(None, [self.checksum_problem]))

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for `json.dumps`."""
        contract = None if self.contract is None else self.contract.document()
        return {"kind": "onnx", **asdict(self), "contract": contract}


def inspect_onnx(path: str | os.PathLike[str]) -> OnnxFileInfo:
    """What `path` holds. Raises RejectedInputError for a file that is missing or damaged."""
    file = Path(path)
    data = _read(file)
    try:
        outside = tuple(external_tensors(data))
        model = onnx.load_model_from_string(data)
    except (DecodeError, ValueError) as error:
        raise RejectedInputError(
            f"{file}: not an ONNX file, or a damaged one: {reason_of(error)}."
        ) from error
    if not (model.ir_version and model.opset_import and model.graph.node):
        raise RejectedInputError(f"{file}: not an ONNX file: it has no version or no nodes.")
    value = metadata_value(data, METADATA_KEY)
    contract, problems = _contract(value, model, file)
    opsets = {_text(opset.domain): opset.version for opset in model.opset_import}
    weights, device = _weight_bytes(model.graph), None
    if contract is not None and not problems:
        device = onnx_cost(model, len(data), sum(weights.values()), contract)
    nodes = (node for graph in _graphs(model.graph) for node in graph.node)
    return OnnxFileInfo(
        path=str(file),
        size=len(data),
        sha256=sha256_file(file),
        producer=f"{_text(model.producer_name)} {_text(model.producer_version)}".strip(),
        ir_version=model.ir_version,
        opsets=opsets,
        oldest_onnxruntime=_oldest_engine(opsets.get("", 0), model.ir_version),
        nodes=dict(Counter(_text(node.op_type) for node in nodes).most_common()),
        weight_bytes=weights,
        external_tensors=outside,
        contract=contract,
        contract_problems=problems,
        checksum_problem=None if value is None else seal_problem(data),
        sidecar=sidecar_state(file, contract),
        device=device,
    )


def _read(file: Path) -> bytes:
    try:
        check_regular(file)
        if file.stat().st_size > _MAX_BYTES:
            raise RejectedInputError(f"{file}: larger than 2 GiB, the limit of an ONNX file.")
        return file.read_bytes()
    except OSError as error:
        raise RejectedInputError(f"{file}: cannot be read: {error.strerror}.") from error


def _oldest_engine(opset: int, ir_version: int) -> str | None:
    suits = (name for name, newest, ir in _ENGINES if opset <= newest and ir_version <= ir)
    return next(suits, None)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and the bodies of its loops and branches, at any depth."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for body in (attribute.g, *attribute.graphs):
                if body.node:
                    yield from _graphs(body)


def _weight_bytes(graph: onnx.GraphProto) -> dict[str, int]:
    total: Counter[str] = Counter()
    for body in _graphs(graph):
        for tensor in body.initializer:
            total[_dtype(tensor.data_type)] += math.prod(tensor.dims) * _itemsize(tensor.data_type)
    return dict(total.most_common())


def _dtype(number: int) -> str:
    """The name of an element type; a damaged file may have any number there."""
    if number not in onnx.TensorProto.DataType.values():
        return f"type {number}"
    name = onnx.TensorProto.DataType.Name(number).lower()
    return _NUMPY_NAMES.get(name, name)


def _itemsize(number: int) -> int:
    try:
        return onnx.helper.tensor_dtype_to_np_dtype(number).itemsize
    except (KeyError, TypeError):
        return 0


_NUMPY_NAMES = {"float": "float32", "double": "float64"}


def _contract(
    value: memoryview | None, model: onnx.ModelProto, file: Path
) -> tuple[StepContract | None, tuple[str, ...]]:
    if value is None:
        return None, lost_contract(file)
    try:
        text = contract_text(value, file)
        contract = StepContract.from_json(text, f"{file}: its step contract")
    except RejectedInputError as error:
        return None, complaints(file, error)
    inputs, outputs = (_described(values) for values in (model.graph.input, model.graph.output))
    return contract, differences(contract, inputs, outputs)


def _described(values: Any) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    found = {}
    for value in values:
        tensor = value.type.tensor_type
        shape = (d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
        found[_text(value.name)] = (_dtype(tensor.elem_type), tuple(shape))
    return found


def _text(value: str | bytes) -> str:
    """A string of a protobuf, which is bytes if it is not valid UTF-8."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
