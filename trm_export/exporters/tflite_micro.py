"""Rewrite a flatbuffer for tflite-micro, which has fewer operators than LiteRT.

It has no SELECT, and SELECT_V2 and FLOOR_MOD not for int32. A SELECT becomes a SELECT_V2, and int32
goes through both as float32, which holds every integer below 2^24 exactly. The results are the
same, in LiteRT as well.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from trm_export.artifacts.tflite_micro import VALUES, name_of
from trm_export.exporters.tflite_flatbuffer import FLOAT32, INT32, dump, load
from trm_export.exporters.tflite_static import Code, new_operator

EXACT = 1 << 24  # integers below it are exact in float32

_CAST: Code = (schema.BuiltinOperator.CAST, 1, "CastOptions")
_SELECT: Code = (schema.BuiltinOperator.SELECT_V2, 1, "SelectV2Options")


def for_micro(data: bytes) -> bytes:
    """The flatbuffer with operators of tflite-micro, where they can take the place of others."""
    model = load(data)
    for graph in model.subgraphs:
        editor = _Editor(model, graph)
        graph.operators = [new for old in graph.operators for new in editor.instead_of(old)]
    _drop_unused_codes(model)
    return dump(model)


class _Editor:
    """Edits one subgraph; knows which int32 tensors have a float32 twin already."""

    def __init__(self, model: Any, graph: Any) -> None:
        self._model, self._graph = model, graph
        self._twins: dict[int, int] = {}

    def instead_of(self, operator: Any) -> Iterator[Any]:
        """The operators that take the place of one."""
        operator = self._selecting(operator)
        places = VALUES.get(name_of(self._model, operator.opcodeIndex), ())
        leaving = int(operator.outputs[0])
        if not places or self._graph.tensors[leaving].type != INT32:
            yield operator
            return
        operator = copy.copy(operator)
        operator.inputs = np.array(operator.inputs, np.int32)
        for place in places:
            entering = int(operator.inputs[place])
            if entering not in self._twins:
                yield self._cast(entering, self._twin(entering))
            operator.inputs[place] = self._twins[entering]
        floats = self._float_like(leaving)
        operator.outputs = np.array([floats], np.int32)
        yield operator
        yield self._cast(floats, leaving)

    def _selecting(self, operator: Any) -> Any:
        """A SELECT_V2 for a SELECT that means the same; the operator itself for any other.

        A SELECT whose condition is a vector selects whole rows, which SELECT_V2 does not.
        """
        if name_of(self._model, operator.opcodeIndex) != "SELECT":
            return operator
        condition, leaving = (
            self._shape(int(number)) for number in (operator.inputs[0], operator.outputs[0])
        )
        if condition not in ((), leaving):
            return operator
        new = new_operator(self._model, _SELECT, int(operator.inputs[0]), int(operator.outputs[0]))
        new.inputs = operator.inputs
        return _with_options(new, _SELECT)

    def _shape(self, tensor: int) -> tuple[int, ...]:
        shape = self._graph.tensors[tensor].shape
        return () if shape is None else tuple(int(size) for size in shape)

    def _twin(self, tensor: int) -> int:
        self._twins[tensor] = self._float_like(tensor)
        return self._twins[tensor]

    def _float_like(self, tensor: int) -> int:
        old, new = self._graph.tensors[tensor], schema.TensorT()
        new.name, new.type, new.hasRank = old.name + b"_float", FLOAT32, True
        new.shape, new.shapeSignature = old.shape, old.shapeSignature
        self._graph.tensors.append(new)
        return len(self._graph.tensors) - 1

    def _cast(self, entering: int, leaving: int) -> Any:
        operator = _with_options(new_operator(self._model, _CAST, entering, leaving), _CAST)
        operator.builtinOptions.inDataType = self._graph.tensors[entering].type
        operator.builtinOptions.outDataType = self._graph.tensors[leaving].type
        return operator


def _with_options(operator: Any, code: Code) -> Any:
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, code[2])
    operator.builtinOptions = getattr(schema, f"{code[2]}T")()
    return operator


def _drop_unused_codes(model: Any) -> None:
    """A firmware registers the operators that the file lists."""
    operators = [operator for graph in model.subgraphs for operator in graph.operators]
    used = sorted({operator.opcodeIndex for operator in operators})
    for operator in operators:
        operator.opcodeIndex = used.index(operator.opcodeIndex)
    model.operatorCodes = [model.operatorCodes[number] for number in used]
