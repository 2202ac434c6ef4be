"""Generated code as a runner on the host: compiled by a C compiler, called through ctypes."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any, final

import numpy as np

from trm_export.errors import ParityError
from trm_export.leftovers import scratch_of
from trm_runtime.checks import check_step_call
from trm_runtime.contract import StepContract
from trm_runtime.runner import Arrays, StepOutput

SOURCES = ("model.c", "weights.c")
WARNINGS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror")
_COMPILERS = ("cc", "gcc", "clang")
_SECONDS = 300  # for the compiler


def compiler() -> str | None:
    """The first C compiler of this machine; None without one."""
    return next((found for name in _COMPILERS if (found := shutil.which(name))), None)


@final
class CompiledRunner:
    """A `trm_runtime.StepRunner` over a folder of generated code that was just written.

    Args:
        folder: with the sources.
        contract: of the code.
        command: the compiler with its options.
    """

    def __init__(self, folder: Path, contract: StepContract, command: Sequence[str]) -> None:
        self.contract = contract
        self._library = _library(self, folder, command)
        self._puzzle, self._carry, self._outputs = _structures(contract)

    def step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """One call; arrays as in the contract, RejectedInputError for others."""
        given = check_step_call(self.contract, inputs, carry)
        puzzle = _filled(self._puzzle(), given)
        current = {name.removeprefix("current_"): carry[name] for name in carry}
        state, outputs = _filled(self._carry(), carry), self._outputs()
        _filled(state.current, current)
        if not self._library.trm_step(*map(ctypes.byref, (puzzle, state, outputs))):
            raise ParityError("The generated code refused an id that is in range.")
        return self._results(state, outputs)

    def _results(self, state: Any, outputs: Any) -> StepOutput:
        carry = {}
        for spec in self.contract.carry:
            inside = spec.name.startswith("current_")
            source = state.current if inside else state
            carry[spec.name] = _array(source, spec.name.removeprefix("current_"), spec)
        found = {spec.name: _array(outputs, spec.name, spec) for spec in self.contract.outputs}
        return StepOutput(carry=carry, outputs=found)


def _library(owner: object, folder: Path, command: Sequence[str]) -> Any:
    target = scratch_of(owner) / "model.so"
    sources = [str(folder / name) for name in SOURCES]
    arguments = [*command, "-shared", "-fPIC", "-o", str(target), *sources, "-lm"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=_SECONDS, check=False)
    if done.returncode:
        raise ParityError(f"{command[0]} refuses the generated code: {done.stderr.strip()[:400]}.")
    library = ctypes.CDLL(str(target))
    library.trm_step.restype = ctypes.c_bool
    return library


def _structures(contract: StepContract) -> tuple[Any, Any, Any]:
    """The structures of `model.h`: the puzzle, the carry and the outputs."""
    shapes = {spec.name: spec.shape[1:] for spec in (*contract.inputs, *contract.carry)}
    puzzle = _structure({spec.name: ("int32", spec.shape[1:]) for spec in contract.inputs})
    state = {name: ("float32", shapes[name]) for name in ("z_H", "z_L")}
    carry = _structure({**state, "steps": ("int32", ()), "halted": ("bool", ())}, puzzle)
    outputs = _structure({spec.name: (spec.dtype, spec.shape[1:]) for spec in contract.outputs})
    return puzzle, carry, outputs


def _structure(members: dict[str, tuple[str, Any]], last: Any = None) -> Any:
    fields = [(name, _type(*of)) for name, of in members.items()]
    more = [] if last is None else [("current", last)]
    return type("Structure", (ctypes.Structure,), {"_fields_": [*fields, *more]})


def _type(dtype: str, shape: Sequence[int]) -> Any:
    kind: Any = {"float32": ctypes.c_float, "int32": ctypes.c_int32, "bool": ctypes.c_bool}[dtype]
    for size in reversed(shape):
        kind = kind * size
    return kind


def _filled(structure: Any, arrays: Arrays) -> Any:
    """The structure with the one row of every array that it has a member for."""
    for name, kind in structure._fields_:
        if name in arrays:
            row = np.ascontiguousarray(arrays[name][0])
            address = ctypes.addressof(structure) + getattr(type(structure), name).offset
            ctypes.memmove(address, row.tobytes(), ctypes.sizeof(kind))
    return structure


def _array(structure: Any, name: str, spec: Any) -> np.ndarray[Any, Any]:
    """A member of a structure as a row of the contract, copied."""
    member = getattr(type(structure), name)
    address = ctypes.addressof(structure) + member.offset
    data = ctypes.string_at(address, member.size)
    return np.frombuffer(data, spec.dtype).reshape(1, *spec.shape[1:]).copy()
