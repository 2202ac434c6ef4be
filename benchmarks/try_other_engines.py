"""Does another engine, compiler or converter compute what the model computes?

    pip install ./runtimes onnx tract
    python benchmarks/try_other_engines.py tract sudoku9.onnx golden.npz

Opens an exported file with one tool, and judges it by the ladder of `python -m trm_runtime check`,
against a recording of `trm-export reference model.keras -o golden.npz --count 20 --no-control`.
Prints one line: the tool, the file, the verdict, the worst forced error, and the answers and
halting steps that are equal. docs/other-engines.md has the results. What to install beside
`./runtimes onnx`, the releases that were tried, and what of it is used:

    onnx              onnx 1.23.2                the reference of ONNX itself, in numpy
    mnn               MNN 3.6.1                  converts to .mnn
    tract             tract 0.23.9
    tvm               apache-tvm 0.27.0.post1    compiles through LLVM, for each number of rows
    iree              iree-base-compiler iree-base-runtime 3.13.0    compiles through LLVM
    onnx2torch        onnx2torch 1.5.15 torch 2.15.0
    onnx2tf           onnx2tf 1.29.24 tensorflow ai-edge-litert 2.1.0    converts to .tflite
    jaxonnxruntime    jaxonnxruntime 0.3.0 jax 0.10.2
    tinygrad          tinygrad 0.14.0            opened for each number of rows
    openvino          openvino 2026.4.1 ai-edge-litert 2.1.0    for .tflite files

Such a tool is no driver of `trm_runtime`: it knows no contract and no checksum. Here both are read
from the file before the tool gets it.
"""

from __future__ import annotations

import argparse
import functools
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from trm_runtime.checks import check_step_call
from trm_runtime.contract import StepContract
from trm_runtime.message_text import clipped, first_line
from trm_runtime.open import embedded_contract, wrapped
from trm_runtime.parity import ParityResult, check
from trm_runtime.parity.golden_file import read_golden
from trm_runtime.runner import Arrays, StepOutput, StepRunner, step_output

Array = np.ndarray[Any, Any]
Call = Callable[[Arrays], Mapping[str, Array]]  # every input by name -> every output by name


@final
class ToolRunner:
    """A StepRunner over a function that takes and returns arrays by name."""

    def __init__(self, contract: StepContract, call: Call) -> None:
        self.contract, self._call = contract, call

    def step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """One call of the graph; see StepRunner.step."""
        checked = check_step_call(self.contract, inputs, carry)
        return step_output(self.contract, self._call({**checked, **carry}))


def ports(path: Path) -> tuple[list[str], list[str]]:
    """The names of inputs and of outputs of an .onnx file, in its order."""
    import onnx

    graph = onnx.load(path).graph
    return [port.name for port in graph.input], [port.name for port in graph.output]


def in_order(path: Path, run: Callable[[list[Array]], Sequence[Any]]) -> Call:
    """A tool that knows only the order of tensors."""
    entering, leaving = ports(path)
    return lambda feeds: dict(
        zip(
            leaving,
            map(np.asarray, run([np.ascontiguousarray(feeds[name]) for name in entering])),
            strict=True,
        )
    )


def for_each_size(make: Callable[[int], Call]) -> Call:
    """A tool that fixes the number of rows where it opens a file: one for each number."""
    made = functools.cache(make)
    return lambda feeds: made(len(feeds["inputs"]))(feeds)


def open_onnx(path: Path, contract: StepContract, folder: Path) -> Call:
    from onnx.reference import ReferenceEvaluator

    evaluator = ReferenceEvaluator(str(path))
    names = evaluator.output_names
    return lambda feeds: dict(zip(names, evaluator.run(None, dict(feeds)), strict=True))


