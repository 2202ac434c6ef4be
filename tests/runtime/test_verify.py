from __future__ import annotations

import pickle

import pytest

from tests.runtime.fakes import make_contract
from trm_runtime import ContractMismatchError
from trm_runtime.tensors import Shape
from trm_runtime.verify import differences, verify

Tensors = dict[str, tuple[str, Shape]]


def described() -> tuple[Tensors, Tensors]:
    contract = make_contract()
    inputs = {spec.name: (spec.dtype, spec.shape) for spec in contract.inputs}
    inputs.update({spec.name: (spec.dtype, spec.shape) for spec in contract.carry})
    outputs = {spec.name: (spec.dtype, spec.shape) for spec in contract.outputs}
    outputs.update({spec.next: (spec.dtype, spec.shape) for spec in contract.carry})
    return inputs, outputs


def test_a_faithful_engine_passes_in_any_order() -> None:
    inputs, outputs = described()
    verify(make_contract(), dict(reversed(inputs.items())), dict(reversed(outputs.items())))


def test_every_difference_is_listed() -> None:
    inputs, outputs = described()
    inputs["z_h"] = inputs.pop("z_H")
    inputs["steps"] = ("int64", (None,))
    inputs["halted"] = ("bool", (1,))
    outputs["logits"] = ("float16", (None, 4, None))
    del outputs["z_L_next"]
    assert differences(make_contract(), inputs, outputs) == (
        "input 'z_H': the engine has no such tensor",
        "input 'z_h': the contract has no such tensor",
        "input 'steps': expected dtype int32, got int64",
        "input 'halted': expected shape (batch,), got (1,)",
        "output 'z_L_next': the engine has no such tensor",
        "output 'logits': expected dtype float32, got float16",
        "output 'logits': expected shape (batch, 4, 6), got (batch, 4, batch)",
    )
    with pytest.raises(
        ContractMismatchError, match=r"toy\.onnx differs from its contract"
    ) as caught:
        verify(make_contract(), inputs, outputs, "toy.onnx")
    assert len(caught.value.problems) == 7


def test_errors_survive_a_trip_to_another_process() -> None:
    error = ContractMismatchError("toy.onnx differs:", ["a", "b"])
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.problems) == (str(error), ("a", "b"))
