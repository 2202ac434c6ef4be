"""Puzzles to check an export on: real ones where the model's task is known, else random tokens."""

from __future__ import annotations

import numpy as np

from trm_export.model import TRM
from trm_export.tasks import PuzzleSet, find_task


def probe_puzzles(model: TRM, count: int = 6) -> PuzzleSet:
    """Validation puzzles of the model's task; random tokens, unlabelled, without one."""
    task = find_task(model.config)
    if task is not None:
        return task.puzzles("validation", count=count)
    c = model.config
    tokens = np.random.default_rng(0).integers(0, c.vocab_size, (count, c.seq_len), dtype=np.int32)
    return PuzzleSet(tokens, None, np.zeros(count, np.int32))
