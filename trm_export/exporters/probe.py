"""Puzzles to check an export on: real ones where the model's task is known, else random tokens."""

from __future__ import annotations

from trm_export.step.step_model import AnyModel, adapt
from trm_export.tasks import PuzzleSet, find_task, random_rows


def probe_puzzles(model: AnyModel, count: int = 6) -> PuzzleSet:
    """Validation puzzles of the model's task; random tokens, as `kind` states, without a task."""
    model = adapt(model)
    task = find_task(model)
    if task is not None:
        own = model.num_puzzle_identifiers
        return task.puzzles("validation", count=count).without_foreign(task, own)
    return random_rows(model.vocab_size, model.seq_len, count, model.alphabet)