def open_mnn(path: Path, contract: StepContract, folder: Path) -> Call:
    import _tools  # not the command mnnconvert, which runs pip and reports what was converted
    from MNN import expr, nn

    to, (entering, leaving) = folder / "model.mnn", ports(path)
    words = f"mnnconvert -f ONNX --modelFile {path} --MNNModel {to} --bizCode none"
    _tools.mnnconvert(words.split())
    module = nn.load_module_from_file(str(to), entering, leaving)
    kinds = {"float32": expr.float, "int32": expr.int}

    def run(arrays: list[Array]) -> list[Array]:
        known = [array.astype(np.int32) if array.dtype == bool else array for array in arrays]
        given = [expr.const(x, list(x.shape), expr.NCHW, kinds[x.dtype.name]) for x in known]
        found = [expr.convert(x, expr.NCHW) for x in module.onForward(given)]
        return [np.array(x.read()).reshape(x.shape) for x in found]

    return cast(contract, in_order(path, run))


def open_tract(path: Path, contract: StepContract, folder: Path) -> Call:
    import tract

    runnable = tract.onnx().load(str(path)).into_model().into_runnable()
    return in_order(path, lambda arrays: [x.to_numpy() for x in runnable.run(arrays)])


def open_tvm(path: Path, contract: StepContract, folder: Path) -> Call:
    import onnx
    import tvm
    from tvm import relax
    from tvm.relax.frontend.onnx import from_onnx

    def make(rows: int) -> Call:
        specs = (*contract.inputs, *contract.carry)
        shapes = {spec.name: [rows, *spec.shape[1:]] for spec in specs}
        dtypes = {spec.name: spec.dtype for spec in specs}
        module = from_onnx(onnx.load(path), shape_dict=shapes, dtype_dict=dtypes)
        for change in (relax.transform.DecomposeOpsForInference(), relax.transform.LegalizeOps()):
            module = change(module)
        machine = relax.VirtualMachine(tvm.compile(module, target="llvm"), tvm.cpu())
        return in_order(
            path,
            lambda arrays: [x.numpy() for x in machine["main"](*map(tvm.runtime.tensor, arrays))],
        )

    return for_each_size(make)


def open_iree(path: Path, contract: StepContract, folder: Path) -> Call:
    from iree import compiler, runtime

    text = folder / "model.mlir"
    importer = [sys.executable, "-m", "iree.compiler.tools.import_onnx", path, "-o", text]
    subprocess.run(importer, check=True)
    options = ["--iree-hal-local-target-device-backends=llvm-cpu", "--iree-llvmcpu-target-cpu=host"]
    compiled = compiler.compile_file(
        str(text), extra_args=["--iree-hal-target-device=local", *options]
    )
    context = runtime.SystemContext(config=runtime.Config("local-sync"))
    context.add_vm_module(runtime.VmModule.copy_buffer(context.instance, compiled))
    name = re.findall(r"func\.func @([\w$.-]+)", text.read_text())[0]
    function = context.modules["module"][name]
    return cast(contract, in_order(path, lambda arrays: function(*arrays)))


def open_onnx2torch(path: Path, contract: StepContract, folder: Path) -> Call:
    import onnx
    import onnx2torch
    import torch

    module = onnx2torch.convert(onnx.load(path)).eval()

    @torch.no_grad()
    def run(arrays: list[Array]) -> list[Array]:
        return [x.numpy() for x in module(*map(torch.from_numpy, arrays))]

    return in_order(path, run)


def open_onnx2tf(path: Path, contract: StepContract, folder: Path) -> Call:
    from ai_edge_litert.interpreter import Interpreter

    copy = shutil.copy(path, folder / "model.onnx")  # onnx2tf writes into the file that it reads
    program = Path(sys.executable).with_name("onnx2tf")
    words = ["-i", copy, "-o", folder, "-osd", "-n", "-kat", *ports(path)[0]]
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "Error: " in line]
        raise RuntimeError(lines[-1] if lines else "onnx2tf failed")
    signature = Interpreter(str(folder / "model_float32.tflite")).get_signature_runner()
    return lambda feeds: signature(**feeds)


