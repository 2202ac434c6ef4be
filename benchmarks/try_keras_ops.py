"""Which functions of `keras.ops` and which layers of Keras a third-party step may use, by format.

    python benchmarks/try_keras_ops.py [NAME ...]

Exports a small model for each, with its check against Keras, and prints a line for what is not
written: the name, the format and why. TensorFlow's converter writes to standard error as well. For
Keras 3.15; ten minutes for all.
"""

from __future__ import annotations

import argparse
import itertools
import logging
import os
import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from keras import layers, ops

import trm_export as te

CELLS, WIDTH, TOKENS = 6, 8, 5
FORMATS = {"onnx": ".onnx", "tflite": ".tflite", "saved-model": ""}
Function = Callable[[Any], Any]

PLAIN = (
    "abs arctan arcsinh ceil celu cos cosh deg2rad elu erf exp exp2 expm1 floor gelu "
    "hard_shrink hard_sigmoid hard_silu hard_tanh isfinite isinf isnan leaky_relu log_sigmoid "
    "log_softmax logical_not nan_to_num negative relu relu6 round selu sigmoid sign signbit "
    "silu sin sinh soft_shrink softmax softplus softsign sparse_plus sparse_sigmoid sparsemax "
    "square squareplus tan tanh tanh_shrink trunc tril triu zeros_like ones_like "
    "stop_gradient i0 sinc normalize "
)
POSITIVE = "arccos arcsin arctanh cbrt erfinv log log10 log1p log2 reciprocal rsqrt sqrt "
REDUCED = (
    "all any amax amin argmax argmin count_nonzero logsumexp max mean median min prod std sum var "
)
"""Named functions of a tensor, of numbers from 0 to 0.6, and along an axis."""


def _matrix(x: Any) -> Any:
    return x @ ops.transpose(x, (0, 2, 1)) + ops.eye(CELLS)


def _cells_first(function: Function) -> Function:
    return lambda x: ops.transpose(function(ops.transpose(x, (1, 0, 2))), (1, 0, 2))


def _image(function: Function) -> Function:
    return lambda x: ops.reshape(function(ops.reshape(x, (-1, 2, 3, WIDTH))), (-1, CELLS, WIDTH))


