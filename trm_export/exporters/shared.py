"""Results that several exports of one model share, so that each is computed once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar, final

import numpy as np

from trm_export.leftovers import scratch_of
from trm_export.step.keras_runner import KerasRunner
from trm_export.step.step_model import AnyModel, adapt
from trm_runtime.memory import return_free_memory
from trm_runtime.parity import Golden, Puzzles, record
from trm_runtime.parity.few_steps import SOME
from trm_runtime.parity.recorder import record_few

Result = TypeVar("Result")

FEW_FROM = 4e9  # multiplications of one row's step, about 0.05 s on two cores
_THREADS_FROM = 1e8
"""Of a smaller step, threads that wait for each other take more processor time than the step."""


@final
class Shared:
    """The reference of a model, and results of exporters that other exports can reuse.

    Valid for the weights that the model has now.

    Attributes:
        model: the model, adapted.
        runner: the Keras model as a runner with a dynamic batch.
        big: whether a step has more than `FEW_FROM` multiplications.
        few: files are checked at a few steps of one puzzle, because the model is big and the check
            "auto".
        steps: how many steps the files of other models are checked at; None for all.
        threads: of the engine that a file is checked on; None for the engine's default.
        planned: precisions of the files that are going to be made with this; empty if unknown.
    """

    def __init__(self, model: AnyModel, check: str = "auto") -> None:
        self.model = adapt(model)
        self.big = self.model.multiplications > FEW_FROM
        self.few = check == "auto" and self.big
        self.steps = SOME if check == "auto" and self.model.max_steps > SOME else None
        self.threads = 1 if self.model.multiplications < _THREADS_FROM else None
        self.planned: frozenset[str] = frozenset()
        self.runner = KerasRunner(self.model, few=True)
        self._results: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], Result]) -> Result:
        """The result of the first ``make`` for this key; callers must not change it."""
        if key not in self._results:
            self._results[key] = make()
            self.return_memory()
        result: Result = self._results[key]
        return result

    def return_memory(self) -> None:
        """After a stage of a big model; of a small one the search takes longer than it is worth."""
        if self.big:
            return_free_memory()

    def golden(self, puzzles: Puzzles, steps: int | None = None) -> Golden:
        """The model's rollout on these puzzles; it stays in memory, so give only a few.

        For `steps` see `record`.
        """
        key = "golden", steps, np.asarray(puzzles.inputs).tobytes()
        return self.once(key, lambda: record(self.runner, puzzles, steps=steps))

    def few_golden(self, puzzles: Puzzles, *, answers: bool = False) -> Golden:
        """The recording of a few steps of the first puzzle; see `record_few`."""
        key = "few", answers, np.asarray(puzzles.inputs).tobytes()
        return self.once(key, lambda: record_few(self.runner, puzzles, answers=answers))

    def folder(self) -> Path:
        """A new temporary folder, removed with this object or at the end of the process."""
        return scratch_of(self)
