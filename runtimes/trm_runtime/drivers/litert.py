"""LiteRT driver: one call of the named signature of an exported `.tflite` on the CPU.

The engine is ai-edge-litert or, if that is not installed, its predecessor tflite-runtime, the same
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
from trm_runtime.drivers.refusals import cannot_open, cannot_step, damaged, no_signature
from trm_runtime.drivers.tflite_file import KIND, TITLE, read_contract
from trm_runtime.errors import MissingExtraError
from trm_runtime.extras import first_installed, load_first_extra
from trm_runtime.message_text import first_line
from trm_runtime.runner import Arrays, StepOutput, step_output
from trm_runtime.tensors import Shape
from trm_runtime.verify import verify

ENGINES = {"ai_edge_litert.interpreter": "litert", "tflite_runtime.interpreter": "tflite"}
"""Module -> the extra that installs it, the preferred one first."""

_NUMPY = 2  # with which tflite-runtime does not work
_HINT = "the second only for Python 3.11 and older"

MOST_THREADS = 4  # by default; more do not speed up the small matrices of a step

_LOG_LINE = re.compile(rb"INFO: Created TensorFlow Lite XNNPACK delegate for CPU\.\n")


def load_engine() -> ModuleType:
    """The interpreter of ai-edge-litert, or of tflite-runtime; MissingExtraError without both.

    Also for tflite-runtime beside numpy 2: it was built against numpy 1, loads, and opens nothing.
    """
    package = first_installed(ENGINES)
    if package == "tflite_runtime" and int(np.__version__.partition(".")[0]) >= _NUMPY:
        raise MissingExtraError(
            f"The package tflite-runtime needs numpy below {_NUMPY}, got {np.__version__}; install "
            f'it with `pip install "numpy<{_NUMPY}"`, or use `pip install "trm-runtime[litert]"`.'
        )
    return load_first_extra(ENGINES, _HINT)


def try_engine(tiny: Path) -> None:
    """Opens and runs the tiny file."""
    interpreter = _open(load_engine(), tiny / "tiny.tflite", 1, optimised=True)
    interpreter.get_signature_runner("tiny")(x=np.ones(1, np.float32))


@final
class LiteRTRunner:
    """A StepRunner over ai-edge-litert or tflite-runtime, with its XNNPACK kernels.

    `threads` is the number of threads of one operator; None takes one for each core that this
    process may use, but at most 4 (the interpreter's own default is 1). Its `step` may be called
    from several threads, one at a time; do not fork while it is open. Without `optimised` it runs
    the interpreter's own kernels.

    If the batch is dynamic, a call with another number of rows than the previous one makes the
    interpreter plan its memory again, so a fixed batch is the better export for this engine.

    Raises MissingExtraError without an engine, RejectedInputError for a file that is missing,
    damaged, has no contract or not the signature of its contract, or differs from its contract.
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
        optimised = optimised and not _miscomputes(self._name, self.contract)
        self._interpreter = _open(engine, self._path, _threads(threads), optimised)
        self._call = _signature(self._path, self._interpreter, self.contract)
        self._lock = threading.Lock()  # an interpreter has one set of tensors

    def step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """One call; see StepRunner.step."""
        checked = check_step_call(self.contract, inputs, carry)
        return self.trusted_step(checked, {k: np.asarray(array) for k, array in carry.items()})

    def trusted_step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """`step` without its checks."""
        try:
            with self._lock:
                tensors = self._call(**inputs, **carry)
        except Exception as error:
            raise cannot_step(self._path, self._name, error) from error
        return step_output(self.contract, tensors)  # copies of the interpreter's tensors


def _threads(wanted: int | None) -> int:
    return check_threads(wanted) or min(MOST_THREADS, available_cores())


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
        raise cannot_open(path, _package(engine), first_line(error), KIND) from error


def allocate(interpreter: Any) -> None:
    """Allocate the tensors of an interpreter, without the engine's log line."""
    with quiet.without(_LOG_LINE):
        interpreter.allocate_tensors()


def _package(engine: Any) -> str:
    name: str = engine.__name__
    return name.partition(".")[0]


def _miscomputes(package: str, contract: StepContract) -> bool:
    """Whether the optimised kernels of an engine are wrong for a file.

    XNNPACK of tflite-runtime 2.14 removes the conversion of float16 weights that a loop reads, and
    the memory of the result is then never written.
    """
    return package == "tflite_runtime" and contract.precision == "fp16"


def _signature(path: Path, interpreter: Any, contract: StepContract) -> Any:
    known = list(interpreter.get_signature_list())
    if contract.signature not in known:
        raise no_signature(path, contract.signature, known, KIND)
    try:
        call = interpreter.get_signature_runner(contract.signature)
        inputs = {name: _described(what) for name, what in call.get_input_details().items()}
        outputs = {name: _described(what) for name, what in call.get_output_details().items()}
    except Exception as error:
        reason = f"its signature names tensors that are missing ({first_line(error)})"
        raise damaged(path, TITLE, reason, KIND) from error
    verify(contract, inputs, outputs, str(path))
    return call


def _described(details: Mapping[str, Any]) -> tuple[str, Shape]:
    """The interpreter's (dtype, shape); -1 is a dynamic size."""
    sizes = details["shape_signature"].tolist()
    return np.dtype(details["dtype"]).name, tuple(None if size < 0 else size for size in sizes)
