"""Runners that differ from the toy model of `tests.runtime.fakes` in one chosen way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.runtime.fakes import FakeRunner, expected_answers, make_contract, make_puzzles
from trm_export.tasks import PuzzleSet
from trm_runtime import StepContract, StepOutput

Array = np.ndarray[Any, Any]
Tensors = dict[str, Array]
Alter = Callable[[Tensors, Tensors], object]


@dataclass
class AlteredRunner:
    """The toy model, whose results `alter(what went in, what comes out)` may change in place.

    Both are by name, carry tensors by their incoming names.
    """

    alter: Alter
    contract: StepContract = field(default_factory=make_contract)

    def step(self, inputs: Mapping[str, Array], carry: Mapping[str, Array]) -> StepOutput:
        """One step of the toy model, altered."""
        output = FakeRunner(self.contract).step(inputs, carry)
        found = {name: x.copy() for name, x in {**output.carry, **output.outputs}.items()}
        self.alter({**inputs, **carry}, found)
        return StepOutput(
            carry={name: found[name] for name in output.carry},
            outputs={name: found[name] for name in output.outputs},
        )


def toy_puzzles(count: int = 12, unsettled: tuple[int, ...] = ()) -> PuzzleSet:
    """Puzzles that the toy model solves, but for the rows named."""
    inputs = make_puzzles(count)
    labels = expected_answers(inputs, inputs[:, 0]).astype(np.int32)
    labels[list(unsettled)] = (labels[list(unsettled)] + 1) % 6
    return PuzzleSet(inputs, labels, np.zeros(count, dtype=np.int32))
