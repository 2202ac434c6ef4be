"""Compare the tensors of an engine with those of the contract.

Standard library only. Every driver calls `verify` once, when it opens a file.
"""

from __future__ import annotations

from collections.abc import Mapping

from trm_runtime.contract import StepContract
from trm_runtime.errors import ContractMismatchError
from trm_runtime.tensors import EngineTensors, Shape, shape_text


def verify(
    contract: StepContract,
    engine_inputs: EngineTensors,
    engine_outputs: EngineTensors,
    where: str = "The model",
) -> None:
    """Raise ContractMismatchError, listing every difference between engine and contract."""
    found = differences(contract, engine_inputs, engine_outputs)
    if found:
        raise ContractMismatchError(f"{where} differs from its contract:", found)


def differences(
    contract: StepContract, engine_inputs: EngineTensors, engine_outputs: EngineTensors
) -> tuple[str, ...]:
    """Every difference in names, dtypes and shapes of engine and contract, a line each."""
    inputs = {spec.name: (spec.dtype, spec.shape) for spec in contract.inputs}
    inputs.update({spec.name: (spec.dtype, spec.shape) for spec in contract.carry})
    outputs = {spec.name: (spec.dtype, spec.shape) for spec in contract.outputs}
    outputs.update({spec.next: (spec.dtype, spec.shape) for spec in contract.carry})
    return (*_side("input", inputs, engine_inputs), *_side("output", outputs, engine_outputs))


def _side(
    role: str, wanted: Mapping[str, tuple[str, Shape]], found: EngineTensors
) -> tuple[str, ...]:
    texts = [f"{role} {n!r}: the engine has no such tensor" for n in wanted if n not in found]
    texts += [f"{role} {n!r}: the contract has no such tensor" for n in found if n not in wanted]
    for name in (n for n in wanted if n in found):
        (dtype, shape), (got_dtype, got_shape) = wanted[name], found[name]
        if dtype != got_dtype:
            texts.append(f"{role} {name!r}: expected dtype {dtype}, got {got_dtype}")
        if tuple(shape) != tuple(got_shape):
            got = shape_text(got_shape)
            texts.append(f"{role} {name!r}: expected shape {shape_text(shape)}, got {got}")
    return tuple(texts)
