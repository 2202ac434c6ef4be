"""Faults of the model itself: exported under the contract of the right one, in any format.

A fault is a context manager around a second copy of the model; while it lasts, an export of the
copy is wrong. Every format and precision then has the fault, done by its own exporter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest import mock

import numpy as np
from keras import ops

from trm_export.model import TRM
from trm_export.model.inner import TRMInner

Array = np.ndarray[Any, Any]
Fault = Callable[[TRM], AbstractContextManager[None]]
Change = Callable[[TRM], None]

ONE_PERCENT = 0.01  # of a weight's standard deviation: about what 100 steps of training change


# --- weights ------------------------------------------------------------------------------------


def assigned(variable: Any, change: Callable[[Array], Array]) -> None:
    """Gives a variable new values, from its own."""
    variable.assign(change(np.array(variable.numpy())))


def _noisy(variable: Any, seed: int = 0) -> None:
    draw = np.random.default_rng(seed).normal
    assigned(variable, lambda x: x + draw(0, ONE_PERCENT * (x.std() or 1.0), x.shape))


def a_layer_of_another_step_of_training(model: TRM) -> None:
    _noisy(model.inner.L_level.blocks[0].ffn.down.kernel)


def an_older_checkpoint_of_the_same_run(model: TRM) -> None:
    for seed, variable in enumerate(model.trainable_variables):
        _noisy(variable, seed)


def gate_and_up_swapped(model: TRM) -> None:
    ffn = model.inner.L_level.blocks[0].ffn
    assigned(ffn.gate_up.kernel, lambda x: np.roll(x, ffn.width, axis=1))


def no_embedding_scale(model: TRM) -> None:
    table = model.inner.embed_tokens.embeddings
    assigned(table, lambda x: x / np.sqrt(x.shape[1]))


def token_ids_off_by_one(model: TRM) -> None:
    assigned(model.inner.embed_tokens.embeddings, lambda x: np.roll(x, 1, axis=0))


def h_init_zeroed(model: TRM) -> None:
    assigned(model.inner.H_init, np.zeros_like)


def l_init_zeroed(model: TRM) -> None:
    assigned(model.inner.L_init, np.zeros_like)


def one_value_of_h_init(model: TRM) -> None:
    assigned(model.inner.H_init, lambda x: _one_value(x, 3 * x.std()))


def start_states_swapped(model: TRM) -> None:
    first, second = (np.array(x.numpy()) for x in (model.inner.H_init, model.inner.L_init))
    model.inner.H_init.assign(second)
    model.inner.L_init.assign(first)


def two_answers_swapped(model: TRM) -> None:
    assigned(model.inner.lm_head.kernel, lambda x: x[:, [1, 0, *range(2, x.shape[1])]])


def halting_bias_moved(model: TRM) -> None:
    assigned(model.inner.q_head.bias, lambda x: x + 0.01)


def halting_head_negated(model: TRM) -> None:
    assigned(model.inner.q_head.kernel, np.negative)


def _one_value(array: Array, by: float) -> Array:
    array.ravel()[array.size // 3] += by
    return array


# --- constants and the network ------------------------------------------------------------------


@contextmanager
def _epsilon(value: float) -> Iterator[None]:
    with mock.patch("trm_export.model.layers.NORM_EPSILON", value):
        yield


def norm_epsilon_1e_3(model: TRM) -> AbstractContextManager[None]:
    return _epsilon(1e-3)


def norm_epsilon_1e_6(model: TRM) -> AbstractContextManager[None]:
    return _epsilon(1e-6)


def rope_off_by_one_after_the_prefix(model: TRM) -> None:
    for block in model.inner.L_level.blocks:
        block.mix.rope = tuple(np.concatenate([x[:1], x[:-1]]) for x in block.mix.rope)


def rope_sines_negated(model: TRM) -> None:
    for block in model.inner.L_level.blocks:
        block.mix.rope = (block.mix.rope[0], -block.mix.rope[1])


def rope_of_another_base(model: TRM) -> None:
    for block in model.inner.L_level.blocks:
        angles = np.arctan2(block.mix.rope[1], block.mix.rope[0]) * 0.99
        block.mix.rope = (np.cos(angles).astype("f4"), np.sin(angles).astype("f4"))


def one_h_cycle_fewer(model: TRM) -> None:
    _configured(model, h_cycles=model.config.h_cycles - 1)


def one_l_cycle_fewer(model: TRM) -> None:
    _configured(model, l_cycles=model.config.l_cycles - 1)


def _configured(model: TRM, **changes: int) -> None:
    for name, value in changes.items():
        object.__setattr__(model.inner.trm_config, name, value)
        object.__setattr__(model.config, name, value)


@contextmanager
def prefix_of_ones(model: TRM) -> Iterator[None]:
    before = TRMInner._prefix

    def prefix(self: Any, inputs: Any, identifiers: Any) -> Any:
        return before(self, inputs, identifiers) + 0.1

    with mock.patch.object(TRMInner, "_prefix", prefix):
        yield


@contextmanager
def answers_read_one_position_early(model: TRM) -> Iterator[None]:
    before = TRMInner.heads

    def heads(self: Any, z_H: Any) -> Any:
        shifted = ops.concatenate([z_H[:, :1], z_H[:, :-1]], axis=1)
        found = before(self, z_H)
        return {**found, "logits": before(self, shifted)["logits"]}

    with mock.patch.object(TRMInner, "heads", heads):
        yield


@contextmanager
def halting_read_from_the_last_position(model: TRM) -> Iterator[None]:
    before = TRMInner.heads

    def heads(self: Any, z_H: Any) -> Any:
        found = before(self, ops.flip(z_H, axis=1))
        return {**found, "logits": before(self, z_H)["logits"]}

    with mock.patch.object(TRMInner, "heads", heads):
        yield


# --- reset, halting and carry -------------------------------------------------------------------


def _reset(change: Callable[..., tuple[Any, Any]]) -> Fault:
    @contextmanager
    def fault(model: TRM) -> Iterator[None]:
        before = TRMInner.reset

        def reset(self: Any, halted: Any, z_H: Any, z_L: Any) -> tuple[Any, Any]:
            return change(before(self, halted, z_H, z_L), z_H, z_L, halted)

        with mock.patch.object(TRMInner, "reset", reset):
            yield

    return fault


no_reset_of_z_h = _reset(lambda new, z_H, z_L, halted: (z_H, new[1]))
no_reset_of_z_l = _reset(lambda new, z_H, z_L, halted: (new[0], z_L))
reset_of_rows_that_go_on = _reset(lambda new, z_H, z_L, halted: (new[0], new[1] * 0.999))


def _stepped(change: Callable[[TRM, Any, Any, Any, Any], Any]) -> Fault:
    """A fault of the results of a step: ``change(model, carry, batch, new, outputs)``."""

    @contextmanager
    def fault(model: TRM) -> Iterator[None]:
        before = TRM.call

        def call(
            self: TRM, carry: Any, batch: Any, training: Any = None, rolled: bool = False
        ) -> Any:
            new, outputs = before(self, carry, batch, training=training, rolled=rolled)
            change(self, carry, batch, new, outputs)
            return new, outputs

        with mock.patch.object(TRM, "call", call):
            yield

    return fault


def _new(**changes: Callable[[TRM, Any, Any, Any, Any], Any]) -> Fault:
    def change(model: TRM, carry: Any, batch: Any, new: Any, outputs: Any) -> None:
        new.update({k: f(model, carry, batch, dict(new), outputs) for k, f in changes.items()})

    return _stepped(change)


def _swap_heads(model: TRM, carry: Any, batch: Any, new: Any, outputs: Any) -> None:
    names = ("q_halt_logits", "q_continue_logits")
    first, second = (outputs[name] for name in names)
    outputs.update(zip(names, (second, first), strict=True))


halts_one_step_late = _new(halted=lambda m, c, b, n, o: n["steps"] > m.config.halt_max_steps)
halts_one_step_early = _new(halted=lambda m, c, b, n, o: n["steps"] >= m.config.halt_max_steps - 1)
halts_by_the_learned_rule = _new(halted=lambda m, c, b, n, o: o["q_halt_logits"] > 0)
steps_not_reset = _new(steps=lambda m, c, b, n, o: c["steps"] + 1)
steps_counted_twice = _new(steps=lambda m, c, b, n, o: n["steps"] + 1)
inputs_never_taken = _new(current_inputs=lambda m, c, b, n, o: c["current_inputs"])
inputs_always_taken = _new(current_inputs=lambda m, c, b, n, o: ops.cast(b["inputs"], "int32"))
next_states_swapped = _new(z_H=lambda m, c, b, n, o: n["z_L"], z_L=lambda m, c, b, n, o: n["z_H"])
states_of_the_last_step = _new(z_L=lambda m, c, b, n, o: n["z_L"] * 0.999 + 0.001 * c["z_L"])
halting_heads_swapped = _stepped(_swap_heads)


# --- no fault -----------------------------------------------------------------------------------


def padding_embedding(model: TRM) -> None:
    """Token 0 is in no puzzle of this task, so no value of a puzzle changes."""
    assigned(model.inner.embed_tokens.embeddings, lambda x: _row(x, 0.5))


def _row(array: Array, by: float) -> Array:
    array[0] += by
    return array


WEIGHTS: tuple[Change, ...] = (
    a_layer_of_another_step_of_training, an_older_checkpoint_of_the_same_run, gate_and_up_swapped,
    no_embedding_scale, token_ids_off_by_one, h_init_zeroed, l_init_zeroed, one_value_of_h_init,
    start_states_swapped, two_answers_swapped, halting_bias_moved, halting_head_negated,
    one_h_cycle_fewer, one_l_cycle_fewer, padding_embedding,
)  # fmt: skip
ROPE: tuple[Change, ...] = (
    rope_off_by_one_after_the_prefix, rope_sines_negated, rope_of_another_base
)  # fmt: skip
_NAMED: dict[str, Fault] = {
    "norm_epsilon_1e_3": norm_epsilon_1e_3,
    "norm_epsilon_1e_6": norm_epsilon_1e_6,
    "prefix_of_ones": prefix_of_ones,
    "answers_read_one_position_early": answers_read_one_position_early,
    "halting_read_from_the_last_position": halting_read_from_the_last_position,
    "no_reset_of_z_h": no_reset_of_z_h,
    "no_reset_of_z_l": no_reset_of_z_l,
    "reset_of_rows_that_go_on": reset_of_rows_that_go_on,
    "halts_one_step_late": halts_one_step_late,
    "halts_one_step_early": halts_one_step_early,
    "halts_by_the_learned_rule": halts_by_the_learned_rule,
    "steps_not_reset": steps_not_reset,
    "steps_counted_twice": steps_counted_twice,
    "inputs_never_taken": inputs_never_taken,
    "inputs_always_taken": inputs_always_taken,
    "next_states_swapped": next_states_swapped,
    "states_of_the_last_step": states_of_the_last_step,
    "halting_heads_swapped": halting_heads_swapped,
}


def _changed(change: Change) -> Fault:
    @contextmanager
    def fault(model: TRM) -> Iterator[None]:
        change(model)
        yield

    return fault


ATTENTION_ONLY = tuple(change.__name__ for change in ROPE)
MODEL_FAULTS: dict[str, Fault] = {
    **{change.__name__: _changed(change) for change in (*WEIGHTS, *ROPE)},
    **_NAMED,
}
"""Every fault by its name."""
