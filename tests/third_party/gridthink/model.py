"""The thinker: a low and a high stack of other depths, weights created when it is first called."""

import keras
from keras import ops

from tests.third_party.gridthink.blocks import Block


class Ponderer(keras.Model):
    """What all models of this package share: the outer state machine."""

    def initial_carry(self, batch):
        inputs = batch["inputs"]
        rows = ops.shape(inputs)[0]
        return {
            "inner_carry": self.empty_states(rows),
            "steps": ops.zeros((rows,), "int32"),
            "halted": ops.ones((rows,), "bool"),
            "current_data": {"inputs": ops.zeros_like(inputs)},
        }

    def call(self, carry, batch, training=None):
        halted = carry["halted"]
        tokens = ops.where(halted[:, None], batch["inputs"], carry["current_data"]["inputs"])
        states, outputs = self.think(halted, carry["inner_carry"], tokens, training)
        steps = ops.where(halted, 0, carry["steps"]) + 1
        done = steps >= self.halt_max_steps
        if training:
            done = ops.logical_or(done, outputs["q_halt_logits"] > 0)
        carry = {
            "inner_carry": states,
            "steps": steps,
            "halted": done,
            "current_data": {"inputs": tokens},
        }
        return carry, outputs


@keras.saving.register_keras_serializable(package="gridthink")
class GridThinker(Ponderer):
    """Separate stacks; besides the three heads it says how sure it is of every cell."""

    def __init__(
        self, vocab_size=6, width=16, seq_len=16, heads=4, groups=2, depth=2, norm="scale",
        halt_max_steps=3, no_act_continue=True, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.vocab_size, self.width, self.seq_len = vocab_size, width, seq_len
        self.heads, self.groups, self.depth, self.norm = heads, groups, depth, norm
        self.halt_max_steps, self.no_act_continue = halt_max_steps, no_act_continue
        self.tokens = keras.layers.Embedding(vocab_size, width)
        self.places = keras.layers.Embedding(seq_len, width)
        self.low = [Block(width, heads, groups, norm, name=f"low_{i}") for i in range(depth)]
        self.high = [Block(width, heads, groups, norm, name="high_0")]
        self.answer = keras.layers.Dense(vocab_size)
        self.verdict = keras.layers.Dense(2)
        self.start_H = self.add_weight(shape=(width,), initializer="random_normal", name="start_H")
        self.start_L = self.add_weight(shape=(width,), initializer="random_normal", name="start_L")

    def empty_states(self, rows):
        shape = (rows, self.seq_len, self.width)
        return {"z_H": ops.zeros(shape), "z_L": ops.zeros(shape)}

    def think(self, halted, states, tokens, training):
        again = halted[:, None, None]
        high = ops.where(again, self.start_H, states["z_H"])
        low = ops.where(again, self.start_L, states["z_L"])
        seen = self.tokens(tokens) + self.places(ops.arange(self.seq_len))
        low = low + high + seen
        for block in self.low:
            low = block(low, training=training)
        high = high + low
        for block in self.high:
            high = block(high, training=training)
        q = self.verdict(high[:, 0])
        logits = self.answer(high)
        outputs = {
            "logits": logits,
            "q_halt_logits": q[:, 0],
            "q_continue_logits": q[:, 1],
            "aux": {"confidence": ops.max(ops.softmax(logits), axis=-1)},
            "temperature": ops.convert_to_tensor(1.0),
        }
        return {"z_H": ops.stop_gradient(high), "z_L": ops.stop_gradient(low)}, outputs

    def get_config(self):
        names = ("vocab_size", "width", "seq_len", "heads", "groups", "depth", "norm")
        own = {name: getattr(self, name) for name in names}
        halting = {"halt_max_steps": self.halt_max_steps, "no_act_continue": self.no_act_continue}
        return {**super().get_config(), **own, **halting}
