"""The operators of tflite-micro: which of a flatbuffer it lacks, and how a firmware adds them.

As its sources and its Python package say, only for operators that our graphs have. Runs nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ai_edge_litert import schema_py_generated as schema

NAMES = {value: name for name, value in vars(schema.BuiltinOperator).items() if type(value) is int}
"""Number of a built-in operator -> its name."""
KINDS = {v: k.lower() for k, v in vars(schema.TensorType).items() if isinstance(v, int)}
"""Number of a dtype -> its name."""

OPERATORS = {
    "ADD", "BATCH_MATMUL", "BROADCAST_TO", "CAST", "CONCATENATION", "DEQUANTIZE", "ELU",
    "EQUAL", "EXP", "EXPAND_DIMS", "FILL", "FLOOR_MOD", "FULLY_CONNECTED", "GATHER", "GREATER",
    "GREATER_EQUAL", "HARD_SWISH", "LEAKY_RELU", "LESS", "LESS_EQUAL", "LOG", "LOGICAL_AND",
    "LOGICAL_NOT", "LOGICAL_OR", "LOGISTIC", "MAXIMUM", "MEAN", "MINIMUM", "MUL", "NEG",
    "NOT_EQUAL", "PACK", "PAD", "QUANTIZE", "RELU", "RESHAPE", "RSQRT", "SELECT_V2", "SHAPE",
    "SLICE", "SOFTMAX", "SPLIT", "SQRT", "SQUARE", "SQUARED_DIFFERENCE", "SQUEEZE",
    "STRIDED_SLICE", "SUB", "SUM", "TANH", "TRANSPOSE", "UNPACK", "WHILE", "ZEROS_LIKE",
}  # fmt: skip
"""Those of tflite-micro that our graphs can have; any other counts as missing."""

VALUES = {"SELECT_V2": (1, 2), "FLOOR_MOD": (0, 1)}
"""Operators whose values may not be int32: the inputs that are values."""

_OWN = {"BATCH_MATMUL": "BatchMatMul"}  # names that are not those of the operator


def missing(model: Any) -> tuple[str, ...]:
    """The operators of a `ModelT`, with dtypes where these matter, that tflite-micro lacks."""
    found = (
        lacking
        for graph in model.subgraphs
        for operator in graph.operators
        for lacking in _missing(model, graph, operator)
    )
    return tuple(sorted(set(found)))


def resolver_calls(names: Iterator[str] | tuple[str, ...]) -> tuple[str, ...]:
    """The methods of MicroMutableOpResolver that register these operators."""
    return tuple(
        f"Add{_OWN.get(name, ''.join(word.capitalize() for word in name.split('_')))}"
        for name in sorted(set(names))
    )


def operator_names(model: Any) -> tuple[str, ...]:
    """The operators that a `ModelT` has, each once, by name."""
    codes = {operator.opcodeIndex for graph in model.subgraphs for operator in graph.operators}
    return tuple(sorted({name_of(model, code) for code in codes}))


def name_of(model: Any, code: int) -> str:
    """The name of an operator code of a `ModelT`."""
    found = model.operatorCodes[code]
    number = max(found.builtinCode, found.deprecatedBuiltinCode)
    return NAMES.get(number, f"operator {number}")


def _missing(model: Any, graph: Any, operator: Any) -> Iterator[str]:
    name = name_of(model, operator.opcodeIndex)
    kinds = [KINDS[graph.tensors[n].type] if n >= 0 else "" for n in operator.inputs]
    if name not in OPERATORS:
        yield name
    elif name in VALUES and "int32" in (kinds[n] for n in VALUES[name]):
        yield f"{name} of int32"
    elif name == "FULLY_CONNECTED" and kinds[0] != kinds[1]:
        yield f"{name} of {kinds[0]} by {kinds[1]}"
    elif name == "DEQUANTIZE" and kinds[0] == "float16":
        yield f"{name} of float16"
