"""Rank the layers by the error of quantizing one of them, while all others stay in float."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from trm_export.explain.trial import forced, fresh
from trm_export.exporters.choices import Choices
from trm_export.exporters.format import Format
from trm_export.exporters.keep_search import LayerImpact, least_cosine
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

    A loop is measured by its step, because a file of granularity loop has no single steps.

    Args:
        shared: the model.
        kind: of the file.
        choices: of the file; their `keep` is ignored.
        puzzles: a few real ones.
        progress: called for every file.

    Raises UsageError for choices that are not supported, fp32 among them.
    """
    if choices.granularity == "loop":
        choices = dataclasses.replace(choices, granularity="step")
    names = tuple(layers(shared.model))
    with fresh(shared, kind, dataclasses.replace(choices, keep=names), puzzles) as trial:
        most = trial.bytes
    impacts = []
    for number, name in enumerate(names, 1):
        others = tuple(other for other in names if other != name)
        with fresh(shared, kind, dataclasses.replace(choices, keep=others), puzzles) as trial:
            saved = most - trial.bytes
            if saved:  # 0 for a layer that is always in float
                result = forced(shared, trial, puzzles)
                error = result.forced_error or 0.0
                impacts.append(LayerImpact(name, least_cosine(result), error, saved))
        if progress is not None:
            progress(number, len(names))
    return tuple(sorted(impacts, key=lambda one: (one.cosine, -one.relative_l2)))
