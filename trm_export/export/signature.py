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

import trm_export
from trm_export.checkpoint import weights_sha256
from trm_export.model import TRM, TRMConfig
from trm_runtime.contract import CarrySpec, HaltRule, MadeBy, StepContract, TensorSpec

NEXT = "_next"


def contract_for(
    model: TRM,
    *,
    batch: int | None = None,
    precision: str = "fp32",
    packages: Sequence[str] = ("keras",),
) -> StepContract:
    """The contract of one ACT step of the model.

    Args:
        model: the TRM.
        batch: fixed number of rows, or None for any.
        precision: of the weights, a word of design section 7.
        packages: distributions whose versions are recorded in ``made_by``.
    """
    c = model.config
    inputs = [TensorSpec("inputs", "int32", (batch, c.seq_len))]
    if c.puzzle_emb_ndim:
        inputs.append(TensorSpec("puzzle_identifiers", "int32", (batch,)))
    outputs = (
        TensorSpec("logits", "float32", (batch, c.seq_len, c.vocab_size)),
        TensorSpec("q_halt_logits", "float32", (batch,)),
        TensorSpec("q_continue_logits", "float32", (batch,)),
    )
    return StepContract(
        model_name=model.name,
        precision=precision,
        batch=batch,
        inputs=tuple(inputs),
        carry=_carry_specs(c, batch),
        outputs=outputs,
        halt=HaltRule(
            "q_halt" if c.no_act_continue else "q_halt_minus_q_continue", c.halt_threshold
        ),
        max_steps=c.halt_max_steps,
        made_by=_made_by(model, packages),
        alphabet=c.alphabet,
        num_puzzle_identifiers=c.num_puzzle_identifiers if c.puzzle_emb_ndim else None,
    )


def _carry_specs(c: TRMConfig, batch: int | None) -> tuple[CarrySpec, ...]:
    state = (batch, c.positions, c.hidden_size)
    rows: list[tuple[str, str, tuple[int | None, ...], float | int | bool]] = [
        ("z_H", "float32", state, 0.0),
        ("z_L", "float32", state, 0.0),
        ("steps", "int32", (batch,), 0),
        ("halted", "bool", (batch,), True),
        ("current_inputs", "int32", (batch, c.seq_len), 0),
    ]
    if c.puzzle_emb_ndim:
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
    """Every tensor that enters the step, inputs first, then the carry."""
    return (*contract.inputs, *contract.carry)


def step_function(
    model: TRM, contract: StepContract, *, rolled: bool = False
) -> Callable[..., dict[str, Any]]:
    """``f(**inputs, **carry) -> {output or next-carry name: tensor}`` in the contract's names."""

    def act_step(**tensors: Any) -> dict[str, Any]:
        batch = {spec.name: tensors[spec.name] for spec in contract.inputs}
        carry = {spec.name: tensors[spec.name] for spec in contract.carry}
        new, outputs = model(carry, batch, training=False, rolled=rolled)
        heads = {spec.name: outputs[spec.name] for spec in contract.outputs}
        return {**heads, **{spec.next: new[spec.name] for spec in contract.carry}}

    return act_step


def sidecar(path: Path) -> Path:
    """Where the contract of an artifact lies as JSON: ``<artifact>.json`` beside it."""
    return path.with_name(path.name + ".json")
