"""What several exports of one model have in common, so that a whole set pays for it once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any, TypeVar, final

import numpy as np

from trm_export.leftovers import scratch_of
from trm_export.step.keras_runner import KerasRunner
from trm_export.step.step_model import AnyModel, adapt
from trm_runtime.parity import Golden, Puzzles, record

Made = TypeVar("Made")


@final
class Shared:
    """The reference of a model, and whatever an exporter makes of it that another can use.

    Belongs to the weights that the model has now.

    Attributes:
        model: the model, adapted.
        runner: the Keras model as a runner of any batch.
    """

    def __init__(self, model: AnyModel) -> None:
        self.model = adapt(model)
        self.runner = KerasRunner(self.model)
        self._made: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What ``make`` gave when this key was first asked for; not to be changed by callers."""
        if key not in self._made:
            self._made[key] = make()
        found: Made = self._made[key]
        return found

    def golden(self, puzzles: Puzzles) -> Golden:
        """The model's rollout on these puzzles; keep it for a few."""
        key = "golden", np.asarray(puzzles.inputs).tobytes()
        return self.once(key, lambda: record(self.runner, puzzles))

    def folder(self) -> Path:
        """A new temporary folder, removed with this object or at the end of the process."""
        return scratch_of(self)
