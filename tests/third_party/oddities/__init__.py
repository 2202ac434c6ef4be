"""Small models that stretch the protocol, or break it; each says how in its docstring."""

import keras
from keras import ops

from trm_export.model import TRM


@keras.saving.register_keras_serializable(package="oddities")
class Plain(keras.Model):
    """Says nothing of itself, keeps no puzzle in its carry, counts in int64, has one q head.

    Its carry is a list; it reads the number of rows as a Python number.
    """

    def __init__(self, vocab=7, width=16, cells=9, last=3, **kwargs):
        super().__init__(**kwargs)
        self.vocab, self.width, self.cells, self.last = vocab, width, cells, last
        self.look = keras.layers.Embedding(vocab, width)
        self.mix = keras.layers.Dense(width, activation="tanh")
        self.say = keras.layers.Dense(vocab)
        self.stop = keras.layers.Dense(1)

    def initial_carry(self, batch):
        rows = batch["inputs"].shape[0]
        state = ops.zeros((rows, self.cells, self.width))
        return [{"state": state, "steps": ops.zeros((rows,), "int64")}, ops.ones((rows,), "bool")]

    def fresh(self, halted, state):
        return ops.where(halted[:, None, None], ops.zeros_like(state), state)

    def think(self, x):
        return self.mix(x)

    def call(self, carry, batch, training=None):
        inner, halted = carry
        rows = int(batch["inputs"].shape[0])
        state = self.fresh(halted, inner["state"])
        state = self.think(state + self.look(batch["inputs"]))
        steps = ops.where(halted, ops.zeros((rows,), "int64"), inner["steps"]) + 1
        outputs = {"logits": self.say(state), "q_halt_logits": self.stop(state[:, 0])}
        return [{"state": state, "steps": steps}, steps >= self.last], outputs

    def get_config(self):
        own = {"vocab": self.vocab, "width": self.width, "cells": self.cells, "last": self.last}
        return {**super().get_config(), **own}


class Named(Plain):
    """The same with a dictionary for a carry."""

    def initial_carry(self, batch):
        inner, halted = super().initial_carry(batch)
        return {**inner, "halted": halted}

    def call(self, carry, batch, training=None):
        (inner, halted), outputs = super().call([carry, carry["halted"]], batch, training)
        return {**inner, "halted": halted}, outputs


@keras.saving.register_keras_serializable(package="oddities")
class Arithmetic(Named):
    """Resets by arithmetic, so that a NaN survives."""

    def fresh(self, halted, state):
        return state * ops.cast(~halted[:, None, None], "float32")


@keras.saving.register_keras_serializable(package="oddities")
class Forgetful(Named):
    """Resets nothing."""

    def fresh(self, halted, state):
        return state


@keras.saving.register_keras_serializable(package="oddities")
class Secretive(keras.layers.Dense):
    """A layer that saves nothing."""

    def save_own_variables(self, store):
        pass

    def load_own_variables(self, store):
        pass


@keras.saving.register_keras_serializable(package="oddities")
class Unsaved(Named):
    """Has a layer that Keras sees and does not save."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.secret = Secretive(self.width)

    def think(self, x):
        return self.mix(self.secret(x))


@keras.saving.register_keras_serializable(package="oddities")
class Untracked(Named):
    """Keeps a layer where Keras does not even see it."""

    class Box:
        layer = None

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.box = self.Box()
        self.box.layer = keras.layers.Dense(self.width)

    def think(self, x):
        return self.mix(self.box.layer(x))


@keras.saving.register_keras_serializable(package="oddities")
class Raw(Named):
    """Has a variable that Keras knows nothing of."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        import tensorflow as tf

        self.bag = {"scale": [tf.Variable(2.0)].__iter__}

    def think(self, x):
        return self.mix(x) * next(self.bag["scale"]())


@keras.saving.register_keras_serializable(package="oddities")
class Tuned(Named):
    """Sound: with every fact in an attribute, and a counter that is no float among its weights."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seq_len, self.halt_max_steps = self.cells, self.last
        self.shift = self.add_weight(
            shape=(), dtype="int32", initializer="ones", trainable=False, name="shift"
        )

    def think(self, x):
        return self.mix(x) * ops.cast(self.shift, "float32")


@keras.saving.register_keras_serializable(package="oddities")
class Noisy(Named):
    """Draws random numbers at inference too."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.drop = keras.layers.Dropout(0.5)

    def think(self, x):
        return self.mix(self.drop(x, training=True))


