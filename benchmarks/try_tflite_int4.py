"""What LiteRT makes of four-bit weights: an int8 file of ours, edited to INT4, one scale an output.

    python -m benchmarks.try_tflite_int4 [sudoku9 maze9]

Prints a line a file: bytes, processor time of a step on one thread (files in turns), and the least
forced cosine on six validation puzzles. Scales are those of the least squared error.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import trm_export as te
from benchmarks.compare_int4 import by_error, rounded
from benchmarks.compare_with_stock import step_times
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.exporters.choices import Choices
from trm_export.exporters.export import build, format_named, plan
from trm_export.exporters.keep_search import least_cosine
from trm_export.exporters.kept_layers import layers
from trm_export.exporters.onnx_convert import body_names
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.exporters.tflite_flatbuffer import INT8, dump, load, schema
from trm_export.exporters.tflite_keep import nearest_form, real_values
from trm_runtime import open_runner
from trm_runtime.drivers.tflite_file import append_contract, read_contract
from trm_runtime.parity import check

Array = np.ndarray[Any, Any]


def packed(codes: Array) -> Array:
    """Four bits each, the first of two in the lower ones; (n,) -> (n / 2,) uint8."""
    both = np.append(codes, np.zeros(codes.size % 2)).astype(np.int8) & 15
    return (both[::2] | both[1::2] << 4).astype(np.uint8)


def in_four_bits(path: Path, to: Path, known: dict[str, Array]) -> None:
    """The file with the matrices that are among the known ones in INT4."""
    model = load(path.read_bytes())
    scales = dict[int, Array]()
    for tensor in [tensor for graph in model.subgraphs for tensor in graph.tensors]:
        multiplied = tensor.type == INT8 and len(tensor.quantization.scale) > 1  # not embeddings
        values = real_values(model, tensor) if multiplied else None
        exact = None if values is None else nearest_form(values, known)[1]
        if tensor.buffer not in scales and exact is not None:
            scale = by_error(exact.T[None])[0, 0]
            scales[tensor.buffer] = np.abs(scale)
            codes = np.rint(rounded(exact, np.abs(scale)[:, None]) / np.abs(scale)[:, None])
            model.buffers[tensor.buffer].data = packed(codes.ravel())
        if tensor.buffer in scales:
            tensor.type, grid = schema.TensorType.INT4, tensor.quantization
            grid.scale, grid.quantizedDimension = scales[tensor.buffer], 0
    to.write_bytes(dump(model))
    append_contract(to, read_contract(path))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="*", default=["sudoku9", "maze9"])
    for name in parser.parse_args().models:
        model, kind = te.load(shipped_checkpoint(name)), format_named("tflite")
        shared, puzzles = Shared(model), probe_puzzles(model)
        known = {n: x for n, x in layers(model).items() if n in body_names(model)}
        with tempfile.TemporaryDirectory() as folder:
            eight, four = (Path(folder, f"{name}-{kind}.tflite") for kind in ("int8", "int4"))
            build(plan(model, puzzles, kind, Choices("int8"), shared), kind, eight)
            in_four_bits(eight, four, known)
            spent = step_times([eight, four], puzzles)
            for path in (eight, four):
                result = check(shared.golden(puzzles), open_runner(path), steps_only=True)
                print(
                    f"{path.name:20} {path.stat().st_size:9,} bytes  {spent[path]:6.2f} ms/step  "
                    f"cosine {least_cosine(result):.4f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
