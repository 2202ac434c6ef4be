"""ONNX: one ACT step as a graph with named tensors and the contract in its metadata.

TensorFlow traces the step, tf2onnx converts it, and what leaves here has the contract's names,
an IR and an opset that onnxruntime 1.18 opens, and no external data.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras

from trm_export.errors import BackendError, ParityError, UsageError
from trm_export.export.signature import contract_for, incoming, sidecar, step_function
from trm_export.files import atomic_write, refuse_overwrite
from trm_export.model import TRM
from trm_export.parity import Puzzles, compare
from trm_export.reference import KerasRunner
from trm_runtime.contract import METADATA_KEY, CarrySpec, StepContract, TensorSpec
from trm_runtime.drivers.onnx import OnnxRunner

OPSET = 17
MAX_IR_VERSION = 10
RECURSIONS = ("unrolled", "rolled")


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """A finished export."""

    path: Path
    contract: StepContract
    recursion: str
    bytes: int
    seconds: float  # conversion, without the check
    check_seconds: float
    forced_error: float  # worst relative L2 of any tensor of any checked step

    @property
    def sidecar(self) -> Path:
        """The contract beside the file."""
        return sidecar(self.path)


def export_onnx(
    model: TRM,
    path: Path,
    puzzles: Puzzles,
    *,
    batch: int | None = None,
    recursion: str = "unrolled",
    force: bool = False,
) -> ExportResult:
    """Writes the step as ONNX, re-opens it with the device's driver and checks forced parity.

    Args:
        model: the TRM, on the TensorFlow backend.
        path: target; its contract lands beside it as ``<path>.json``.
        puzzles: real puzzles for the check.
        batch: fixed number of rows, or None for any.
        recursion: ``"unrolled"``, or ``"rolled"`` for a `Loop` over the shared stack.
        force: replace a file this tool did not make.

    Raises:
        BackendError: Keras does not run on TensorFlow.
        UsageError: a recursion or batch this model cannot have.
        ParityError: the file does not compute what Keras computes; nothing is left behind.
    """
    _refuse(model, batch, recursion)
    refuse_overwrite(path, force=force)
    contract = contract_for(model, batch=batch, packages=("keras", "tensorflow", "tf2onnx", "onnx"))
    start = time.perf_counter()
    proto = convert(model, contract, rolled=recursion == "rolled")
    seconds = time.perf_counter() - start
    with atomic_write(sidecar(path), force=force) as beside, atomic_write(path, force=force) as new:
        new.write_bytes(proto.SerializeToString())
        start = time.perf_counter()
        error = _checked(model, new, puzzles, path)
        check_seconds = time.perf_counter() - start
        beside.write_text(contract.to_json(), encoding="utf-8")
    return ExportResult(
        path, contract, recursion, path.stat().st_size, seconds, check_seconds, error
    )


def _checked(model: TRM, written: Path, puzzles: Puzzles, path: Path) -> float:
    """The worst forced error of the written file, opened as a device would.

    Only single steps are judged here, so that an untrained model exports too; `trm-export parity`
    judges answers and halting.
    """
    result = compare(KerasRunner(model), OnnxRunner(written), puzzles)
    first, broken = result.first_divergence, result.broken
    if first is not None or (broken is not None and not result.forced):
        raise ParityError(f"{path} was not written: {result.verdict}")
    return result.forced_error


def _refuse(model: TRM, batch: int | None, recursion: str) -> None:
    backend = keras.backend.backend()
    if backend != "tensorflow":
        raise BackendError(
            f"Export needs the TensorFlow backend and Keras runs on {backend}; "
            "start again with KERAS_BACKEND=tensorflow."
        )
    if recursion not in RECURSIONS:
        raise UsageError(f"recursion must be unrolled or rolled, got {recursion!r}.")
    if recursion == "rolled" and model.config.family != "paper":
        raise UsageError(
            "A rolled recursion needs one shared stack, and the seed family has two; "
            "export it unrolled."
        )
    if batch is not None and batch < 1:
        raise UsageError(f"batch must be at least 1, got {batch}.")


def convert(model: TRM, contract: StepContract, *, rolled: bool = False) -> Any:
    """The step as an `onnx.ModelProto` in the contract's names, the contract in its metadata."""
    import tensorflow as tf
    import tf2onnx

    step = step_function(model, contract, rolled=rolled)
    entering = incoming(contract)

    def positional(*tensors: Any) -> dict[str, Any]:
        return step(**{spec.name: x for spec, x in zip(entering, tensors, strict=True)})

    proto, _ = tf2onnx.convert.from_function(
        tf.function(positional),
        input_signature=[tf.TensorSpec(s.shape, s.dtype, name=s.name) for s in entering],
        opset=OPSET,
        custom_op_handlers={"SelectV2": (_select_as_where, [])},
    )
    _declare(proto.graph.input, entering)
    _declare(proto.graph.output, [*contract.outputs, *_next_tensors(contract)])
    proto.ir_version = min(proto.ir_version, MAX_IR_VERSION)
    proto.producer_name, _, proto.producer_version = contract.made_by.tool.partition(" ")
    proto.doc_string = "One ACT step of a TRM."
    entry = proto.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, contract.to_json()
    return proto


def _select_as_where(ctx: Any, node: Any, name: str, args: Any) -> None:
    """A select stays a select: tf2onnx's own `c * x + (1 - c) * y` lets a stale NaN through."""
    node.type = "Where"


def _next_tensors(contract: StepContract) -> list[TensorSpec]:
    return [TensorSpec(spec.next, spec.dtype, spec.shape) for spec in contract.carry]


def _declare(values: Any, specs: Sequence[TensorSpec | CarrySpec]) -> None:
    """Writes the contract's shapes on the graph's tensors; tf2onnx may have lost some."""
    shapes = {spec.name: spec.shape for spec in specs}
    for value in values:
        dims = value.type.tensor_type.shape
        dims.ClearField("dim")
        for size in shapes[value.name]:
            dim = dims.dim.add()
            if size is None:
                dim.dim_param = "batch"
            else:
                dim.dim_value = size
