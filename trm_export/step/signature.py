"""The step contract of a Keras model, and the one function that every format exports.

Knows names, dtypes and shapes; knows no file format.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from trm_export.model import is_own
from trm_export.step.step_model import AnyModel, StepModel, adapt, select
from trm_export.step.versions import version_of
from trm_export.tasks import known_symmetries
from trm_export.version import TOOL, __version__
from trm_runtime.contract import CarrySpec, MadeBy, StepContract, TensorSpec
from trm_runtime.contract_rules import HALTED
from trm_runtime.granularity import as_block, as_loop
from trm_runtime.integer import has_int32_halted, int32_halted

Graph = Callable[..., dict[str, Any]]


def contract_for(
    model: AnyModel,
    *,
    batch: int | None = None,
    precision: str = "fp32",
    granularity: str = "step",
    packages: Sequence[str] = ("keras",),
    puzzle_table_sha256: str | None = None,
    ports: str = "bool",
) -> StepContract:
    """The contract of one call of the exported model.

    Args:
        model: a model that follows the protocol.
        batch: fixed number of rows, or None for a dynamic batch.
        precision: of the weights, one of `choices.PRECISIONS`.
        granularity: what one call does: ``"step"``, ``"loop"`` or ``"block"``; the latter only
            where a step has `StepModel.passes`.
        packages: distributions whose versions are recorded in ``made_by``.
        puzzle_table_sha256: of the file that holds the puzzle embeddings instead of the graph,
            which then takes their rows.
        ports: dtype of ``halted``, ``"bool"`` or ``"int32"``.
    """
    model = _stepping(model, puzzle_table_sha256)
    step = StepContract(
        model_name=model.name,
        precision=precision,
        batch=batch,
        inputs=model.inputs(batch),
        carry=_carry(model, batch, ports),
        outputs=model.outputs(batch),
        halt=model.halt,
        max_steps=model.max_steps,
        made_by=_made_by(model, packages),
        alphabet=model.alphabet,
        num_puzzle_identifiers=model.num_puzzle_identifiers,
        puzzle_table_sha256=puzzle_table_sha256,
        symmetries=known_symmetries(model.alphabet, model.seq_len),
    )
    if granularity == "loop":
        return as_loop(step)
    return as_block(step, model.passes or 1) if granularity == "block" else step


def _carry(model: StepModel, batch: int | None, ports: str) -> tuple[CarrySpec, ...]:
    carry = model.carry(batch)
    return carry if ports == "bool" else tuple(int32_halted(spec) for spec in carry)


def _stepping(model: AnyModel, puzzle_table_sha256: str | None) -> StepModel:
    model = adapt(model)
    return model if puzzle_table_sha256 is None else model.with_external_table()


def _made_by(model: StepModel, packages: Sequence[str]) -> MadeBy:
    return MadeBy(
        tool=f"{TOOL} {__version__}",
        versions={name: version_of(name) for name in packages},
        weights_sha256=model.weights.sha256,
        config_digest=hashlib.sha256(_config_text(model.keras).encode()).hexdigest(),
    )


def _config_text(model: keras.Model) -> str:
    """The model's configuration as text; only its class name where it has none."""
    try:
        config = model.config.to_dict() if is_own(model) else model.get_config()
        return json.dumps(config, sort_keys=True)
    except (NotImplementedError, TypeError, ValueError):
        return type(model).__name__


def incoming(contract: StepContract) -> tuple[TensorSpec | CarrySpec, ...]:
    """Every tensor that enters the graph, inputs first, then the carry."""
    return (*contract.inputs, *contract.carry)


def outgoing(contract: StepContract) -> tuple[TensorSpec, ...]:
    """Every tensor that leaves the graph, outputs first, then the next carry."""
    carry = (
        TensorSpec(spec.next, spec.dtype, spec.shape, spec.scale, spec.zero_point)
        for spec in contract.carry
    )
    return (*contract.outputs, *carry)


def graph_function(model: AnyModel, contract: StepContract, *, rolled: bool = False) -> Graph:
    """``f(**inputs, **carry) -> {output or next-carry name: tensor}`` in the contract's names.

    One call is a step, a pass or the whole loop, as the contract's granularity says; ``rolled``
    see `TRMInner.recurse`.
    """
    model = _stepping(model, contract.puzzle_table_sha256)
    if contract.granularity == "loop":
        return _loop_function(model, contract, rolled)
    names = [spec.name for spec in outgoing(contract)]
    int32 = has_int32_halted(contract)

    def act(**tensors: Any) -> dict[str, Any]:
        if int32:
            tensors[HALTED] = ops.not_equal(tensors[HALTED], 0)
        if contract.granularity == "block":
            results = model.one_pass(tensors)
        else:
            results = model.step(tensors, rolled=rolled)
        if int32:
            results[f"{HALTED}_next"] = ops.cast(results[f"{HALTED}_next"], "int32")
        return {name: results[name] for name in names}

    return act


def _loop_function(model: StepModel, contract: StepContract, rolled: bool) -> Graph:
    """The ACT loop of `trm_runtime.solve` by the learned rule, for one batch without refills.

    A row's outputs are those of the step at which it first halts (the latch). The loop ends when
    every row has halted.
    """
    heads, carried = model.outputs(contract.batch), model.carry(contract.batch)

    def act_loop(**batch: Any) -> dict[str, Any]:
        rows = ops.zeros_like(batch["inputs"][:, 0])
        latched = [_full(spec, 0, rows) for spec in heads]
        start = [_full(spec, spec.fill, rows) for spec in carried]

        def running(taken: Any, steps: Any, *state: Any) -> Any:
            return ops.any(ops.equal(steps, 0))

        def step(taken: Any, steps: Any, *state: Any) -> Any:
            before = dict(zip((spec.name for spec in carried), state[len(heads) :], strict=True))
            results = model.step({**batch, **before}, rolled=rolled)
            taken, active = taken + 1, ops.equal(steps, 0)
            outputs = [
                select(active, results[spec.name], old)
                for spec, old in zip(heads, state[: len(heads)], strict=True)
            ]
            score = contract.halt.score(results["q_halt_logits"], results["q_continue_logits"])
            halts = ops.logical_or(score > contract.halt.threshold, taken >= contract.max_steps)
            steps = ops.where(ops.logical_and(active, halts), taken + rows, steps)
            return (taken, steps, *outputs, *(results[spec.next] for spec in carried))

        first = (ops.convert_to_tensor(0, "int32"), rows, *latched)
        last = ops.while_loop(running, step, (*first, *start))
        outputs = dict(zip((spec.name for spec in heads), last[2:], strict=False))
        # Not argmax, for which Keras looks at the sign bit of zeros: no format has that operator.
        answers = ops.cast(ops.top_k(outputs["logits"], 1)[1][..., 0], "int32")
        return {"answers": answers, "steps": last[1], **outputs}

    return act_loop


def _full(spec: TensorSpec | CarrySpec, value: Any, rows: Any) -> Any:
    """A tensor of that kind full of one value, with as many rows as ``rows`` (batch,) has."""
    shape = (ops.shape(rows)[0], *spec.shape[1:])
    if value in (0, 1):  # a constant of a known shape, which `full` is not
        return (ops.ones if value else ops.zeros)(shape, spec.dtype)
    return ops.full(shape, value, spec.dtype)
