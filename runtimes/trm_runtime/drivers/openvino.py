"""OpenVINO driver: one step of an exported `.onnx` on the CPU, in float32 or, if chosen, bf16."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Iterator, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, final

import numpy as np

from trm_runtime.checks import check_step_call
from trm_runtime.contract import StepContract
from trm_runtime.cores import check_threads
from trm_runtime.drivers.onnx_file import KIND, NO_TEXT, TITLE, read_contract
from trm_runtime.drivers.refusals import cannot_open, cannot_step, damaged
from trm_runtime.errors import UsageError
from trm_runtime.extras import load_extra
from trm_runtime.message_text import first_line
from trm_runtime.runner import Arrays, StepOutput, step_output
from trm_runtime.tensors import Shape
from trm_runtime.verify import verify

BF16 = "bf16"
_CPU = "CPU"
_TELEMETRY = "openvino_telemetry"


def load_engine() -> ModuleType:
    """openvino, without its telemetry; MissingExtraError if not installed."""
    with _without_telemetry():
        return load_extra("openvino", "openvino")


@contextmanager
def _without_telemetry() -> Iterator[None]:
    """Hides the package by which `import openvino` tells Google Analytics that it was imported.

    It would also write into the home folder. Without the package openvino uses a stub of its own.
    """
    if _TELEMETRY in sys.modules:
        yield
        return
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[_TELEMETRY]


def try_engine(tiny: Path) -> None:
    """Opens and runs the tiny file."""
    compiled = _open(load_engine(), tiny / "tiny.onnx", 1, None)
    compiled.create_infer_request().infer({"x": np.ones(1, np.float32)})


@final
class OpenVINORunner:
    """A StepRunner over openvino.

    `threads` is the number of threads of one operator; with None openvino uses one for each
    physical core. With `mode="bf16"` it computes in bfloat16 where it would in float32, and so says
    `contract`. Its `step` may be called from several threads, one at a time; do not fork while it
    is open.

    Raises MissingExtraError without openvino, UsageError for bf16 on a processor without it,
    RejectedInputError for a file that is missing, damaged or changed since its export, has data in
    other files, has no contract, or differs from its contract.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        threads: int | None = None,
        mode: str | None = None,
    ) -> None:
        self._path = Path(path)
        engine = load_engine()
        contract = StepContract.from_json(
            read_contract(self._path), f"{self._path}: its step contract"
        )
        compiled = _open(engine, self._path, threads, mode)
        entering = {spec.name for spec in contract.inputs} | {spec.name for spec in contract.carry}
        leaving = {spec.name for spec in contract.outputs} | {spec.next for spec in contract.carry}
        try:
            inputs = _described(compiled.inputs, entering)
            outputs = _described(compiled.outputs, leaving)
        except UnicodeDecodeError as error:
            raise damaged(self._path, TITLE, NO_TEXT, KIND) from error
        verify(contract, inputs, outputs, str(self._path))
        self.contract: StepContract = contract.computed_in(mode)
        self._names = list(outputs)
        self._request = compiled.create_infer_request()
        self._lock = threading.Lock()  # a request has one set of tensors

    def step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """One ACT step; see StepRunner.step."""
        feeds = {**check_step_call(self.contract, inputs, carry), **carry}
        try:
            with self._lock:
                arrays = self._request.infer(feeds, share_inputs=True).to_tuple()  # copies
        except Exception as error:
            raise cannot_step(self._path, "openvino", error, _last_line(error)) from error
        return step_output(self.contract, dict(zip(self._names, arrays)))


def _open(engine: Any, path: Path, threads: int | None, mode: str | None) -> Any:
    threads = check_threads(threads)
    core = engine.Core()
    if mode == BF16 and "BF16" not in core.get_property(_CPU, "OPTIMIZATION_CAPABILITIES"):
        raise UsageError(f"{path}: this processor has no bf16; choose the engine openvino.")
    options = {
        "INFERENCE_PRECISION_HINT": mode or "f32",  # its own choice is bf16 where there is any
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",  # a text, since releases of 2024 take no int
        "ENABLE_CPU_PINNING": False,  # the cores are shared with other processes
        "NUM_STREAMS": 1,
    }
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    try:
        # Not `read_model`: it gives what is no ONNX graph to the readers of six other formats.
        reader = engine.frontend.FrontEndManager().load_by_framework("onnx")
        model = reader.convert(reader.load(str(path)))
        if _splits_few_columns(model):
            options["LP_TRANSFORMS_MODE"] = False
        return core.compile_model(model, _CPU, options)
    except Exception as error:
        raise cannot_open(path, "openvino", _last_line(error), KIND) from error


def _splits_few_columns(model: Any) -> bool:
    """Whether a product (B * P, N) is split into (B, P, heads, size) with at least as many P as N.

    With a batch that is not known, openvino's passes for int8 then take the scales of the N columns
    for those of the P positions: the file cannot be opened or, if P is N, computes something else
    (openvino 2026.4). Without these passes int8 takes a quarter longer.
    """
    for node in model.get_ops():
        kind = node.get_type_name()
        if kind == "Loop" and _splits_few_columns(node.get_function()):
            return True
        if kind == "Reshape":
            old, new = _shape(node.input(0)), _shape(node.output(0))
            is_split = (len(old), len(new)) == (2, 4) and old[0] is None
            if is_split and (new[1] or 0) >= (old[1] or math.inf):
                return True
    return False


def _last_line(error: Exception) -> str:
    """The last line of openvino's exception; those before it name lines of its source."""
    lines = [line.strip("- ") for line in str(error).splitlines() if line.strip()]
    return first_line(lines[-1] if lines else error)


_DTYPES = {"f32": "float32", "i32": "int32", "i8": "int8", "boolean": "bool"}


def _described(ports: Sequence[Any], wanted: Set[str]) -> dict[str, tuple[str, Shape]]:
    """Name -> (dtype, shape), in the order of the ports.

    A tensor that openvino has merged with others has the names of all; the wanted one is taken.
    """
    found: dict[str, tuple[str, Shape]] = {}
    for port in ports:
        names = sorted((port.get_names() & wanted) - found.keys())
        found[names[0] if names else port.get_any_name()] = (_dtype(port), _shape(port))
    return found


def _dtype(port: Any) -> str:
    name: str = port.get_element_type().get_type_name()
    return _DTYPES.get(name, name)


def _shape(port: Any) -> Shape:
    """The sizes of a tensor, None where open; () also where their number is."""
    sizes = port.get_partial_shape()
    if sizes.rank.is_dynamic:
        return ()
    return tuple(None if size.is_dynamic else size.get_length() for size in sizes)
