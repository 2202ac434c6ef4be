"""Integer ports: int8 at the border of a graph, real numbers for the loop, nothing lost between."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from tests.runtime.fakes import make_contract as contract
from trm_runtime.contract import CarrySpec, StepContract, TensorSpec
from trm_runtime.errors import ContractError
from trm_runtime.integer import (
    IntegerRunner,
    dequantised,
    float_contract,
    has_int8_io,
    quantised,
)
from trm_runtime.runner import StepOutput, initial_carry

SCALE, ZERO = 0.5, -3


def ported(of: StepContract) -> StepContract:
    """The contract with int8 in the place of every float32."""
    carry = tuple(
        CarrySpec(s.name, s.next, "int8", s.shape, ZERO, SCALE, ZERO) if _is_float(s) else s
        for s in of.carry
    )
    outputs = tuple(
        TensorSpec(s.name, "int8", s.shape, SCALE, ZERO) if _is_float(s) else s for s in of.outputs
    )
    return dataclasses.replace(of, carry=carry, outputs=outputs)


def _is_float(spec: TensorSpec | CarrySpec) -> bool:
    return spec.dtype == "float32"


class Counting:
    """A graph with integer ports that adds one to each state, as int8."""

    def __init__(self) -> None:
        self.contract = ported(contract())

    def step(self, inputs: Mapping[str, Any], carry: Mapping[str, Any]) -> StepOutput:
        rows = len(inputs["inputs"])
        ports = {s.name: s for s in self.contract.carry}
        assert {name: array.dtype.name for name, array in carry.items()} == {
            name: spec.dtype for name, spec in ports.items()
        }
        new = {
            name: array + 1 if array.dtype == np.int8 else array for name, array in carry.items()
        }
        outputs = {s.name: np.full((rows, *s.shape[1:]), 7, np.int8) for s in self.contract.outputs}
        return StepOutput(new, outputs)


def test_every_int8_survives_the_way_through_real_numbers() -> None:
    every = np.arange(-128, 128).astype(np.int8)
    for scale, zero in ((0.5, -3), (0.0123, 127), (31.7, -128)):
        spec = TensorSpec("x", "int8", (None,), scale, zero)
        assert np.array_equal(quantised(spec, dequantised(spec, every)), every)


def test_real_numbers_off_the_grid_go_to_its_ends_and_nan_to_zero() -> None:
    spec = TensorSpec("x", "int8", (None,), SCALE, ZERO)
    given = np.array([1e9, -1e9, np.nan, np.inf, 0.0, 0.24], np.float32)
    assert quantised(spec, given).tolist() == [127, -128, ZERO, 127, ZERO, ZERO]


def test_a_runner_of_integers_looks_like_one_of_real_numbers() -> None:
    runner = IntegerRunner(Counting())
    assert runner.contract == contract()
    assert not has_int8_io(runner.contract)
    assert has_int8_io(ported(contract()))
    states = [spec.name for spec in contract().carry if spec.dtype == "float32"]
    carry = initial_carry(runner.contract, 2)
    inputs = {"inputs": np.zeros((2, runner.contract.seq_len), np.int32)}
    for step in range(1, 4):
        output = runner.step(inputs, carry)
        carry = output.carry
        for name in states:
            assert carry[name].dtype == np.float32
            assert (carry[name] == step * SCALE).all()
    assert (output.outputs["logits"] == (7 - ZERO) * SCALE).all()


def test_the_contract_keeps_scale_and_zero_point_in_json() -> None:
    given = ported(contract())
    assert StepContract.from_json(given.to_json()) == given
    assert float_contract(given) == contract()
    assert '"scale"' not in contract().to_json()


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        (TensorSpec("logits", "int8", (None, 4, 6)), "needs a scale above 0"),
        (TensorSpec("logits", "int8", (None, 4, 6), 0.0, 0), "needs a scale above 0"),
        (TensorSpec("logits", "int8", (None, 4, 6), 0.5, 300), "zero_point in -128..127"),
        (TensorSpec("logits", "float32", (None, 4, 6), 0.5, 0), "are for int8, not float32"),
    ],
)
def test_a_bad_grid_breaks_the_contract(spec: TensorSpec, complaint: str) -> None:
    good = contract()
    logits = next(s for s in good.outputs if s.name == "logits")
    bad = dataclasses.replace(spec, shape=logits.shape)
    outputs = tuple(bad if s.name == "logits" else s for s in good.outputs)
    with pytest.raises(ContractError) as caught:
        dataclasses.replace(good, outputs=outputs)
    assert complaint in str(caught.value)


def test_int8_without_its_grid_is_refused_in_json() -> None:
    text = ported(contract()).to_json().replace('"scale": 0.5', '"scales": 0.5', 1)
    with pytest.raises(ContractError, match=r"(?s)scale: missing.*scales: unknown key"):
        StepContract.from_json(text)
