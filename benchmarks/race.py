"""Our files against the official loop, a stock quantizer and the peak of the machine, in turns.

    python benchmarks/race.py [sudoku9 | paper-sudoku-mlp | ...] [--rows 1,64] [--threads 1,2]

Needs PyTorch, for the official loop: the network of `tests/importing/official.py` with the weights
of the checkpoint; it always runs every step. Prints a page: milliseconds a step (processor time and
wall clock, median and the 10th to 90th percentile of `--rounds` turns), and what share the 10th
percentile has of the peak, which large matrix products of that dtype reach beside it. Of a trained
checkpoint also the exact answers (Wilson, 95 %), mean steps and puzzles a second; a
preset has random weights. Each number of threads has a process of its own. Stop other work first.
With --page the tables go into docs/performance.md. A file with a fixed batch, such as a `.tflite`
file of one row, computes more rows in several calls.
"""

from __future__ import annotations

import argparse
import copy
import datetime
import importlib.metadata
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[1]))

import trm_export as te
from benchmarks.measure_thinking import between_markers
from tests.importing.official import Official
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.exporters.choices import Choices, target_name
from trm_export.exporters.export_all import export_all
from trm_export.exporters.probe import probe_puzzles
from trm_export.importing.layout import places
from trm_export.model.presets import preset
from trm_export.tasks import PuzzleSet, get_task
from trm_runtime import initial_carry, open_runner, solve
from trm_runtime.doctor import cpu_model
from trm_runtime.drivers.onnx_file import seal
from trm_runtime.message_text import counted
from trm_runtime.parity.counts import wilson

PAGE = Path(__file__).resolve().parent.parent / "docs" / "performance.md"
TRAINED = ("sudoku4", "sudoku9")
PEAK_SIZE, PEAK_TIMES = 1024, 15
WARM_UP = 2

Step = Callable[[], object]


@dataclass(frozen=True)
class Racer:
    """One way to compute a step.

    `opened(threads)` has `step(rows)`, which makes a call, and `answers(puzzles)`: the answers
    (N, S) and the steps (N,) of whole puzzles.
    """

    name: str
    dtype: str  # whose peak it is compared with
    opened: Callable[[int], Any]


class Torch:
    """The official loop."""

    def __init__(self, network: Any, dtype: torch.dtype, steps: int, sizes: dict[str, int]) -> None:
        self._network, self._steps, self._sizes = copy.deepcopy(network).to(dtype), steps, sizes

    def __call__(self, threads: int) -> Torch:
        """Ready to run with so many threads."""
        torch.set_num_threads(threads)
        return self

    def step(self, rows: int) -> Step:
        """A call that computes the first step of so many rows."""
        tokens = torch.ones((rows, self._sizes["seq_len"]), dtype=torch.long)
        return lambda: self._network.rollout(tokens, None, 1)

    def answers(self, puzzles: PuzzleSet) -> tuple[Any, Any]:
        """After every step, 64 puzzles at a time."""
        found = []
        for start in range(0, len(puzzles), 64):
            tokens = torch.from_numpy(puzzles.inputs[start : start + 64].astype(np.int64))
            found.append(self._network.rollout(tokens, None, self._steps)[-1]["logits"].argmax(-1))
        return torch.cat(found).numpy(), np.full(len(puzzles), self._steps)


