"""What four bits a weight cost in ONNX: bytes, time and exact answers, by the way of rounding.

    python -m benchmarks.compare_int4 [sudoku9 maze9] [--count 400]

Prints a Markdown table a model: our files in fp32, int8 and int4; `MatMulNBits` in blocks, each
with the scale of its largest value; and, in a float32 file with the same weights rounded, other
ways to round: one scale a column of a matrix, by its largest value or by the least squared error,
scales of blocks of 32, one scale a column with errors compensated by the inputs of real rollouts
(GPTQ, arXiv 2210.17323), and the scales of our int4 with the nearest codes. Processor time of a
step of one puzzle on one thread, in turns. Exact answers with Wilson intervals (95 %), McNemar's
exact test against fp32.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from onnx import NodeProto, helper, numpy_helper

import trm_export as te
from benchmarks.compare_with_stock import step_times
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.exporters import onnx as exporter
from trm_export.exporters.calibration import real_samples
from trm_export.exporters.choices import Choices
from trm_export.exporters.export import build, format_named, plan
from trm_export.exporters.format import Job
from trm_export.exporters.onnx_convert import body_names
from trm_export.exporters.onnx_int4 import four_bits
from trm_export.exporters.onnx_int4_calibrate import following
from trm_export.exporters.onnx_observe import ActivationProbe, observe
from trm_export.exporters.onnx_products import Product, Uses, matrices, quantise
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.tasks import get_task
from trm_runtime import open_runner, solve
from trm_runtime.drivers.onnx_file import sealed
from trm_runtime.judging import exact, right_cells
from trm_runtime.parity.counts import mcnemar, wilson

Array = np.ndarray[Any, Any]

PRECISIONS = ("fp32", "int8", "int4")
SIZES = (32, 64, 128)  # of the blocks of `MatMulNBits`
ONE_CALL = 64
HEAD = (
    "\n| {name} | bytes | of int8, of fp32 | ms/step (of int8) | exact, n = {count} (95 %) "
    "| against fp32 | cells | mean steps |"
)
LEAST, MOST = -8, 7
TRIED = np.concatenate([sign * np.linspace(6, 10, 33) for sign in (-1, 1)])  # levels of a side


def rounded(values: Array, scale: Array) -> Array:
    """The nearest values of a grid of four bits."""
    return np.asarray(np.clip(np.rint(values / scale), LEAST, MOST) * scale)


def blocks_of(values: Array, size: int) -> Array:
    """``(K, N)`` -> ``(blocks, size, N)``, padded with zeros."""
    rows, columns = values.shape
    padded = np.zeros((-(-rows // size) * size, columns), np.float32)
    padded[:rows] = values
    return padded.reshape(-1, size, columns)


def by_largest(blocks: Array) -> Array:
    """The scale of each block and column, ``(blocks, 1, N)``, from its largest absolute value."""
    scale = np.abs(blocks).max(axis=1, keepdims=True) / MOST
    return np.where(scale > 0, scale, 1).astype(np.float32)


def by_error(blocks: Array) -> Array:
    """The same with the least squared error of those tried; a scale may be negative."""
    place = np.abs(blocks).argmax(axis=1)[:, None]
    largest = np.take_along_axis(blocks, place, axis=1)
    least, best = np.full(largest.shape, np.inf), np.ones_like(largest)
    for levels in TRIED:
        scale = np.where(largest != 0, largest / levels, 1)
        error = np.square(rounded(blocks, scale) - blocks).sum(axis=1, keepdims=True)
        least, best = np.minimum(error, least), np.where(error < least, scale, best)
    return best.astype(np.float32)


def in_blocks(values: Array, size: int, scales: Callable[[Array], Array]) -> Array:
    """A matrix with the scales of its blocks, rounded."""
    blocks = blocks_of(values, size)
    return rounded(blocks, scales(blocks)).reshape(-1, values.shape[1])[: len(values)]


def compensated(values: Array, inputs: Array) -> Array:
    """GPTQ: each row rounded, and its error made up for by the rows after it.

    ``inputs`` is the sum of the outer products of the rows that enter the matrix, (K, K).
    """
    inverse = following(inputs)
    left, scale = values.astype(np.float64), by_error(values[None])[0, 0]
    for row in range(len(values)):
        now = rounded(left[row], scale)
        error = (left[row] - now) / inverse[row, row]
        left[row + 1 :] -= np.outer(inverse[row, row + 1 :], error)
        left[row] = now
    return left


def nearest(values: Array) -> Array:
    """The scales of our int4, and the codes nearest to the matrix."""
    found, rows = four_bits(values), len(values)
    return found.codes_of(rows) * found.real_of(rows)


def stored(
    job: Job, path: Path, change: Callable[[Array, Array], Array], inputs: dict[str, Array]
) -> Path:
    """The float32 file with every matrix that int4 would store changed."""
    proto = exporter.convert(job)
    for name, weight in matrices(proto.graph, set(inputs)).items():
        new = change(weight.values, inputs[name]).astype(np.float32)
        weight.tensor.CopyFrom(numpy_helper.from_array(new, name))
    path.write_bytes(sealed(proto.SerializeToString()))
    return path


def n_bits(job: Job, path: Path, size: int) -> Path:
    """The file with `MatMulNBits`, the scale of a block from its largest value."""

    def multiply(product: Product, uses: Uses) -> list[NodeProto]:
        weight, (rows, columns) = product.weight, product.weight.tensor.dims
        blocks = blocks_of(weight.values, size)
        scale = by_largest(blocks)
        codes = (np.clip(np.rint(blocks / scale), LEAST, MOST) - LEAST).astype(np.uint8)
        codes = codes.transpose(2, 0, 1)
        packed = weight.store("bits", codes[:, :, ::2] | codes[:, :, 1::2] << 4)
        scales = weight.store("scales", scale[:, 0].T.ravel())
        both = product.out if len(product.parts) == 1 else f"{product.out}/both"
        nodes = [
            helper.make_node(
                "MatMulNBits", [product.x, packed, scales], [both], domain="com.microsoft",
                K=rows, N=columns, bits=4, block_size=size, accuracy_level=4,
            )
        ]  # fmt: skip
        if len(product.parts) > 1:
            sizes = weight.store("sizes", np.array([p.stop - p.start for p in product.parts]))
            outs = [part.out for part in product.parts]
            nodes.append(helper.make_node("Split", [both, sizes], outs, axis=-1))
        return nodes

    proto = exporter.convert(job)
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    quantise(proto.graph, body_names(job.model), multiply)
    path.write_bytes(sealed(proto.SerializeToString()))
    return path


WAYS: dict[str, Callable[[Array, Array], Array]] = {
    "naive: one scale a column, its largest value": lambda x, _: in_blocks(x, len(x), by_largest),
    "one scale a column, least error": lambda x, _: in_blocks(x, len(x), by_error),
    "one scale a column, calibrated (GPTQ)": compensated,
    "blocks of 32, largest value": lambda x, _: in_blocks(x, 32, by_largest),
    "blocks of 32, least error": lambda x, _: in_blocks(x, 32, by_error),
    "as int4, but the nearest codes": lambda x, _: nearest(x),
}
"""Ways to round a matrix, given what enters it."""


def files_of(model: Any, name: str, folder: Path) -> tuple[dict[str, Path], dict[str, Path]]:
    """The files that are timed, and those that only show what an answer is worth."""
    shared, kind, puzzles = Shared(model), format_named("onnx"), probe_puzzles(model)
    timed = {precision: folder / f"{name}-{precision}.onnx" for precision in PRECISIONS}
    for precision, path in timed.items():
        build(plan(model, puzzles, kind, Choices(precision), shared), kind, path)
    job = plan(model, puzzles, kind, shared=shared)
    for size in SIZES:
        path = folder / f"{name}-{size}.onnx"
        timed[f"`MatMulNBits`, blocks of {size}"] = n_bits(job, path, size)
    inputs = observe(map(ActivationProbe(job).activations, real_samples(job)), moments=True).moments
    others = dict[str, Path]()
    for number, (way, change) in enumerate(WAYS.items()):
        others[way] = stored(job, folder / f"{name}-{number}.onnx", change, inputs)
    return timed, others


def table(name: str, count: int, folder: Path) -> None:
    """Prints the table of a shipped model."""
    timed, others = files_of(te.load(shipped_checkpoint(name)), name, folder)
    puzzles = get_task(name).puzzles("test", None, count)
    spent, known = step_times(timed.values(), puzzles), None
    print(HEAD.format(name=name, count=count) + "\n|" + "---|" * HEAD.count("|", 2))
    for way, path in {**timed, **others}.items():
        solution = solve(open_runner(path), puzzles.inputs, batch_size=ONE_CALL)
        solved = exact(solution.answers, puzzles.targets)
        known = solved if known is None else known
        cells = right_cells(solution.answers, puzzles.targets).mean()
        cost = "- | - | -" if way in others else cost_of(path, timed, spent)
        print(
            f"| {way} | {cost} | {accuracy(solved, known)} | {cells:.2%} | "
            f"{solution.steps.mean():.2f} |",
            flush=True,
        )


def cost_of(path: Path, files: dict[str, Path], spent: dict[Path, float]) -> str:
    """Bytes, their share of int8 and fp32, and the time of a step and its share of int8's."""
    size, eight = path.stat().st_size, files["int8"]
    shares = [size / files[one].stat().st_size for one in ("int8", "fp32")]
    return (
        f"{size:,} | {shares[0]:.2f}, {shares[1]:.2f} | "
        f"{spent[path]:.2f} ({spent[path] / spent[eight]:.2f})"
    )


def accuracy(solved: Array, known: Array) -> str:
    """Exact answers with their interval, and the puzzles lost and won."""
    hits, n = int(solved.sum()), len(solved)
    low, high = wilson(hits, n)
    lost, won = int((known & ~solved).sum()), int((solved & ~known).sum())
    return (
        f"{hits / n:.2%} ({low * 100:.1f}-{high * 100:.1f}) | {lost} lost, {won} won, "
        f"p = {mcnemar(lost, won):.2g}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", default=["sudoku9", "maze9"])
    parser.add_argument("--count", type=int, default=400)
    options = parser.parse_args()
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            table(name, options.count, Path(folder))


if __name__ == "__main__":
    main()
