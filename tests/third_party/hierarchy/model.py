"""The HRM: H and L modules with stacks of their own, halting by q_halt > q_continue.

It does not say its halt rule in an attribute: whoever exports it has to.
"""

import keras
from keras import ops

from tests.third_party.hierarchy.layers import ReasoningModule


@keras.saving.register_keras_serializable(package="hierarchy")
class HRM(keras.Model):
    def __init__(
        self, vocab_size=6, hidden_size=16, seq_len=16, num_heads=2, h_layers=1, l_layers=1,
        h_cycles=2, l_cycles=2, puzzle_emb_ndim=16, num_puzzle_identifiers=3,
        halt_max_steps=3, **kwargs,
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.settings = {
            "vocab_size": vocab_size, "hidden_size": hidden_size, "seq_len": seq_len,
            "num_heads": num_heads, "h_layers": h_layers, "l_layers": l_layers,
            "h_cycles": h_cycles, "l_cycles": l_cycles, "puzzle_emb_ndim": puzzle_emb_ndim,
            "num_puzzle_identifiers": num_puzzle_identifiers, "halt_max_steps": halt_max_steps,
        }  # fmt: skip
        self.positions = seq_len + 1
        self.embed_tokens = keras.layers.Embedding(vocab_size, hidden_size)
        self.puzzle_emb = keras.layers.Embedding(num_puzzle_identifiers, puzzle_emb_ndim)
        shape = (hidden_size, num_heads, self.positions)
        self.H_level = ReasoningModule(h_layers, *shape)
        self.L_level = ReasoningModule(l_layers, *shape)
        self.lm_head = keras.layers.Dense(vocab_size, use_bias=False)
        self.q_head = keras.layers.Dense(2)
        start = {"shape": (hidden_size,), "initializer": "random_normal", "trainable": False}
        self.H_init = self.add_weight(name="H_init", **start)
        self.L_init = self.add_weight(name="L_init", **start)

    def initial_carry(self, batch):
        rows = ops.shape(batch["inputs"])[0]
        shape = (rows, self.positions, self.settings["hidden_size"])
        return {
            "inner_carry": {"z_H": ops.zeros(shape), "z_L": ops.zeros(shape)},
            "steps": ops.zeros((rows,), "int32"),
            "halted": ops.ones((rows,), "bool"),
            "current_data": {name: ops.zeros_like(x) for name, x in batch.items()},
        }

    def call(self, carry, batch, training=None):
        s, halted = self.settings, carry["halted"]
        data = {
            name: ops.where(ops.reshape(halted, (-1, *[1] * (len(x.shape) - 1))), batch[name], x)
            for name, x in carry["current_data"].items()
        }
        z_H, z_L = carry["inner_carry"]["z_H"], carry["inner_carry"]["z_L"]
        z_H = ops.where(halted[:, None, None], self.H_init, z_H)
        z_L = ops.where(halted[:, None, None], self.L_init, z_L)
        prefix = self.puzzle_emb(data["puzzle_identifiers"])[:, None, :]
        emb = ops.concatenate([prefix, self.embed_tokens(data["inputs"])], axis=1)
        emb = emb * s["hidden_size"] ** 0.5
        for _ in range(s["h_cycles"]):
            for _ in range(s["l_cycles"]):
                z_L = self.L_level(z_L, z_H + emb)
            z_H = self.H_level(z_H, z_L)
        q = self.q_head(z_H[:, 0])
        outputs = {
            "logits": self.lm_head(z_H[:, 1:]),
            "q_halt_logits": q[..., 0],
            "q_continue_logits": q[..., 1],
        }
        steps = ops.where(halted, 0, carry["steps"]) + 1
        done = steps >= s["halt_max_steps"]
        if training:
            done = ops.logical_or(done, outputs["q_halt_logits"] > outputs["q_continue_logits"])
        states = {"z_H": ops.stop_gradient(z_H), "z_L": ops.stop_gradient(z_L)}
        new = {"inner_carry": states, "steps": steps, "halted": done, "current_data": data}
        return new, outputs

    def get_config(self):
        return {**super().get_config(), **self.settings}
