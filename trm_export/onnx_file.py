"""Look into an `.onnx` file with the onnx package: versions, nodes, weights, contract.

Nothing is run and no other file is opened but the contract beside it. Knows nothing about Keras.
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

from trm_export.errors import RejectedInputError
from trm_export.files import sha256_file
from trm_export.inspection import sidecar_state
from trm_runtime.contract import METADATA_KEY, StepContract
from trm_runtime.drivers.onnx_wire import external_tensors
from trm_runtime.verify import differences

_ENGINES = (("1.14", 18, 8), ("1.15", 19, 9), ("1.17", 20, 9), ("1.18", 21, 10))
"""onnxruntime release, the newest opset and the newest IR version it opens
(https://onnxruntime.ai/docs/reference/compatibility.html)."""

_MAX_BYTES = 1 << 31  # of a protobuf message


@dataclass(frozen=True)
class OnnxFileInfo:
    """What an `.onnx` file says of itself."""

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
    sidecar: str  # "same", "differs", "missing" or why `<file>.json` cannot be read

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
        raise RejectedInputError(f"{file}: not an ONNX file, or a damaged one: {error}") from error
    if not (model.ir_version and model.opset_import and model.graph.node):
        raise RejectedInputError(f"{file}: not an ONNX file: it names no version or no nodes")
    contract, problems = _contract(model, file)
    opsets = {opset.domain: opset.version for opset in model.opset_import}
    return OnnxFileInfo(
        path=str(file),
        size=len(data),
        sha256=sha256_file(file),
        producer=f"{model.producer_name} {model.producer_version}".strip(),
        ir_version=model.ir_version,
        opsets=opsets,
        oldest_onnxruntime=_oldest_engine(opsets.get("", 0), model.ir_version),
        nodes=dict(Counter(n.op_type for g in _graphs(model.graph) for n in g.node).most_common()),
        weight_bytes=_weight_bytes(model.graph),
        external_tensors=outside,
        contract=contract,
        contract_problems=problems,
        sidecar=sidecar_state(file, contract),
    )


def _read(file: Path) -> bytes:
    try:
        if file.stat().st_size > _MAX_BYTES:
            raise RejectedInputError(f"{file}: larger than 2 GiB, which no ONNX file is")
        return file.read_bytes()
    except OSError as error:
        raise RejectedInputError(f"{file}: cannot be read: {error.strerror}") from error


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
            name = onnx.TensorProto.DataType.Name(tensor.data_type).lower()
            itemsize = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize
            total[_NUMPY_NAMES.get(name, name)] += math.prod(tensor.dims) * itemsize
    return dict(total.most_common())


_NUMPY_NAMES = {"float": "float32", "double": "float64"}


def _contract(model: onnx.ModelProto, file: Path) -> tuple[StepContract | None, tuple[str, ...]]:
    texts = [entry.value for entry in model.metadata_props if entry.key == METADATA_KEY]
    if not texts:
        return None, ()
    try:
        contract = StepContract.from_json(texts[0], f"{file}: its step contract")
    except RejectedInputError as error:
        return None, (error.summary, *error.problems)
    inputs, outputs = (_described(values) for values in (model.graph.input, model.graph.output))
    return contract, differences(contract, inputs, outputs)


def _described(values: Any) -> dict[str, tuple[str, tuple[int | None, ...]]]:
    found = {}
    for value in values:
        tensor = value.type.tensor_type
        name = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        shape = (d.dim_value if d.HasField("dim_value") else None for d in tensor.shape.dim)
        found[value.name] = (_NUMPY_NAMES.get(name, name), tuple(shape))
    return found
