"""The step contract of a Keras TRM, and the one function that every format exports.

Knows names, dtypes and shapes; knows no file format.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from keras import ops

import trm_export
from trm_export.checkpoint import weights_sha256
from trm_export.granularity import as_block, as_loop
from trm_export.model import TRM, TRMConfig
from trm_runtime.contract import CarrySpec, HaltRule, MadeBy, StepContract, TensorSpec

NEXT = "_next"

Graph = Callable[..., dict[str, Any]]


def contract_for(
    model: TRM,
    *,
    batch: int | None = None,
    precision: str = "fp32",
    granularity: str = "step",
    packages: Sequence[str] = ("keras",),
    puzzle_table_sha256: str | None = None,
) -> StepContract:
    """The contract of one call of the exported model.

    Args:
        model: the TRM.
        batch: fixed number of rows, or None for any.
        precision: of the weights, a word of design section 7.
        granularity: what one call does: ``"step"``, ``"loop"`` or ``"block"``.
        packages: distributions whose versions are recorded in ``made_by``.
        puzzle_table_sha256: of the file that holds the puzzle embeddings instead of the graph,
            which then takes their rows.
    """
    c = model.config
    inputs = [TensorSpec("inputs", "int32", (batch, c.seq_len))]
    external = puzzle_table_sha256 is not None
    if external:
        inputs.append(TensorSpec("puzzle_embedding", "float32", (batch, c.puzzle_emb_ndim)))
    elif c.puzzle_emb_ndim:
        inputs.append(TensorSpec("puzzle_identifiers", "int32", (batch,)))
    outputs = (
        TensorSpec("logits", "float32", (batch, c.seq_len, c.vocab_size)),
        TensorSpec("q_halt_logits", "float32", (batch,)),
        TensorSpec("q_continue_logits", "float32", (batch,)),
    )
    step = StepContract(
        model_name=model.name,
        precision=precision,
        batch=batch,
        inputs=tuple(inputs),
        carry=_carry_specs(c, batch, external),
        outputs=outputs,
        halt=HaltRule(
            "q_halt" if c.no_act_continue else "q_halt_minus_q_continue", c.halt_threshold
        ),
        max_steps=c.halt_max_steps,
        made_by=_made_by(model, packages),
        alphabet=c.alphabet,
        num_puzzle_identifiers=c.num_puzzle_identifiers if c.puzzle_emb_ndim else None,
        puzzle_table_sha256=puzzle_table_sha256,
    )
    if granularity == "loop":
        return as_loop(step)
    return as_block(step, c.passes) if granularity == "block" else step


def _carry_specs(c: TRMConfig, batch: int | None, external: bool) -> tuple[CarrySpec, ...]:
    state = (batch, c.positions, c.hidden_size)
    rows: list[tuple[str, str, tuple[int | None, ...], float | int | bool]] = [
        ("z_H", "float32", state, 0.0),
        ("z_L", "float32", state, 0.0),
        ("steps", "int32", (batch,), 0),
        ("halted", "bool", (batch,), True),
        ("current_inputs", "int32", (batch, c.seq_len), 0),
    ]
    if external:
        rows.append(("current_puzzle_embedding", "float32", (batch, c.puzzle_emb_ndim), 0.0))
    elif c.puzzle_emb_ndim:
        rows.append(("current_puzzle_identifiers", "int32", (batch,), 0))
    return tuple(
        CarrySpec(name, name + NEXT, dtype, shape, fill) for name, dtype, shape, fill in rows
    )


def _made_by(model: TRM, packages: Sequence[str]) -> MadeBy:
    config = json.dumps(model.config.to_dict(), sort_keys=True)
    return MadeBy(
        tool=f"trm-export {trm_export.__version__}",
        versions={name: importlib.metadata.version(name) for name in packages},
        weights_sha256=weights_sha256(model),
        config_digest=hashlib.sha256(config.encode()).hexdigest(),
    )


def incoming(contract: StepContract) -> tuple[TensorSpec | CarrySpec, ...]:
    """Every tensor that enters the graph, inputs first, then the carry."""
    return (*contract.inputs, *contract.carry)


def outgoing(contract: StepContract) -> tuple[TensorSpec, ...]:
    """Every tensor that leaves the graph, outputs first, then the next carry."""
    carry = (TensorSpec(spec.next, spec.dtype, spec.shape) for spec in contract.carry)
    return (*contract.outputs, *carry)


def graph_function(model: TRM, contract: StepContract, *, rolled: bool = False) -> Graph:
    """``f(**inputs, **carry) -> {output or next-carry name: tensor}`` in the contract's names.

    One call is a step, a pass or the whole loop, as the contract's granularity says; ``rolled``
    see `TRMInner.recurse`.
    """
    if contract.granularity == "loop":
        return _loop_function(model, contract, rolled)

    def act(**tensors: Any) -> dict[str, Any]:
        batch = {spec.name: tensors[spec.name] for spec in contract.inputs}
        carry = {spec.name: tensors[spec.name] for spec in contract.carry}
        if contract.granularity == "block":
            new, outputs = model.one_pass(carry, batch)
        else:
            new, outputs = model(carry, batch, training=False, rolled=rolled)
        heads = {spec.name: outputs[spec.name] for spec in contract.outputs}
        return {**heads, **{spec.next: new[spec.name] for spec in contract.carry}}

    return act


def _loop_function(model: TRM, contract: StepContract, rolled: bool) -> Graph:
    """The ACT loop of `trm_runtime.solve` by the learned rule, for one batch without refills.

    A row's outputs follow its steps until it halts and stand still from then on: the latch. The
    loop ends when every row has halted.
    """
    heads = ("logits", "q_halt_logits", "q_continue_logits")
    external = contract.puzzle_table_sha256 is not None
    carried = [spec.name for spec in _carry_specs(model.config, contract.batch, external)]

    def act_loop(**batch: Any) -> dict[str, Any]:
        start = model.initial_carry(batch)
        rows = ops.zeros_like(start["steps"])
        logits = (ops.shape(batch["inputs"])[0], model.config.seq_len, model.config.vocab_size)
        latched = (ops.zeros(logits), *(ops.cast(rows, "float32") for _ in heads[1:]))

        def running(taken: Any, steps: Any, *state: Any) -> Any:
            return ops.any(ops.equal(steps, 0))

        def step(taken: Any, steps: Any, *state: Any) -> Any:
            carry = dict(zip(carried, state[len(heads) :], strict=True))
            carry, outputs = model(carry, batch, training=False, rolled=rolled)
            taken, active = taken + 1, ops.equal(steps, 0)
            kept = (
                _select(active, outputs[name], old)
                for name, old in zip(heads, state[: len(heads)], strict=True)
            )
            halts = ops.logical_or(_score(contract, outputs) > contract.halt.threshold,
                                   taken >= contract.max_steps)  # fmt: skip
            steps = ops.where(ops.logical_and(active, halts), taken + rows, steps)
            return (taken, steps, *kept, *(carry[name] for name in carried))

        first = (ops.convert_to_tensor(0, "int32"), rows, *latched)
        found = ops.while_loop(running, step, (*first, *(start[name] for name in carried)))
        outputs = dict(zip(heads, found[2:], strict=False))
        # Not argmax, for which Keras looks at the sign bit of zeros: no format has that operator.
        answers = ops.cast(ops.top_k(outputs["logits"], 1)[1][..., 0], "int32")
        return {"answers": answers, "steps": found[1], **outputs}

    return act_loop


def _score(contract: StepContract, outputs: dict[str, Any]) -> Any:
    score = outputs["q_halt_logits"]
    if contract.halt.kind == "q_halt_minus_q_continue":
        score = score - outputs["q_continue_logits"]
    return score


def _select(rows: Any, new: Any, old: Any) -> Any:
    """``new`` where ``rows`` (batch,) bool, else ``old``, in one shape as TFLite wants it."""
    mask = ops.reshape(rows, (-1, *(1 for _ in new.shape[1:])))
    return ops.where(ops.broadcast_to(mask, ops.shape(new)), new, old)


def sidecar(path: Path) -> Path:
    """Where the contract of an artifact lies as JSON: ``<artifact>.json`` beside it."""
    return path.with_name(path.name + ".json")
