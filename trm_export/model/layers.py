"""The blocks of a reasoning stack: norms, feed-forward layers, mixers.

Knows shapes ``(batch, positions, hidden)`` and nothing about carries, tokens or halting. Facts of
the paper's variant: arXiv 2510.04871 and its public code.
"""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
from keras import ops

from trm_export.model.config import TRMConfig
from trm_export.model.weightless import unless_filled

NORM_EPSILON = 1e-5


def lecun_truncated() -> keras.initializers.Initializer:
    """Truncated normal with standard deviation ``1 / sqrt(fan_in)``."""
    return unless_filled(keras.initializers.VarianceScaling(1.0, "fan_in", "truncated_normal"))


def truncated_normal(std: float) -> keras.initializers.Initializer:
    """Truncated normal whose standard deviation *after* the cut at two sigma is ``std``."""
    return unless_filled(keras.initializers.TruncatedNormal(stddev=std / 0.87962566103423978))


def swiglu_width(size: int, expansion: float) -> int:
    """Inner width of a SwiGLU: ``round(expansion * size * 2 / 3)`` up to a multiple of 256."""
    return 256 * math.ceil(max(1, round(expansion * size * 2 / 3)) / 256)


def wide(x: Any) -> Any:
    """``x`` in float32 at least: what statistics are computed in."""
    return ops.cast(x, keras.backend.result_type(x.dtype, "float32"))


def rms_normalize(x: Any) -> Any:
    """``x / sqrt(mean(x^2) + eps)`` over the last axis, in float32 at least."""
    y = wide(x)
    y = y * ops.rsqrt(ops.mean(ops.square(y), axis=-1, keepdims=True) + NORM_EPSILON)
    return ops.cast(y, x.dtype)


class Norm(keras.layers.Layer):
    """RMS or layer normalisation over the last axis, statistics in float32 at least.

    The paper's norm is the RMS one with ``scale=False``: it has no weights at all.
    """

    def __init__(self, size: int, kind: str, *, scale: bool, dtype: Any = None, name: str) -> None:
        super().__init__(dtype=dtype, name=name)
        self.kind = kind
        self.gamma = self.add_weight((size,), "ones", name="gamma") if scale else None
        self.beta = None
        if scale and kind == "layer_norm":
            self.beta = self.add_weight((size,), "zeros", name="beta")
        self.built = True

    def call(self, x: Any) -> Any:
        """``(..., size)`` -> ``(..., size)``, same dtype."""
        if self.kind == "layer_norm":
            y = wide(x)
            x = ops.cast(y - ops.mean(y, axis=-1, keepdims=True), x.dtype)
        y = rms_normalize(x)
        if self.gamma is not None:
            y = y * ops.cast(self.gamma, y.dtype)
        if self.beta is not None:
            y = y + ops.cast(self.beta, y.dtype)
        return y


def _silu(x: Any, training: bool | None) -> Any:
    """``x * sigmoid(x)``.

    In training Keras' own, whose gradient takes less memory. TensorFlow keeps that gradient, and
    with it the graph, as long as the process lives, wherever a graph of it is made.
    """
    return ops.silu(x) if training else x * ops.sigmoid(x)


class SwiGLU(keras.layers.Layer):
    """``down(silu(gate) * up)`` with gate and up in one fused matrix, gate first; no biases.

    ``fused`` changes how it computes, not the result: one product split in two, or two products by
    the halves of the matrix, for an engine that copies when it splits.
    """

    def __init__(self, size: int, expansion: float, *, dtype: Any = None, name: str) -> None:
        super().__init__(dtype=dtype, name=name)
        self.fused = True
        self.width = swiglu_width(size, expansion)
        self.gate_up = _dense(size, 2 * self.width, self.dtype_policy, "gate_up")
        self.down = _dense(self.width, size, self.dtype_policy, "down")
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        """``(batch, rows, size)`` -> the same."""
        if self.fused:
            both = self.gate_up(x)
            # No ellipsis: tf2onnx would need a rank that older TensorFlows lose in loops.
            gate, up = both[:, :, : self.width], both[:, :, self.width :]
        else:
            kernel = ops.cast(self.gate_up.kernel, x.dtype)
            gate, up = (
                ops.matmul(x, half) for half in (kernel[:, : self.width], kernel[:, self.width :])
            )
        return self.down(_silu(gate, training) * up)


class MLP(keras.layers.Layer):
    """The classic feed-forward layer: dense, activation, dense, with biases."""

    def __init__(self, config: TRMConfig, *, dtype: Any = None, name: str) -> None:
        super().__init__(dtype=dtype, name=name)
        size, width = config.hidden_size, max(1, round(config.hidden_size * config.expansion))
        self.up = _dense(size, width, self.dtype_policy, "up", config.ffn_activation, bias=True)
        self.down = _dense(width, size, self.dtype_policy, "down", bias=True)
        self.built = True

    def call(self, x: Any) -> Any:
        """``(batch, positions, hidden)`` -> the same."""
        return self.down(self.up(x))


