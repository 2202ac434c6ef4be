"""Functions of Keras that converters cannot follow, computed otherwise while a step is traced."""

from __future__ import annotations

import importlib
import importlib.util
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from types import ModuleType
from typing import Any

import keras
from keras import ops

from trm_export.errors import UsageError

MOST_REPEATED = 256  # calls of the function of a scan: the time of an export grows faster than they
_LOCK = threading.RLock()  # two threads must not put a function back crosswise


@contextmanager
def portable_signs() -> Iterator[None]:
    """Steps that TensorFlow traces inside find the sign of a number by arithmetic.

    `keras.ops.signbit` masks bits, which neither ONNX (opset 17) nor TFLite can, and `argmax` and
    `argmin` of floating-point numbers call it, because -0.0 is less than 0.0 to them. Keras 3.8
    has no `signbit`.
    """
    backend = _functions_of("numpy")
    if not hasattr(backend, "signbit"):
        yield
        return
    with _replaced(backend, "signbit", partial(_signbit, backend.signbit)):
        yield


def _signbit(of_bits: Callable[..., Any], x: Any) -> Any:
    """As `keras.ops.signbit`; 1 / -0.0 is -inf."""
    x = ops.convert_to_tensor(x)
    return ops.logical_or(x < 0, 1 / x < 0) if x.dtype.is_floating else of_bits(x)


@contextmanager
def portable_for_onnx() -> Iterator[None]:
    """`portable_signs`, and functions that tf2onnx cannot convert.

    Of `scan` it does not find the tensors that a loop of TensorFlow writes, so that the function is
    repeated; of `slice_update` it does not know TensorFlow's operator.
    """
    backend = _functions_of("core")
    with (
        portable_signs(),
        _replaced(backend, "scan", partial(_scan, backend.scan)),
        _replaced(backend, "slice_update", _slice_update),
    ):
        yield


def _scan(
    looping: Callable[..., Any], f: Callable[..., Any], init: Any, xs: Any = None,
    length: int | None = None, reverse: bool = False, unroll: Any = 1,
) -> Any:  # fmt: skip
    """As `keras.ops.scan`, without a loop if it is known how often it runs."""
    count = length if xs is None else keras.tree.flatten(xs)[0].shape[0]
    if not count:
        return looping(f, init, xs, length, reverse, unroll)
    if count > MOST_REPEATED:
        raise UsageError(
            f"onnx: a scan of {count:,} is too long, because ONNX has it as often as it runs; the "
            f"most is {MOST_REPEATED}. Export to tflite or saved-model, or use "
            "keras.ops.while_loop, which stays a loop."
        )
    carry, found = init, {}
    for place in reversed(range(count)) if reverse else range(count):
        given = None if xs is None else keras.tree.map_structure(itemgetter(place), xs)
        carry, found[place] = f(carry, given)
    rows = [found[place] for place in range(count)]
    if rows[0] is None:
        return carry, None
    return carry, keras.tree.map_structure(lambda *parts: ops.stack(parts), *rows)


def _slice_update(inputs: Any, start_indices: Any, updates: Any) -> Any:
    """As `keras.ops.slice_update`: the updates are padded to the shape of the inputs."""
    import tensorflow as tf

    inputs, updates = ops.convert_to_tensor(inputs), ops.convert_to_tensor(updates, inputs.dtype)
    room = tf.shape(inputs) - tf.shape(updates)
    start = tf.clip_by_value(tf.cast(start_indices, "int32"), 0, room)
    padding = tf.stack([start, room - start], axis=1)
    mask = tf.pad(tf.ones_like(updates, "int32"), padding)
    return tf.where(mask > 0, tf.pad(updates, padding), inputs)


def _functions_of(part: str) -> ModuleType:
    """The module by which `keras.ops` calls TensorFlow; Keras 3.16 has moved it."""
    package = "keras.src.backend.tensorflow"
    moved = importlib.util.find_spec(f"{package}.ops") is not None
    return importlib.import_module(f"{package}.ops.{part}" if moved else f"{package}.{part}")


@contextmanager
def _replaced(module: Any, name: str, function: Any) -> Iterator[None]:
    with _LOCK:
        before = getattr(module, name)
        setattr(module, name, function)
        try:
            yield
        finally:
            setattr(module, name, before)
