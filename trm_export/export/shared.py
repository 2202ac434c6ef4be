"""What several exports of one model have in common, so that a whole set pays for it once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, final

from trm_export.model import TRM
from trm_export.reference import KerasRunner, Remembered

Made = TypeVar("Made")


@final
class Shared:
    """The reference of a model, and whatever an exporter makes of it that another can use.

    Belongs to the weights that the model has now.

    Attributes:
        runner: the Keras model as a runner of any batch.
        reference: the same, remembering its steps, for checks on the same few puzzles.
    """

    def __init__(self, model: TRM) -> None:
        self.runner = KerasRunner(model)
        self.reference = Remembered(self.runner)
        self._made: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What ``make`` gave when this key was first asked for; not to be changed by callers."""
        if key not in self._made:
            self._made[key] = make()
        found: Made = self._made[key]
        return found