def _heads(x: Any) -> Any:
    return ops.reshape(x, (-1, CELLS, 2, WIDTH // 2))


def _flat(x: Any) -> Any:
    return ops.reshape(x, (-1, CELLS, WIDTH))


def _whole(x: Any) -> Any:
    return ops.cast(10 * x, "int32")


def _of_positive(function: Function, x: Any) -> Any:
    return function(0.3 + 0.3 * x)


def _along_cells(function: Callable[..., Any], x: Any) -> Any:
    return ops.expand_dims(function(x, -1), -1)


GIVEN: dict[str, Function] = {
    "arange": lambda x: ops.arange(WIDTH),
    "arctan2": lambda x: ops.arctan2(x, x + 2.0),
    "argsort": lambda x: ops.argsort(x, -1),
    "associative_scan": lambda x: ops.associative_scan(ops.add, x, axis=1),
    "average_pool": lambda x: ops.average_pool(x, 3, 1, "same"),
    "batch_normalization": lambda x: ops.batch_normalization(
        x, ops.zeros(WIDTH), ops.ones(WIDTH), -1
    ),
    "bincount": lambda x: ops.bincount(abs(_whole(x[..., 0])), minlength=16)[:, None, :WIDTH],
    "bitwise_and": lambda x: ops.bitwise_and(_whole(x), 3),
    "bitwise_not": lambda x: ops.bitwise_not(_whole(x)),
    "bitwise_xor": lambda x: ops.bitwise_xor(_whole(x), 3),
    "cast to bfloat16": lambda x: 2 * ops.cast(x, "bfloat16"),
    "cast to float16": lambda x: 2 * ops.cast(x, "float16"),
    "cast to float64": lambda x: 2 * ops.cast(x, "float64"),
    "cast to int64": lambda x: ops.cast(_whole(x), "int64") * 3,
    "cast to uint8": lambda x: ops.cast(abs(10 * x), "uint8"),
    "cholesky": lambda x: ops.cholesky(_matrix(x)) @ x,
    "clip": lambda x: ops.clip(x, -0.2, 0.2),
    "cond": lambda x: ops.cond(ops.any(x > 2), lambda: 2 * x, lambda: -x),
    "conv": lambda x: ops.conv(x, ops.ones((3, WIDTH, WIDTH)) / 9, padding="same"),
    "conv in two dimensions": _image(
        lambda x: ops.conv(x, ops.ones((3, 3, WIDTH, WIDTH)) / 9, padding="same")
    ),
    "conv_transpose": lambda x: ops.conv_transpose(
        x, ops.ones((3, WIDTH, WIDTH)) / 9, 1, padding="same"
    ),
    "cross": lambda x: ops.pad(ops.cross(x[..., :3], x[..., 3:6]), ((0, 0), (0, 0), (0, 5))),
    "cumprod": lambda x: ops.cumprod(x, 1),
    "cumsum": lambda x: ops.cumsum(x, 1),
    "depthwise_conv": lambda x: ops.depthwise_conv(x, ops.ones((3, WIDTH, 1)), padding="same"),
    "det": lambda x: ops.det(_matrix(x))[:, None, None],
    "diagonal": lambda x: ops.diagonal(x, axis1=1, axis2=2)[:, :, None],
    "diff": lambda x: ops.pad(ops.diff(x, axis=1), ((0, 0), (0, 1), (0, 0))),
    "divide_no_nan": lambda x: ops.divide_no_nan(x, ops.maximum(x, 0.0)),
    "dot": lambda x: ops.dot(x, ops.eye(WIDTH)),
    "dot_product_attention": lambda x: _flat(ops.dot_product_attention(*[_heads(x)] * 3)),
    "dot_product_attention, causal": lambda x: _flat(
        ops.dot_product_attention(*[_heads(x)] * 3, is_causal=True)
    ),
    "einsum": lambda x: ops.einsum("bsd,btd,bte->bse", x, x, x),
    "fft": lambda x: ops.fft((x, x))[0],
    "flip": lambda x: ops.flip(x, axis=1),
    "floor_divide": lambda x: ops.floor_divide(x, 0.7),
    "floor_divide of integers": lambda x: ops.floor_divide(_whole(x), 3),
    "fori_loop": lambda x: ops.fori_loop(0, 3, lambda i, state: ops.tanh(state), x),
    "image.resize": _image(lambda x: ops.image.resize(x, (2, 3))),
    "inv": lambda x: ops.inv(_matrix(x)) @ x,
    "isclose": lambda x: ops.isclose(x, 0.5),
    "layer_normalization": lambda x: ops.layer_normalization(x, axis=-1),
    "left_shift": lambda x: ops.left_shift(_whole(x), 1),
    "linspace": lambda x: ops.linspace(0.0, 1.0, WIDTH),
    "logaddexp": lambda x: ops.logaddexp(x, 0.5),
    "logical_xor": lambda x: ops.logical_xor(x > 0, x > 0.5),
    "map": lambda x: ops.map(ops.tanh, x),
    "matmul": lambda x: ops.matmul(_matrix(x), x),
    "max_pool": lambda x: ops.max_pool(x, 3, 1, "same"),
    "maximum": lambda x: ops.maximum(x, 0.1),
    "meshgrid": lambda x: ops.meshgrid(ops.arange(WIDTH), ops.arange(CELLS))[0],
    "mod": lambda x: ops.mod(x, 0.7),
    "mod of integers": lambda x: ops.mod(_whole(x), 3),
    "moments": lambda x: x - ops.moments(x, -1, keepdims=True)[0],
    "moveaxis": lambda x: ops.moveaxis(ops.moveaxis(x, 1, 2) + 1, 2, 1),
    "norm": lambda x: ops.norm(x, axis=-1, keepdims=True),
    "one_hot": lambda x: ops.one_hot(abs(_whole(x[..., 0])), WIDTH),
    "pad, reflect": lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 0)), "reflect")[:, :CELLS],
    "pad, symmetric": lambda x: ops.pad(x, ((0, 0), (1, 1), (0, 0)), "symmetric")[:, :CELLS],
    "power": lambda x: ops.power(abs(x) + 0.1, 1.5),
    "qr": lambda x: ops.qr(x)[0] @ ops.qr(x)[1],
    "quantile": lambda x: ops.quantile(x, 0.3, -1, keepdims=True),
    "repeat": lambda x: ops.repeat(x[:, :3], 2, axis=1),
    "rfft": lambda x: ops.pad(ops.rfft(x, WIDTH)[0], ((0, 0), (0, 0), (0, 3))),
    "right_shift": lambda x: ops.right_shift(_whole(x), 1),
    "rms_normalization": lambda x: ops.rms_normalization(x, axis=-1),
    "roll": lambda x: ops.roll(x, 1, axis=1),
    "rot90": lambda x: ops.rot90(ops.rot90(x, axes=(1, 2)), axes=(1, 2)),
    "scan": _cells_first(
        lambda x: ops.scan(lambda state, cell: (ops.tanh(state + cell), state), x[0], x)[1]
    ),
    "scatter_update": _cells_first(lambda x: ops.scatter_update(x, [[2]], -x[:1])),
    "searchsorted": lambda x: _flat(
        ops.searchsorted(ops.linspace(-1.0, 1.0, 5), ops.reshape(x, (-1,)))
    ),
    "segment_sum": _cells_first(
        lambda x: ops.repeat(
            ops.segment_sum(x, ops.convert_to_tensor([0, 0, 1, 1, 2, 2]), 3), 2, axis=0
        )
    ),
    "select": lambda x: ops.select([x > 0.2, x > 0], [x, 2 * x], 0.0),
    "slice": lambda x: ops.slice(
        ops.tile(x, (1, 2, 1)), (0, 2, 0), (ops.shape(x)[0], CELLS, WIDTH)
    ),
    "slice_update": lambda x: ops.slice_update(x, (0, 1, 2), -x[:, :2, :3]),
    "solve": lambda x: ops.solve(_matrix(x), x),
    "sort": lambda x: ops.sort(x, -1),
    "split": lambda x: ops.concatenate(ops.split(x, 2, -1)[::-1], -1),
    "stack, unstack": lambda x: ops.stack(ops.unstack(x, axis=1)[::-1], axis=1),
    "swapaxes": lambda x: ops.swapaxes(ops.swapaxes(x, 1, 2) + 1, 1, 2),
    "switch": lambda x: ops.switch(ops.convert_to_tensor(0), [ops.tanh, ops.exp], x),
    "take": lambda x: ops.take(x, [3, 1, 0, 2, 5, 4], axis=1),
    "take_along_axis": lambda x: ops.take_along_axis(x, abs(_whole(x)) // 3, axis=1),
    "tensordot": lambda x: ops.tensordot(x, ops.eye(WIDTH), 1),
    "threshold": lambda x: ops.threshold(x, 0.1, 0.0),
    "top_k": lambda x: ops.top_k(x, 2)[0][..., :1],
    "trace": lambda x: ops.trace(x, axis1=1, axis2=2)[:, None, None],
    "vectorized_map": lambda x: ops.vectorized_map(ops.tanh, x),
    "where": lambda x: ops.where(x > 0, x, -1.0),
    "while_loop": lambda x: ops.while_loop(
        lambda i, state: i < 3, lambda i, state: (i + 1, ops.tanh(state)), (0, x)
    )[1],
    "x[:, ::-1]": lambda x: x[:, ::-1],
}
"""Functions that need more than a tensor; each takes ``(batch, CELLS, WIDTH)`` float32."""

