"""``TRM``, the Keras model: one call is one ACT step over an explicit carry.

Implements the outer state machine (reset, step counter, halting); the caller runs the loop.
Knows nothing about tasks, losses or export.
"""

from __future__ import annotations

import importlib
import os
import warnings
from typing import Any

import keras
from keras import ops

from trm_export.errors import ConfigurationError, ConfigurationWarning
from trm_export.model.config import TRMConfig
from trm_export.model.inner import TRMInner

_EXPORTER = "trm_export.api.keras_export"  # named, not imported: a model knows no exporter
Carry = dict[str, Any]
_STEP = ("__call__", "call", "initial_carry", "one_pass", "_current")


@keras.saving.register_keras_serializable(package="trm_export")
class TRM(keras.Model):
    """Tiny Recursive Model (arXiv 2510.04871): ``carry, outputs = model(carry, batch)``.

    The carry maps ``z_H`` and ``z_L`` (batch, positions, hidden) float32, ``steps`` (batch,)
    int32, ``halted`` (batch,) bool, ``current_inputs`` (batch, seq) int32 and, with a puzzle
    embedding, ``current_puzzle_identifiers`` (batch,) int32; or in their place
    ``current_puzzle_embedding`` (batch, puzzle_emb_ndim) float32, where the caller looks the rows
    up.

    Args:
        vocab_size, hidden_size, num_heads, expansion, seq_len: sizes, see `TRMConfig`.
        dtype: Keras dtype or policy of the computation; carry and outputs stay float32.
        name: Keras name.
        **options: every other field of `TRMConfig`, by keyword.

    Raises:
        ConfigurationError: for a configuration that cannot be built, every reason listed.
        ConfigurationWarning: for puzzle identifiers without puzzle embeddings; not an error.
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        num_heads: int,
        expansion: float,
        seq_len: int,
        *,
        dtype: Any = None,
        name: str = "trm",
        trainable: bool = True,
        **options: Any,
    ) -> None:
        super().__init__(dtype=dtype, name=name, trainable=trainable, autocast=False)
        try:
            c = TRMConfig(vocab_size, hidden_size, num_heads, expansion, seq_len, **options)
        except TypeError as error:
            unknown = sorted(set(options) - set(TRMConfig.__dataclass_fields__))
            raise ConfigurationError(f"TRM has no option named {', '.join(unknown)}.") from error
        if c.num_puzzle_identifiers > 1 and not c.puzzle_emb_ndim:
            warnings.warn(
                f"The TRM has num_puzzle_identifiers {c.num_puzzle_identifiers} but no puzzle "
                "embeddings, because puzzle_emb_ndim is 0; set that to the width of an embedding.",
                ConfigurationWarning,
                stacklevel=2,
            )
        self.config = c
        self.vocab_size, self.hidden_size, self.seq_len = c.vocab_size, c.hidden_size, c.seq_len
        self.halt_max_steps, self.no_act_continue = c.halt_max_steps, c.no_act_continue
        self.inner = TRMInner(c, dtype=self.dtype_policy, name="inner")
        self.exploration = keras.random.SeedGenerator(name="exploration")
        self.built = True

    def initial_carry(self, batch: dict[str, Any]) -> Carry:
        """A carry of ``len(batch["inputs"])`` rows, all halted: the first call resets them."""
        c, rows = self.config, ops.shape(batch["inputs"])[0]
        state = (rows, c.positions, c.hidden_size)
        carry = {
            "z_H": ops.zeros(state, "float32"),
            "z_L": ops.zeros(state, "float32"),
            "steps": ops.zeros((rows,), "int32"),
            "halted": ops.ones((rows,), "bool"),
            "current_inputs": ops.zeros((rows, c.seq_len), "int32"),
        }
        if "puzzle_embedding" in batch:
            carry["current_puzzle_embedding"] = ops.zeros((rows, c.puzzle_emb_ndim), "float32")
        elif c.puzzle_emb_ndim:
            carry["current_puzzle_identifiers"] = ops.zeros((rows,), "int32")
        return carry

    def call(
        self,
        carry: Carry,
        batch: dict[str, Any],
        training: bool | None = None,
        rolled: bool = False,
    ) -> tuple[Carry, dict[str, Any]]:
        """One ACT step.

        Args:
            carry: see the class.
            batch: ``inputs`` (batch, seq) integers and, with a puzzle embedding,
                ``puzzle_identifiers`` (batch,), or in their place ``puzzle_embedding`` (batch,
                puzzle_emb_ndim) float32: the rows themselves. Rows that are not halted ignore them.
            training: with True rows halt by the learned rule and explore; otherwise only at
                ``halt_max_steps``, early halting being the caller's policy.
            rolled: one loop instead of unrolled passes, see `TRMInner.recurse`.

        Returns:
            The next carry and the outputs ``logits`` (batch, seq, vocab), ``q_halt_logits`` and
            ``q_continue_logits`` (batch,), float32; in training without ``no_act_continue`` also
            ``target_q_continue`` (batch,), the bootstrapped value of going on.
        """
        halted = carry["halted"]
        z_H, z_L = self.inner.reset(halted, carry["z_H"], carry["z_L"])
        current = self._current(carry, batch)
        puzzle = _puzzle(current)
        z_H, z_L, outputs = self.inner(z_H, z_L, *puzzle, training=training, rolled=rolled)
        steps = ops.where(halted, ops.zeros_like(carry["steps"]), carry["steps"]) + 1
        last = steps >= self.config.halt_max_steps
        if training and not self.config.no_act_continue:
            outputs["target_q_continue"] = self._value_of_going_on(z_H, z_L, puzzle, last)
        halted = self._learned_halt(outputs, steps, last) if training else last
        new = {"z_H": z_H, "z_L": z_L, "steps": steps, "halted": halted, **current}
        return new, outputs

    def one_pass(self, carry: Carry, batch: dict[str, Any]) -> tuple[Carry, dict[str, Any]]:
        """One pass of the reasoning network; ``config.passes`` of them are one step (inference).

        For the paper family, whose passes share one stack. The carry holds ``passes`` (batch,)
        int32 besides the tensors of `call`: how many passes of the step are done. The outputs are
        those of `call`, and mean something after the last pass only.
        """
        halted, done = carry["halted"], carry["passes"]
        z_H, z_L = self.inner.reset(halted, carry["z_H"], carry["z_L"])
        current = self._current(carry, batch)
        emb = self.inner.embed(*_puzzle(current))
        z_H, z_L = (ops.cast(z, self.compute_dtype) for z in (z_H, z_L))
        z_H, z_L = self.inner.one_pass(ops.reshape(done, (-1, 1, 1)), z_H, z_L, emb)
        outputs = self.inner.heads(z_H)
        z_H, z_L = (ops.cast(z, "float32") for z in (z_H, z_L))
        begun = ops.where(halted, ops.zeros_like(carry["steps"]), carry["steps"])
        steps = begun + ops.cast(ops.equal(done, 0), "int32")
        last = ops.equal(done, self.config.passes - 1)
        halted = ops.logical_and(last, steps >= self.config.halt_max_steps)
        passes = ops.where(last, ops.zeros_like(done), done + 1)
        new = {"z_H": z_H, "z_L": z_L, "steps": steps, "halted": halted, "passes": passes}
        return {**new, **current}, outputs

    def _current(self, carry: Carry, batch: dict[str, Any]) -> Carry:
        halted = carry["halted"]
        inputs = ops.cast(batch["inputs"], "int32")
        fresh = ops.broadcast_to(ops.expand_dims(halted, -1), ops.shape(inputs))
        current = {"current_inputs": ops.where(fresh, inputs, carry["current_inputs"])}
        name = "current_puzzle_embedding"
        if name in carry:
            rows = batch["puzzle_embedding"]
            fresh = ops.broadcast_to(ops.expand_dims(halted, -1), ops.shape(rows))
            current[name] = ops.where(fresh, rows, carry[name])
        elif self.config.puzzle_emb_ndim:
            name = "current_puzzle_identifiers"
            identifiers = ops.cast(batch["puzzle_identifiers"], "int32")
            current[name] = ops.where(halted, identifiers, carry[name])
        return current

    def _learned_halt(self, outputs: dict[str, Any], steps: Any, last: Any) -> Any:
        """Rows that halt in training: learned rule or last step, unless they explore."""
        threshold = 0.0 if self.config.no_act_continue else outputs["q_continue_logits"]
        wants = outputs["q_halt_logits"] > threshold
        shape, limit = ops.shape(steps), self.config.halt_max_steps
        explores = (
            keras.random.uniform(shape, seed=self.exploration) < self.config.halt_exploration_prob
        )
        least = keras.random.randint(shape, 2, max(limit, 2) + 1, seed=self.exploration)
        least = ops.where(explores, ops.cast(least, "int32"), 0)
        return ops.logical_or(last, ops.logical_and(wants, steps >= least))

    def _value_of_going_on(self, z_H: Any, z_L: Any, puzzle: tuple[Any, Any], last: Any) -> Any:
        """Target of ``q_continue``: the better q of the next step, or its ``q_halt`` if last."""
        _, _, ahead = self.inner(z_H, z_L, *puzzle, training=False)
        halt, go_on = ahead["q_halt_logits"], ahead["q_continue_logits"]
        value = ops.where(last, halt, ops.maximum(halt, go_on))
        return ops.stop_gradient(ops.sigmoid(value))

    def export(
        self,
        filepath: str | os.PathLike[str],
        format: str | None = None,
        verbose: bool | None = None,
        input_signature: Any = None,
        **choices: Any,
    ) -> Any:
        """`keras.Model.export`, done by `trm_export.export`: a checked file with a contract.

        Args:
            filepath: the file to write, or the folder of a SavedModel.
            format: ``"tf_saved_model"``, ``"onnx"``, ``"litert"``, or one of `trm_export.export`;
                that of the suffix of `filepath` if None.
            verbose: whether to print the result.
            input_signature: must be None, because the step contract determines the inputs.
            **choices: keywords of `trm_export.export`, such as ``precision``.

        Returns the `ExportResult`. Raises UsageError for arguments that are not supported, and
        what `trm_export.export` raises.
        """
        exporter = importlib.import_module(_EXPORTER)
        result = exporter.export_as_keras(self, filepath, format, input_signature, choices)
        if verbose:
            print(f"{result.path}: {result.summary}")  # noqa: T201 - as Keras does
        return result

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments."""
        return {**super().get_config(), **self.config.to_dict()}

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> TRM:
        """Rebuilds the model; ``dtype`` may be a serialised policy."""
        config = dict(config)
        policy = config.pop("dtype", None)
        if isinstance(policy, dict):
            policy = keras.dtype_policies.deserialize(policy)
        return cls(**config, dtype=policy)


def is_own(model: Any) -> bool:
    """Whether the model is a `TRM` whose step is that of `TRM`: no subclass with a step of its own.

    The step of any other model is known by calling it alone.
    """
    if not isinstance(model, TRM) or type(model.inner) is not TRMInner:
        return False
    return all(getattr(type(model), name) is getattr(TRM, name) for name in _STEP)


def _puzzle(current: Carry) -> tuple[Any, Any]:
    """Tokens, and identifiers or embedding rows if there are any, of the puzzle in each row."""
    rows = current.get("current_puzzle_embedding")
    identifiers = current.get("current_puzzle_identifiers") if rows is None else rows
    return current["current_inputs"], identifiers
