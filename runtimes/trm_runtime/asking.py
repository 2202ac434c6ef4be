"""What is asked next, the present answer of each try, and the choice among the tries of a puzzle.

A row is a try of a puzzle: row k * N + i is try k of puzzle i, so that without more tries it is the
puzzle. Private to `loop`. Memory: the results of as many tries of each puzzle as were begun of any.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from trm_runtime.certainty import check_abstain, confidence_of, rule_for
from trm_runtime.contract import StepContract
from trm_runtime.halting import RUNNING, HaltPolicy
from trm_runtime.solution import STOP_REASONS, Solution, StepEvent
from trm_runtime.tries import Tries, tally

Array = np.ndarray[Any, Any]

_NONFINITE, _CANCELLED = STOP_REASONS.index("nonfinite"), STOP_REASONS.index("cancelled")
_DEADLINE = STOP_REASONS.index("deadline")
_ENDS = [STOP_REASONS.index(reason) for reason in ("halted", "max_steps")]


class Asking:
    """The tries of N puzzles."""

    def __init__(
        self,
        contract: StepContract,
        tokens: Mapping[str, Array],
        policy: HaltPolicy,
        tries: Tries,
        each: float = math.inf,
        abstain: float | None = None,
    ) -> None:
        """`each` is the time of a puzzle in seconds, from when its first try is taken."""
        self.tries = tries
        self._sureness = rule_for(contract, abstain)
        self._abstain = None if abstain is None else check_abstain(abstain)
        self._contract, self._tokens, self._policy = contract, tokens, policy
        self._count, seq = tokens["inputs"].shape
        self._rows = self._count * tries.count
        self._answers = np.zeros((0, seq), dtype=np.int32)
        self.steps = np.zeros(0, dtype=np.int32)
        self._q_halt = self._q_continue = self._moved = np.zeros(0, dtype=np.float32)
        self.reasons = np.zeros(0, dtype=np.int8)
        self._held = 0  # tries of each puzzle that these have room for
        self._hold(1)
        first = self._rows if tries.all_run else self._count
        self._next, self._first = 0, int(first)  # the rows that wait from the beginning
        self._later: list[int] = []  # a heap of those that wait since: the next of each puzzle
        self._left = np.full(self._count, first // max(self._count, 1))  # tries to be finished
        self._done = np.zeros(self._count, dtype=bool)
        self._each, self._ends = each, np.full(self._count, math.inf)  # a time of time.monotonic
        self._late = np.zeros(self._count, dtype=bool)  # ended by that before its tries were

    def puzzles(self, rows: Array) -> Array:
        """(n,) which puzzle each row is of."""
        puzzles: Array = rows % max(self._count, 1)
        return puzzles

    def numbers(self, rows: Array) -> Array:
        """(n,) which try of its puzzle each row is, from 0."""
        numbers: Array = rows // max(self._count, 1)
        return numbers

    def take(self, most: int) -> Array:
        """(n,) int64: the next rows to begin, at most so many."""
        if self._each < math.inf:
            found = np.fromiter(islice(self._in_time(), most), dtype=np.int64)
        else:
            found = np.arange(self._next, min(self._next + most, self._first))
            self._next += len(found)
            if self._later:
                again = islice(self._again(), most - len(found))
                found = np.append(found, np.fromiter(again, dtype=np.int64))
        if self._held < self.tries.count and len(found):
            self._hold(int(self.numbers(found).max()) + 1)
        return found

    def _hold(self, tries: int) -> None:
        """Makes room for the results of so many tries; more than there are at least double it."""
        if tries <= self._held:
            return
        held = min(max(tries, 2 * self._held), self.tries.count)
        more = (held - self._held) * self._count
        self._held = held

        def longer(array: Array, value: float) -> Array:
            new = np.full((more, *array.shape[1:]), value, dtype=array.dtype)
            return np.concatenate([array, new])

        self._answers, self.steps = longer(self._answers, 0), longer(self.steps, 0)
        self._q_halt = longer(self._q_halt, np.nan)
        self._q_continue = longer(self._q_continue, np.nan)
        self._moved = longer(self._moved, np.inf)
        self.reasons = longer(self.reasons, RUNNING)

    def _again(self) -> Iterator[int]:
        """The next rows of puzzles that are asked again."""
        while self._later:
            row = self._later[0]
            over, following = self._is_over(row % self._count), row + self._count
            if over or following >= self._rows:
                heapq.heappop(self._later)
            else:
                heapq.heapreplace(self._later, following)
            if not over:
                yield row

    def _is_over(self, puzzle: int) -> bool:
        """Whether a puzzle gets no other try."""
        return bool(self._done[puzzle] or self._late[puzzle])

    def _in_time(self) -> Iterator[int]:
        """The next rows, those of begun puzzles first; puzzles without time left get no other."""
        while (row := next(self._again(), None)) is not None or self._next < self._first:
            row = self._following() if row is None else row
            now, (number, puzzle) = time.monotonic(), divmod(row, self._count)
            if self._ends[puzzle] > now:
                self._ends[puzzle] = min(self._ends[puzzle], now + self._each)
                yield row
                continue
            self._late[puzzle] = True
            self._left[puzzle] -= self.tries.count - number
            if self.tries.all_run:
                self._next = (puzzle + 1) * self.tries.count

    def _following(self) -> int:
        """The next of the rows that wait from the beginning; all tries of a puzzle together."""
        index: int = self._next
        self._next += 1
        puzzle, number = divmod(index, self._first // self._count)
        return int(number * self._count + puzzle)

    def feeds(self, rows: Array) -> dict[str, Array]:
        """The inputs (n, ...) of these rows, in their guises."""
        puzzles = self.puzzles(rows)
        feeds = {name: array[puzzles] for name, array in self._tokens.items()}
        if self.tries.guises is not None:
            feeds["inputs"] = self.tries.guises.ask(feeds["inputs"], self.numbers(rows))
        return feeds

    @property
    def measured(self) -> bool:
        """Whether `latch` needs how far the states moved."""
        return self._policy.measured or bool(self._sureness and self._sureness.moved)

    def latch(
        self,
        rows: Array,
        steps: Array,
        answers: Array,
        q_halt: Array,
        q_continue: Array,
        finite: Array | None,
        moved: Array | None = None,
    ) -> bool:
        """The results (n, ...) of these rows after so many steps of each.

        `finite` tells which rows are, None that all are. Returns whether any row may be over, and
        `end` has something to do.
        """
        self.steps[rows] = steps
        if finite is not None:
            self.reasons[rows[~finite]] = _NONFINITE
            rows, steps, answers = rows[finite], steps[finite], answers[finite]
            q_halt, q_continue = q_halt[finite], q_continue[finite]
            moved = None if moved is None else moved[finite]
        if self.tries.guises is not None:
            answers = self.tries.guises.undo(answers, self.numbers(rows))
        self._answers[rows[0] if len(rows) == 1 else rows] = answers  # a number is faster
        self._q_halt[rows], self._q_continue[rows] = q_halt, q_continue
        if moved is not None:
            self._moved[rows] = moved
        reasons = self._policy.reasons(steps, q_halt, q_continue, self._moved[rows])
        if reasons is not None:
            self.reasons[rows] = reasons
        return reasons is not None or finite is not None or self._each < math.inf

    def end(self, rows: Array) -> tuple[Array, Array]:
        """After `latch`: the reasons of these rows (n,), and whether their puzzles are finished.

        (n,) bool, True for the last row of a puzzle here. Ends the other tries of a puzzle that has
        a confident one, and lets puzzles that have none be asked again.
        """
        self._end_late(rows)
        reasons = self.reasons[rows]
        over = reasons != RUNNING
        return reasons, over if self.tries.count == 1 else self._finished(rows, over)

    def _finished(self, rows: Array, over: Array) -> Array:
        confident = self._confident(rows) & over & (not self.tries.all_run)
        done, now = dict[int, int](), time.monotonic()
        for index in np.flatnonzero(over).tolist():
            puzzle = int(self.puzzles(rows[index]))
            self._left[puzzle] -= 1
            again = rows[index] == puzzle and not self.tries.all_run
            if confident[index]:
                self._left[puzzle] = 0
            elif self._ends[puzzle] <= now:
                cut = self._left[puzzle] > 0 or self.reasons[rows[index]] == _DEADLINE
                self._late[puzzle] |= cut or again
                self._left[puzzle] = 0
            elif again:
                self._ask_again(puzzle)
            if self._left[puzzle] <= 0:
                done[puzzle] = index
        return self._settled(done, len(rows))

    def _confident(self, rows: Array) -> Array:
        finite: Array = self.reasons[rows] != _NONFINITE
        return finite & self._policy.confident(self._q_halt[rows], self._q_continue[rows])

    def _ask_again(self, puzzle: int) -> None:
        self._left[puzzle] = self.tries.count - 1
        heapq.heappush(self._later, self._count + puzzle)

    def _settled(self, done: Mapping[int, int], rows: int) -> Array:
        found = np.zeros(rows, dtype=bool)
        for puzzle, index in done.items():
            others = slice(puzzle, None, self._count)
            self._done[puzzle], found[index] = True, True
            self.reasons[others][self.reasons[others] == RUNNING] = _CANCELLED
        return found

    def _end_late(self, rows: Array) -> None:
        if self._each < math.inf:
            late = self._ends[self.puzzles(rows)] <= time.monotonic()
            self.reasons[rows[late & (self.reasons[rows] == RUNNING)]] = _DEADLINE

    def event(
        self,
        rows: Array,
        slots: Array,
        ended: tuple[Array, Array],
        outputs: Mapping[str, Array],
        carry: Mapping[str, Array],
    ) -> StepEvent:
        """The event of a step; `ended` is what `end` returned after it."""
        reasons, finished = ended
        more = self.tries.count > 1
        puzzles = self.puzzles(rows)
        return StepEvent(
            rows=puzzles,
            slots=slots,
            steps=self.steps[rows],
            answers=self._answers[rows],
            q_halt=self._q_halt[rows],
            q_continue=self._q_continue[rows],
            finished=finished,
            stop_reasons=tuple(
                None if code == RUNNING else STOP_REASONS[code] for code in reasons.tolist()
            ),
            outputs=outputs,
            carry=carry,
            tries=self.numbers(rows) if more else None,
            moved=self._moved[rows] if self.measured else None,
            solved=self._solved(puzzles[finished]),
        )

    def stopped(self, reason: str) -> Solution:
        """The results after all tries that are not done have been stopped for this reason."""
        self.reasons[self.reasons == RUNNING] = STOP_REASONS.index(reason)
        return self.solution(reason)

    def solution(self, stopped: str | None = None) -> Solution:
        """The results when no row is running; `stopped` is why unfinished puzzles are."""
        puzzles = np.arange(self._count)
        return self._found(puzzles) if self.tries.count == 1 else self._solution(puzzles, stopped)

    def _solved(self, puzzles: Array) -> Solution | None:
        """Of these puzzles, where an event does not say it all."""
        if not len(puzzles) or (self.tries.count == 1 and self._abstain is None):
            return None
        return self._found(puzzles) if self.tries.count == 1 else self._solution(puzzles)

    def _solution(self, puzzles: Array, stopped: str | None = None) -> Solution:
        """Of these puzzles, among whose tries one is chosen."""
        table = np.arange(self._held)[:, None] * self._count + puzzles  # (K, n) rows
        chosen = self._chosen(table)
        own = table[chosen, np.arange(len(puzzles))]
        steps = self.steps[table]
        ends = zip(self.reasons[own].tolist(), self._done[puzzles], self._late[puzzles])
        reasons = [
            "deadline" if late else STOP_REASONS[code] if done or stopped is None else stopped
            for code, done, late in ends
        ]
        return self._found(
            own,
            reasons,
            (steps > 0).sum(axis=0).astype(np.int32),
            steps.sum(axis=0).astype(np.int32),
            chosen.astype(np.int32),
            self._agreement(table, own),
        )

    def _agreement(self, table: Array, own: Array) -> Array:
        """(n,) float32: the share of (K, n) rows that came to an end with the answer of `own`."""
        votes = equal = np.zeros(len(own), dtype=np.int64)
        ended = np.isin(self.reasons[table], _ENDS) | (table == own)
        for number in np.flatnonzero(ended.any(axis=1)):  # of very many tries few are begun
            same = (self._answers[table[number]] == self._answers[own]).all(axis=1)
            votes = votes + ended[number]
            equal = equal + (ended[number] & same)
        return (equal / votes).astype(np.float32)

    def _found(
        self,
        rows: Array,
        reasons: list[str] | None = None,
        tries: Array | None = None,
        total_steps: Array | None = None,
        chosen: Array | None = None,
        agreement: Array | None = None,
    ) -> Solution:
        stops = [STOP_REASONS[code] for code in self.reasons[rows].tolist()]
        answers, confidence = self._answers[rows], self._confidence(rows, agreement)
        if confidence is not None:
            answers[confidence < self._abstain] = 0
        return Solution(
            answers,
            self.steps[rows],
            self._q_halt[rows],
            self._q_continue[rows],
            tuple(stops if reasons is None else reasons),
            self._tokens["inputs"][self.puzzles(rows)],
            self._contract,
            tries,
            total_steps,
            chosen,
            self._moved[rows] if self.measured else None,
            agreement,
            confidence,
            self._abstain,
        )

    def _confidence(self, rows: Array, agreement: Array | None) -> Array | None:
        """(n,) float32 of these rows; None if no one asked for it. 0 where NaN ended a row."""
        if self._sureness is None:
            return None
        score = self._policy.rule.score(self._q_halt[rows], self._q_continue[rows])
        broken = self.reasons[rows] == _NONFINITE
        score = np.where(broken, np.float32(np.nan), score)
        moved = self._moved[rows] if self.measured else None
        return confidence_of(self._sureness, score, moved, agreement)

    def _chosen(self, rows: Array) -> Array:
        """(n,) the chosen try of each column of (K, n) rows; of equal ones the lowest."""
        usable = (self.reasons[rows] != _NONFINITE) & np.isfinite(self._q_halt[rows])
        if self.tries.choose == "vote":
            each = zip(rows.T, usable.T)
            return np.array([self._voted(column, kept) for column, kept in each], dtype=np.int64)
        if self.tries.choose == "first":
            sure = self._confident(rows.ravel()).reshape(rows.shape)
            first: Array = np.where(sure.any(axis=0), sure, usable).argmax(axis=0)
            return first
        scores = self._policy.rule.score(self._q_halt[rows], self._q_continue[rows])
        best: Array = np.where(usable, scores, -np.inf).argmax(axis=0)
        return best

    def _voted(self, rows: Array, usable: Array) -> int:
        """The first try that gave the answer with the most votes."""
        kept = rows[usable]
        found = tally(zip(self._answers[kept], self._q_halt[kept].tolist()))
        if not found:
            return 0
        equal = usable & (self._answers[rows] == found[0].answer).all(axis=1)
        return int(equal.argmax())
