"""Blocks of the thinker: pre-norm, grouped-query attention, a GELU feed-forward layer."""

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="gridthink")
class ScaleNorm(keras.layers.Layer):
    """One learned length for every vector (arXiv 1910.05895)."""

    def build(self, input_shape):
        start = keras.initializers.Constant(float(input_shape[-1]) ** 0.5)
        self.g = self.add_weight(shape=(), initializer=start, name="g")
        super().build(input_shape)

    def call(self, x):
        length = ops.sqrt(ops.sum(ops.square(x), axis=-1, keepdims=True) + 1e-6)
        return x * (self.g / length)


@keras.saving.register_keras_serializable(package="gridthink")
class Block(keras.layers.Layer):
    """Attention, then a feed-forward layer, each behind its norm."""

    def __init__(self, width, heads, groups, norm="scale", **kwargs):
        super().__init__(**kwargs)
        self.width, self.heads, self.groups, self.norm = width, heads, groups, norm
        self.attention = keras.layers.GroupQueryAttention(width // heads, heads, groups)
        make = ScaleNorm if norm == "scale" else keras.layers.LayerNormalization
        self.norm_1, self.norm_2 = make(), make()
        self.up = keras.layers.Dense(2 * width, activation="gelu")
        self.down = keras.layers.Dense(width)

    def call(self, x, training=None):
        y = self.norm_1(x)
        x = x + self.attention(y, y, training=training)
        return x + self.down(self.up(self.norm_2(x)))

    def get_config(self):
        own = {"width": self.width, "heads": self.heads, "groups": self.groups, "norm": self.norm}
        return {**super().get_config(), **own}
