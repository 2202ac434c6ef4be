"""LiteRT driver: one call of the named signature of an exported `.tflite` on the CPU.

The engine is ai-edge-litert or, where that is absent, tflite-runtime, its predecessor: the same
interpreter under another name.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, final

import numpy as np

from trm_runtime.checks import check_step_call
from trm_runtime.contract import StepContract
from trm_runtime.cores import available_cores, check_threads
from trm_runtime.drivers import quiet
from trm_runtime.drivers.tflite_file import read_contract
from trm_runtime.errors import RejectedInputError
from trm_runtime.extras import load_first_extra
from trm_runtime.message_text import first_line
from trm_runtime.runner import Arrays, StepOutput, step_output
from trm_runtime.tensors import Shape
from trm_runtime.verify import verify

ENGINES = {"ai_edge_litert.interpreter": "litert", "tflite_runtime.interpreter": "tflite"}
"""Module -> the extra it comes with, the preferred one first."""

_HINT = "the second only for Python 3.11 and older"

MOST_THREADS = 4  # by default; the matrices of a small step do not feed more


_REMARK = re.compile(rb"INFO: Created TensorFlow Lite XNNPACK delegate for CPU\.\n")


def load_engine() -> ModuleType:
    """The interpreter of ai-edge-litert, else of tflite-runtime, else MissingExtraError."""
    return load_first_extra(ENGINES, _HINT)


@final
class LiteRTRunner:
    """A StepRunner over ai-edge-litert or tflite-runtime, with its XNNPACK kernels.

    `threads` is the number of threads of one operator; None takes one for each core that this
    process may use, but at most 4 (the interpreter's own default is a single one). Its `step` may
    be called from several threads, and they take turns; do not fork while it lives. Without
    `optimised` it runs the interpreter's own kernels.

    Where the batch is free, a call with another number of rows than the last makes the interpreter
    plan anew, so a fixed batch is the better export for this engine.

    Raises MissingExtraError without an engine, RejectedInputError for a file that is missing,
    damaged, has no contract or not the signature it names, or is not what its contract says.
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
        self._name = _package(engine)
        self._interpreter = _open(engine, self._path, _threads(threads), optimised)
        self._call = _signature(self._path, self._interpreter, self.contract)
        self._lock = threading.Lock()  # an interpreter has one set of tensors

    def step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """One call; see StepRunner.step."""
        feeds = {**check_step_call(self.contract, inputs, carry), **carry}
        try:
            with self._lock:
                found = self._call(**{name: np.asarray(array) for name, array in feeds.items()})
        except Exception as error:
            raise _rejected(self._path, f"{self._name} could not run a step", error) from error
        return step_output(self.contract, found)  # which the interpreter has copied out


def _threads(wanted: int | None) -> int:
    check_threads(wanted)
    return wanted or min(MOST_THREADS, available_cores())


def _open(engine: Any, path: Path, threads: int, optimised: bool) -> Any:
    options = {"num_threads": threads}
    if not optimised:
        kinds = engine.OpResolverType
        options["experimental_op_resolver_type"] = kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    try:  # by path: the file is mapped, so that its weights are not in memory twice
        interpreter = engine.Interpreter(model_path=str(path), **options)
        allocate(interpreter)
        return interpreter
    except Exception as error:
        raise _rejected(path, f"{_package(engine)} cannot open it", error) from error


def allocate(interpreter: Any) -> None:
    """Give an interpreter its tensors, without the remark that the engine makes of it."""
    with quiet.without(_REMARK):
        interpreter.allocate_tensors()


def _package(engine: Any) -> str:
    name: str = engine.__name__
    return name.partition(".")[0]


def _signature(path: Path, interpreter: Any, contract: StepContract) -> Any:
    known = list(interpreter.get_signature_list())
    if contract.signature not in known:
        raise RejectedInputError(
            f"{path}: expected the signature {contract.signature!r}, got "
            f"{', '.join(known) or 'none'}; export it again with: trm-export tflite MODEL.keras"
        )
    call = interpreter.get_signature_runner(contract.signature)
    try:
        inputs = {name: _described(what) for name, what in call.get_input_details().items()}
        outputs = {name: _described(what) for name, what in call.get_output_details().items()}
    except ValueError as error:
        raise _rejected(path, "its signature names tensors it does not have", error) from error
    verify(contract, inputs, outputs, str(path))
    return call


def _described(details: Mapping[str, Any]) -> tuple[str, Shape]:
    """What the interpreter says: (dtype, shape); -1 is a free size."""
    sizes = details["shape_signature"].tolist()
    return np.dtype(details["dtype"]).name, tuple(None if size < 0 else size for size in sizes)


def _rejected(path: Path, what: str, error: Exception) -> RejectedInputError:
    """The interpreter has no exceptions of its own."""
    return RejectedInputError(f"{path}: {what}: {first_line(error)}")
