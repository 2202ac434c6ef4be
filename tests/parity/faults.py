"""Ways in which an export can be wrong, each done to a healthy ONNX graph with its contract intact.

A fault is a function of the exported model and a copy of its protobuf, which it changes in place
or replaces. `FAULTS` says at which rung, and first in which tensor, it must be caught.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import helper, numpy_helper

from tests.parity.conftest import H_CYCLES, Exported, small_model
from trm_runtime.contract import METADATA_KEY

Array = np.ndarray[Any, Any]
Fault = Callable[[Exported, Any], Any]

FORCED = "forced values"


# --- surgery -------------------------------------------------------------------------------------


def change_weight(proto: Any, old: Array, new: Array) -> None:
    """Put `new` in place of every initializer that equals `old`."""
    found = [w for w in proto.graph.initializer if _equals(numpy_helper.to_array(w), old)]
    assert found, "no such weight in the graph"
    for weight in found:
        weight.CopyFrom(numpy_helper.from_array(new.astype(old.dtype), weight.name))


def _equals(array: Array, old: Array) -> bool:
    return array.shape == old.shape and array.dtype == old.dtype and bool((array == old).all())


def override(proto: Any, tensor: str, op: str, *inputs: str, **attributes: Any) -> None:
    """Compute `tensor` by another node; what it was is at hand as `<tensor>__was`."""
    nodes = proto.graph.node
    at, made_by = next((i, n) for i, n in enumerate(nodes) if tensor in n.output)
    made_by.output[:] = [f"{name}__was" if name == tensor else name for name in made_by.output]
    nodes.insert(at + 1, helper.make_node(op, inputs, [tensor], **attributes))


def constant(proto: Any, array: Any, dtype: str) -> str:
    """The name of a new initializer."""
    name = f"fault_{len(proto.graph.initializer)}"
    proto.graph.initializer.append(numpy_helper.from_array(np.array(array, dtype), name))
    return name


def selected(proto: Any, tensor: str) -> str:
    """What the reset makes of a carry tensor: by `Where`, or by multiplying and adding."""
    nodes = proto.graph.node
    for node in nodes:
        if tensor in node.input and node.op_type == "Where":
            return str(node.output[0])
        if tensor in node.input and node.op_type == "Mul":
            return str(next(n.output[0] for n in nodes if node.output[0] in n.input))
    raise AssertionError(f"no reset of {tensor} in the graph")


def swap_names(proto: Any, one: str, other: str) -> None:
    """Exchange two tensors wherever the graph writes or reads them."""
    names = {one: other, other: one}
    for node in proto.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]


def array_of(weight: Any) -> Array:
    return np.asarray(weight.numpy())


def _block(exported: Exported) -> Any:
    return exported.model.inner.L_level.blocks[0]


# --- wrong weights -------------------------------------------------------------------------------


def one_weight_off_by_5_percent(exported: Exported, proto: Any) -> None:
    old = array_of(_block(exported).ffn.down.kernel)
    new = old.copy()
    new[np.unravel_index(np.abs(old).argmax(), old.shape)] *= 1.05
    change_weight(proto, old, new)


def transposed_weight(exported: Exported, proto: Any) -> None:
    old = array_of(_block(exported).mix.out.kernel)
    change_weight(proto, old, old.T)


def gate_and_up_swapped(exported: Exported, proto: Any) -> None:
    old = array_of(_block(exported).ffn.gate_up.kernel)
    change_weight(proto, old, np.roll(old, old.shape[1] // 2, axis=1))


def weights_rounded_to_fp16(exported: Exported, proto: Any) -> None:
    for weight in proto.graph.initializer:
        array = numpy_helper.to_array(weight)
        if array.dtype == np.float32 and array.size > 1:
            rounded = array.astype(np.float16).astype(np.float32)
            weight.CopyFrom(numpy_helper.from_array(rounded, weight.name))


def no_embedding_scale(exported: Exported, proto: Any) -> None:
    old = array_of(exported.model.inner.embed_tokens.embeddings)
    change_weight(proto, old, old / np.sqrt(32))


def token_ids_off_by_one(exported: Exported, proto: Any) -> None:
    old = array_of(exported.model.inner.embed_tokens.embeddings)
    change_weight(proto, old, np.roll(old, 1, axis=0))


def norm_epsilon_1e_3(exported: Exported, proto: Any) -> None:
    change_weight(proto, np.array(1e-5, np.float32), np.array(1e-3))


def rope_off_by_one_after_the_prefix(exported: Exported, proto: Any) -> None:
    for table in _block(exported).mix.rope:
        change_weight(proto, table, np.concatenate([table[:1], table[:-1]]))


def one_h_cycle_fewer(exported: Exported, proto: Any) -> Any:
    return exported.converted(small_model(exported.mixer, h_cycles=H_CYCLES - 1))


# --- wrong resets --------------------------------------------------------------------------------


def no_reset_of_z_h(exported: Exported, proto: Any) -> None:
    override(proto, selected(proto, "z_H"), "Identity", "z_H")


def no_reset_of_z_l(exported: Exported, proto: Any) -> None:
    override(proto, selected(proto, "z_L"), "Identity", "z_L")


def reset_to_zeros(exported: Exported, proto: Any) -> None:
    old = array_of(exported.model.inner.H_init)
    change_weight(proto, old, np.zeros_like(old))


def steps_not_reset(exported: Exported, proto: Any) -> None:
    override(proto, selected(proto, "steps"), "Identity", "steps")


def current_inputs_never_taken(exported: Exported, proto: Any) -> None:
    override(proto, "current_inputs_next", "Identity", "current_inputs")


def current_inputs_always_taken(exported: Exported, proto: Any) -> None:
    override(proto, "current_inputs_next", "Identity", "inputs")


# --- wrong results -------------------------------------------------------------------------------


def next_states_swapped(exported: Exported, proto: Any) -> None:
    swap_names(proto, "z_H_next", "z_L_next")


def states_swapped_in_and_out(exported: Exported, proto: Any) -> None:
    swap_names(proto, "z_H_next", "z_L_next")
    swap_names(proto, "z_H", "z_L")


def q_heads_swapped(exported: Exported, proto: Any) -> None:
    swap_names(proto, "q_halt_logits", "q_continue_logits")


def halts_one_step_late(exported: Exported, proto: Any) -> None:
    limit = constant(proto, exported.model.halt_max_steps, "int32")
    override(proto, "halted_next", "Greater", "steps_next", limit)


def halts_one_step_early(exported: Exported, proto: Any) -> None:
    limit = constant(proto, exported.model.halt_max_steps - 1, "int32")
    override(proto, "halted_next", "GreaterOrEqual", "steps_next", limit)


def halts_by_the_learned_rule(exported: Exported, proto: Any) -> None:
    zero = constant(proto, -5.0, "float32")
    override(proto, "halted_next", "Greater", "q_halt_logits", zero)


def steps_not_counted(exported: Exported, proto: Any) -> None:
    one = constant(proto, 1, "int32")
    override(proto, "steps_next", "Sub", "steps_next__was", one)


def logits_shifted_by_the_prefix(exported: Exported, proto: Any) -> None:
    cells = constant(proto, np.roll(np.arange(16), 1), "int64")
    override(proto, "logits", "Gather", "logits__was", cells, axis=1)


def nan_in_one_logit(exported: Exported, proto: Any) -> None:
    zeros = np.zeros((16, 6))
    zeros[3, 2] = np.nan
    override(proto, "logits", "Add", "logits__was", constant(proto, zeros, "float32"))


# --- wrong words ---------------------------------------------------------------------------------


def _rewrite_contract(proto: Any, change: Callable[[dict[str, Any]], None]) -> None:
    entry = next(entry for entry in proto.metadata_props if entry.key == METADATA_KEY)
    fields = json.loads(entry.value)
    change(fields)
    entry.value = json.dumps(fields)


def wrong_halt_threshold(exported: Exported, proto: Any) -> None:
    _rewrite_contract(proto, lambda fields: fields["halt"].update(threshold=0.5))


def wrong_max_steps(exported: Exported, proto: Any) -> None:
    _rewrite_contract(proto, lambda fields: fields.update(max_steps=16))


def wrong_alphabet(exported: Exported, proto: Any) -> None:
    _rewrite_contract(proto, lambda fields: fields["alphabet"].reverse())


# fault -> (rung, first tensor to be refused or None)
FAULTS: dict[Fault, tuple[str, str | None]] = {
    one_weight_off_by_5_percent: (FORCED, "z_H"),
    transposed_weight: (FORCED, "z_H"),
    gate_and_up_swapped: (FORCED, "z_H"),
    weights_rounded_to_fp16: (FORCED, "z_H"),
    no_embedding_scale: (FORCED, "z_H"),
    token_ids_off_by_one: (FORCED, "z_H"),
    norm_epsilon_1e_3: (FORCED, "z_H"),
    rope_off_by_one_after_the_prefix: (FORCED, "z_H"),
    one_h_cycle_fewer: (FORCED, "z_H"),
    no_reset_of_z_h: (FORCED, "z_H"),
    no_reset_of_z_l: (FORCED, "z_H"),
    reset_to_zeros: (FORCED, "z_H"),
    steps_not_reset: (FORCED, "steps"),
    current_inputs_never_taken: (FORCED, "current_inputs"),
    current_inputs_always_taken: (FORCED, "current_inputs"),
    next_states_swapped: (FORCED, "z_H"),
    states_swapped_in_and_out: (FORCED, "z_H"),
    q_heads_swapped: (FORCED, "q_halt_logits"),
    halts_one_step_late: (FORCED, "halted"),
    halts_one_step_early: (FORCED, "halted"),
    halts_by_the_learned_rule: (FORCED, "halted"),
    steps_not_counted: (FORCED, "steps"),
    logits_shifted_by_the_prefix: (FORCED, "logits"),
    nan_in_one_logit: (FORCED, "logits"),
    wrong_halt_threshold: ("names", None),
    wrong_max_steps: ("names", None),
    wrong_alphabet: ("names", None),
}
ATTENTION_ONLY = (transposed_weight, rope_off_by_one_after_the_prefix)