LAYERS: dict[str, Callable[[], tuple[Any, Function | None]]] = {
    "AdditiveAttention": lambda: _with(layers.AdditiveAttention(), lambda f, x: f([x, x])),
    "Attention": lambda: _with(layers.Attention(), lambda f, x: f([x, x])),
    "BatchNormalization": lambda: (layers.BatchNormalization(), None),
    "Bidirectional": lambda: (layers.Bidirectional(layers.GRU(4, return_sequences=True)), None),
    "Conv1D": lambda: (layers.Conv1D(WIDTH, 3, padding="same"), None),
    "Conv1D, causal": lambda: (layers.Conv1D(WIDTH, 3, padding="causal"), None),
    "DepthwiseConv1D": lambda: (layers.DepthwiseConv1D(3, padding="same"), None),
    "Discretization": lambda: (layers.Discretization([-0.5, 0.0, 0.5]), None),
    "Dropout": lambda: (layers.Dropout(0.3), None),
    "EinsumDense": lambda: (layers.EinsumDense("bsd,de->bse", (CELLS, WIDTH)), None),
    "GRU": lambda: (layers.GRU(WIDTH, return_sequences=True), None),
    "GaussianNoise": lambda: (layers.GaussianNoise(0.3), None),
    "GlobalAveragePooling1D": lambda: _with(
        layers.GlobalAveragePooling1D(), lambda f, x: x + f(x)[:, None]
    ),
    "GroupNormalization": lambda: (layers.GroupNormalization(2), None),
    "GroupQueryAttention": lambda: _with(layers.GroupQueryAttention(4, 4, 2), lambda f, x: f(x, x)),
    "LSTM": lambda: (layers.LSTM(WIDTH, return_sequences=True), None),
    "LayerNormalization": lambda: (layers.LayerNormalization(), None),
    "MultiHeadAttention": lambda: _with(layers.MultiHeadAttention(2, 4), lambda f, x: f(x, x)),
    "MultiHeadAttention, causal": lambda: _with(
        layers.MultiHeadAttention(2, 4), lambda f, x: f(x, x, use_causal_mask=True)
    ),
    "PReLU": lambda: (layers.PReLU(), None),
    "RMSNormalization": lambda: (layers.RMSNormalization(), None),
    "SeparableConv1D": lambda: (layers.SeparableConv1D(WIDTH, 3, padding="same"), None),
    "SimpleRNN": lambda: (layers.SimpleRNN(WIDTH, return_sequences=True), None),
    "SpectralNormalization": lambda: (layers.SpectralNormalization(layers.Dense(WIDTH)), None),
    "TimeDistributed": lambda: (layers.TimeDistributed(layers.Dense(WIDTH)), None),
    "UnitNormalization": lambda: (layers.UnitNormalization(), None),
    "UpSampling1D": lambda: _with(layers.UpSampling1D(2), lambda f, x: f(x[:, :3])),
}
"""Each makes a layer, and how a step calls it if not with its state alone."""