class Runner:
    """A file in one of our drivers."""

    def __init__(self, path: Path, engine: str | None = None) -> None:
        self._path, self._engine = path, engine

    def __call__(self, threads: int) -> Runner:
        """Ready to run with so many threads."""
        self._runner = open_runner(self._path, threads, engine=self._engine)
        return self

    def step(self, rows: int) -> Step:
        """Computes the first step of so many rows, a file with a fixed batch in several calls."""
        contract = self._runner.contract
        batch = contract.batch or rows
        inputs = {"inputs": np.ones((batch, contract.seq_len), np.int32)}
        carry = initial_carry(contract, batch)

        def step() -> None:
            for _ in range(rows // batch):
                self._runner.step(inputs, carry)

        return step

    def answers(self, puzzles: PuzzleSet) -> tuple[Any, Any]:
        """By the learned rule, 64 slots."""
        solution = solve(self._runner, puzzles.inputs)
        return solution.answers, solution.steps


def official(model: Any) -> Any:
    """The official network with the weights of a Keras model."""
    c = model.config
    arch = {
        "hidden_size": c.hidden_size, "num_heads": c.num_heads, "expansion": c.expansion,
        "H_cycles": c.h_cycles, "L_cycles": c.l_cycles, "L_layers": c.l_layers,
        "H_layers": c.h_layers, "pos_encodings": c.pos_encodings, "mlp_t": c.mixer == "mlp",
        "puzzle_emb_ndim": 0, "puzzle_emb_len": c.puzzle_emb_len, "rope_theta": c.rope_theta,
        "rms_norm_eps": 1e-5,
    }  # fmt: skip
    network = Official(arch, {"vocab_size": c.vocab_size, "seq_len": c.seq_len})
    state = network.state_dict()
    for name, place in places(model).items():
        values = np.asarray(place.variable)
        state[f"model.{name}"].copy_(torch.from_numpy(values.T if place.transposed else values))
    return network.eval()


def racers(model: Any, name: str, folder: Path) -> Iterator[Racer]:
    """The official loop, our files, the stock quantizer, and OpenVINO where it is installed."""
    from onnxruntime.quantization import quantize_dynamic

    network, sizes = official(model), {"seq_len": model.seq_len}
    for title, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        yield Racer(
            f"official loop, {title}", title, Torch(network, dtype, model.halt_max_steps, sizes)
        )
    for precision in ("fp32", "int8", "int8-static"):
        for kind in ("onnx", "tflite", "saved-model"):
            path = folder / target_name(name, kind, Choices(precision))
            if path.exists():
                dtype = "fp32" if precision == "fp32" else "int8"
                yield Racer(f"{kind}, {precision}", dtype, Runner(path))
    plain, stock = folder / f"{name}.onnx", folder / "stock.onnx"
    if not stock.exists():
        quantize_dynamic(plain, stock, per_channel=True)
        seal(stock)
    yield Racer("`quantize_dynamic` of our fp32 file", "int8", Runner(stock))
    try:
        importlib.metadata.version("openvino")
    except importlib.metadata.PackageNotFoundError:
        return
    for engine, dtype in (("openvino", "fp32"), ("openvino:bf16", "bf16")):
        yield Racer(f"{engine}, our fp32 file", dtype, Runner(plain, engine))
    yield Racer("openvino, our int8 file", "int8", Runner(folder / f"{name}-int8.onnx", "openvino"))


def peaks(threads: int) -> dict[str, float]:
    """Operations a second of one large matrix product, by dtype; of two libraries the faster."""
    torch.set_num_threads(threads)
    found = {"fp32": _rate(_product("MatMul", np.float32, np.float32, threads)),
             "int8": _rate(_product("MatMulInteger", np.uint8, np.int8, threads))}  # fmt: skip
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        a, b = (torch.randn(PEAK_SIZE, PEAK_SIZE).to(dtype) for _ in range(2))
        found[name] = max(found.get(name, 0.0), _rate(partial(torch.mm, a, b)))
    return found


def _product(operator: str, left: Any, right: Any, threads: int) -> Step:
    """A product by a constant matrix in onnxruntime."""
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    square = (PEAK_SIZE, PEAK_SIZE)
    x = np.ones(square, left)
    matrix = numpy_helper.from_array(np.ones(square, right), "b")
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    a = helper.make_tensor_value_info("a", kind, square)
    y = onnx.ValueInfoProto(name="y")
    node = helper.make_node(operator, ["a", "b"], ["y"])
    graph = helper.make_graph([node], "product", [a], [y], [matrix])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    return lambda: session.run(None, {"a": x})


def _rate(call: Step) -> float:
    times = []
    for _ in range(PEAK_TIMES):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return 2.0 * PEAK_SIZE**3 / min(times)


def operations(network: Any, seq_len: int) -> float:
    """Floating-point operations of the matrix products of one row's step."""
    counter = FlopCounterMode(display=False)
    with counter:
        network.rollout(torch.ones((1, seq_len), dtype=torch.long), None, 1)
    return float(counter.get_total_flops())


def steps_table(
    entered: list[Racer], threads: int, rows: int, rounds: int, work: float
) -> Iterator[str]:
    """A row for each racer; all take turns."""
    peak = peaks(threads)
    calls = [racer.opened(threads).step(rows) for racer in entered]
    spent: list[list[tuple[float, float]]] = [[] for _ in entered]
    for number in range(WARM_UP + rounds):
        for call, times in zip(calls, spent, strict=True):
            began = time.perf_counter(), time.process_time()
            call()
            taken = time.perf_counter() - began[0], time.process_time() - began[1]
            if number >= WARM_UP:
                times.append(taken)
    for racer, times in zip(entered, spent, strict=True):
        wall, processor = (1000 * np.array(one) for one in zip(*times, strict=True))
        low, middle, high = (float(np.percentile(wall, at)) for at in (10, 50, 90))
        share = 1000 * work * rows / low / peak[racer.dtype]
        yield (
            f"| {racer.name} | {threads} | {rows} | {np.median(processor):.2f} | {middle:.2f} "
            f"({low:.2f}-{high:.2f}) | {share:.2f} of {peak[racer.dtype] / 1e9:.0f} |"
        )


def answers_table(entered: list[Racer], puzzles: PuzzleSet, threads: int) -> Iterator[str]:
    """A row for each racer: whole puzzles, 64 at a time."""
    for racer in entered:
        opened = racer.opened(threads)
        started = time.perf_counter()
        answers, steps = opened.answers(puzzles)
        rate = len(puzzles) / (time.perf_counter() - started)
        hits = int(puzzles.exact(answers).sum())
        low, high = wilson(hits, len(puzzles))
        yield (
            f"| {racer.name} | {hits / len(puzzles):.1%} ({low * 100:.1f}-{high * 100:.1f}) | "
            f"{float(np.mean(steps)):.2f} | {rate:.1f} |"
        )


def write_files(model: Any, name: str, folder: Path) -> None:
    """Every file of the model that is not there; random weights cannot pass the gates."""
    if not (folder / f"{name}.onnx").exists():
        probes = probe_puzzles(model)
        for _ in export_all(model, name, folder, probes, checked=name in TRAINED):
            pass


def race(options: argparse.Namespace, threads: int, folder: Path) -> None:
    """Prints the rows of one number of threads; TensorFlow takes it once per process."""
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    name = options.model
    model = te.load(shipped_checkpoint(name)) if name in TRAINED else te.TRM(**preset(name))
    write_files(model, name, folder)
    entered = list(racers(model, name, folder))
    work = operations(official(model), model.seq_len)
    print(f"\nA step of one row is {work / 1e9:.2f} GFLOP of matrix products.\n")
    print("| | threads | rows | ms a step, processor | ms a step, clock | of the peak, Gop/s |")
    print("|---|---|---|---|---|---|")
    for rows in map(int, options.rows.split(",")):
        for line in steps_table(entered, threads, rows, options.rounds, work):
            print(line, flush=True)
    if name in TRAINED:
        puzzles = get_task(name).puzzles("test", None, options.count)
        print(
            f"\n| {counted(threads, 'thread')} | exact, n = {len(puzzles)} "
            "| mean steps | puzzles a second |"
        )
        print("|---|---|---|---|")
        for line in answers_table(entered, puzzles, threads):
            print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", nargs="?", default="sudoku9")
    parser.add_argument("--rows", default="1,64")
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name}")
    parser.add_argument("--folder", type=Path, help="keeps the files; a temporary one if not given")
    parser.add_argument("--rows-only", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        counts = options.threads.split(",")
        if options.rows_only:
            race(options, int(counts[0]), folder)
            return
        words = [word for word in sys.argv[1:] if word != "--page"]
        shown = [word for word in words if word not in ("--folder", str(options.folder))]
        page = [_title(options.model, shown)]
        print(page[0], flush=True)
        for count in counts:
            own = ["--threads", count, "--folder", str(folder), "--rows-only"]
            command = [sys.executable, __file__, *words, *own]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout
                for line in process.stdout:
                    print(line, end="", flush=True)
                    page.append(line)
            if process.returncode:
                sys.exit(process.returncode)
        if options.page:
            markers = f"<!-- race {options.model} -->", f"<!-- end of race {options.model} -->"
            between_markers(PAGE, markers, "".join(page))


def _title(model: str, words: list[str]) -> str:
    """The heading of a model's tables: the command, the machine, the day and the packages."""
    packages = ("torch", "onnxruntime", "ai-edge-litert", "tensorflow", "openvino")
    found = {d.name: d.version for d in importlib.metadata.distributions()}
    versions = ", ".join(f"{one} {found[one]}" for one in packages if one in found)
    return (
        f"## {model}\n\n`python benchmarks/race.py {' '.join(words)}`, {cpu_model()}, "
        f"{datetime.date.today()}; {versions}.\n"
    )


if __name__ == "__main__":
    main()
