"""Static int8 for TFLite, written into the flatbuffer: int8 products between float operators.

Every product with a matrix of the reasoning stacks, and the one of the answers, becomes QUANTIZE,
FULLY_CONNECTED in int8, DEQUANTIZE: weights symmetric with one scale a row (int8, -127..127),
activations with one calibrated scale and zero point, as TFLite's quantisation specification
(https://ai.google.dev/edge/litert/models/quantization_spec) requires; the exact rewritings of
`tflite_recipe` are applied to them. Norms, residual sums, gates and the products of attention stay
in float32: a sum of squares in eight bits costs more than it saves. So does the halting head, whose
one number a row is compared with a threshold.

TensorFlow's own calibrator crashes on the body of a WHILE, so that its quantiser would need the
passes unrolled, with the weights packed once a pass. Editing the file has neither problem: it
treats every subgraph alike. No operator is newer than those of tflite-runtime 2.14.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from trm_export.exporters.tflite_flatbuffer import (
    FLOAT32,
    INT8,
    INT32,
    Array,
    Matrix,
    dump,
    load,
    matrices,
    values,
)
from trm_export.exporters.tflite_recipe import (
    Product,
    Range,
    ResidueRanges,
    grid_limits,
    quantised_rows,
    scale_and_zero_point,
)

Code = tuple[int, int, str]
"""Number, version and options of an operator."""

QUANTIZE = (schema.BuiltinOperator.QUANTIZE, 1, "")
DEQUANTIZE = (schema.BuiltinOperator.DEQUANTIZE, 2, "")
_MUL = (schema.BuiltinOperator.MUL, 1, "MulOptions")
_ADD = (schema.BuiltinOperator.ADD, 1, "AddOptions")
_SUB = (schema.BuiltinOperator.SUB, 1, "SubOptions")
_MAXIMUM = (schema.BuiltinOperator.MAXIMUM, 1, "MaximumMinimumOptions")
_MINIMUM = (schema.BuiltinOperator.MINIMUM, 1, "MaximumMinimumOptions")


def quantise(data: bytes, products: Mapping[str, Product]) -> bytes:
    """A float32 flatbuffer with the products of these matrices in int8."""
    model = load(data)
    done: dict[int, Array] = {}
    for graph in model.subgraphs:
        _Editor(model, graph, done).run(products)
    return dump(model)


@dataclasses.dataclass(frozen=True)
class _Int8Product:
    """One int8 activation and the int8 matrix that it is multiplied by."""

    matrix: Matrix
    scales: Array  # of the matrix, one a row
    integer: int  # the activation
    range: Range  # of the activation


class _Editor:
    """Edits one subgraph of a model; ``done`` maps buffers that are already int8 to scales."""

    def __init__(self, model: Any, graph: Any, done: dict[int, Array]) -> None:
        self._model, self._graph, self._done = model, graph, done
        self._integers: dict[tuple[int, Range], int] = {}  # float tensor -> its int8 twin
        self._scaled: dict[tuple[int, bytes], int] = {}  # tensor -> itself with scaled rows
        self._constants: dict[bytes, int] = {}

    def run(self, products: Mapping[str, Product]) -> None:
        found = {id(m.operator): m for m in matrices(self._model, self._graph) if m.key in products}
        operators: list[Any] = []
        for operator in self._graph.operators:
            matrix = found.get(id(operator))
            if matrix is None:
                operators.append(operator)
            else:
                operators += self._product(matrix, products[matrix.key])
        self._graph.operators = operators

    def _product(self, matrix: Matrix, how: Product) -> list[Any]:
        """The operators that take the place of a float product."""
        scales = self._weights(matrix, how)
        before, entering = self._times(matrix.entering, 1 / how.rows)
        rounding, integer = self._rounded(entering, how.entering)
        once = _Int8Product(matrix, scales, integer, how.entering)
        product, floats = self._passage(once, how.leaving, b"_product")
        if how.fine is not None:
            more, floats = self._refined(once, entering, floats, how.fine)
            product += more
        after, _ = self._times(floats, how.rows)
        operators = [*before, *rounding, *product, *after]
        operators[-1].outputs = np.array([matrix.leaving], np.int32)
        return operators

    def _passage(self, how: _Int8Product, leaving: Range, mark: bytes) -> tuple[list[Any], int]:
        """One int8 product, and its result in float."""
        matrix, scale = how.matrix, np.float32(scale_and_zero_point(how.range)[0])
        operator, result = copy.copy(matrix.operator), self._twin(matrix.leaving, leaving, mark)
        bias = self._bias(matrix, how.scales * scale)
        operator.inputs = np.array([how.integer, matrix.weights, bias], np.int32)
        operator.outputs = np.array([result], np.int32)
        floats = self._like(matrix.leaving, mark, FLOAT32)
        return [operator, self._one(DEQUANTIZE, result, floats)], floats

    def _refined(
        self, once: _Int8Product, entering: int, wide: int, fine: ResidueRanges
    ) -> tuple[list[Any], int]:
        """The second and third computation of a product, and the sum; see `tflite_recipe`."""
        leaving = once.matrix.leaving
        back = self._like(entering, b"_rounded", FLOAT32)
        rest = self._like(entering, b"_residue", FLOAT32)
        rounding, integer = self._rounded(rest, fine.residue)
        narrow, y = self._passage(once, fine.narrow, b"_narrow")
        third = dataclasses.replace(once, integer=integer, range=fine.residue)
        residue, z = self._passage(third, fine.residue_leaving, b"_residue")
        low, high = (self._constant(np.array([limit])) for limit in grid_limits(fine.narrow))
        floor, inside, excess, both, total = (
            self._like(leaving, mark, FLOAT32)
            for mark in (b"_floor", b"_inside", b"_excess", b"_both", b"_total")
        )
        operators = [
            self._one(DEQUANTIZE, once.integer, back),
            self._two(_SUB, (entering, back), rest),
            *rounding,
            *narrow,
            *residue,
            self._two(_MAXIMUM, (wide, low), floor),
            self._two(_MINIMUM, (floor, high), inside),
            self._two(_SUB, (wide, inside), excess),
            self._two(_ADD, (y, excess), both),
            self._two(_ADD, (both, z), total),
        ]
        return operators, total

    def _rounded(self, entering: int, limits: Range) -> tuple[list[Any], int]:
        """What makes the int8 twin of a tensor, once, and the twin."""
        if (entering, limits) in self._integers:
            return [], self._integers[entering, limits]
        self._integers[entering, limits] = twin = self._twin(entering, limits)
        return [self._one(QUANTIZE, entering, twin)], twin

    def _times(self, tensor: int, rows: Array) -> tuple[list[Any], int]:
        """The tensor with its rows scaled, made once; itself where there is nothing to scale."""
        if (rows == 1).all():
            return [], tensor
        key = (tensor, rows.tobytes())
        if key in self._scaled:
            return [], self._scaled[key]
        self._scaled[key] = scaled = self._like(tensor, b"_scaled", FLOAT32)
        return [self._two(_MUL, (tensor, self._constant(rows)), scaled)], scaled

    def _weights(self, matrix: Matrix, how: Product) -> Array:
        """Stores the matrix in int8; returns its scales. Subgraphs may share the buffer."""
        tensor = self._graph.tensors[matrix.weights]
        if tensor.buffer not in self._done:
            floats = np.asarray(values(self._model, self._graph, matrix.weights))
            floats = floats * how.columns / how.outputs[:, None]
            integers, self._done[tensor.buffer] = quantised_rows(floats)
            self._model.buffers[tensor.buffer].data = integers.view(np.uint8).ravel()
        scales = self._done[tensor.buffer]
        tensor.type, tensor.quantization = INT8, parameters(scales, np.zeros(len(scales)))
        return scales

    def _bias(self, matrix: Matrix, scales: Array) -> int:
        if matrix.bias < 0:
            return -1
        floats = np.asarray(values(self._model, self._graph, matrix.bias))
        number = self._like(matrix.bias, b"_int32", INT32)
        self._graph.tensors[number].buffer = self._buffer(np.rint(floats / scales).astype("<i4"))
        self._graph.tensors[number].quantization = parameters(scales, np.zeros(len(scales)))
        return number

    def _twin(self, tensor: int, limits: Range, mark: bytes = b"") -> int:
        """A new int8 tensor with the name and shape of a float one."""
        scale, zero = scale_and_zero_point(limits)
        number = self._like(tensor, mark + b"_int8", INT8)
        self._graph.tensors[number].quantization = parameters(np.array([scale]), np.array([zero]))
        return number

    def _like(self, tensor: int, mark: bytes, kind: int) -> int:
        """A new tensor of the name and shape of another."""
        old, new = self._graph.tensors[tensor], schema.TensorT()
        new.name, new.type, new.hasRank = old.name + mark, kind, True
        new.shape, new.shapeSignature = old.shape, old.shapeSignature
        self._graph.tensors.append(new)
        return len(self._graph.tensors) - 1

    def _constant(self, floats: Array) -> int:
        content = floats.astype("<f4").tobytes()
        if content not in self._constants:
            tensor = schema.TensorT()
            tensor.name, tensor.type, tensor.hasRank = b"const", FLOAT32, True
            tensor.shape = np.array(floats.shape, np.int32)
            tensor.buffer = self._buffer(floats.astype("<f4"))
            self._graph.tensors.append(tensor)
            self._constants[content] = len(self._graph.tensors) - 1
        return self._constants[content]

    def _buffer(self, content: Array) -> int:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(content.tobytes(), np.uint8)
        self._model.buffers.append(buffer)
        return len(self._model.buffers) - 1

    def _one(self, code: Code, entering: int, leaving: int) -> Any:
        return new_operator(self._model, code, entering, leaving)

    def _two(self, code: Code, entering: tuple[int, int], leaving: int) -> Any:
        """An operator on two tensors, with its options as they are by default."""
        name, operator = code[2], self._one(code, entering[0], leaving)
        operator.inputs = np.array(entering, np.int32)
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        operator.builtinOptions = getattr(schema, f"{name}T")()
        return operator


def new_operator(model: Any, code: Code, entering: int, leaving: int) -> Any:
    """An operator from one tensor to another, none of them in the graph yet."""
    operator = schema.OperatorT()
    operator.opcodeIndex = _opcode(model, *code[:2])
    operator.inputs = np.array([entering], np.int32)
    operator.outputs = np.array([leaving], np.int32)
    return operator


def _opcode(model: Any, builtin: int, version: int) -> int:
    codes = model.operatorCodes
    for number, code in enumerate(codes):
        if code.builtinCode == builtin:
            code.version = max(code.version, version)
            return number
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = builtin, version
    code.deprecatedBuiltinCode = builtin  # all of ours are below 127, where it counts
    codes.append(code)
    return len(codes) - 1


def parameters(scales: Array, zeros: Array) -> Any:
    """The grids of a tensor, one for each of its rows or one for all."""
    parameters = schema.QuantizationParametersT()
    parameters.scale, parameters.zeroPoint = scales.astype(np.float32), zeros.astype(np.int64)
    return parameters