def _with(layer: Any, call: Callable[[Any, Any], Any]) -> tuple[Any, Function]:
    return layer, lambda x: call(layer, x)


def functions() -> dict[str, Function]:
    """Every function by its name; those named of a newer Keras are left out."""
    made = {name: getattr(ops, name) for name in PLAIN.split() if hasattr(ops, name)}
    for names, call in ((POSITIVE, _of_positive), (REDUCED, _along_cells)):
        made |= {
            name: partial(call, getattr(ops, name)) for name in names.split() if hasattr(ops, name)
        }
    return dict(sorted((made | GIVEN).items()))


class Step(keras.Model):
    """A step of the protocol whose state goes through one function or layer."""

    seq_len, halt_max_steps = CELLS, 4

    def __init__(self, function: Function | None, layer: Any = None) -> None:
        super().__init__()
        self.look, self.mix = layers.Embedding(TOKENS, WIDTH), layers.Dense(WIDTH, "tanh")
        self.say, self.stop = layers.Dense(TOKENS), layers.Dense(1)
        self.layer, self.function = layer, function or layer

    def initial_carry(self, batch: Any) -> Any:
        """All rows halted."""
        rows = ops.shape(batch["inputs"])[0]
        return {
            "state": ops.zeros((rows, CELLS, WIDTH)),
            "steps": ops.zeros((rows,), "int32"),
            "halted": ops.ones((rows,), "bool"),
        }

    def call(self, carry: Any, batch: Any, training: bool = False) -> Any:
        """One step."""
        halted = carry["halted"]
        state = ops.where(halted[:, None, None], 0.0, carry["state"])
        seen = self.mix(state + 10 * self.look(batch["inputs"]))
        state = ops.tanh(seen + ops.cast(self.function(seen), "float32"))
        steps = ops.where(halted, 0, carry["steps"]) + 1
        outputs = {"logits": self.say(state), "q_halt_logits": self.stop(state[:, 0])}
        return {"state": state, "steps": steps, "halted": steps >= self.halt_max_steps}, outputs


def refusal(model: Step, path: Path) -> str | None:
    """Why the model is not written; None if it is."""
    try:
        te.export(model, path, force=True)
    except te.errors.TRMError as error:
        return str(error).replace(f"{path} was not written: ", "")
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    names = parser.parse_args().names
    made: dict[str, Any] = {name: (None, function) for name, function in functions().items()}
    made |= {f"layers.{name}": make for name, make in LAYERS.items()}
    unknown = [name for name in names if name not in made]
    if unknown:
        parser.error(f"NAME: unknown: {', '.join(unknown)}")
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    written = dict.fromkeys(FORMATS, 0)
    with tempfile.TemporaryDirectory() as folder:
        for name, kind in itertools.product(names or made, FORMATS):
            keras.utils.set_random_seed(1)
            layer, function = made[name]() if callable(made[name]) else made[name]
            why = refusal(Step(function, layer), Path(folder) / f"model{FORMATS[kind]}")
            written[kind] += why is None
            if why is not None:
                print(f"{name} | {kind} | {why}", flush=True)
    counts = ", ".join(f"{count} in {kind}" for kind, count in written.items())
    print(f"Keras {keras.__version__}: of {len(names or made)} written {counts}.")


if __name__ == "__main__":
    main()
