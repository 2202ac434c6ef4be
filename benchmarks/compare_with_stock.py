"""What Keras, tf2onnx and ONNX Runtime's quantizer make of a shipped model without trm-export.

    python benchmarks/compare_with_stock.py [sudoku9] [--count 1000]

Prints two Markdown tables. The first has what each exporter does with the model: its file, or the
first sentence of its error. `keras.Model.export` is called, because `TRM.export` is trm-export.
The second has exact answers with Wilson intervals (95 %), McNemar's exact test against the float32
file, and the processor time of a step of one puzzle on one thread, files in turns: ONNX Runtime's
`quantize_dynamic` of that file, and trm-export's own int8.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


import trm_export as te
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.tasks import PuzzleSet, get_task
from trm_runtime import open_runner, solve
from trm_runtime.drivers.onnx_file import seal
from trm_runtime.judging import exact
from trm_runtime.parity.counts import mcnemar, wilson
from trm_runtime.runner import initial_carry

ONE_CALL = 64  # puzzles of a call, where it is more than one
TIMED = 100  # steps of each file


def attempt(name: str, write: Callable[[Path], object], path: Path) -> str:
    """A row: what an exporter wrote, or why it did not."""
    started = time.monotonic()
    try:
        write(path)
    except Exception as error:  # any error of any exporter is the result
        return f"| {name} | refuses: {_first_sentence(error)} |"
    return f"| {name} | {time.monotonic() - started:.0f} s; {_ports(path)} |"


def _first_sentence(error: Exception) -> str:
    """Also of an error that begins with where in the code it was raised."""
    lines = [line.strip() for line in str(error).splitlines()]
    text = next(line for line in lines if line and line != "in user code:")
    return f"{text.removeprefix('ValueError: ').split('. ')[0].split(' {')[0].rstrip('.')}"


def _ports(path: Path) -> str:
    """The tensors and the metadata of an ONNX file, as it names them."""
    import onnx

    model = onnx.load(path)
    inputs = [f"`{tensor.name}`" for tensor in model.graph.input]
    outputs = [f"`{tensor.name}`" for tensor in model.graph.output]
    return (
        f"inputs {', '.join(inputs)}; outputs {outputs[0]} to {outputs[-1]}; "
        f"{len(model.metadata_props)} entries of metadata"
    )


def exporters(model: Any, folder: Path) -> list[str]:
    """A row for each exporter, first as its manual says, then with a signature written by hand."""
    import keras
    import tensorflow as tf
    import tf2onnx

    batch = {"inputs": tf.ones((1, model.seq_len), "int32")}
    carry = model.initial_carry(batch)
    model(carry, batch, training=False)

    def many(kind: Any) -> Any:
        def spec(tensor: Any) -> Any:
            return kind(shape=(None, *tensor.shape[1:]), dtype=tensor.dtype.name)

        return tf.nest.map_structure(spec, [carry, batch])

    specs = many(tf.TensorSpec)
    step = tf.function(lambda carry, batch: model(carry, batch), input_signature=specs)
    keras_export = partial(keras.Model.export, model, verbose=False)
    by_hand = partial(keras_export, input_signature=many(keras.InputSpec))
    ways: list[tuple[str, Callable[[Path], object]]] = [
        ("`keras.Model.export`, as it is", partial(keras_export, format="onnx")),
        ("the same to SavedModel, signature by hand", partial(by_hand, format="tf_saved_model")),
        ("the same to LiteRT, signature by hand", partial(by_hand, format="litert")),
        ("the same to ONNX, signature by hand", partial(by_hand, format="onnx")),
        (
            "`tf2onnx.convert.from_keras`",
            lambda path: tf2onnx.convert.from_keras(model, output_path=str(path)),
        ),
        (
            "`tf2onnx.convert.from_function`, signature by hand",
            lambda path: tf2onnx.convert.from_function(step, specs, output_path=str(path)),
        ),
    ]
    suffix = {"litert": ".tflite", "tf_saved_model": ""}
    rows = []
    for index, (name, write) in enumerate(ways):
        kind = write.keywords["format"] if isinstance(write, partial) else "onnx"
        rows.append(attempt(name, write, folder / f"{index}{suffix.get(kind, '.onnx')}"))
    return rows


def answered(path: Path, puzzles: PuzzleSet, rows: int) -> tuple[Any, float]:
    """Which puzzles the file solves, (N,) bool, and its mean steps, by the driver's own loop."""
    solution = solve(open_runner(path), puzzles.inputs, batch_size=rows)
    return exact(solution.answers, puzzles.targets), float(solution.steps.mean())


def step_times(paths: Collection[Path], puzzles: PuzzleSet) -> dict[Path, float]:
    """Median milliseconds of processor time a step."""
    runners = {path: open_runner(path, 1) for path in paths}
    spent: dict[Path, list[float]] = {path: [] for path in paths}
    for _ in range(TIMED):
        for path, runner in runners.items():
            carry = initial_carry(runner.contract, 1)
            started = time.process_time()
            runner.step({"inputs": puzzles.inputs[:1]}, carry)
            spent[path].append(time.process_time() - started)
    return {path: 1000 * statistics.median(times) for path, times in spent.items()}


def quantized(model: Any, puzzles: PuzzleSet, folder: Path) -> list[str]:
    """A row for the float32 file, and for each int8 file at one and at several puzzles a call."""
    from onnxruntime.quantization import quantize_dynamic

    plain, stock, ours = (folder / f"{name}.onnx" for name in ("plain", "stock", "ours"))
    te.export(model, plain)
    te.export(model, ours, precision="int8")
    quantize_dynamic(plain, stock)
    seal(stock)  # the driver refuses a file that another tool rewrote
    names = {plain: "fp32", stock: "`quantize_dynamic`", ours: "trm-export, int8"}
    times = step_times(names, puzzles)
    known, rows = None, []
    for path, name in names.items():
        for at_once in (1, ONE_CALL):
            solved, steps = answered(path, puzzles, at_once)
            known = solved if known is None else known
            rows.append(_row(f"{name}, {at_once} a call", path, times[path], solved, known, steps))
    return rows


def _row(name: str, path: Path, ms: float, solved: Any, known: Any, steps: float) -> str:
    hits, n = int(solved.sum()), len(solved)
    low, high = wilson(hits, n)
    lost, won = int((known & ~solved).sum()), int((solved & ~known).sum())
    return (
        f"| {name} | {path.stat().st_size / 1e6:.2f} | {hits / n:.1%} "
        f"({low * 100:.1f}-{high * 100:.1f}) | {lost} lost, {won} won, p = "
        f"{mcnemar(lost, won):.2g} | {steps:.2f} | {ms:.2f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint", nargs="?", default="sudoku9")
    parser.add_argument("--count", type=int, default=1000)
    options = parser.parse_args()
    model = te.load(shipped_checkpoint(options.checkpoint))
    puzzles = get_task(options.checkpoint).puzzles("test", None, options.count)
    with tempfile.TemporaryDirectory() as folder:
        print("| exporter | result |\n|---|---|", *exporters(model, Path(folder)), sep="\n")
        print(f"\n| file | MB | exact, n = {len(puzzles)} | against fp32 | mean steps | ms/step |")
        print("|---|---|---|---|---|---|", *quantized(model, puzzles, Path(folder)), sep="\n")


if __name__ == "__main__":
    main()
