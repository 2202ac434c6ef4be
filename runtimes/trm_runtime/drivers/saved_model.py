"""SavedModel driver: one call of the named signature of an exported folder, on TensorFlow.

The only module of the device package that may load TensorFlow; it does so when it opens a model.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import ModuleType
from typing import Any, final

from trm_runtime.checks import check_step_call
from trm_runtime.contract import StepContract
from trm_runtime.cores import check_threads
from trm_runtime.drivers.quiet import quiet_tensorflow
from trm_runtime.drivers.refusals import cannot_open, cannot_step, no_signature
from trm_runtime.drivers.saved_model_folder import KIND, read_contract, unpatterned
from trm_runtime.errors import UsageError
from trm_runtime.extras import load_extra
from trm_runtime.lean_import import OF_TENSORFLOW, lean_import
from trm_runtime.message_text import first_line
from trm_runtime.runner import Arrays, StepOutput, step_output
from trm_runtime.tensors import Shape
from trm_runtime.verify import verify


def load_engine() -> ModuleType:
    """TensorFlow, without its log unless a level is set; MissingExtraError if not installed.

    In a process of its own also without Keras, which would bring the backend of KERAS_BACKEND: on
    PyTorch with Triton 3.9 TensorFlow (2.20, 2.21) ended the process.
    """
    quiet_tensorflow()
    with lean_import("tensorflow", (*OF_TENSORFLOW, "keras")):
        return load_extra("tensorflow", "tensorflow")


def try_engine(tiny: Path) -> None:
    """Opens and runs the tiny folder."""
    tf = load_engine()
    loaded = tf.saved_model.load(str(tiny / "tiny_saved_model"))
    loaded.signatures["tiny"](x=tf.constant([1.0]))


@final
class SavedModelRunner:
    """A StepRunner over TensorFlow.

    `threads` is the number of threads of one operator; TensorFlow accepts it once per process, so a
    second runner cannot have another number.

    Raises MissingExtraError without TensorFlow, RejectedInputError for a folder that is damaged
    or changed since its export, has no contract, or differs from its contract.
    """

    def __init__(self, path: str | os.PathLike[str], *, threads: int | None = None) -> None:
        self._path = Path(path)
        self.contract: StepContract = StepContract.from_json(
            read_contract(self._path), f"{self._path}: its step contract"
        )
        self._tf = load_engine()
        _set_threads(self._tf, threads)
        try:
            with unpatterned(self._path) as folder:
                self._loaded = self._tf.saved_model.load(folder)
        except Exception as error:
            raise cannot_open(self._path, "TensorFlow", first_line(error), KIND) from error
        self._call = _signature(self._path, self._loaded, self.contract)

    def step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """One call; see StepRunner.step."""
        feeds = {**check_step_call(self.contract, inputs, carry), **carry}
        try:
            tensors = self._call(**{name: self._tf.constant(x) for name, x in feeds.items()})
        except Exception as error:
            raise cannot_step(self._path, "TensorFlow", error, _reason(error)) from error
        return step_output(self.contract, {name: x.numpy() for name, x in tensors.items()})


def _reason(error: Exception) -> str:
    """The line of TensorFlow's exception before the operator's; those before it name the graph."""
    lines = str(error).splitlines()
    place = next((n for n, line in enumerate(lines) if line.lstrip().startswith("[[")), 0)
    return first_line(lines[place - 1] if place else error)


def _set_threads(tf: Any, threads: int | None) -> None:
    threads = check_threads(threads)
    if threads is None:
        return
    if tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        raise UsageError(
            f"threads: TensorFlow already runs in this process with another number; use {threads} "
            "in a new process."
        ) from error


def _signature(folder: Path, loaded: Any, contract: StepContract) -> Any:
    known = list(loaded.signatures)
    if contract.signature not in known:
        raise no_signature(folder, contract.signature, known, KIND)
    call = loaded.signatures[contract.signature]
    inputs = {name: _described(spec) for name, spec in call.structured_input_signature[1].items()}
    outputs = {name: _described(spec) for name, spec in call.structured_outputs.items()}
    verify(contract, inputs, outputs, str(folder))
    return call


def _described(spec: Any) -> tuple[str, Shape]:
    return spec.dtype.name, tuple(spec.shape)
