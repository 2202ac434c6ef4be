"""int8 I/O and int32 `halted`: a graph with other dtypes, as a step on float32 and bool.

A device without floating point passes the int8 carry of one step to the next unchanged. The loop of
this package works on float32; converting the carry to float32 and back to int8 loses nothing,
because a carry tensor has the same scale and zero point as input and as output. `halted` may be
int32, for engines without bool inputs and outputs.

Knows numpy and the contract; knows no engine.
"""

from __future__ import annotations

import dataclasses
from typing import Any, final

import numpy as np

from trm_runtime.checks import check_step_call
from trm_runtime.contract import StepContract
from trm_runtime.contract_rules import HALTED
from trm_runtime.runner import Arrays, StepOutput, StepRunner
from trm_runtime.tensors import AnySpec, CarrySpec, TensorSpec

Array = np.ndarray[Any, Any]


def has_int8_io(contract: StepContract) -> bool:
    """Whether any of its tensors is int8."""
    specs: tuple[AnySpec, ...] = (*contract.carry, *contract.outputs)
    return any(spec.dtype == "int8" for spec in specs)


def has_int32_halted(contract: StepContract) -> bool:
    """Whether its `halted` is int32 instead of bool."""
    return any(spec.name == HALTED and spec.dtype == "int32" for spec in contract.carry)


def float_contract(contract: StepContract) -> StepContract:
    """The same contract with float32 instead of int8."""
    return dataclasses.replace(
        contract,
        carry=tuple(_float_carry(spec) for spec in contract.carry),
        outputs=tuple(
            TensorSpec(spec.name, "float32", spec.shape) if spec.dtype == "int8" else spec
            for spec in contract.outputs
        ),
    )


def usual_contract(contract: StepContract) -> StepContract:
    """The same contract with float32 instead of int8 and bool instead of an int32 `halted`."""
    usual = float_contract(contract)
    return dataclasses.replace(usual, carry=tuple(_bool_halted(spec) for spec in usual.carry))


def int32_halted(spec: CarrySpec) -> CarrySpec:
    """The tensor `halted` as int32; any other as it is."""
    return CarrySpec(spec.name, spec.next, "int32", spec.shape, 1) if spec.name == HALTED else spec


def _bool_halted(spec: CarrySpec) -> CarrySpec:
    if spec.name != HALTED:
        return spec
    return CarrySpec(spec.name, spec.next, "bool", spec.shape, True)


def _float_carry(spec: CarrySpec) -> CarrySpec:
    if spec.dtype != "int8":
        return spec
    fill = float(dequantised(spec, np.asarray(spec.fill)))
    return CarrySpec(spec.name, spec.next, "float32", spec.shape, fill)


def quantised(spec: AnySpec, array: Array) -> Array:
    """Real numbers as int8 values of the tensor, rounded and clipped; NaN as that of 0.

    `halted` in the dtype of the tensor.
    """
    if spec.name == HALTED:
        return array.astype(spec.dtype)
    if spec.dtype != "int8":
        return array
    scaled = np.nan_to_num(array / np.float32(spec.scale or 1.0), nan=0.0)
    shifted = np.rint(scaled) + (spec.zero_point or 0)
    integers: Array = np.clip(shifted, -128, 127).astype(np.int8)
    return integers


def dequantised(spec: AnySpec, array: Array) -> Array:
    """The real numbers, float32, of int8 values of the tensor; `halted` as bool."""
    if spec.name == HALTED:
        return np.asarray(array != 0)
    if spec.dtype != "int8":
        return array
    centred = array.astype(np.float32) - np.float32(spec.zero_point or 0)
    return np.asarray(centred * np.float32(spec.scale or 1.0))


@final
class IntegerRunner:
    """A StepRunner over another one with int8 I/O or int32 `halted`, which it does not have."""

    def __init__(self, runner: StepRunner) -> None:
        self._runner, self._int8 = runner, runner.contract
        self.contract: StepContract = usual_contract(runner.contract)

    def step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """One call; see StepRunner.step."""
        checked = check_step_call(self.contract, inputs, carry)
        before = {s.name: quantised(s, np.asarray(carry[s.name])) for s in self._int8.carry}
        output = self._runner.step(checked, before)
        return StepOutput(
            carry={s.name: dequantised(s, output.carry[s.name]) for s in self._int8.carry},
            outputs={s.name: dequantised(s, output.outputs[s.name]) for s in self._int8.outputs},
        )
