"""A few puzzles of a recording, for `explain`."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from trm_runtime.parity import Golden, ParityResult

Array = np.ndarray[Any, Any]

COUNT = 12


@dataclasses.dataclass(frozen=True)
class PuzzleSample:
    """Puzzles as `trm_runtime.parity.record` takes them."""

    inputs: Array  # (N, S) int32
    labels: Array | None  # (N, S) int32
    tokens: dict[str, Array]  # the model's inputs, puzzle identifiers included
    kind: str

    def feeds(self, num_puzzle_identifiers: int | None) -> dict[str, Array]:
        """The model's inputs, as they were recorded."""
        return self.tokens


def few(golden: Golden, result: ParityResult, count: int = COUNT) -> PuzzleSample:
    """At most so many puzzles of the first chunk, the worst one first, the others evenly spread."""
    chunk, first = golden.chunks[0], result.first_divergence
    rows = np.unique(np.linspace(0, len(chunk) - 1, min(count, len(chunk))).astype(np.int64))
    if first is not None and first.worst is not None:
        worst = first.worst.puzzle - chunk.first
        if 0 <= worst < len(chunk):
            rows = np.array([worst, *(row for row in rows if row != worst)])[:count]
    tokens = {name: array[rows] for name, array in chunk.tokens.items()}
    labels = None if chunk.labels is None else chunk.labels[rows]
    return PuzzleSample(tokens["inputs"], labels, tokens, golden.about.kind)
