"""SavedModel: a named signature that plain TensorFlow runs, the contract in ``assets.extra/``.

The weights are TensorFlow variables of a bare `tf.Module`, so that nothing of Keras or of ours is
needed to load it. TFLite starts from such a folder too.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from trm_export.export.choices import OFFERS
from trm_export.export.format import Format, Job
from trm_export.export.signature import graph_function, incoming
from trm_runtime.contract import METADATA_KEY, StepContract

CONTRACT_FILE = Path("assets.extra") / f"{METADATA_KEY}.json"


def write(job: Job, path: Path) -> None:
    """Writes the folder; in fp16 the variables hold half the bytes and are cast where used."""
    save_graph(job, path, half=job.contract.precision == "fp16")
    target = path / CONTRACT_FILE
    target.parent.mkdir(exist_ok=True)
    target.write_text(job.contract.to_json(), encoding="utf-8")


def save_graph(job: Job, path: Path, *, half: bool = False) -> None:
    """The graph with its signature as a SavedModel at ``path``, without the contract."""
    import tensorflow as tf

    module = tf.Module()
    floats = [w for w in job.model.weights if w.dtype.startswith("float")]
    module.stored = [_stored(w, half) for w in floats]
    function = graph_function(job.model, job.contract, rolled=job.rolled)

    def named(**tensors: Any) -> dict[str, Any]:
        values = [tf.cast(variable, "float32") for variable in module.stored]
        with keras.StatelessScope(state_mapping=list(zip(floats, values, strict=True))):
            return function(**tensors)

    specs = {s.name: tf.TensorSpec(s.shape, s.dtype, name=s.name) for s in incoming(job.contract)}
    signature = tf.function(named).get_concrete_function(**specs)
    path.unlink(missing_ok=True)
    tf.saved_model.save(module, str(path), signatures={job.contract.signature: signature})


def _stored(weight: Any, half: bool) -> Any:
    import tensorflow as tf

    value = tf.cast(weight.value, "float16" if half else "float32")
    return tf.Variable(value, trainable=False, name=weight.name)


def _refusals(job: Job) -> Iterator[str]:
    if job.contract.precision not in ("fp32", "fp16"):
        yield (
            f"saved-model: {job.contract.precision} cannot be had, because TensorFlow's own "
            "kernels run in floating point; use onnx or tflite, or fp16."
        )


def _rolls(contract: StepContract) -> bool:
    """A loop runs as fast, and is traced, written and opened in a tenth of the time."""
    return contract.granularity != "block"


FORMAT = Format(
    name="saved-model",
    offer=OFFERS["saved-model"],
    packages=(),
    batch=None,
    write=write,
    rolls=_rolls,
    refusals=_refusals,
)
