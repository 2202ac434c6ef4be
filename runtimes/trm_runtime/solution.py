"""The results of the loop: one event for each step while it runs, and one solution at the end."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trm_runtime.alphabet import open_cells, text_of
from trm_runtime.contract import StepContract
from trm_runtime.display import MAX_ROWS, Shown, Table, field_table, first_rows, one_line
from trm_runtime.errors import UsageError
from trm_runtime.message_text import counted

STOP_REASONS = ("halted", "max_steps", "deadline", "cancelled", "nonfinite")
UNKNOWN = "unknown"  # in the place of an answer that is withheld


@dataclass(frozen=True)
class StepEvent:
    """The results of one engine call with n puzzles in a batch of B slots.

    `outputs` and `carry` are the engine's own arrays: read them immediately, do not change them.
    With several tries, steps, answers, q values and stop reasons are those of the try of each,
    while `finished` is about its puzzle: True once for each, at the end of its last try.
    """

    rows: np.ndarray[Any, Any]  # (n,) int64: which puzzles, as rows of the inputs given to solve
    slots: np.ndarray[Any, Any]  # (n,) int64: the index of each on axis 0 of outputs, carry
    steps: np.ndarray[Any, Any]  # (n,) int32: number of steps of each, with this one
    answers: np.ndarray[Any, Any]  # (n, S) int32: answers so far
    q_halt: np.ndarray[Any, Any]  # (n,) float32 logits
    q_continue: np.ndarray[Any, Any]  # (n,) float32 logits
    finished: np.ndarray[Any, Any]  # (n,) bool: done with this step
    stop_reasons: tuple[str | None, ...]  # n of STOP_REASONS; None for one that is not done
    outputs: Mapping[str, np.ndarray[Any, Any]]  # (B, ...) as in the contract, logits among them
    carry: Mapping[str, np.ndarray[Any, Any]]  # (B, ...) the carry after this step
    tries: np.ndarray[Any, Any] | None = None  # (n,) int64: which try each is, with several tries
    solved: Solution | None = None  # of the finished puzzles, with several tries
    moved: np.ndarray[Any, Any] | None = None  # (n,) float32, see Solution; None if not measured

    __repr__ = one_line
    _repr_html_ = field_table


@dataclass(frozen=True, repr=False)
class Solution(Shown):
    """The answers to N puzzles of S cells, each from the step at which its puzzle stopped.

    `stop_reasons` has one of STOP_REASONS for every puzzle. A puzzle stopped by "deadline" or
    "cancelled" has its latest answer; one stopped by "nonfinite" the answer of its last finite
    step, while `steps` counts the failed step as well. A puzzle without any finite step has answer
    0 (padding) everywhere and NaN for both q values; one without any step has steps 0.

    With several tries, steps, q values and stop reason are those of the chosen try; a puzzle whose
    tries were stopped, or not all begun in its time, has "deadline" or "cancelled". `tries`,
    `total_steps` and `chosen` are None without. `moved` is the relative change of the states in the
    step that gave the answer (the formula is in docs/contract.md), infinity after a first step, and
    None if it was not measured. `agreement` is of the tries that came to an end, the chosen one
    included; None without several.

    With `abstain` each answer has a confidence, and one below it is withheld: it is 0 (padding)
    everywhere, and True in `unknown`. Otherwise these are None.
    """

    answers: np.ndarray[Any, Any]  # (N, S) int32 token ids
    steps: np.ndarray[Any, Any]  # (N,) int32
    q_halt: np.ndarray[Any, Any]  # (N,) float32 logits, of the step that gave the answer
    q_continue: np.ndarray[Any, Any]  # (N,) float32 logits, of the same step
    stop_reasons: tuple[str, ...]  # N of them
    puzzles: np.ndarray[Any, Any]  # (N, S) int32 token ids of the inputs
    contract: StepContract  # of the runner
    tries: np.ndarray[Any, Any] | None = None  # (N,) int32: how many tries were begun
    total_steps: np.ndarray[Any, Any] | None = None  # (N,) int32: of all tries together
    chosen: np.ndarray[Any, Any] | None = None  # (N,) int32: the try that gave the answer, from 0
    moved: np.ndarray[Any, Any] | None = None  # (N,) float32: how far the states moved in that step
    agreement: np.ndarray[Any, Any] | None = None  # (N,) float32: share of tries with that answer
    confidence: np.ndarray[Any, Any] | None = None  # (N,) float32: probability of a right answer
    abstain: float | None = None  # below this confidence a puzzle has no answer

    def __len__(self) -> int:
        return len(self.stop_reasons)

    @property
    def texts(self) -> list[str]:
        """Every answer as text, a character for each cell; `?` for an id without a character.

        "unknown" for one that is withheld.

        Raises UsageError if the contract has no alphabet.
        """
        if self.contract.alphabet is None:
            raise UsageError(
                f"{self.contract.model_name}: the contract has no alphabet, so answers have no "
                "text; use the token ids in `answers`."
            )
        texts = [text_of(ids, self.contract.alphabet) for ids in self.answers.tolist()]
        if self.unknown is None:
            return texts
        return [UNKNOWN if hidden else text for text, hidden in zip(texts, self.unknown)]

    @property
    def given_kept(self) -> list[bool | None]:
        """Whether each answer repeats every given cell of its puzzle.

        None for a puzzle without an answer, and for all puzzles if the alphabet has no blanks.
        """
        opened = open_cells(self.contract.alphabet, self.puzzles)
        if opened is None:
            return [None] * len(self)
        kept = (opened | (self.answers == self.puzzles)).all(axis=1)
        answered = np.isfinite(self.q_halt)  # NaN until a first step has been latched
        if self.unknown is not None:
            answered &= ~self.unknown
        return [bool(k) if known else None for k, known in zip(kept, answered)]

    @property
    def unknown(self) -> np.ndarray[Any, Any] | None:
        """(N,) bool: the answer is withheld, as its confidence is too low; None without that."""
        if self.confidence is None or self.abstain is None:
            return None
        return np.asarray(self.confidence < self.abstain)

    @property
    def nonfinite(self) -> int:
        """The number of puzzles that NaN or infinity ended."""
        return self.stop_reasons.count("nonfinite")

    @property
    def about_tries(self) -> dict[str, np.ndarray[Any, Any]]:
        """`tries`, `total_steps` and `chosen` by name; empty without several tries."""
        fields = {"tries": self.tries, "total_steps": self.total_steps, "chosen": self.chosen}
        return {key: values for key, values in fields.items() if values is not None}

    def _about_confidence(self) -> dict[str, Any]:
        """What was measured beyond the usual, for JSON."""
        fields: dict[str, Any] = {}
        if self.moved is not None:
            fields["moved"] = [finite_or_none(value) for value in self.moved.tolist()]
        if self.confidence is not None and self.unknown is not None:
            fields["confidence"] = self.confidence.tolist()
            fields["unknown"] = self.unknown.tolist()
        return fields

    @property
    def stops(self) -> str:
        """Stop reasons and the mean number of steps: `2 halted; 3.50 steps on average`."""
        tries = None if self.tries is None else int(self.tries.sum())
        return stops_text(Counter(self.stop_reasons), int(self.all_steps.sum()), tries)

    @property
    def mean_steps(self) -> float:
        """Mean number of steps of a puzzle, of all its tries together; 0.0 without puzzles."""
        return float(self.all_steps.mean()) if len(self) else 0.0

    @property
    def all_steps(self) -> np.ndarray[Any, Any]:
        """(N,) int32: steps of each puzzle, of all its tries together."""
        return self.steps if self.total_steps is None else self.total_steps

    @property
    def summary(self) -> str:
        """The number of puzzles, their stop reasons and the mean number of steps."""
        return f"{counted(len(self), 'puzzle')}: {self.stops}"

    def tables(self) -> tuple[Table, ...]:
        """The first answers."""
        first = slice(0, MAX_ROWS)
        known = self.contract.alphabet is not None
        answers = self.texts[first] if known else map(str, self.answers[first].tolist())
        rows = [
            (str(row), answer, str(steps), reason, f"{q_halt:.4f}")
            for row, answer, steps, reason, q_halt in zip(
                range(MAX_ROWS), answers, self.steps, self.stop_reasons, self.q_halt
            )
        ]
        title = first_rows(self.summary, len(rows), len(self))
        heads = ("row", "answer", "steps", "stop reason", "q_halt")
        return (Table(title, rows, heads, words=("answer", "stop reason")),)

    def to_json(self) -> str:
        """One JSON object with the fields as lists; a q value that is NaN becomes null."""
        fields = {
            "answers": self.answers.tolist(),
            "steps": self.steps.tolist(),
            "q_halt": [finite_or_none(value) for value in self.q_halt.tolist()],
            "q_continue": [finite_or_none(value) for value in self.q_continue.tolist()],
            "stop_reasons": list(self.stop_reasons),
            **{key: values.tolist() for key, values in self.about_tries.items()},
            **self._about_confidence(),
        }
        return json.dumps(fields, allow_nan=False)


def stops_text(reasons: Mapping[str, int], steps: int, tries: int | None = None) -> str:
    """How many puzzles stopped for each reason, and the mean numbers of their steps and tries."""
    counts = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    puzzles = sum(reasons.values())
    if not puzzles:
        return "no steps"
    several = "" if tries is None else f" in {tries / puzzles:.2f} tries"
    return f"{counts}; {steps / puzzles:.2f} steps{several} on average"


def finite_or_none(value: float) -> float | None:
    """The value, or None (JSON null) for NaN and infinities."""
    return value if math.isfinite(value) else None
