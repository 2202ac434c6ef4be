"""The toy model of `fakes` in TensorFlow: as a SavedModel and as a `.tflite` with its contract."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.runtime.fakes import MAX_STEPS, Q_CONTINUE, VOCAB, make_contract
from trm_runtime import StepContract
from trm_runtime.drivers.saved_model_folder import add_contract
from trm_runtime.drivers.tflite_file import append_contract


def write_saved_model(
    path: Path,
    contract: StepContract | None = None,
    signature: str = "act_step",
    *,
    endless: bool = False,
) -> Path:
    """The toy step as a SavedModel for a contract of `make_contract`."""
    contract = contract or make_contract()
    shutil.copytree(_saved_model(contract.batch, signature, endless), path)
    add_contract(path, contract.to_json())
    return path


def write_tflite(
    path: Path, contract: StepContract | None = None, *, endless: bool = False
) -> Path:
    """The toy step as a `.tflite` file for a contract of `make_contract`."""
    contract = contract or make_contract()
    path.write_bytes(flatbuffer(contract.batch, endless=endless))
    append_contract(path, contract.to_json())
    return path


@functools.cache
def flatbuffer(
    batch: int | None = None, signature: str = "act_step", *, endless: bool = False
) -> bytes:
    """The toy step as TFLite, without a contract; `endless` never returns."""
    import tensorflow as tf

    folder = _saved_model(batch, signature, endless)
    data: bytes = tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert()
    return data


@functools.cache
def _saved_model(batch: int | None, signature: str, endless: bool = False) -> Path:
    """One folder a process; nobody changes it."""
    import tensorflow as tf

    contract = make_contract(batch=batch)
    specs = {
        spec.name: tf.TensorSpec(spec.shape, spec.dtype, name=spec.name)
        for spec in (*contract.inputs, *contract.carry)
    }
    module = tf.Module()
    module.step = tf.function(_endless if endless else _step)
    made = tempfile.mkdtemp(prefix="trm-toy-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    folder = Path(made, "toy")
    tf.saved_model.save(
        module, str(folder), {signature: module.step.get_concrete_function(**specs)}
    )
    return folder


def _endless(**tensors: Any) -> dict[str, Any]:
    import tensorflow as tf

    found = _step(**tensors)
    found["logits"] = tf.while_loop(
        lambda logits: tf.reduce_all(logits > -1.0), lambda logits: [logits], [found["logits"]]
    )[0]
    return found


def _step(**tensors: Any) -> dict[str, Any]:
    import tensorflow as tf

    def reset(fresh: Any, old: Any) -> Any:
        mask = tf.reshape(tensors["halted"], (-1, *[1] * (old.shape.rank - 1)))
        shape = tf.shape(old)
        return tf.where(tf.broadcast_to(mask, shape), tf.broadcast_to(fresh, shape), old)

    current = reset(tensors["inputs"], tensors["current_inputs"])
    steps = reset(0, tensors["steps"]) + 1
    states = {name: reset(np.float32(0), tensors[name]) + 1.0 for name in ("z_H", "z_L")}
    answers = tf.math.floormod(current + tf.cast(states["z_H"][..., 0], tf.int32), VOCAB)
    over = tf.cast(steps - current[:, 0], tf.float32)
    return {
        "logits": tf.one_hot(answers, VOCAB),
        "q_halt_logits": over + 0.5,
        "q_continue_logits": over - over + Q_CONTINUE,
        "z_H_next": states["z_H"],
        "z_L_next": states["z_L"],
        "steps_next": steps,
        "halted_next": steps >= MAX_STEPS,
        "current_inputs_next": tf.identity(current),
    }
