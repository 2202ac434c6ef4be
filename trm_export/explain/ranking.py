"""Which layers a small precision hurts most: each is made small alone, all others stay in float."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from trm_export.explain.trial import forced, fresh, least_cosine
from trm_export.exporters.choices import Choices
from trm_export.exporters.format import Format
from trm_export.exporters.keep_search import LayerImpact
from trm_export.exporters.kept_layers import layers
from trm_export.exporters.shared import Shared
from trm_runtime.parity import Puzzles

Progress = Callable[[int, int], object]  # files measured, and of how many


def rank_layers(
    shared: Shared,
    kind: Format,
    choices: Choices,
    puzzles: Puzzles,
    *,
    progress: Progress | None = None,
) -> tuple[LayerImpact, ...]:
    """Every layer that this format stores in fewer bits, the worst first.

    A loop is measured by its step: a whole loop shows none of its own.

    Args:
        shared: the model.
        kind: of the file.
        choices: of the file; what they keep is left out.
        puzzles: a few real ones.
        progress: told of every file.

    Raises UsageError for choices that cannot be honoured, fp32 among them.
    """
    if choices.granularity == "loop":
        choices = dataclasses.replace(choices, granularity="step")
    names = tuple(layers(shared.model))
    with fresh(shared, kind, dataclasses.replace(choices, keep=names), puzzles) as trial:
        most = trial.bytes
    found = []
    for number, name in enumerate(names, 1):
        others = tuple(other for other in names if other != name)
        with fresh(shared, kind, dataclasses.replace(choices, keep=others), puzzles) as trial:
            saved = most - trial.bytes
            if saved:  # or it is in float all the same
                result = forced(shared, trial, puzzles)
                error = result.forced_error or 0.0
                found.append(LayerImpact(name, least_cosine(result), error, saved))
        if progress is not None:
            progress(number, len(names))
    return tuple(sorted(found, key=lambda one: (one.cosine, -one.relative_l2)))
