"""The network of one ACT step: embedding, recursion, heads. Knows nothing about halting.

Recursion and heads as in arXiv 2510.04871 (figure 1 and its pseudocode); the seed family runs
separate stacks and leaves ``z_H`` out of the L injection.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

from trm_export.model.config import TRMConfig
from trm_export.model.layers import TransformerLayer, lecun_truncated, truncated_normal

Q_HEAD_BIAS = -5.0


@keras.saving.register_keras_serializable(package="trm_export")
class TRMReasoningModule(keras.layers.Layer):
    """A stack of transformer layers applied to ``state + injection``.

    Args:
        config: the model's configuration, or its dictionary.
        depth: number of layers in the stack.
    """

    def __init__(
        self, config: TRMConfig | dict[str, Any], depth: int, *, dtype: Any = None,
        name: str = "reasoning",
    ) -> None:  # fmt: skip
        super().__init__(dtype=dtype, name=name)
        self.trm_config = config if isinstance(config, TRMConfig) else TRMConfig(**config)
        self.depth = depth
        self.blocks = [
            TransformerLayer(self.trm_config, dtype=self.dtype_policy, name=f"block_{i}")
            for i in range(depth)
        ]
        self.built = True

    def call(self, state: Any, injection: Any, training: bool | None = None) -> Any:
        """Both ``(batch, positions, hidden)`` in the compute dtype -> the new state, the same."""
        x = state + injection
        for block in self.blocks:
            x = block(x, training=training)
        return x

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {
            **super().get_config(), "config": self.trm_config.to_dict(), "depth": self.depth,
        }  # fmt: skip


@keras.saving.register_keras_serializable(package="trm_export")
class TRMInner(keras.layers.Layer):
    """One step's network: owns embeddings, stacks, heads and the initial states.

    Args:
        config: the model's configuration, or its dictionary.
    """

    def __init__(
        self, config: TRMConfig | dict[str, Any], *, dtype: Any = None, name: str = "inner"
    ) -> None:
        super().__init__(dtype=dtype, name=name, autocast=False)
        self.trm_config = config if isinstance(config, TRMConfig) else TRMConfig(**config)
        c = self.trm_config
        self.embed_tokens = self._embedding(c.vocab_size, c.hidden_size, "embed_tokens")
        self.puzzle_emb = None
        if c.puzzle_emb_ndim:
            self.puzzle_emb = self._embedding(
                c.num_puzzle_identifiers, c.puzzle_emb_ndim, "puzzle_emb", zeros=True
            )
        self.embed_pos = None
        if c.pos_encodings == "learned":
            start = truncated_normal(c.hidden_size**-0.5)
            self.embed_pos = self.add_weight((c.positions, c.hidden_size), start, name="embed_pos")
        self.L_level = self._stack(c.l_layers, "L_level")
        self.H_level = self.L_level if c.family == "paper" else self._stack(c.h_layers, "H_level")
        self.lm_head = self._head(c.vocab_size, "lm_head", use_bias=False)
        self.q_head = self._head(
            2, "q_head", kernel_initializer="zeros",
            bias_initializer=keras.initializers.Constant(Q_HEAD_BIAS),
        )  # fmt: skip
        self.H_init, self.L_init = self._initial_state("H_init"), self._initial_state("L_init")
        self.built = True

    def _embedding(
        self, rows: int, size: int, name: str, *, zeros: bool = False
    ) -> keras.layers.Embedding:
        start = "zeros" if zeros else truncated_normal(size**-0.5)
        layer = keras.layers.Embedding(
            rows, size, embeddings_initializer=start, dtype=self.dtype_policy, name=name
        )
        layer.build(None)
        return layer

    def _stack(self, depth: int, name: str) -> TRMReasoningModule:
        return TRMReasoningModule(self.trm_config, depth, dtype=self.dtype_policy, name=name)

    def _head(self, units: int, name: str, **options: Any) -> keras.layers.Dense:
        options = {"kernel_initializer": lecun_truncated(), **options}
        layer = keras.layers.Dense(units, dtype=self.dtype_policy, name=name, **options)
        layer.build((None, self.trm_config.hidden_size))
        return layer

    def _initial_state(self, name: str) -> Any:
        """Seed: one trained vector a position. Paper: one fixed vector for all positions."""
        c = self.trm_config
        learned = c.family == "seed"
        shape = (c.positions, c.hidden_size) if learned else (c.hidden_size,)
        return self.add_weight(shape, truncated_normal(1.0), trainable=learned, name=name)

    def reset(self, halted: Any, z_H: Any, z_L: Any) -> tuple[Any, Any]:
        """The states, with rows that are ``halted`` (batch,) bool put back to their start.

        A select, not arithmetic: a NaN in a stale state does not survive its reset.
        """
        mask = ops.broadcast_to(ops.reshape(halted, (-1, 1, 1)), ops.shape(z_H))
        start = [ops.broadcast_to(ops.cast(init, z_H.dtype), ops.shape(z_H))
                 for init in (self.H_init, self.L_init)]  # fmt: skip
        return ops.where(mask, start[0], z_H), ops.where(mask, start[1], z_L)

    def embed(self, inputs: Any, puzzle_identifiers: Any = None) -> Any:
        """Token ids ``(batch, seq)`` int32 -> ``(batch, positions, hidden)``, compute dtype.

        Puzzle identifiers are ``(batch,)`` int32; or they are the embedding rows that they stand
        for, ``(batch, puzzle_emb_ndim)`` float32.
        """
        c = self.trm_config
        x = self.embed_tokens(inputs)
        if c.prefix_len:
            x = ops.concatenate([self._prefix(inputs, puzzle_identifiers), x], axis=1)
        if self.embed_pos is not None:
            x = (x + ops.cast(self.embed_pos, x.dtype)) * math.sqrt(0.5)
        return x * math.sqrt(c.hidden_size) if c.family == "paper" else x

    def _prefix(self, inputs: Any, puzzle_identifiers: Any) -> Any:
        c = self.trm_config
        if self.puzzle_emb is None:
            shape = (ops.shape(inputs)[0], c.prefix_len, c.hidden_size)
            return ops.zeros(shape, dtype=self.compute_dtype)
        if len(puzzle_identifiers.shape) == 2:
            rows = ops.cast(puzzle_identifiers, self.compute_dtype)
        else:
            rows = self.puzzle_emb(puzzle_identifiers)
        padding = c.prefix_len * c.hidden_size - c.puzzle_emb_ndim
        rows = ops.pad(rows, ((0, 0), (0, padding)))
        return ops.reshape(rows, (-1, c.prefix_len, c.hidden_size))

    def recurse(
        self, z_H: Any, z_L: Any, emb: Any, training: bool | None = None, rolled: bool = False
    ) -> tuple[Any, Any]:
        """All passes of one step over states ``(batch, positions, hidden)``, compute dtype.

        In training only the last H cycle carries gradient. ``rolled`` runs the passes in one loop
        whose body holds the shared stack once (inference, paper family).
        """
        if rolled:
            return self._rolled(z_H, z_L, emb)
        for cycle in range(self.trm_config.h_cycles):
            if cycle:
                z_H, z_L = ops.stop_gradient(z_H), ops.stop_gradient(z_L)
            for _ in range(self.trm_config.l_cycles):
                z_L = self.L_level(z_L, self._l_injection(z_H, emb), training=training)
            z_H = self.H_level(z_H, z_L, training=training)
        return z_H, z_L

    def _l_injection(self, z_H: Any, emb: Any) -> Any:
        return z_H + emb if self.trm_config.family == "paper" else emb

    def _rolled(self, z_H: Any, z_L: Any, emb: Any) -> tuple[Any, Any]:
        def one_pass(i: Any, states: tuple[Any, Any]) -> tuple[Any, Any]:
            return self.one_pass(i, *states, emb)

        return ops.fori_loop(0, self.trm_config.passes, one_pass, (z_H, z_L))

    def one_pass(self, i: Any, z_H: Any, z_L: Any, emb: Any) -> tuple[Any, Any]:
        """Pass ``i`` of a step (inference, paper family): updates ``z_H`` or ``z_L``.

        ``i`` counts from 0 and is an int32 scalar, or ``(batch, 1, 1)`` for one number a row.
        """
        cycle = self.trm_config.l_cycles + 1
        updates_h = ops.broadcast_to(ops.equal(i % cycle, cycle - 1), ops.shape(z_H))
        state = ops.where(updates_h, z_H, z_L)
        injection = ops.where(updates_h, z_L, z_H + emb)
        new = self.L_level(state, injection, training=False)
        return ops.where(updates_h, new, z_H), ops.where(updates_h, z_L, new)

    def call(
        self,
        z_H: Any,
        z_L: Any,
        inputs: Any,
        puzzle_identifiers: Any = None,
        training: bool | None = None,
        rolled: bool = False,
    ) -> tuple[Any, Any, dict[str, Any]]:
        """One step's network on states that are already reset.

        Args:
            z_H, z_L: ``(batch, positions, hidden)`` float32.
            inputs: token ids ``(batch, seq)`` int32.
            puzzle_identifiers: where the model embeds them, see `embed`.
            training: switches dropout on.
            rolled: see `recurse`.

        Returns:
            The new ``z_H`` and ``z_L``, float32 and cut from the gradient, and the outputs
            ``logits`` ``(batch, seq, vocab)``, ``q_halt_logits`` and ``q_continue_logits``
            ``(batch,)``, float32.
        """
        emb = self.embed(inputs, puzzle_identifiers)
        states = ops.cast(z_H, self.compute_dtype), ops.cast(z_L, self.compute_dtype)
        z_H, z_L = self.recurse(*states, emb, training=training, rolled=rolled)
        outputs = self.heads(z_H)
        z_H, z_L = (ops.stop_gradient(ops.cast(z, "float32")) for z in (z_H, z_L))
        return z_H, z_L, outputs

    def heads(self, z_H: Any) -> dict[str, Any]:
        """The outputs read off ``z_H`` (batch, positions, hidden), see `call`."""
        logits = self.lm_head(z_H[:, self.trm_config.prefix_len :])
        q = ops.cast(self.q_head(z_H[:, 0]), "float32")
        return {
            "logits": ops.cast(logits, "float32"),
            "q_halt_logits": q[:, 0],
            "q_continue_logits": q[:, 1],
        }

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), "config": self.trm_config.to_dict()}
