"""Operators of TensorFlow that tf2onnx does not have, or writes otherwise than a step needs."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper


def _select(ctx: Any, node: Any, name: str, args: Any) -> None:
    """A select stays a select: tf2onnx's own `c * x + (1 - c) * y` lets a stale NaN through."""
    node.type = "Where"


def _erfc(ctx: Any, node: Any, name: str, args: Any) -> None:
    """``1 - erf(x)``, in the exact GELU of Keras."""
    (x,), made = node.input, _Replacement(ctx, node)
    made.end("Sub", made.number(1), made.value("Erf", x))


def _expm1(ctx: Any, node: Any, name: str, args: Any) -> None:
    """``tanh(x / 2) * (exp(x) + 1)``; loses no digits near 0."""
    (x,), made = node.input, _Replacement(ctx, node)
    half = made.value("Tanh", made.value("Mul", x, made.number(0.5)))
    made.end("Mul", half, made.value("Add", made.value("Exp", x), made.number(1)))


def _log1p(ctx: Any, node: Any, name: str, args: Any) -> None:
    """``log(u) * (x / (u - 1))`` with ``u = 1 + x``; loses no digits near 0.

    The quotient is 0 / 0 where u is 1, and the result x; it is 1 for large numbers and infinity.
    """
    (x,), made = node.input, _Replacement(ctx, node)
    one = made.number(1)
    u = made.value("Add", x, one)
    quotient = made.value("Div", x, made.value("Sub", u, one))
    large = made.value("Greater", x, made.number(1000), dtype=TensorProto.BOOL)
    product = made.value("Mul", made.value("Log", u), made.value("Where", large, one, quotient))
    made.end("Where", made.value("Equal", u, one, dtype=TensorProto.BOOL), x, product)


def _floor_mod(ctx: Any, node: Any, name: str, args: Any) -> None:
    """ONNX's own `Mod` of integers; the quotient that tf2onnx takes is rounded towards 0."""
    from tf2onnx.onnx_opset.math import FloorMod

    if _is_float(ctx, node):
        FloorMod.version_7(ctx, node)
    else:
        node.type = "Mod"


def _floor_divide(ctx: Any, node: Any, name: str, args: Any) -> None:
    """``(x - x mod y) / y`` of integers, whose quotient is rounded towards 0 in ONNX."""
    from tf2onnx.onnx_opset.math import FloorDiv

    if _is_float(ctx, node):
        FloorDiv.version_6(ctx, node)
        return
    (x, y), made = node.input, _Replacement(ctx, node)
    made.end("Div", made.value("Sub", x, made.value("Mod", x, y)), y)


def _truncate_mod(ctx: Any, node: Any, name: str, args: Any) -> None:
    """The remainder that has the sign of the dividend, as in C: ONNX's `Mod` with ``fmod``."""
    node.type = "Mod"
    node.set_attr("fmod", 1)


def _is_float(ctx: Any, node: Any) -> bool:
    dtype = ctx.get_dtype(node.input[0])
    return helper.tensor_dtype_to_np_dtype(dtype).kind not in "iu"


class _Replacement:
    """Nodes that take the place of one node."""

    def __init__(self, ctx: Any, node: Any) -> None:
        self._ctx, self._name, self._outputs = ctx, node.name, node.output
        self._shapes, self._dtypes = node.output_shapes, node.output_dtypes
        ctx.remove_node(node.name)

    def number(self, value: float) -> str:
        """A constant of the dtype of what is replaced."""
        dtype = helper.tensor_dtype_to_np_dtype(self._dtypes[0])
        return str(self._ctx.make_const(self._new_name(), np.array(value, dtype)).output[0])

    def value(self, kind: str, *inputs: str, dtype: int | None = None) -> str:
        """The result of a node, with the shape, and unless given the dtype, of what is replaced."""
        dtypes = self._dtypes if dtype is None else [dtype]
        made = self._ctx.make_node(
            kind, inputs, name=self._new_name(), shapes=self._shapes, dtypes=dtypes
        )
        return str(made.output[0])

    def end(self, kind: str, *inputs: str) -> None:
        """The node that gives the result."""
        self._ctx.make_node(
            kind, inputs, name=self._name, outputs=self._outputs, shapes=self._shapes,
            dtypes=self._dtypes,
        )  # fmt: skip

    def _new_name(self) -> str:
        from tf2onnx.utils import make_name

        return str(make_name(self._name))


HANDLERS: dict[str, tuple[Any, list[Any]]] = {
    "SelectV2": (_select, []),
    "Erfc": (_erfc, []),
    "Expm1": (_expm1, []),
    "FloorDiv": (_floor_divide, []),
    "FloorMod": (_floor_mod, []),
    "Log1p": (_log1p, []),
    "TruncateMod": (_truncate_mod, []),
}
"""As `process_tf_graph` of tf2onnx takes them."""
