"""The state of a training run on disk: two files, of which the older one is replaced in turn.

So the newest state that is whole is never the one being written. Needs no framework.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trm_export.checked_arrays import read_arrays, write_arrays
from trm_export.errors import RejectedInputError
from trm_export.files import atomic_write
from trm_runtime import strict_json

Array = np.ndarray[Any, Any]

SLOTS = ("state-0.npz", "state-1.npz")
_ABOUT = "about"


@dataclass(frozen=True)
class RunState:
    """Everything that a run needs to go on.

    Attributes:
        epoch: of the next step, from 0.
        step: steps of that epoch that are done.
        recipe: of the run, as JSON values.
        names: of the variables, with their shapes.
        arrays: their values.
        slot: the file.
    """

    epoch: int
    step: int
    recipe: dict[str, Any]
    names: list[str]
    arrays: list[Array]
    slot: str

    def write(self, folder: Path) -> None:
        """Writes it atomically; TargetError where that cannot be done."""
        about = {"epoch": self.epoch, "step": self.step, "recipe": self.recipe, "names": self.names}
        arrays = {f"{place:05d}": array for place, array in enumerate(self.arrays)}
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        with atomic_write(folder / self.slot, force=True) as new:
            write_arrays(new, {**arrays, _ABOUT: text})


def written(folder: Path) -> list[Path]:
    """The files of states in a folder, whole or not."""
    return [folder / slot for slot in SLOTS if (folder / slot).exists()]


def read_states(folder: Path) -> list[RunState]:
    """The states of a folder that are whole.

    Raises RejectedInputError where there are files and none of them is.
    """
    present = written(folder)
    whole = [state for state in map(_state, present) if state is not None]
    if present and not whole:
        raise RejectedInputError(
            f"{present[0]}: the backup of the run is damaged; copy it again, or start a "
            "new run with --force."
        )
    return whole


def damaged_state(folder: Path) -> Path | None:
    """The file that cannot be read although the other can; None without one.

    Raises as `read_states` does.
    """
    whole = {state.slot for state in read_states(folder)}
    return next((path for path in written(folder) if path.name not in whole), None)


def _state(path: Path) -> RunState | None:
    arrays = read_arrays(path)
    if arrays is None or _ABOUT not in arrays:
        return None
    try:
        about = strict_json.parse(arrays.pop(_ABOUT).tobytes().decode())
        epoch, step, recipe, names = (about[k] for k in ("epoch", "step", "recipe", "names"))
    except (ValueError, KeyError, TypeError):
        return None
    values = [arrays[name] for name in sorted(arrays)]
    counts = type(epoch) is int and type(step) is int and min(epoch, step) >= 0
    kinds = isinstance(names, list) and isinstance(recipe, dict)
    if not counts or not kinds or len(names) != len(values):
        return None
    return RunState(epoch, step, recipe, names, values, path.name)
