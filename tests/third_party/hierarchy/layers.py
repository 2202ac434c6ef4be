"""Post-norm transformer blocks with rotary attention, SwiGLU and an RMS norm without weights."""

import keras
import numpy as np
from keras import ops


def rms(x):
    return x * ops.rsqrt(ops.mean(ops.square(x), axis=-1, keepdims=True) + 1e-5)


def rotary(positions, size):
    angles = np.outer(np.arange(positions), 1e4 ** -(np.arange(0, size, 2) / size))
    angles = np.concatenate([angles, angles], -1).astype("float32")
    return np.cos(angles), np.sin(angles)


@keras.saving.register_keras_serializable(package="hierarchy")
class HRMBlock(keras.layers.Layer):
    def __init__(self, size, heads, positions, **kwargs):
        super().__init__(**kwargs)
        self.size, self.heads, self.positions = size, heads, positions
        self.cos, self.sin = rotary(positions, size // heads)
        self.qkv = keras.layers.Dense(3 * size, use_bias=False)
        self.out = keras.layers.Dense(size, use_bias=False)
        self.gate = keras.layers.Dense(2 * size, use_bias=False)
        self.up = keras.layers.Dense(2 * size, use_bias=False)
        self.down = keras.layers.Dense(size, use_bias=False)

    def turn(self, x):
        half = x.shape[-1] // 2
        turned = ops.concatenate([-x[..., half:], x[..., :half]], axis=-1)
        return x * self.cos + turned * self.sin

    def attend(self, x):
        parts = ops.reshape(
            self.qkv(x), (-1, self.positions, 3, self.heads, self.size // self.heads)
        )
        query, key, value = (ops.transpose(parts[:, :, i], (0, 2, 1, 3)) for i in range(3))
        scores = ops.matmul(self.turn(query), ops.transpose(self.turn(key), (0, 1, 3, 2)))
        mixed = ops.matmul(ops.softmax(scores * (self.size // self.heads) ** -0.5), value)
        mixed = ops.transpose(mixed, (0, 2, 1, 3))
        return self.out(ops.reshape(mixed, (-1, self.positions, self.size)))

    def call(self, x):
        x = rms(x + self.attend(x))
        return rms(x + self.down(ops.silu(self.gate(x)) * self.up(x)))

    def get_config(self):
        own = {"size": self.size, "heads": self.heads, "positions": self.positions}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="hierarchy")
class ReasoningModule(keras.layers.Layer):
    """A stack on ``hidden_states + input_injection``."""

    def __init__(self, depth, size, heads, positions, **kwargs):
        super().__init__(**kwargs)
        self.depth, self.size, self.heads, self.positions = depth, size, heads, positions
        self.blocks = [HRMBlock(size, heads, positions) for _ in range(depth)]

    def call(self, hidden_states, input_injection):
        hidden_states = hidden_states + input_injection
        for block in self.blocks:
            hidden_states = block(hidden_states)
        return hidden_states

    def get_config(self):
        names = ("depth", "size", "heads", "positions")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
