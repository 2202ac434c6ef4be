"""Smaller precisions of an ONNX graph: float16 weights, and dynamic and static int8.

Works on `onnx.GraphProto` in place, bodies of loops included; a weight that many nodes share is
stored once. Inputs, outputs, carry and everything between the multiplications stay float32. The
int8 precisions quantise the multiplications of the reasoning stack; the heads, a hundredth of the
weights, compute answers and halting scores and stay float32. Everything is QDQ of ONNX's own
operators, which onnxruntime fuses into 8-bit kernels and every other engine can compute too.

**Weights** are int8, symmetric, one scale an output channel, and the absolute values of two that
lie beside each other (rows 2k and 2k + 1 of a column) add up to 128 at most. onnxruntime multiplies
uint8 activations by int8 weights, and x86-64 without VNNI adds the products of such a pair in 16
bits that saturate (onnxruntime.ai, "Quantize ONNX models", on reduce_range): 255 x 128 fits. Tried
with `MatMulInteger` on an emulated Haswell (qemu-x86_64, K of 6 to 512, 1 to 82 rows of 255): exact
with such pairs, wrong with the same weights moved on by a row. Least forced cosine on a CPU with
AVX2 alone, sudoku4: 0.985 with any weights up to 127, 0.9968 with none above 64. The pairs are 1.43
times finer than that: on sudoku9, 24 puzzles, 0.99892 instead of 0.99848, and 0.99898 with any
weights up to 127, on a CPU with VNNI.

**Activations** have heavy tails where they enter a `down` matrix: with one scale for a whole tensor
(onnxruntime's own `quantize_dynamic`) sudoku9 falls to a cosine of 0.941. Dynamic int8 therefore
takes one scale a row there, and makes the channels similar in size; see `smoothing`. What a norm
leaves has no such tails, and one scale that real steps show; see `onnx_int8_calibrate`. Either way
a row's result does not depend on the other rows. Static int8 has only one scale; see `static`.

**Time** of dynamic int8 as a multiple of `quantize_dynamic`, which looks for no rows (per channel,
batch 1, one thread, AVX-512 with VNNI, onnxruntime 1.32, processor time, in turns):

| | paper-sudoku-mlp | sudoku9 |
|---|---|---|
| a division a row, gate and up cut out of one product | 1.28 | 1.47 |
| a reciprocal a row and a multiplication | 1.25 | 1.41 |
| gate and up as two products of the same 8 bits | 1.17 | 1.33 |
| the scale of `up` multiplied after `down` (`Rows`) | 1.14 | 1.29 |
| rows of a transposed tensor measured along its last axis | 1.08 | 1.27 |
| float32 | 2.84 | 1.85 |

The same on a Xeon with VNNI and AMX, medians of 60 and of 600 steps:

| | paper-sudoku-mlp | sudoku9 |
|---|---|---|
| the last line above | 1.05 | 1.17 |
| one scale from real steps where there are no heavy tails | 0.95 | 1.05 |
| the least divisor of a row by `Clip` instead of `Add` | **0.94** | 1.01-1.04 |
| three of four matrices of sudoku9 (`onnx_int8_calibrate._NOISE`) | **0.94** | **1.00-1.08** |
| float32 | 3.00 | 1.89 |

In batches of 64 sudoku9 takes 0.96 (1.13 with a scale a row everywhere). With one scale everywhere
a step of sudoku9 would take 0.86. Tried in turns, and not in it:

- `QuantizeLinear` with a scale a row instead of a product with its reciprocal: 4 to 6 % of the time
  of a step, but OpenVINO refuses scales that are computed.
- Calibrated scales of whole rows where the rows are channels (the `down` of token mixing): 3 % a
  matrix, but a row that is larger than those of calibration is clipped, and the worst cosine of 200
  puzzles falls to 0.994.
- Norms that onnxruntime would fuse (`SimplifiedLayerNormalization`): 1 to 3 % on 1.32, but 4 %
  slower on 1.23. `LpNormalization`: 1 %, without the epsilon. `ReduceL2` and `ReduceSumSquare` in
  norms: nothing.
- `down` of token mixing in float: nothing, because its products are as short as the search.
- The larger of maximum and negative minimum instead of the largest absolute value: 1 %.
- `MatMulNBits`: twice the time.
- Codes moved by what enters a matrix, as int4 has them (GPTQ): at the same speed the median of
  1 - cosine falls from 3.4e-4 to 2.9e-4, but the worst row does not (relative L2 of 5.5e-2 instead
  of 4.5e-2, on a recording of 2,000 puzzles), and an export takes ten times as long.

`python benchmarks/compare_with_stock.py` shows time and answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import GraphProto, NodeProto, TensorProto, helper

from trm_export.exporters.calibration import Grids, TensorRange
from trm_export.exporters.onnx_graph import replace
from trm_export.exporters.onnx_products import (
    Columns,
    Multiply,
    Product,
    Uses,
    Weight,
    matrices,
)

Array = np.ndarray[Any, Any]

_LARGEST_PAIR = 127  # of quantised weights; rounding adds at most one
_ROW_LEVELS = 127  # of an activation on either side of 128, where every row has its scale
_SMALLEST_ROW = 1e-30  # least divisor of a row, for rows of zeros
_LEAST_HALVED = 256  # least elements of a matrix that is stored in float16


def halve(graph: GraphProto, names: set[str]) -> None:
    """Stores the named matrices as float16, with a cast back to float32.

    An engine casts constants once, when it opens the file. A value that is too large becomes
    infinite, which fails the gate of the precision.
    """
    casts = []
    for weight in matrices(graph, names).values():
        if weight.values.size >= _LEAST_HALVED:
            with np.errstate(over="ignore"):
                half = weight.store("half", weight.values.astype(np.float16))
            casts.append(helper.make_node("Cast", [half], [weight.name], to=TensorProto.FLOAT))
            weight.home.initializer.remove(weight.tensor)
    replace(graph, [*casts, *graph.node])


def quantised_weight(values: Array) -> tuple[Array, Array]:
    """``(K, N)`` float32 -> int8 of the same shape and the scale ``(N,)`` of each column."""
    sizes = np.abs(values)
    sizes = np.concatenate([sizes, np.zeros_like(sizes[: len(sizes) % 2])])
    scale = (sizes[0::2] + sizes[1::2]).max(axis=0) / _LARGEST_PAIR
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.rint(values / scale).astype(np.int8), scale


Store = Callable[[Weight, Columns], list[str]]  # see `stored_in_eight_bits`


def stored_in_eight_bits(weight: Weight, part: Columns) -> list[str]:
    """The names of int8 integers, scales and zero points of some columns of a matrix."""
    integers, scales = quantised_weight(weight.values)
    arrays = {"int8": integers, "scale": scales, "zero": np.zeros(scales.shape, np.int8)}
    return [weight.columns(ending, array, part) for ending, array in arrays.items()]


class Rows:
    """Dynamic: rows in 8 bits, divided by their largest absolute value, which is multiplied later.

    The scale of `up` in ``down(silu(gate) * up)`` is multiplied after ``down``: a row that is
    divided by its own largest value loses any scale.

    Args:
        store: how a matrix is stored.
        grids: of activations that have one calibrated scale instead, by the matrix they enter.
    """

    def __init__(self, store: Store = stored_in_eight_bits, grids: Grids | None = None) -> None:
        self._store = store
        self._grids = grids or {}
        self._due: dict[str, str] = {}  # value -> the scale that its rows still need

    def __call__(self, product: Product, uses: Uses) -> list[NodeProto]:
        """The nodes of a product."""
        x, out, weight = product.x, product.out, product.weight
        if weight.name in self._grids:
            return on_grid(product, self._grids[weight.name], self._store)
        scale, unit = f"{out}/some", f"{out}/x"
        nodes = self._scaled(product, uses, scale, unit)
        nodes += rounded(product, unit, "row", np.float32(1 / _ROW_LEVELS), np.uint8(128))
        real = nodes[-1].output[0]
        if x in self._due:
            nodes.append(helper.make_node("Mul", [scale, self._due[x]], [f"{out}/both"]))
            scale = f"{out}/both"
        for part in product.parts:
            plain = f"{part.out}/y"
            nodes += multiplied(self._store(weight, part), real, plain)
            if not self._later(part, plain, scale, uses):
                nodes.append(helper.make_node("Mul", [plain, scale], [part.out]))
        return nodes

    def _scaled(self, product: Product, uses: Uses, scale: str, unit: str) -> list[NodeProto]:
        """``x`` divided by its rows' largest values.

        Where they are those of a transposed tensor, onnxruntime would look for them before it
        transposes, along an axis on which that takes ten times as long. It cannot do so across a
        reshape, which costs nothing.
        """
        x, out, weight = product.x, product.out, product.weight
        same, size, most, inverse = (f"{out}/{s}" for s in ("same", "abs", "max", "inverse"))
        nodes, least = [], weight.store("least", np.float32(_SMALLEST_ROW))
        if rank := uses.transposed(x):
            shape = weight.store("shape", np.array([0] * (rank - 1) + [-1]))
            nodes, x = [helper.make_node("Reshape", [x, shape], [same])], same
        return [
            *nodes,
            helper.make_node("Abs", [x], [size]),
            helper.make_node("ReduceMax", [size], [most], axes=[-1], keepdims=1),
            helper.make_node("Clip", [most, least], [scale]),
            helper.make_node("Reciprocal", [scale], [inverse]),
            helper.make_node("Mul", [x, inverse], [unit]),
        ]

    def _later(self, part: Columns, plain: str, scale: str, uses: Uses) -> bool:
        """Leaves the scale to a later product, if the part only enters one by a multiplication."""
        by = uses.only(part.out, "Mul")
        down = uses.only(by.output[0], "MatMul") if by else None
        if by is None or down is None or not uses.is_product(down) or by.output[0] != down.input[0]:
            return False
        by.input[:] = [plain if name == part.out else name for name in by.input]
        by.output[0] = down.input[0] = f"{by.output[0]}/unscaled"
        self._due[by.output[0]] = scale
        return True


def static(ranges: Grids) -> Multiply:
    """8-bit multiplication with one calibrated scale a tensor.

    Where a tensor has large outliers, so that most values get few levels (`TensorRange.fine`), the
    rounding error of the first product is rounded again, 255 times finer, and multiplied by the
    same matrix: 16 bits of activation in two 8-bit products. Least forced cosine on sudoku9: 0.82
    with one product everywhere, 0.96 with channels scaled as in SmoothQuant (arXiv 2211.10438,
    strength 0.75), 0.9988 with two products.
    """

    def multiply(product: Product, uses: Uses) -> list[NodeProto]:
        x, weight, grid = product.x, product.weight, ranges[product.weight.name]
        scale, zero = np.float32(grid.scale), np.uint8(grid.zero_point)
        if not grid.fine:
            return on_grid(product, grid, stored_in_eight_bits)
        nodes = rounded(product, x, "in", scale, zero)
        real = nodes[-1].output[0]
        seen, rest = f"{product.out}/seen", f"{product.out}/rest"
        nodes += [
            helper.make_node("DequantizeLinear", nodes[-1].input, [seen]),
            helper.make_node("Sub", [x, seen], [rest]),
            *rounded(product, rest, "rest", np.float32(scale / 255), np.uint8(128)),
        ]
        fine = nodes[-1].output[0]
        for part in product.parts:
            first, second = f"{part.out}/coarse", f"{part.out}/fine"
            stored = stored_in_eight_bits(weight, part)
            nodes += multiplied(stored, real, first) + multiplied(stored, fine, second)
            nodes.append(helper.make_node("Add", [first, second], [part.out]))
        return nodes

    return multiply


def on_grid(product: Product, grid: TensorRange, store: Store) -> list[NodeProto]:
    """The nodes of a product whose activation has one calibrated scale."""
    nodes = rounded(product, product.x, "in", np.float32(grid.scale), np.uint8(grid.zero_point))
    real = nodes[-1].output[0]
    for part in product.parts:
        nodes += multiplied(store(product.weight, part), real, part.out)
    return nodes


def rounded(
    product: Product, x: str, kind: str, scale: np.float32, zero: np.uint8
) -> list[NodeProto]:
    """``x`` in 8 bits, and back in float32; the last node gives it."""
    grid = [
        product.weight.store(f"{kind}_scale", scale),
        product.weight.store(f"{kind}_zero", zero),
    ]
    q, real = f"{product.out}/{kind}_q", f"{product.out}/{kind}_dq"
    return [
        helper.make_node("QuantizeLinear", [x, *grid], [q]),
        helper.make_node("DequantizeLinear", [q, *grid], [real]),
    ]


def multiplied(stored: list[str], x: str, out: str) -> list[NodeProto]:
    """``x @ Q(weight)``, given the names of integers, scales and zero points."""
    return [
        helper.make_node("DequantizeLinear", stored, [f"{out}/w"], axis=1),
        helper.make_node("MatMul", [x, f"{out}/w"], [out]),
    ]
