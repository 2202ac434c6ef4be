"""Read and write the flatbuffer of a `.tflite` file as Python objects, and find its matrices.

The schema comes with ai-edge-litert (https://ai.google.dev/edge/litert, `schema.fbs`). Knows
nothing about the model but that its matrices are FULLY_CONNECTED operators.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

Array = np.ndarray[Any, Any]

FLOAT32 = schema.TensorType.FLOAT32
INT8 = schema.TensorType.INT8
INT32 = schema.TensorType.INT32


@dataclasses.dataclass(frozen=True)
class Matrix:
    """One product with a constant float32 matrix.

    Attributes:
        operator: the `OperatorT`.
        entering, weights, leaving: numbers of tensors of its subgraph.
        bias: the number of a tensor, or -1.
        key: digest of the matrix, `digest_of` its ``(out, in)`` float32 values.
        linear: the product has no bias and no fused activation.
    """

    operator: Any
    entering: int
    weights: int
    bias: int
    leaving: int
    key: str
    linear: bool


def load(data: bytes) -> Any:
    """The `ModelT` of a flatbuffer; bytes after its end are ignored."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))


def dump(model: Any) -> bytes:
    """The flatbuffer of a `ModelT`; no two of its tensors have the same name."""
    import flatbuffers

    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(_with_own_names(model).Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _with_own_names(model: Any) -> Any:
    """A copy in which each tensor has a name of its own: a number behind one that is used.

    The converter names them so. LiteRT finds tensors by number, OpenVINO and tf2onnx by name.
    """
    taken = {tensor.name for graph in model.subgraphs for tensor in graph.tensors}
    numbers: dict[Any, Iterator[int]] = {}
    named = copy.copy(model)
    named.subgraphs = [copy.copy(graph) for graph in model.subgraphs]
    for graph in named.subgraphs:
        graph.tensors = [copy.copy(tensor) for tensor in graph.tensors]
        for tensor in graph.tensors:
            if tensor.name and tensor.name in numbers:
                numbered = (b"%s_%d" % (tensor.name, x) for x in numbers[tensor.name])
                tensor.name = next(name for name in numbered if name not in taken)
                taken.add(tensor.name)
            numbers.setdefault(tensor.name, itertools.count(1))
    return named


def digest_of(matrix: Array) -> str:
    """The key of a float32 matrix ``(out, in)``, wherever the converter put it."""
    return hashlib.sha256(np.ascontiguousarray(matrix, "<f4").tobytes()).hexdigest()


def values(model: Any, graph: Any, tensor: int) -> Array | None:
    """The float32 values of a constant tensor, None for any other tensor."""
    described = graph.tensors[tensor]
    data = model.buffers[described.buffer].data
    if data is None or len(data) == 0 or described.type != FLOAT32:
        return None
    return np.frombuffer(bytes(data), "<f4").reshape(described.shape)


def matrices(model: Any, graph: Any) -> Iterator[Matrix]:
    """Every product of a subgraph with a constant float32 matrix, in order."""
    digests: dict[int, str] = {}
    for operator in graph.operators:
        if not _is(model, operator, schema.BuiltinOperator.FULLY_CONNECTED):
            continue
        entering, weights, *rest = (int(number) for number in operator.inputs)
        if weights not in digests:
            matrix = values(model, graph, weights)
            if matrix is None:
                continue
            digests[weights] = digest_of(matrix)
        bias = rest[0] if rest else -1
        linear = bias < 0 and not operator.builtinOptions.fusedActivationFunction
        yield Matrix(
            operator, entering, weights, bias, int(operator.outputs[0]), digests[weights], linear
        )


def gated(model: Any, graph: Any) -> dict[str, str]:
    """Key of the last matrix of every SwiGLU -> key of the matrix of its up, which is linear.

    The input of the one is a MUL, one of whose factors is the product with the other, used only
    there.
    """
    makers = {int(out): operator for operator in graph.operators for out in operator.outputs}
    uses = Counter(int(number) for operator in graph.operators for number in operator.inputs)
    constant = list(matrices(model, graph))
    factors = {m.leaving: m.key for m in constant if m.linear and uses[m.leaving] == 1}
    pairs = {}
    for matrix in constant:
        maker = makers.get(matrix.entering)
        if maker is None or not _is(model, maker, schema.BuiltinOperator.MUL):
            continue
        ups = [factors[number] for number in map(int, maker.inputs) if number in factors]
        if len(ups) == 1:
            pairs[matrix.key] = ups[0]
    return pairs


def attending(model: Any, graph: Any) -> set[str]:
    """Keys of the matrices of queries and keys.

    They are those whose results, without another product in between, are both factors of a
    BATCH_MATMUL.
    """
    constant = {id(m.operator): m.key for m in matrices(model, graph)}
    makers: dict[int, set[str]] = {}  # tensor -> matrices that it is made of, without products
    found: set[str] = set()
    for operator in graph.operators:
        reads = [makers.get(int(number), set()) for number in operator.inputs]
        made: set[str] = set().union(*reads)
        if _is(model, operator, schema.BuiltinOperator.FULLY_CONNECTED):
            made = {constant[id(operator)]} if id(operator) in constant else set()
        elif _is(model, operator, schema.BuiltinOperator.BATCH_MATMUL):
            found |= made if all(reads) else set()
            made = set()
        makers.update((int(number), made) for number in operator.outputs)
    return found


def _is(model: Any, operator: Any, builtin: int) -> bool:
    return bool(model.operatorCodes[operator.opcodeIndex].builtinCode == builtin)
