"""The results of every puzzle on the two sides, as columns of a few bytes a puzzle.

Columns can be joined and stored in files; all figures about decisions, halting and accuracy are
computed from them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

from trm_runtime.alphabet import open_cells
from trm_runtime.contract import StepContract
from trm_runtime.display import field_table, one_line
from trm_runtime.judging import UNJUDGED, exact
from trm_runtime.parity.counts import mcnemar, wilson
from trm_runtime.parity.golden import Chunk, settled
from trm_runtime.solution import Solution

Array = np.ndarray[Any, Any]
Columns = dict[str, Array]
Valid = Callable[[Array, Array], Array]
"""A function of puzzles and answers (n, S): (n,) bool, whether an answer obeys the task's rules."""

_UNKNOWN = -1  # where a column of int8 has neither yes (1) nor no (0)


@dataclass(frozen=True)
class Score:
    """One side's answers against the labels of n puzzles."""

    exact: float  # share of exactly solved puzzles
    interval: tuple[float, float]  # of that share, Wilson, 95 %
    cells: float  # share of right cells, of the open ones if the alphabet has blanks
    valid: float | None  # share of answers that obey the rules of the task, if they are known
    kept: float | None  # share of answers that repeat every given cell, if the alphabet has blanks


@dataclass(frozen=True)
class Accuracy:
    """Both sides, and the puzzles on which they differ (rows of the puzzles)."""

    n: int
    reference: Score
    candidate: Score
    lost: tuple[int, ...]  # only the reference solves these
    won: tuple[int, ...]  # only the candidate does
    p_value: float  # McNemar's exact test, two-sided

    __repr__ = one_line
    _repr_html_ = field_table


@dataclass(frozen=True)
class Halting:
    """When the two sides halt."""

    matrix: tuple[tuple[int, ...], ...]  # [reference's step - 1][candidate's step - 1]: puzzles
    margin_edges: tuple[float, ...]  # logits
    margins: tuple[int, ...]  # puzzles by |score - threshold| of the reference where it halts
    near_flips: int  # different halting steps that are near-ties of the reference
    real_flips: int  # the other different halting steps

    __repr__ = one_line
    _repr_html_ = field_table


MARGIN_EDGES = (0.0, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)


def outcomes(
    contract: StepContract, chunk: Chunk, got: Solution, valid: Valid | None = None
) -> Columns:
    """The columns of one chunk; the contract is the reference's."""
    inputs, answers = chunk.tokens["inputs"], chunk.answers
    differs = answers != got.answers
    rows = np.arange(len(chunk))
    earlier = np.minimum(chunk.steps, np.maximum(got.steps, 1)) - 1
    margin = np.abs(chunk.scores[earlier, rows] - contract.halt.threshold)
    own = np.abs(chunk.scores[chunk.steps - 1, rows] - contract.halt.threshold)
    broken = np.array([reason == "nonfinite" for reason in got.stop_reasons], bool)
    first = differs.argmax(axis=1)
    columns: Columns = {
        "row": chunk.first + rows,
        "steps": chunk.steps,
        "got_steps": got.steps,
        "step_margin": margin.astype(np.float32),
        "halt_margin": own.astype(np.float32),
        "broken": broken & np.isfinite(own),
        "cells": np.full(len(rows), differs.shape[1], np.int32),
        "different": differs.sum(axis=1).astype(np.int32),
        "answer_margin": np.where(differs, chunk.margins, 0.0).max(axis=1),
        "first": first.astype(np.int32),
        "expected": answers[rows, first],
        "got": got.answers[rows, first],
    }
    opened = open_cells(contract.alphabet, inputs)
    for side, found in (("", answers), ("got_", got.answers)):
        columns.update(_judged(side, chunk, found, opened, valid))
    columns["settled"] = settled(contract, answers, chunk.steps, chunk.labels)
    return columns


def _judged(
    side: str, chunk: Chunk, answers: Array, opened: Array | None, valid: Valid | None
) -> Columns:
    inputs, labels, n = chunk.tokens["inputs"], chunk.labels, len(chunk)
    unknown = np.full(n, _UNKNOWN, np.int8)
    found = {f"{side}{name}": unknown for name in ("exact", "valid", "kept")}
    found[f"{side}right"] = np.full(n, np.nan)
    if labels is not None:
        counted = labels != UNJUDGED if opened is None else opened & (labels != UNJUDGED)
        hits = ((answers == labels) & counted).sum(axis=1)
        total = counted.sum(axis=1)
        found[f"{side}exact"] = exact(answers, labels).astype(np.int8)
        found[f"{side}right"] = np.where(total > 0, hits / np.maximum(total, 1), 1.0)
    if opened is not None:
        found[f"{side}kept"] = (opened | (answers == inputs)).all(axis=1).astype(np.int8)
    if valid is not None:
        found[f"{side}valid"] = valid(inputs, answers).astype(np.int8)
    return found


def joined(parts: Sequence[Mapping[str, Array]]) -> Columns:
    """The puzzles of all parts, in order."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def accuracy(columns: Columns) -> Accuracy | None:
    """The accuracy of both sides; None without labels."""
    if (columns["exact"] == _UNKNOWN).any():
        return None
    right, got = columns["exact"] == 1, columns["got_exact"] == 1
    lost, won = columns["row"][right & ~got], columns["row"][~right & got]
    return Accuracy(
        n=len(right),
        reference=_score(columns, ""),
        candidate=_score(columns, "got_"),
        lost=tuple(lost.tolist()),
        won=tuple(won.tolist()),
        p_value=mcnemar(len(lost), len(won)),
    )


def _score(columns: Columns, side: str) -> Score:
    n, hits = len(columns["row"]), int((columns[f"{side}exact"] == 1).sum())
    shares = [_share(columns[side + name]) for name in ("valid", "kept")]
    cells = float(columns[f"{side}right"].mean())
    return Score(hits / n, wilson(hits, n), cells, *shares)


def _share(column: Array) -> float | None:
    return None if (column == _UNKNOWN).any() else float((column == 1).mean())


def halting(columns: Columns, max_steps: int, score_limit: float) -> Halting:
    """`score_limit`: the largest margin (logits) of a near-tie."""
    steps, got = columns["steps"], np.clip(columns["got_steps"], 1, max_steps)
    matrix = np.zeros((max_steps, max_steps), np.int64)
    np.add.at(matrix, (steps - 1, got - 1), 1)
    margins = columns["halt_margin"][np.isfinite(columns["halt_margin"])]
    counts = np.histogram(margins, (*MARGIN_EDGES, np.inf))[0]
    flips = steps != columns["got_steps"]
    near = flips & (columns["step_margin"] <= score_limit)
    return Halting(
        matrix=tuple(tuple(row) for row in matrix.tolist()),
        margin_edges=MARGIN_EDGES,
        margins=tuple(counts.tolist()),
        near_flips=int(near.sum()),
        real_flips=int((flips & ~near).sum()),
    )