@keras.saving.register_keras_serializable(package="oddities")
class Careful(Named):
    """Casts its carry to the precision that it computes in."""

    def think(self, x):
        return ops.cast(self.mix(ops.cast(x, self.compute_dtype)), "float32")

    def call(self, carry, batch, training=None):
        carry, outputs = super().call(carry, batch, training)
        return carry, {name: ops.cast(x, "float32") for name, x in outputs.items()}


class Integral(Named):
    """Has 0 and 1 for halted."""

    def initial_carry(self, batch):
        carry = super().initial_carry(batch)
        return {**carry, "halted": ops.cast(carry["halted"], "int32")}


class Twice(Named):
    """Has a tensor with the name that another one gets in a file."""

    def initial_carry(self, batch):
        carry = super().initial_carry(batch)
        return {**carry, "steps_next": carry["steps"]}

    def call(self, carry, batch, training=None):
        new, outputs = super().call(carry, batch, training)
        return {**new, "steps_next": new["steps"]}, outputs


FORMS = {
    "list": lambda state, marks: {"z": [state, marks]},
    "tuple": lambda state, marks: (state, marks),
    "nested": lambda state, marks: {"z": (state, {"x": [marks]})},
    "underscore": lambda state, marks: {"_h": state, "h": marks},
    "digit": lambda state, marks: {"0h": state, "h-1": marks},
    "keyword": lambda state, marks: {"class": state, "self": marks},
    "case": lambda state, marks: {"G": state, "g": marks},
    "input": lambda state, marks: {"Inputs": state, "marks": marks},
}


class Shaped(Plain):
    """Has a state and marks, (rows, 3) int32, in a carry of one of `FORMS`."""

    def __init__(self, form="list", **kwargs):
        super().__init__(**kwargs)
        self.form = form

    def initial_carry(self, batch):
        (inner, halted), rows = super().initial_carry(batch), batch["inputs"].shape[0]
        return self.pack(inner, halted, ops.zeros((rows, 3), "int32"))

    def pack(self, inner, halted, marks):
        states = FORMS[self.form](inner["state"], marks)
        return (states, {"steps": inner["steps"], "halted": halted})

    def call(self, carry, batch, training=None):
        (state, marks), rest = keras.tree.flatten(carry[0]), carry[1]
        marks = ops.where(rest["halted"][:, None], 0, marks) + 1
        inner = {"state": state, "steps": rest["steps"]}
        (inner, halted), outputs = super().call([inner, rest["halted"]], batch, training)
        outputs["logits"] += ops.cast(marks, "float32")[:, :1, None]
        return self.pack(inner, halted, marks), outputs


class Recurrent(Named):
    """Mixes by a recurrent layer of Keras."""

    def __init__(self, layer="GRU", **kwargs):
        super().__init__(**kwargs)
        self.turns = getattr(keras.layers, layer)(self.width, return_sequences=True)

    def think(self, x):
        return self.turns(self.mix(x))


class Computed(Named):
    """Mixes by a function of keras.ops, named or given."""

    def __init__(self, function="tanh", **kwargs):
        super().__init__(**kwargs)
        self.function = getattr(ops, function) if isinstance(function, str) else function

    def think(self, x):
        return self.mix(x) + ops.cast(self.function(self.mix(x)), "float32")


class Silent(Named):
    """Raises an exception without text."""

    def think(self, x):
        raise AssertionError


class Broken(Named):
    """Computes NaN."""

    def think(self, x):
        return self.mix(x) / 0.0 * 0.0


@keras.saving.register_keras_serializable(package="oddities")
class Numpy(Tuned):
    """Computes with numpy, which cannot be traced."""

    def call(self, carry, batch, training=None):
        import numpy as np

        return super().call(carry, {"inputs": np.asarray(batch["inputs"])}, training)


@keras.saving.register_keras_serializable(package="oddities")
class Carryless(keras.Model):
    """Knows nothing of the protocol."""

    def call(self, inputs):
        return inputs


@keras.saving.register_keras_serializable(package="oddities")
class Doubled(TRM):
    """A TRM whose step has a call of its own, with the arguments of the protocol."""

    def call(self, carry, batch, training=None):
        carry, outputs = super().call(carry, batch, training=training)
        return carry, {**outputs, "logits": 2.0 * outputs["logits"] + 1.0}


@keras.saving.register_keras_serializable(package="oddities")
class Renamed(TRM):
    """A TRM under another name."""
