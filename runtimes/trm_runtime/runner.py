"""The protocol of an engine: one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Protocol

import numpy as np

from trm_runtime.contract import StepContract
from trm_runtime.display import field_table, one_line
from trm_runtime.errors import UsageError
from trm_runtime.message_text import shown
from trm_runtime.scalars import as_integer

Arrays = Mapping[str, "np.ndarray[Any, Any]"]  # by name


@dataclass(frozen=True)
class StepOutput:
    """The result of one step; every array has the batch on axis 0."""

    carry: dict[str, np.ndarray[Any, Any]]  # by incoming names: z_H, not z_H_next
    outputs: dict[str, np.ndarray[Any, Any]]  # logits, q_halt_logits, q_continue_logits

    @property
    def tensors(self) -> dict[str, np.ndarray[Any, Any]]:
        """Carry and outputs by name."""
        return {**self.carry, **self.outputs}

    __repr__ = one_line
    _repr_html_ = field_table


class StepRunner(Protocol):
    """One engine with one model: the protocol of the reference and of every candidate.

    A step does not change its input arrays, and does not keep or reuse the arrays that it returned.
    """

    @property
    def contract(self) -> StepContract:
        """The contract of the model; the engine has been verified against it."""
        ...

    def step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """One ACT step for every row of the batch; names, dtypes and shapes as in the contract.

        Raises RejectedInputError for arrays that do not fit, before the engine gets them.
        """
        ...


def trusted_step(runner: StepRunner) -> Callable[[Arrays, Arrays], StepOutput]:
    """Its step for arrays that the caller has made or checked, without another check of each.

    That of our own drivers where they have it, else `step`.
    """
    step: Callable[[Arrays, Arrays], StepOutput] = getattr(runner, "trusted_step", runner.step)
    return step


def step_output(contract: StepContract, tensors: Arrays) -> StepOutput:
    """The result of a step, from the tensors that its engine returned, by output name."""
    return StepOutput(
        {name: tensors[after] for name, after in contract.next_names.items()},
        {name: tensors[name] for name in contract.by_name[2]},
    )


def initial_carry(contract: StepContract, batch: int) -> dict[str, np.ndarray[Any, Any]]:
    """The carry before the first step: each tensor (batch, ...) filled with its `fill`.

    Raises UsageError for a batch that is no integer of 0 or more, and for what is no contract.
    """
    if not isinstance(contract, StepContract):
        raise UsageError(f"contract: expected that of a runner, got {shown(contract)}.")
    rows = as_integer(batch)
    if rows is None or rows < 0:
        raise UsageError(f"batch: expected an integer, 0 or more, got {shown(batch)}.")
    return {
        spec.name: np.full((rows, *_row_shape(spec.shape)), spec.fill, dtype=spec.dtype)
        for spec in contract.carry
    }


def _row_shape(shape: tuple[int | None, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape[1:] if size is not None)