def open_jaxonnxruntime(path: Path, contract: StepContract, folder: Path) -> Call:
    import onnx
    from jaxonnxruntime.backend import Backend

    return in_order(path, Backend.prepare(onnx.load(path)).run)


def open_tinygrad(path: Path, contract: StepContract, folder: Path) -> Call:
    os.environ["DEV"] = "CPU"
    from tinygrad import Tensor
    from tinygrad.nn.onnx import OnnxRunner

    def make(rows: int) -> Call:
        run = OnnxRunner(str(path))
        return lambda feeds: {
            name: x.numpy()
            for name, x in run({name: Tensor(array) for name, array in feeds.items()}).items()
        }

    return for_each_size(make)


def open_openvino(path: Path, contract: StepContract, folder: Path) -> Call:
    from ai_edge_litert.interpreter import Interpreter

    from trm_runtime.drivers.openvino import load_engine

    signature = Interpreter(str(path)).get_signature_runner()
    entering = {name: port["name"] for name, port in signature.get_input_details().items()}
    leaving = {name: port["name"] for name, port in signature.get_output_details().items()}
    core = load_engine().Core()
    compiled = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def call(feeds: Arrays) -> dict[str, Array]:
        found = compiled({entering[name]: array for name, array in feeds.items()})
        return {name: found[tensor] for name, tensor in leaving.items()}

    return call


def cast(contract: StepContract, call: Call) -> Call:
    """A tool that has no bool: it returns integers."""
    dtypes = {spec.name: spec.dtype for spec in contract.outputs}
    dtypes |= {spec.next: spec.dtype for spec in contract.carry}
    return lambda feeds: {name: x.astype(dtypes[name]) for name, x in call(feeds).items()}


DISTRIBUTIONS = {"mnn": "MNN", "tvm": "apache-tvm", "iree": "iree-base-compiler"}
TOOLS = {name.removeprefix("open_"): f for name, f in globals().items() if name.startswith("open_")}


def runner(tool: str, path: Path, folder: Path) -> StepRunner:
    """The file as complete steps, opened with that tool; the folder is for what it writes."""
    contract = embedded_contract(path)
    return wrapped(ToolRunner(contract, TOOLS[tool](path, contract, folder)), path)


def described(result: ParityResult) -> str:
    """The verdict with the numbers that decide it."""
    floats = [error for error in result.forced if error.dtype == "float32"]
    words = [result.verdict]
    if floats:
        worst = max(error.relative_l2 for error in floats)
        least = min(error.cosine for error in floats)
        words.append(f"Worst forced relative L2 {worst:.1e}, cosine {least:.6f}.")
    if result.decisions is not None:
        made, count = result.decisions, result.puzzles
        answers = made.answers_equal + made.unsettled_answers_equal
        steps = made.steps_equal + made.unsettled_steps_equal
        words.append(f"Equal of all {count}: {answers} answers, {steps} halting steps.")
    return " ".join(words)


def reason(error: Exception) -> str:
    """What the tool says: its first line, or that of the error if it is a log of a compiler."""
    lines = [line.strip() for line in str(error).splitlines() if "error: " in line]
    return clipped(f"{type(error).__name__}: {lines[0] if lines else first_line(error)}", 300)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("tool", choices=sorted(TOOLS))
    parser.add_argument("file", type=Path)
    parser.add_argument("golden", type=Path)
    given = parser.parse_args()
    version = importlib.metadata.version(DISTRIBUTIONS.get(given.tool, given.tool))
    with tempfile.TemporaryDirectory() as folder:
        try:
            candidate = runner(given.tool, given.file, Path(folder))
            result = check(read_golden(given.golden), candidate)
        except Exception as error:  # each tool has its own
            words, passed = f"REFUSED: {reason(error)}", False
        else:
            words, passed = described(result), bool(result)
    print(f"{given.tool} {version} {given.file.name}: {words}", flush=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
