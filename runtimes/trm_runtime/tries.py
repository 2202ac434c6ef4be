"""How puzzles are asked again, and which of their answers is chosen.

Knows the contract and numpy; knows no engine and no task.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trm_runtime.contract import StepContract
from trm_runtime.errors import UsageError
from trm_runtime.guises import Guises, draw_guises
from trm_runtime.message_text import shown
from trm_runtime.randomness import noise, stream
from trm_runtime.scalars import as_integer, as_real
from trm_runtime.settling import own_states
from trm_runtime.try_options import CHOOSE, VARY

Array = np.ndarray[Any, Any]

MAX_TRIES = 1 << 16
_PURPOSE = 1  # of the streams of noise; that of guises is another


@dataclass(frozen=True)
class Tries:
    """At most `count` tries of a puzzle, each in its guise, with noise, or both."""

    count: int = 1
    choose: str = "score"  # one of CHOOSE
    seed: int = 0
    sigma: float = 0.0  # 0: no noise
    guises: Guises | None = None  # None: the puzzle as it is

    @property
    def all_run(self) -> bool:
        """Whether every puzzle gets all its tries, since each of them has a vote."""
        return self.choose == "vote"

    def disturbed(
        self, contract: StepContract, carry: dict[str, Array], tries: Array, steps: Array
    ) -> dict[str, Array]:
        """The carry (B, ...) with noise on the model's own states of every row with a try above 0.

        tries, steps: (B,) the try of each row and how many steps it has taken.
        """
        rows = np.flatnonzero(tries > 0) if self.sigma else ()
        if not len(rows):
            return carry
        names = own_states(contract)
        changed = {name: carry[name].copy() for name in names}
        size = sum(changed[name][0].size for name in names)
        for row in rows:
            first = (int(steps[row]) - 1) * size
            values = noise(self._stream(int(tries[row])), first, size, self.sigma)
            for name in names:
                state = changed[name][row]
                state += values[: state.size].reshape(state.shape)
                values = values[state.size :]
        return {**carry, **changed}

    def _stream(self, number: int) -> int:
        return stream(self.seed, number, _PURPOSE)


def plan_tries(
    contract: StepContract, count: int, vary: str, choose: str, seed: int, sigma: float
) -> Tries:
    """The tries for a model; UsageError for wrong options, or what the model cannot do."""
    _refuse_other("vary", vary, VARY)
    _refuse_other("choose", choose, CHOOSE)
    first, deviation = as_integer(seed), as_real(sigma)
    if first is None or not 0 <= first < 1 << 32:
        raise UsageError(f"seed: expected an integer of 0 to {(1 << 32) - 1}, got {shown(seed)}.")
    if deviation is None or not 0 < deviation < 1000:
        raise UsageError(f"sigma: expected a number above 0 and below 1000, got {shown(sigma)}.")
    if count > MAX_TRIES:
        raise UsageError(f"tries: expected at most {MAX_TRIES}, got {shown(count)}.")
    if count == 1:
        return Tries()
    guises = None
    if vary != "noise":
        _refuse_no_symmetries(contract)
        guises = draw_guises(contract, count, first)
    if vary == "symmetry":
        return Tries(min(count, len(guises or ())), choose, first, 0.0, guises)
    if not own_states(contract):
        raise UsageError(
            "This model has no float32 states between its steps, so noise has no place; "
            "vary the tries by symmetry, or export the model with granularity step and float I/O."
        )
    return Tries(count, choose, first, deviation, _repeated(guises, count))


def _repeated(guises: Guises | None, count: int) -> Guises | None:
    """The guises again from the first on, where there are fewer than tries: noise differs."""
    if guises is None:
        return None
    numbers = np.arange(count) % len(guises)
    return Guises(guises.cells[numbers], guises.tokens[numbers])


def _refuse_other(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(f"{name}: expected one of {', '.join(known)}, got {value!r}.")


def _refuse_no_symmetries(contract: StepContract) -> None:
    if contract.symmetries is None:
        raise UsageError(
            "The contract of this model lists no symmetries, so its puzzles have no other guise; "
            "vary the tries by noise, or export the model again if it is of Sudoku, mazes or ARC."
        )
    if (contract.num_puzzle_identifiers or 0) > 1:
        raise UsageError(
            "This model identifies the rule of a puzzle by its puzzle identifier, and a guise "
            "follows another rule; vary the tries by noise, or for ARC use "
            "`trm-export evaluate --vote`."
        )


@dataclass(frozen=True)
class Candidate:
    """Equal answers to a puzzle."""

    answer: Any  # the first of them
    votes: int
    sureness: float  # mean sigmoid(q_halt) of them


def tally(answers: Iterable[tuple[Any, float]]) -> tuple[Candidate, ...]:
    """Candidates among (array or None, q_halt), the best first: by votes, then by sureness.

    Arrays of another shape are other answers; None has no vote.
    """
    groups: dict[tuple[tuple[int, ...], bytes], list[tuple[Any, float]]] = {}
    for answer, q_halt in answers:
        if answer is not None:
            groups.setdefault((answer.shape, answer.tobytes()), []).append((answer, q_halt))
    candidates = [
        Candidate(same[0][0], len(same), float(np.mean([_sigmoid(q) for _, q in same])))
        for same in groups.values()
    ]
    return tuple(sorted(candidates, key=lambda c: (-c.votes, -c.sureness)))


def _sigmoid(logit: float) -> float:
    return float(1 / (1 + np.exp(-np.clip(logit, -60.0, 60.0))))
