"""Which precision, tiles and float32 layers fit a microcontroller, the most exact first."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from keras import ops

from trm_export.errors import UsageError
from trm_export.exporters.c_source.arrays import (
    LANES,
    dense_layers,
    rounded,
    weights_of,
)
from trm_export.exporters.c_source.layout import ROWS, Layout, layout_of
from trm_export.exporters.c_source.limits import Limits
from trm_export.exporters.shared import Shared
from trm_export.model import TRM
from trm_export.model.weightless import to_be_filled
from trm_export.step.keras_runner import KerasRunner
from trm_runtime.parity import Puzzles, check, gates_for

INTEGER = "int8"


@dataclass(frozen=True)
class Choice:
    """What is generated."""

    precision: str
    rows: int = ROWS  # of a tile
    keep: tuple[str, ...] = ()  # layers of an int8 model that stay float32

    def layout(self, model: TRM) -> Layout:
        """Its memory and work."""
        return layout_of(model, weights_of(model, self.precision, self.keep), self.rows)


def fitting(model: TRM, limits: Limits, precision: str | None, keep: tuple[str, ...]) -> Choice:
    """The first precision and rows of a tile that fit, the most exact and fastest first.

    Args:
        model: a float32 model of our own class.
        limits: what there is.
        precision: the only one to try, or None for every one.
        keep: layers that an int8 model has in float32 in any case.

    Raises UsageError, with what each of them needs too much of, if none fits.
    """
    problems = []
    for name in LANES if precision is None else (precision,):
        kept = keep if name == INTEGER else ()
        for rows in range(ROWS, 0, -1):
            choice = Choice(name, rows, kept)
            excess = limits.excess(choice.layout(model))
            if not excess:
                return choice
        problems.append(f"{name} needs {' and '.join(excess)}")
    raise UsageError(
        f"The model does not fit: {'; '.join(problems)}. Allow more, or take a smaller model."
    )


def filled(shared: Shared, limits: Limits, choice: Choice, puzzles: Puzzles) -> Choice:
    """An int8 choice with layers in float32 as far as they fit, as long as each lowers the error.

    Args:
        shared: the model.
        limits: what there is; the choice fits.
        choice: an int8 one; its float32 layers stay.
        puzzles: a few real ones, on which the error of a step is computed in Keras.
    """
    model, simulated = shared.model.keras, _Rounded(shared, puzzles)
    names = [name for name in simulated.names if name not in choice.keep]
    if not any(_fits(model, limits, _with(choice, name)) for name in names):
        return choice
    least = simulated.error(choice.keep)
    gains = {name: simulated.error((*choice.keep, name)) for name in names}
    for name in sorted(names, key=gains.__getitem__):
        more = _with(choice, name)
        if len(more.keep) < len(simulated.names) and _fits(model, limits, more):
            error = simulated.error(more.keep)
            choice, least = (more, error) if error < least else (choice, least)
    return choice


class _Rounded:
    """A copy of a model whose layers are rounded to int8, and the error of its steps."""

    def __init__(self, shared: Shared, puzzles: Puzzles) -> None:
        model = shared.model.keras
        with to_be_filled():
            twin = TRM.from_config(model.get_config())
        twin.set_weights(model.get_weights())
        self._golden, self._runner = shared.golden(puzzles), KerasRunner(twin)
        self._layers = dense_layers(twin)
        self._exact = {
            name: np.asarray(ops.convert_to_numpy(layer.kernel))
            for name, layer in self._layers.items()
        }

    @property
    def names(self) -> tuple[str, ...]:
        """The layers that can be rounded."""
        return tuple(self._layers)

    def error(self, keep: Collection[str]) -> float:
        """The largest forced relative L2 of a step if all layers but these are rounded."""
        for name, layer in self._layers.items():
            exact = self._exact[name]
            codes, scales = rounded(exact.T)
            layer.kernel.assign(exact if name in keep else (codes * scales[:, None]).T)
        gates = gates_for(INTEGER)
        return check(self._golden, self._runner, gates=gates, steps_only=True).forced_error or 0.0


def more_exact(model: TRM) -> str:
    """What an int8 model that fails needs: a sentence, to be added to another."""
    layout = Choice("fp32").layout(model)
    return (
        f" fp32 needs {layout.flash:,} bytes of flash and {layout.ram:,} bytes of RAM; with less, "
        "more layers stay float32 the more flash there is."
    )


def _with(choice: Choice, layer: str) -> Choice:
    return replace(choice, keep=(*choice.keep, layer))


def _fits(model: TRM, limits: Limits, choice: Choice) -> bool:
    return not limits.excess(choice.layout(model))
