"""TFLite: one flatbuffer with a named signature, built-in operators only, the contract in its tail.

The SavedModel of the same job goes through TensorFlow's converter. Three choices suit LiteRT's
XNNPACK kernels, by measurement:

- XNNPACK packs the weights of every node separately, so passes are rolled into one loop whose body
  has them once. On the 5 M-parameter Sudoku preset that adds 49 MB of memory where 21 unrolled
  passes add 455 MB, in the same time.
- It copies where a tensor is split in two, so gate and up are two products here.
- A dynamic batch costs 5 MB and some percent of time, and every new size a new plan, so the batch
  is 1 by default.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import keras

from trm_export.artifacts.host_kinds import HOST_KINDS
from trm_export.artifacts.tflite_micro import missing
from trm_export.errors import UsageError
from trm_export.exporters.format import Documents, Format, Job, refuse_half, without_operators
from trm_export.exporters.kept_layers import layers
from trm_export.exporters.saved_model import save_graph
from trm_export.exporters.tflite_calibration import calibrate
from trm_export.exporters.tflite_flatbuffer import load
from trm_export.exporters.tflite_keep import restored
from trm_export.exporters.tflite_micro import EXACT, for_micro
from trm_export.exporters.tflite_micro_arena import micro_document
from trm_export.exporters.tflite_ports import with_int8_io
from trm_export.exporters.tflite_static import quantise
from trm_export.files import CALIBRATION, MICRO
from trm_export.leftovers import filling
from trm_export.model.layers import SwiGLU
from trm_runtime.contract import StepContract
from trm_runtime.drivers.quiet import unlogged
from trm_runtime.drivers.saved_model_folder import refuse_patterned_tmpdir
from trm_runtime.drivers.tflite_file import append_contract
from trm_runtime.integer import float_contract
from trm_runtime.message_text import first_line

LITERT, OLD, MICRO_TARGET = HOST_KINDS["tflite"].targets
SMALLER = ("fp16", "int8")  # precisions that the converter itself writes
_DTYPES = {"f16": "float16", "bf16": "bfloat16", "f64": "float64"}
_MADE = re.compile(rf"-> \(?tensor<(?:[^>]*x)?({'|'.join(_DTYPES)})>")


def write(job: Job, path: Path) -> Documents:
    """Writes the flatbuffer with the contract in its tail.

    Returns the manifest of int8-static, and for tflite-micro what a firmware needs to know.
    """
    documents = {}
    if job.contract.precision == "int8-static":
        float_job = dataclasses.replace(job, contract=float_contract(job.contract))
        calibration = calibrate(float_job, convert)
        data = quantise(convert(float_job), calibration.products)
        data = with_int8_io(data, job.contract)
        documents[CALIBRATION] = calibration.manifest
    else:
        data = convert(job)
    if job.engine == MICRO_TARGET:
        data = _without_missing(data)
    path.write_bytes(data)
    append_contract(path, job.contract.to_json())
    if job.engine == MICRO_TARGET:
        documents[MICRO] = micro_document(path)
    return documents


def _without_missing(data: bytes) -> bytes:
    """The flatbuffer with operators of tflite-micro only; UsageError if that cannot be."""
    data = for_micro(data)
    lacking = missing(load(data))
    if lacking:
        raise UsageError(
            f"tflite: tflite-micro does not have {', '.join(lacking)}, which this model needs; use "
            "--target litert, or generate C with trm-export c."
        )
    return data


def convert(job: Job) -> bytes:
    """The flatbuffer with the contract's names, without the contract; in float for int8-static."""
    contract = job.contract
    shape = (contract.granularity, contract.batch, contract.carry, contract.puzzle_table_sha256)
    key = ("tflite", *shape, job.rolled)
    saved = job.shared.once(key, lambda: _saved(job))
    if not job.keep or contract.precision not in SMALLER:
        return _converted(saved, contract)
    smaller = (*key, contract.precision)
    data = job.shared.once(smaller, lambda: _converted(saved, contract))
    return restored(data, layers(job.model), job.keep)


