"""Two more rungs for a driver that is a step server: its own loop, and what it must refuse.

The ladder uses the loop of this package over the server's steps. Here the server solves puzzles by
its own loop, and both must stop at the same steps for the same reasons with the same answers. Both
run on one engine with the same calls, so this holds for every precision.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Callable, NamedTuple

import numpy as np

from trm_runtime.contract import StepContract
from trm_runtime.loop import solve
from trm_runtime.message_text import counted
from trm_runtime.parity.golden import Chunk, Golden, settled
from trm_runtime.parity.judge import stopped
from trm_runtime.parity.result import FAILED, OK, ParityResult, Rung
from trm_runtime.runner import Arrays, StepRunner, initial_carry
from trm_runtime.servers.runner import LoopOptions, LoopResult, ServerRunner
from trm_runtime.settling import own_states
from trm_runtime.solution import Solution
from trm_runtime.try_options import VARY

Array = np.ndarray[Any, Any]

LOOP, REFUSALS = "driver's loop", "refusals"
PUZZLES, FEW = 256, 24  # that are solved: by the learned rule, and in every other way
TRIES, SEED, SIGMA = 4, 20, 3.0  # of the ways with several tries; their noise must change something

OwnLoop = Callable[[Arrays, LoopOptions], LoopResult]
Several = Sequence[LoopOptions]


class Trial(NamedTuple):
    """One way to run both loops, on the first `puzzles`."""

    name: str
    puzzles: int
    options: LoopOptions


def with_own_loop(result: ParityResult, golden: Golden, server: ServerRunner) -> ParityResult:
    """The result of the ladder with both rungs, which are judged if nothing failed before."""
    rungs = [Rung(LOOP, OK, ""), Rung(REFUSALS, OK, "")]
    if result.passed:
        loop = loop_rung(golden, server.whole, server.solve, _several(server))
        rungs = [loop, refusal_rung(server, golden)]
    return replace(result, rungs=stopped([*result.rungs, *rungs]))


def loop_rung(golden: Golden, candidate: StepRunner, own: OwnLoop, several: Several) -> Rung:
    """Compare `own`, the loop of a driver, with the loop of this package over its steps.

    `several` is how it asks again, a loop for each rule of choosing.
    """
    chunk = golden.chunks[0]
    done = settled(golden.contract, chunk.answers, chunk.steps, chunk.labels)
    equal, total = np.zeros(3, np.int64), 0
    problems: list[str] = []
    for trial in trials(chunk, candidate.contract, several):
        rows = np.unique(np.linspace(0, len(chunk) - 1, trial.puzzles).astype(np.int64))
        tokens = {name: array[rows] for name, array in chunk.tokens.items()}
        expected, got = _solved(candidate, tokens, trial.options), own(tokens, trial.options)
        same = _equal(expected, got)
        equal, total = equal + same.sum(axis=1), total + len(rows)
        bad = np.flatnonzero(~same.all(axis=0) & done[rows])
        problems += [
            f"{trial.name}, puzzle {chunk.first + rows[k]}: {_difference(expected, got, k)}"
            for k in bad.tolist()
        ]
    shares = ", ".join(f"{count} {name}" for count, name in zip(equal.tolist(), _WHAT))
    summary = f"of {counted(total, 'puzzle')} {shares} are equal"
    return Rung(LOOP, FAILED if problems else OK, summary, tuple(problems))


def trials(chunk: Chunk, contract: StepContract, several: Several) -> list[Trial]:
    """Every way to run the loops; slots are fewer than puzzles, so that they are refilled."""
    few, most, steps = min(len(chunk), FEW), min(len(chunk), PUZZLES), contract.max_steps
    slots, three = (contract.batch or max(1, count // 4) for count in (most, few))
    learned = Trial("learned rule", most, LoopOptions("learned", steps, None, slots))
    late = Trial("deadline of 0", few, LoopOptions("learned", steps, 0.0, three))
    if contract.granularity == "loop":
        votes = [
            Trial("a vote", few, replace(options, max_steps=steps, slots=three))
            for options in several
            if options.choose == "vote"
        ]
        return [learned, late, *votes]
    scores = chunk.scores[chunk.steps - 1, np.arange(len(chunk))]
    known = scores[np.isfinite(scores)]
    threshold, above = (float(np.median(known)), float(known.max()) + 1) if len(known) else (0.0, 1)
    short = min(2, steps)
    halts: dict[str, str | float] = {"score": above, "first": threshold, "vote": "learned"}
    again = [
        Trial(
            f"tries by {options.choose}", few,
            replace(options, halt=halts[options.choose], max_steps=short, slots=three),
        )
        for options in several
    ]  # fmt: skip
    return [
        learned,
        Trial("another threshold", few, LoopOptions(threshold, steps, None, three)),
        Trial("all steps", few, LoopOptions("max_steps", short, None, three)),
        late,
        *again,
    ]


def _several(server: ServerRunner) -> Several:
    """How a server asks again; nothing if it does not, or its model cannot."""
    contract, tries = server.contract, min(TRIES, server.tries)
    guises = contract.symmetries is not None and (contract.num_puzzle_identifiers or 0) <= 1
    noise = bool(own_states(contract))
    if tries < 2 or not (guises or noise):
        return ()
    vary = VARY[2 if guises and noise else 0 if guises else 1]
    make = partial(LoopOptions, "learned", contract.max_steps, None, 1, tries, vary)
    return tuple(make(choose, SEED, SIGMA) for choose in server.choose)


def refusal_rung(server: ServerRunner, golden: Golden) -> Rung:
    """Whether a server refuses ids out of range and too few bytes, and still answers."""
    contract = server.contract
    rows = np.zeros(contract.batch or 1, np.int64)
    first = golden.chunks[0].tokens
    good = server.feeds({name: array[rows] for name, array in first.items()})
    carry = initial_carry(contract, len(rows))
    wrong = list(_wrong_requests(contract, good))
    problems = [
        f"{what}: expected an error, got a reply"
        for what, inputs, dropped in wrong
        if server.refusal(inputs, carry, dropped) is None
    ]
    if server.refusal(good, carry) is not None:
        problems.append("a right request after these: expected a reply, got an error")
    summary = f"{counted(len(wrong), 'wrong request')}, {len(problems)} answered wrongly"
    return Rung(REFUSALS, FAILED if problems else OK, summary, tuple(problems))


_WHAT = ("answers", "steps", "stop reasons")


def _wrong_requests(
    contract: StepContract, good: Arrays
) -> Iterator[tuple[str, dict[str, Array], int]]:
    limits = {"inputs": contract.vocab_size, "puzzle_identifiers": contract.num_puzzle_identifiers}
    for name, limit in limits.items():
        for wrong in (-1, limit) if name in good else ():
            array = good[name].copy()
            array.reshape(len(array), -1)[-1, -1] = wrong
            yield f"{name} with the id {wrong}", {**good, name: array}, 0
    yield "four bytes too few", dict(good), 4


def _solved(candidate: StepRunner, tokens: Mapping[str, Array], options: LoopOptions) -> Solution:
    given = dict(vars(options))
    return solve(candidate, tokens, batch_size=given.pop("slots"), **given)


def _equal(expected: Solution, got: LoopResult) -> Array:
    """(3, N) bool: answers, steps and the numbers of tries, stop reasons."""
    pairs = [(expected.about_tries[name], got.about_tries[name]) for name in expected.about_tries]
    same: Array = np.stack([
        (expected.answers == got.answers).all(axis=1),
        np.logical_and.reduce([a == b for a, b in [(expected.steps, got.steps), *pairs]]),
        np.array(expected.stop_reasons) == np.array(got.stop_reasons),
    ])  # fmt: skip
    return same


def _difference(expected: Solution, got: LoopResult, row: int) -> str:
    sides = ((x.stop_reasons[row], int(x.steps[row])) for x in (expected, got))
    (reason, steps), (got_reason, got_steps) = sides
    if (reason, steps) != (got_reason, got_steps):
        return (
            f"expected {reason} after {counted(steps, 'step')}, got {got_reason} after {got_steps}"
        )
    for name, numbers in expected.about_tries.items():
        if numbers[row] != got.about_tries[name][row]:
            return f"{name}: expected {numbers[row]}, got {got.about_tries[name][row]}"
    cells = np.flatnonzero(expected.answers[row] != got.answers[row])
    first = int(cells[0])
    values = f"expected {expected.answers[row, first]}, got {got.answers[row, first]}"
    return f"answer differs in {counted(len(cells), 'cell')}, first cell {first}: {values}"
