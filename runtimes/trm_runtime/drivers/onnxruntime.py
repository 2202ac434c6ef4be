"""ONNX Runtime driver: one step of an exported `.onnx` on the CPU."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, final

import numpy as np

from trm_runtime.checks import check_step_call
from trm_runtime.contract import StepContract
from trm_runtime.cores import check_threads
from trm_runtime.drivers.onnx_file import KIND, NO_TEXT, TITLE, read_contract
from trm_runtime.drivers.refusals import cannot_open, cannot_step, damaged
from trm_runtime.errors import MissingExtraError
from trm_runtime.extras import load_extra
from trm_runtime.file_kinds import TINY
from trm_runtime.message_text import first_line, quoted
from trm_runtime.runner import Arrays, StepOutput, step_output
from trm_runtime.tensors import Shape
from trm_runtime.verify import verify

_PREFIX = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : "  # its own error code
    r"(Load model from .*? failed:)?"  # the path, which our message has already
    r"(\S+\.(cc|h):\d+ .*?\) )?"  # a line of its source
)
_FATAL_ONLY = 4  # onnxruntime's log severity: errors are raised as exceptions


def load_engine() -> ModuleType:
    """onnxruntime, or MissingExtraError.

    If the program imported it before this package, it has sent its first report, and sends no more.
    """
    engine = load_extra("onnxruntime", "onnx")
    engine.disable_telemetry_events()
    return engine


def try_engine(tiny: Path) -> None:
    """Opens and runs the tiny file."""
    session = _open(load_engine(), tiny / "tiny.onnx", None, optimised=True)
    session.run(["y"], {"x": np.ones(1, np.float32)})


@functools.cache
def multiplies_bytes() -> bool:
    """Whether the engine multiplies matrices of 8 bits rightly.

    From 1.21 to 1.24 every 32nd row is wrong behind its sixteenth column where the processor has
    AMX (github.com/microsoft/onnxruntime, issue 26324), and so are the layers between tokens.
    """
    session = _open(load_engine(), TINY / "products.onnx", 1, optimised=True)
    x = np.arange(32 * 4, dtype=np.uint8).reshape(32, 4)
    weights = (np.arange(4 * 31) * 7 % 127 - 63).reshape(4, 31)  # as they are in the file
    (found,) = session.run(["y"], {"x": x})
    return bool((found == x @ weights).all())


@final
class OnnxRunner:
    """A StepRunner over onnxruntime.

    `threads` is the number of threads of one operator; with None onnxruntime uses one for each
    physical core. Its `step` may be called from several threads; do not fork while it is open.
    Without `optimised` it runs the nodes as they are in the file.

    Raises MissingExtraError without onnxruntime, and for an integer file if this one multiplies
    integers wrongly, RejectedInputError for a file that is missing, damaged or changed since its
    export, has data in other files, has no contract, or differs from its contract.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        optimised: bool = True,
    ) -> None:
        self._path = Path(path)
        engine = load_engine()
        self.contract: StepContract = StepContract.from_json(
            read_contract(self._path), f"{self._path}: its step contract"
        )
        if self.contract.precision.startswith("int") and not multiplies_bytes():
            raise MissingExtraError(
                f"{quoted(self._path)}: not run: onnxruntime {engine.__version__} multiplies 8-bit "
                "integers wrongly on this processor, as 1.21 to 1.24 do where it has AMX; "
                "install another with `pip install 'onnxruntime>=1.25'`, or 1.20 on Python 3.10."
            )
        self._session = _open(engine, self._path, threads, optimised)
        try:
            inputs = _described(self._session.get_inputs())
            outputs = _described(self._session.get_outputs())
        except UnicodeDecodeError as error:
            raise damaged(self._path, TITLE, NO_TEXT, KIND) from error
        verify(self.contract, inputs, outputs, str(self._path))
        self._names = list(outputs)

    def step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """One ACT step; see StepRunner.step."""
        return self.trusted_step(check_step_call(self.contract, inputs, carry), carry)

    def trusted_step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """`step` without its checks."""
        try:
            arrays = self._session.run(self._names, {**inputs, **carry})
        except Exception as error:
            raise cannot_step(self._path, "onnxruntime", error) from error
        return step_output(self.contract, dict(zip(self._names, arrays)))


def _open(engine: Any, path: Path, threads: int | None, optimised: bool) -> Any:
    options = engine.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    if not optimised:
        options.graph_optimization_level = engine.GraphOptimizationLevel.ORT_DISABLE_ALL
    threads = check_threads(threads)
    if threads is not None:
        options.intra_op_num_threads = threads
    try:  # by path: a session made from bytes keeps them all (21 MB more for a 21 MB model)
        return engine.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        reason = _PREFIX.sub("", first_line(error))
        raise cannot_open(path, "onnxruntime", reason, KIND) from error


_DTYPES = {
    "tensor(float)": "float32",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(bool)": "bool",
}


def _described(nodes: Sequence[Any]) -> dict[str, tuple[str, Shape]]:
    """onnxruntime's name -> (dtype, shape); a symbolic size is a dynamic one."""
    return {
        node.name: (
            _DTYPES.get(node.type, node.type),
            tuple(size if isinstance(size, int) else None for size in node.shape),
        )
        for node in nodes
    }
