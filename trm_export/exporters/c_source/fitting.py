"""Which precision, tiles and float32 layers fit a microcontroller, the most exact first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
from trm_export.exporters.keep_search import LayerImpact, least_cosine
from trm_export.exporters.shared import Shared
from trm_export.model import TRM
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
    raise UsageError(f"The model does not fit: {'; '.join(problems)}.")


def filled(shared: Shared, limits: Limits, choice: Choice, puzzles: Puzzles) -> Choice:
    """An int8 choice with the worst layers in float32, one after the other, as far as they fit.

    Args:
        shared: the model.
        limits: what there is; the choice fits.
        choice: an int8 one; its float32 layers stay.
        puzzles: a few real ones, for the ranking.
    """
    model = shared.model.keras
    names = [name for name in dense_layers(model) if name not in choice.keep]
    if not any(_fits(model, limits, _with(choice, name)) for name in names):
        return choice
    for one in _ranked(shared, names, puzzles):
        more = _with(choice, one.layer)
        if len(more.keep) < len(names) + len(choice.keep) and _fits(model, limits, more):
            choice = more
    return choice


def more_exact(model: TRM) -> str:
    """What an int8 model that fails needs: a sentence, to be added to another."""
    layout = Choice("fp32", 1).layout(model)
    return (
        f" fp32 needs {layout.flash:,} bytes of flash and {layout.ram:,} bytes of RAM; with less, "
        "more layers stay float32 the more flash there is."
    )


def _with(choice: Choice, layer: str) -> Choice:
    return replace(choice, keep=(*choice.keep, layer))


def _fits(model: TRM, limits: Limits, choice: Choice) -> bool:
    return not limits.excess(choice.layout(model))


def _ranked(shared: Shared, names: Sequence[str], puzzles: Puzzles) -> list[LayerImpact]:
    """The layers, the worst first, by the error of a step in Keras if only that one is rounded."""
    impacts = _impacts(shared, names, puzzles)
    return sorted(impacts, key=lambda one: (one.cosine, -one.relative_l2))


def _impacts(shared: Shared, names: Sequence[str], puzzles: Puzzles) -> Iterator[LayerImpact]:
    model = shared.model.keras
    golden, twin = shared.golden(puzzles), TRM.from_config(model.get_config())
    twin.set_weights(model.get_weights())
    runner, layers = KerasRunner(twin), dense_layers(twin)
    most = weights_of(model, INTEGER).bytes
    for name in names:
        kernel = layers[name].kernel
        exact = np.asarray(ops.convert_to_numpy(kernel))
        codes, scales = rounded(exact.T)
        kernel.assign((codes * scales[:, None]).T)
        result = check(golden, runner, gates=gates_for(INTEGER), steps_only=True)
        kernel.assign(exact)
        saved = weights_of(model, INTEGER, (name,)).bytes - most
        yield LayerImpact(name, least_cosine(result), result.forced_error or 0.0, saved)
