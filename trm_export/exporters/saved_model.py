"""SavedModel: a named signature that plain TensorFlow runs, contract and checksums in
``assets.extra/``.

The weights are TensorFlow variables of a plain `tf.Module`, so that neither Keras nor this package
is needed to load it. The TFLite exporter converts such a folder too.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from trm_export.exporters.format import Format, Job
from trm_export.exporters.portable_ops import portable_signs
from trm_export.exporters.puzzle_table_file import table_of
from trm_export.leftovers import clear_autograph
from trm_export.step.signature import graph_function, incoming
from trm_runtime.contract import StepContract
from trm_runtime.drivers.saved_model_folder import add_contract


def write(job: Job, path: Path) -> None:
    """Writes the folder; in fp16 the variables hold half the bytes and are cast where used."""
    save_graph(job, path, half=job.contract.precision == "fp16")
    add_contract(path, job.contract.to_json())


def save_graph(job: Job, path: Path, *, half: bool = False) -> None:
    """The graph with its signature as a SavedModel at ``path``, without the contract."""
    import tensorflow as tf

    module = tf.Module()
    weights = weights_of(job.model.keras, job.contract)
    module.stored = [_stored(weight, half) for weight in weights]
    function = graph_function(job.model, job.contract, rolled=job.rolled)

    def named(**tensors: Any) -> dict[str, Any]:
        values = [_used(variable) for variable in module.stored]
        mapping = list(zip(weights, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping, initialize_variables=False):
            return function(**tensors)

    specs = {s.name: tf.TensorSpec(s.shape, s.dtype, name=s.name) for s in incoming(job.contract)}
    with portable_signs():
        signature = tf.function(named, autograph=False).get_concrete_function(**specs)
    path.unlink(missing_ok=True)
    try:
        tf.saved_model.save(module, str(path), signatures={job.contract.signature: signature})
    except tf.errors.OpError as error:
        raise _unwritable(error, path) from error
    finally:
        clear_autograph()


def weights_of(model: keras.Model, contract: StepContract) -> list[Any]:
    """The variables that a folder of this contract stores, in that order."""
    weights: list[Any] = model.weights
    if contract.puzzle_table_sha256 is None:
        return weights
    table = table_of(model)
    return [weight for weight in weights if weight is not table]


def _unwritable(error: Any, path: Path) -> OSError:
    """TensorFlow's error as Python's; the last part of its message is the system's."""
    message = str(error.message).splitlines()[0].rpartition(";")[2]
    reason = message.partition(" [Op:")[0].strip()
    number = errno.ENOSPC if reason == os.strerror(errno.ENOSPC) else errno.EIO
    return OSError(number, reason, str(path))


def _stored(weight: Any, half: bool) -> Any:
    import tensorflow as tf

    value = tf.convert_to_tensor(weight.value)
    if value.dtype.is_floating:
        value = tf.cast(value, "float16" if half else "float32")
    return tf.Variable(value, trainable=False, name=weight.name)


def _used(variable: Any) -> Any:
    """What the step reads: floating-point variables as float32, integers unchanged."""
    import tensorflow as tf

    return tf.cast(variable, "float32") if variable.dtype.is_floating else tf.identity(variable)


def _refusals(job: Job) -> Iterator[str]:
    if job.contract.precision not in ("fp32", "fp16"):
        yield (
            f"saved-model: {job.contract.precision} is not supported for SavedModel, because "
            "TensorFlow's kernels compute in floating point; use onnx or tflite, or fp16."
        )
    if job.keep:
        yield "saved-model: --keep is not supported for SavedModel; use onnx or tflite."


def _rolls(contract: StepContract) -> bool:
    """A loop runs as fast, and is traced, written and opened in a tenth of the time."""
    return contract.granularity != "block"


FORMAT = Format(
    name="saved-model",
    packages=(),
    write=write,
    rolls=_rolls,
    refusals=_refusals,
)
