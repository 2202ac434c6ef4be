"""Puzzles to check an export on: real ones where the model's task is known, else random tokens."""

from __future__ import annotations

import numpy as np

from trm_export.protocol import AnyModel, adapt
from trm_export.tasks import Described, PuzzleSet, find_task

RANDOM_ROWS = "rows of random tokens, which are no puzzles"


def probe_puzzles(model: AnyModel, count: int = 8) -> PuzzleSet:
    """Validation puzzles of the model's task; without one random tokens, and they say so."""
    model = adapt(model)
    task = find_task(model)
    if task is not None:
        return task.puzzles("validation", count=count)
    return random_rows(model, count)


def random_rows(model: Described, count: int) -> PuzzleSet:
    """Tokens (count, S) drawn evenly from the vocabulary, without solutions; always the same."""
    shape = (count, model.seq_len)
    tokens = np.random.default_rng(0).integers(0, model.vocab_size, shape, dtype=np.int32)
    return PuzzleSet(tokens, None, np.zeros(count, np.int32), kind=RANDOM_ROWS)