class TokenMixer(keras.layers.Layer):
    """SwiGLU over the *position* axis: every channel mixes its own positions."""

    def __init__(self, config: TRMConfig, *, dtype: Any = None, name: str) -> None:
        super().__init__(dtype=dtype, name=name)
        self.swiglu = SwiGLU(
            config.positions, config.expansion, dtype=self.dtype_policy, name="swiglu"
        )
        self.built = True

    def call(self, x: Any) -> Any:
        """``(batch, hidden, positions)`` -> the same."""
        return self.swiglu(x)


class Attention(keras.layers.Layer):
    """Non-causal multi-head attention, fused q/k/v projection, no biases, optional RoPE."""

    def __init__(self, config: TRMConfig, *, dtype: Any = None, name: str) -> None:
        super().__init__(dtype=dtype, name=name)
        size = config.hidden_size
        self.heads, self.head_dim = config.num_heads, config.head_dim
        self.rope = _rope_tables(config) if config.pos_encodings == "rope" else None
        self.qkv = _dense(size, 3 * size, self.dtype_policy, "qkv")
        self.out = _dense(size, size, self.dtype_policy, "out")
        self.built = True

    def call(self, x: Any) -> Any:
        """``(batch, positions, hidden)`` -> the same."""
        positions, size = x.shape[1], x.shape[2]
        heads = ops.reshape(self.qkv(x), (-1, positions, 3 * self.heads, self.head_dim))
        heads = ops.transpose(heads, (0, 2, 1, 3))
        query, key, value = (heads[:, i * self.heads : (i + 1) * self.heads] for i in range(3))
        if self.rope is not None:
            query, key = _rotate(query, self.rope), _rotate(key, self.rope)
        scores = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) / math.sqrt(self.head_dim)
        weights = ops.cast(ops.softmax(wide(scores), axis=-1), x.dtype)
        mixed = ops.transpose(ops.matmul(weights, value), (0, 2, 1, 3))
        return self.out(ops.reshape(mixed, (-1, positions, size)))


class TransformerLayer(keras.layers.Layer):
    """One block: mixer and feed-forward layer, each with its residual and its norm.

    Post-norm is ``x = norm(x + f(x))``, pre-norm ``x = x + f(norm(x))``. The token mixer works, and
    normalises, on the transposed tensor ``(batch, hidden, positions)``.
    """

    def __init__(self, config: TRMConfig, *, dtype: Any = None, name: str) -> None:
        super().__init__(dtype=dtype, name=name)
        policy = self.dtype_policy
        self.pre = config.normalization_position == "pre"
        self.transposed = config.mixer == "mlp"
        mixer = TokenMixer if self.transposed else Attention
        self.mix = mixer(config, dtype=policy, name="mix")
        if config.ffn_type == "swiglu":
            self.ffn = SwiGLU(config.hidden_size, config.expansion, dtype=policy, name="ffn")
        else:
            self.ffn = MLP(config, dtype=policy, name="ffn")
        scale, kind = config.family == "seed", config.normalization_type
        mixed_axis = config.positions if self.transposed else config.hidden_size
        self.mix_norm = Norm(mixed_axis, kind, scale=scale, dtype=policy, name="mix_norm")
        self.ffn_norm = Norm(config.hidden_size, kind, scale=scale, dtype=policy, name="ffn_norm")
        self.dropout = None
        if config.dropout_rate:
            self.dropout = keras.layers.Dropout(config.dropout_rate, dtype=policy, name="dropout")
        self.built = True

    def call(self, x: Any, training: bool | None = None) -> Any:
        """``(batch, positions, hidden)`` -> the same."""
        if self.transposed:
            x = ops.transpose(x, (0, 2, 1))
        x = self._residual(x, self.mix, self.mix_norm, training)
        if self.transposed:
            x = ops.transpose(x, (0, 2, 1))
        return self._residual(x, self.ffn, self.ffn_norm, training)

    def _residual(self, x: Any, function: Any, norm: Norm, training: bool | None) -> Any:
        y = function(norm(x) if self.pre else x)
        if self.dropout is not None:
            y = self.dropout(y, training=training)
        return x + y if self.pre else norm(x + y)


def _dense(
    inputs: int,
    units: int,
    policy: Any,
    name: str,
    activation: str | None = None,
    *,
    bias: bool = False,
) -> keras.layers.Dense:
    layer = keras.layers.Dense(
        units, activation, use_bias=bias, kernel_initializer=lecun_truncated(), dtype=policy,
        name=name,
    )  # fmt: skip
    layer.build((None, inputs))
    return layer


def _rope_tables(config: TRMConfig) -> tuple[np.ndarray, np.ndarray]:
    """Cosines and sines ``(positions, head_dim)`` float32 of the rotate-half RoPE."""
    half = np.arange(0, config.head_dim, 2, dtype=np.float64) / config.head_dim
    angles = np.outer(np.arange(config.positions), config.rope_theta**-half)
    angles = np.concatenate([angles, angles], axis=-1)
    return np.cos(angles).astype("float32"), np.sin(angles).astype("float32")


def _rotate(x: Any, tables: tuple[np.ndarray, np.ndarray]) -> Any:
    """Rotates the two halves of the last axis of ``(batch, heads, positions, head_dim)``."""
    cosines, sines = (ops.convert_to_tensor(table, dtype=x.dtype) for table in tables)
    half = x.shape[-1] // 2
    rotated = ops.concatenate([-x[:, :, :, half:], x[:, :, :, :half]], axis=-1)
    return x * cosines + rotated * sines
