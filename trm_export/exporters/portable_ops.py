"""Functions of Keras that converters cannot follow, computed otherwise while a step is traced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from operator import itemgetter
from typing import Any

import keras
from keras import ops


@contextmanager
def portable_signs() -> Iterator[None]:
    """Steps that TensorFlow traces inside find the sign of a number by arithmetic.

    `keras.ops.signbit` masks bits, which neither ONNX (opset 17) nor TFLite can, and `argmax` and
    `argmin` of floating-point numbers call it, because -0.0 is less than 0.0 to them.
    """
    from keras.src.backend.tensorflow import numpy as backend

    of_bits = backend.signbit

    def signbit(x: Any) -> Any:
        x = ops.convert_to_tensor(x)
        # 1 / -0.0 is -inf.
        return ops.logical_or(x < 0, 1 / x < 0) if x.dtype.is_floating else of_bits(x)

    with _replaced(backend, "signbit", signbit):
        yield


@contextmanager
def portable_for_onnx() -> Iterator[None]:
    """`portable_signs`, and functions that tf2onnx cannot convert.

    Of `scan` it does not find the tensors that a loop of TensorFlow writes, so that the function is
    repeated; of `slice_update` it does not know TensorFlow's operator.
    """
    from keras.src.backend.tensorflow import core as backend

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


@contextmanager
def _replaced(module: Any, name: str, function: Any) -> Iterator[None]:
    before = getattr(module, name)
    setattr(module, name, function)
    try:
        yield
    finally:
        setattr(module, name, before)
