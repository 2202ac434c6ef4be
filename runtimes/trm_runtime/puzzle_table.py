"""The puzzle embeddings of a model whose graph leaves them out: rows of a file beside it.

A table of many puzzles outweighs the network (100 MB beside 26 MB for ARC). Such a graph takes the
rows of its puzzles as the input `puzzle_embedding`; here they are read from a memory-mapped `.npy`,
so that only what is asked for is ever in memory. Knows numpy and the contract; knows no engine.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, final

import numpy as np

from trm_runtime.checks import check_step_call
from trm_runtime.contract import PUZZLE_TABLE_SUFFIX, StepContract
from trm_runtime.digest import digest
from trm_runtime.errors import RejectedInputError
from trm_runtime.message_text import first_few
from trm_runtime.runner import Arrays, StepOutput, StepRunner
from trm_runtime.tensors import CarrySpec, TensorSpec, shape_text

EMBEDDING, IDENTIFIERS = "puzzle_embedding", "puzzle_identifiers"

_CURRENT = "current_"

Array = np.ndarray[Any, Any]


def table_beside(model: Path) -> Path:
    """Where the table of a model lies: `<model>.puzzle_table.npy`."""
    return model.with_name(model.name + PUZZLE_TABLE_SUFFIX)


def open_table(path: Path, contract: StepContract) -> Array:
    """The table, memory-mapped and read-only: (identifiers, width) float32.

    Raises RejectedInputError for a file that is missing, damaged, or not the one of the contract.
    """
    try:
        table: Array = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise RejectedInputError(
            f"{path}: the puzzle embeddings of the model cannot be read: "
            f"{error.strerror or error}; keep them beside it under this name, or export it again"
        ) from error
    except Exception as error:  # numpy raises whatever its parser of the header stumbles over
        raise RejectedInputError(f"{path}: not a .npy file, or a damaged one: {error}") from error
    problems = _differences(table, contract)
    if not problems and _sha256(path) != contract.puzzle_table_sha256:
        problems = ["its SHA-256 is not the one in the contract: it belongs to another model"]
    if problems:
        raise RejectedInputError(f"{path}: not the puzzle embeddings of this model:", problems)
    return table


def _differences(table: Array, contract: StepContract) -> list[str]:
    wanted = (contract.num_puzzle_identifiers, _width(contract))
    problems = []
    if table.dtype != np.dtype("<f4"):
        problems.append(f"expected dtype float32, got {table.dtype}")
    if table.shape != wanted:
        problems.append(f"expected shape {shape_text(wanted)}, got {shape_text(table.shape)}")
    return problems


def _width(contract: StepContract) -> int | None:
    return next(spec.shape[1] for spec in contract.inputs if spec.name == EMBEDDING)


def _sha256(path: Path) -> str:
    """Read piece by piece, which leaves no page of the mapping in memory."""
    with path.open("rb") as file:
        return digest(file)


@final
class PuzzleTableRunner:
    """A StepRunner over another one that takes `puzzle_embedding`, and the table of its rows.

    Its contract is that of a model with the table inside: it takes `puzzle_identifiers`, carries
    the identifier of each row's puzzle, and is interchangeable with such a model.
    """

    def __init__(self, runner: StepRunner, table: Array) -> None:
        self._runner, self._table = runner, table
        self.contract: StepContract = _with_identifiers(runner.contract)

    def step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """One call; see StepRunner.step."""
        given = check_step_call(self.contract, inputs, carry)
        fresh = given.pop(IDENTIFIERS)
        given[EMBEDDING] = self._table[fresh]
        held = carry.get(_CURRENT + IDENTIFIERS)
        if held is None:  # the whole loop is inside
            return self._runner.step(given, carry)
        self._check_held(held)
        rest = {name: array for name, array in carry.items() if name != _CURRENT + IDENTIFIERS}
        output = self._runner.step(given, {**rest, _CURRENT + EMBEDDING: self._table[held]})
        after = {k: v for k, v in output.carry.items() if k != _CURRENT + EMBEDDING}
        after[_CURRENT + IDENTIFIERS] = np.where(carry["halted"], fresh, held)
        return StepOutput(after, output.outputs)

    def _check_held(self, held: Array) -> None:
        last = len(self._table) - 1
        problems = [
            f"carry {_CURRENT + IDENTIFIERS!r}, row {row}: id {held[row]} is not in 0..{last}"
            for row in np.flatnonzero((held < 0) | (held > last))
        ]
        if problems:
            raise RejectedInputError("the carry does not fit the model:", first_few(problems))


def _with_identifiers(contract: StepContract) -> StepContract:
    rows = (contract.batch,)
    current = CarrySpec(_CURRENT + IDENTIFIERS, f"{_CURRENT}{IDENTIFIERS}_next", "int32", rows, 0)
    return dataclasses.replace(
        contract,
        puzzle_table_sha256=None,
        inputs=tuple(
            TensorSpec(IDENTIFIERS, "int32", rows) if spec.name == EMBEDDING else spec
            for spec in contract.inputs
        ),
        carry=tuple(
            current if spec.name == _CURRENT + EMBEDDING else spec for spec in contract.carry
        ),
    )