def _saved(job: Job) -> Path:
    """The graph as a SavedModel."""
    refuse_patterned_tmpdir()
    folder = job.shared.folder()
    with filling(folder), _split_gates(job.model.keras):
        save_graph(job, folder / "saved_model")
    return folder / "saved_model"


def _converted(saved: Path, contract: StepContract) -> bytes:
    import tensorflow as tf
    from tensorflow.lite.python.convert_phase import ConverterError

    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(saved), signature_keys=[contract.signature]
    )
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if contract.precision in SMALLER:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if contract.precision == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    try:
        with unlogged(tf.__version__):
            data: bytes = converter.convert()
    except ConverterError as error:  # its text is the whole graph
        if error.errors and all(one.operator.name for one in error.errors):
            raise without_operators("tflite", "TFLite", map(_operator, error.errors)) from error
        raise UsageError(
            f"tflite: TensorFlow's converter cannot convert this model: {first_line(error)[:200]}; "
            "export it to onnx."
        ) from error
    return data


def _operator(refused: Any) -> str:
    """What an error of the converter is about, with a dtype that TFLite does not compute in."""
    name = refused.operator.name.removeprefix("tf.")
    made = _MADE.search(refused.error_message)
    return f"{name} of {_DTYPES[made[1]]}" if made else name


@contextmanager
def _split_gates(model: keras.Model) -> Iterator[None]:
    """Every SwiGLU computes gate and up as two products."""
    layers = [layer for layer in model._flatten_layers() if isinstance(layer, SwiGLU)]
    for layer in layers:
        layer.fused = False
    try:
        yield
    finally:
        for layer in layers:
            layer.fused = True


def _refusals(job: Job) -> Iterator[str]:
    yield from refuse_half(job, "tflite")
    precision = job.contract.precision
    if precision == "int4":
        yield (
            "tflite: int4 is not supported for TFLite, which has one scale for all inputs of an "
            "output, and with that the files fail the gate; use onnx, or int8."
        )
    if job.engine == OLD and precision == "int8":
        yield (
            "tflite: int8 is not supported for tflite-runtime, whose last release (2.14) does not "
            "have FULLY_CONNECTED version 12 (int8 weights with one scale a channel); use "
            "int8-static, fp16 or fp32, or --target litert."
        )
    if job.engine == MICRO_TARGET:
        yield from _not_for_micro(job.contract)
    if precision == "int8-static" and job.contract.batch is None:
        yield (
            "tflite: int8-static needs a fixed batch, because its scales belong to rows, which a "
            "dynamic batch mixes with rows of other puzzles; give --batch a number, or use int8."
        )


def _not_for_micro(contract: StepContract) -> Iterator[str]:
    """What no file for tflite-micro can have."""
    missing = {
        "int8": "does not multiply float values by int8 weights (FULLY_CONNECTED)",
        "fp16": "does not convert float16 weights (DEQUANTIZE)",
    }
    if contract.precision in missing:
        yield (
            f"tflite: {contract.precision} is not supported for tflite-micro, which "
            f"{missing[contract.precision]}; use int8-static or fp32."
        )
    if contract.granularity == "loop":
        yield (
            "tflite: granularity loop is not supported for tflite-micro, which does not have "
            "REDUCE_ANY; use granularity step or block, and call it until the row is halted."
        )
    if contract.batch is None:
        yield (
            "tflite: a dynamic batch is not supported for tflite-micro, which plans its memory "
            "once; give --batch a number."
        )
    most = max(contract.vocab_size, contract.max_steps, contract.num_puzzle_identifiers or 0)
    if most >= EXACT:
        yield (
            f"tflite: tflite-micro selects integers as float32, which is exact below {EXACT:,}, "
            f"but this model counts to {most:,}; use --target litert."
        )


def _rolls(contract: StepContract) -> bool:
    """Nodes do not share packed weights, so a loop saves memory; a block has only one pass."""
    return contract.granularity != "block"


FORMAT = Format(
    name="tflite",
    packages=("ai-edge-litert",),
    write=write,
    rolls=_rolls,
    refusals=_refusals,
)
