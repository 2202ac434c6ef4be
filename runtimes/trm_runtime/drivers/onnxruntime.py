"""ONNX Runtime driver: one step of an exported `.onnx` on the CPU."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, final

import numpy as np

from trm_runtime.checks import check_step_call
from trm_runtime.contract import StepContract
from trm_runtime.drivers.onnx_file import read_contract
from trm_runtime.errors import RejectedInputError, UsageError
from trm_runtime.extras import load_extra
from trm_runtime.runner import StepOutput
from trm_runtime.tensors import Shape
from trm_runtime.verify import verify

_NOISE = re.compile(
    r"^\[ONNXRuntimeError\] : \d+ : \w+ : "  # its own error code
    r"(Load model from .*? failed:)?"  # the path, which the message has already
    r"(\S+\.(cc|h):\d+ .*?\) )?"  # a place in its source
)
_FATAL_ONLY = 4  # onnxruntime's log severity: what matters arrives as an exception


def load_engine() -> ModuleType:
    """onnxruntime, or MissingExtraError."""
    return load_extra("onnxruntime", "onnx")


@final
class OnnxRunner:
    """A StepRunner over onnxruntime.

    `threads` is the number of threads of one operator; None leaves it to onnxruntime, which takes
    one a physical core. Its `step` may be called from several threads; do not fork while it lives.
    Without `optimised` it runs the nodes as the file has them.

    Raises MissingExtraError without onnxruntime, RejectedInputError for a file that is missing,
    damaged or changed since its export, keeps data in other files, has no contract, or is not what
    its contract says.
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
        self._session = _open(engine, self._path, threads, optimised)
        inputs = _described(self._session.get_inputs())
        outputs = _described(self._session.get_outputs())
        verify(self.contract, inputs, outputs, str(self._path))

    def step(
        self,
        inputs: Mapping[str, np.ndarray[Any, Any]],
        carry: Mapping[str, np.ndarray[Any, Any]],
    ) -> StepOutput:
        """One ACT step; see StepRunner.step."""
        feeds = {**check_step_call(self.contract, inputs, carry), **carry}
        heads = [spec.name for spec in self.contract.outputs]
        nexts = {spec.name: spec.next for spec in self.contract.carry}
        try:
            arrays = self._session.run([*heads, *nexts.values()], feeds)
        except Exception as error:
            raise _rejected(self._path, "onnxruntime could not run a step", error) from error
        return StepOutput(
            carry=dict(zip(nexts, arrays[len(heads) :])), outputs=dict(zip(heads, arrays))
        )


def _open(engine: Any, path: Path, threads: int | None, optimised: bool) -> Any:
    options = engine.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    if not optimised:
        options.graph_optimization_level = engine.GraphOptimizationLevel.ORT_DISABLE_ALL
    if threads is not None:
        if threads < 1:
            raise UsageError(f"threads: expected 1 or more, got {threads}")
        options.intra_op_num_threads = threads
    try:  # by path: a session made from bytes keeps them all (21 MB more for a 21 MB model)
        return engine.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _rejected(path, "onnxruntime cannot open it", error) from error


def _rejected(path: Path, what: str, error: Exception) -> RejectedInputError:
    """onnxruntime has no common base for its exceptions, and puts the reason first."""
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return RejectedInputError(f"{path}: {what}: {_NOISE.sub('', reason)}")


_DTYPES = {
    "tensor(float)": "float32",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(bool)": "bool",
}


def _described(nodes: Sequence[Any]) -> dict[str, tuple[str, Shape]]:
    """What onnxruntime says: name -> (dtype, shape); a symbolic size is a free one."""
    return {
        node.name: (
            _DTYPES.get(node.type, node.type),
            tuple(size if isinstance(size, int) else None for size in node.shape),
        )
        for node in nodes
    }
