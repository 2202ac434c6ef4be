"""Vectors: what a driver in any language must compute and refuse, recorded from the reference.

`solve` cases run a loop, `step` cases single steps (whole rollouts, refilled slots, stale carries),
`refuse` cases have inputs that no driver may give to its engine. docs/contract.md specifies them.
Knows numpy and runners; knows no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trm_runtime.checks import check_step_call
from trm_runtime.contract import StepContract
from trm_runtime.errors import RejectedInputError
from trm_runtime.loop import solve
from trm_runtime.parity import Puzzles
from trm_runtime.parity.recorder import model_tokens, row_bytes
from trm_runtime.parity.slots import disturbed, shown
from trm_runtime.runner import StepOutput, StepRunner, initial_carry
from trm_runtime.servers.messages import reason_numbers
from trm_runtime.solution import StepEvent

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]
Names = dict[str, str]  # of a tensor in the contract -> of one in the vectors

PUZZLES, ROWS, SLOTS = 12, 2, 4  # of solve; of a rollout; of refilled slots
REFILLED_STEPS = 4
BUDGET = 20_000_000  # bytes of the states of a rollout
CLEAR = 0.05  # logits: a decision with this margin is the same in fp32 on every engine


@dataclass
class Vectors:
    """The tensors by name, and the cases that name them, in JSON types."""

    contract: StepContract
    tensors: dict[str, Array] = field(default_factory=dict)
    cases: list[dict[str, Any]] = field(default_factory=list)

    def add(self, folder: str, arrays: Arrays) -> Names:
        """Store arrays under a folder; returns their names."""
        self.tensors.update({f"{folder}/{name}": array for name, array in arrays.items()})
        return {name: f"{folder}/{name}" for name in arrays}

    def case(self, kind: str, name: str, **parts: Any) -> None:
        """Add a case."""
        self.cases.append({"kind": kind, "name": name, **parts})


def vectors_of(runner: StepRunner, puzzles: Puzzles) -> Vectors:
    """The vectors of a reference, of granularity step and with a dynamic batch.

    Raises RejectedInputError for puzzles that do not fit the model, UsageError without puzzles.
    """
    found = Vectors(runner.contract)
    tokens, margins = _clear(runner, model_tokens(runner.contract, puzzles))
    _solved(found, runner, tokens, margins)
    rows = np.resize(np.arange(len(tokens["inputs"])), ROWS)
    _rollout(found, runner, {name: array[rows] for name, array in tokens.items()})
    _refilled(found, runner, tokens)
    _refused(found, {name: array[rows] for name, array in tokens.items()})
    return found


@dataclass(frozen=True)
class _Margins:
    """How clear every decision on n puzzles is, in logits, over all T steps."""

    scores: Array  # (T, n) float32, halting scores
    answers: Array  # (n,) float32, the least distance of a token from the next best

    def rows(self, kept: Array) -> _Margins:
        return _Margins(self.scores[:, kept], self.answers[kept])

    def steps(self, threshold: float) -> Array:
        """(n,): the step at which each puzzle stops by this threshold."""
        above = np.concatenate([self.scores > threshold, np.ones_like(self.scores[:1], bool)])
        return np.minimum(above.argmax(axis=0) + 1, len(self.scores))

    def of(self, threshold: float) -> Array:
        """(n,): of each puzzle's decisions by this threshold."""
        taken = np.arange(len(self.scores))[:, None] < self.steps(threshold)
        gaps = np.where(taken, np.abs(self.scores - np.float32(threshold)), np.inf)
        return np.minimum(gaps.min(axis=0), self.answers)


def _clear(runner: StepRunner, tokens: Arrays) -> tuple[dict[str, Array], _Margins]:
    """The puzzles with the clearest decisions: at least one, at most PUZZLES."""
    contract, count = runner.contract, len(tokens["inputs"])
    scores = np.zeros((contract.max_steps, count), np.float32)
    answers = np.full(count, np.inf, np.float32)

    def look(event: StepEvent) -> None:
        scores[event.steps - 1, event.rows] = contract.halt.score(event.q_halt, event.q_continue)
        top = np.partition(event.outputs["logits"][event.slots], -2, axis=-1)[..., -2:]
        least = (top[..., 1] - top[..., 0]).min(axis=-1)
        answers[event.rows] = np.minimum(answers[event.rows], least)

    solve(runner, tokens, halt="max_steps", on_step=look)
    margins = _Margins(scores, answers)
    clear = margins.of(contract.halt.threshold)
    order = np.argsort(-np.nan_to_num(clear, nan=-1.0), kind="stable")
    good = order[clear[order] > CLEAR]
    kept = np.sort(good[np.linspace(0, len(good) - 1, min(PUZZLES, len(good))).astype(int)])
    kept = kept if len(kept) else order[:1]
    return {name: array[kept] for name, array in tokens.items()}, margins.rows(kept)


def _solved(found: Vectors, runner: StepRunner, tokens: Arrays, margins: _Margins) -> None:
    contract, inputs = runner.contract, found.add("solve", tokens)
    own, other = contract.halt.threshold, _other_threshold(margins, contract.halt.threshold)
    count, steps = len(tokens["inputs"]), contract.max_steps
    slots = min(3, count)  # so that they are refilled
    ways: list[tuple[str, str | float, int, float | None, Array]] = [
        ("the learned rule", "learned", steps, None, margins.of(own)),
        ("another threshold", other, steps, None, margins.of(other)),
        ("all steps", "max_steps", steps, None, margins.answers),
        ("two steps at most", other, min(2, steps), None, margins.of(other)),
        ("a deadline of 0", "learned", steps, 0.0, np.full(count, np.inf)),
    ]
    for number, (name, halt, most, deadline, clear) in enumerate(ways):
        solution = solve(
            runner, tokens, halt=halt, max_steps=most, deadline=deadline, batch_size=slots
        )
        results = {
            "answers": solution.answers,
            "steps": solution.steps,
            "stop_reasons": reason_numbers(solution.stop_reasons),
        }
        least = float(clear.min())
        found.case(
            "solve", name, inputs=inputs, slots=slots, halt=halt, max_steps=most,
            deadline=deadline, margin=least if np.isfinite(least) else None,
            **found.add(f"solve/{number}", results),
        )  # fmt: skip


def _other_threshold(margins: _Margins, own: float) -> float:
    """In the middle of a wide gap between scores, so that puzzles take different steps."""
    scores = np.unique(margins.scores[np.isfinite(margins.scores)].astype(np.float64))
    if len(scores) < 2:
        return own + 1.0
    middles: Array = ((scores[1:] + scores[:-1]) / 2).astype(np.float32)
    widths = np.diff(scores)
    kinds = np.array([len(np.unique(margins.steps(float(m)))) for m in middles])
    best = np.lexsort((widths, kinds, widths > 2 * CLEAR / 10))[-1]
    return float(middles[best])


def _rollout(found: Vectors, runner: StepRunner, inputs: Arrays) -> None:
    """Every step of some puzzles, and what must give the same as one of these steps."""
    contract = runner.contract
    most = BUDGET * contract.max_steps // (ROWS * row_bytes(contract))
    named = found.add("rollout/inputs", inputs)
    fresh = initial_carry(contract, ROWS)
    before: Arrays = fresh
    outputs: list[tuple[StepOutput, dict[str, Names]]] = []
    carry = found.add("rollout/0/carry", fresh)
    for step in range(1, min(contract.max_steps, max(3, most)) + 1):
        output = runner.step(inputs, before)
        parts = _expected(found, f"rollout/{step}", output)
        found.case("step", f"rollout, step {step}", inputs=named, carry=carry, **parts)
        outputs.append((output, parts))
        before, carry = output.carry, parts["next"]
    _stale(found, contract, named, outputs)


def _stale(
    found: Vectors,
    contract: StepContract,
    named: Names,
    outputs: list[tuple[StepOutput, dict[str, Names]]],
) -> None:
    """Halted rows with anything in their carry, and running rows with anything in their inputs."""
    last, expected = outputs[-1][0].carry, outputs[0][1]
    ones = np.ones(ROWS, bool)
    for number, (name, value) in enumerate(_GARBAGE.items()):
        stale = {
            spec.name: last[spec.name][::-1].copy()  # of the other puzzle, so ids stay valid
            if value is None or spec.dtype != "float32"
            else np.full_like(last[spec.name], value)
            for spec in contract.carry
        }
        stale["halted"] = ones
        if value is not None:
            stale["steps"] = np.full(ROWS, contract.max_steps + 1, np.int32)
        carry = found.add(f"stale/{number}", stale)
        found.case("step", f"a halted row with {name} in its carry", inputs=named, carry=carry,
                   **expected)  # fmt: skip
    if len(outputs) > 1 and not outputs[0][0].carry["halted"].any():
        others = {name: found.tensors[full][::-1].copy() for name, full in named.items()}
        others["inputs"] = np.roll(others["inputs"], 1, axis=1)
        found.case(
            "step", "a running row ignores its inputs", inputs=found.add("ignored", others),
            carry=outputs[0][1]["next"], **outputs[1][1],
        )  # fmt: skip


_GARBAGE: Mapping[str, float | None] = {
    "the state of another puzzle": None,
    "NaN": np.nan,
    "infinity": np.inf,
    "1e30": 1e30,
}


def _refilled(found: Vectors, runner: StepRunner, tokens: Arrays) -> None:
    """Slots that get new puzzles while others run on."""
    contract, numbers = runner.contract, np.arange(SLOTS)
    carry: dict[str, Array] = initial_carry(contract, SLOTS)
    for step in range(1, min(contract.max_steps - 1, REFILLED_STEPS) + 1):
        inputs = shown(contract, numbers, step, tokens)
        carry = disturbed(contract, numbers, step, carry)
        output = runner.step(inputs, carry)
        found.case(
            "step",
            f"refilled slots, step {step}",
            inputs=found.add(f"refilled/{step}/inputs", inputs),
            carry=found.add(f"refilled/{step}/carry", carry),
            **_expected(found, f"refilled/{step}", output),
        )
        carry = dict(output.carry)


def _expected(found: Vectors, folder: str, output: StepOutput) -> dict[str, Names]:
    return {
        "outputs": found.add(f"{folder}/outputs", output.outputs),
        "next": found.add(f"{folder}/next", output.carry),
    }


def _refused(found: Vectors, inputs: Arrays) -> None:
    """Inputs and carries that are wrong, with what is wrong."""
    contract = found.contract
    carry = initial_carry(contract, ROWS)
    right = {**found.add("refuse/inputs", inputs), **found.add("refuse/carry", carry)}
    for number, (name, changed) in enumerate(_wrong(contract, {**inputs, **carry})):
        names = {**right, **found.add(f"refuse/{number}", changed)}
        given = {n: found.tensors[full] for n, full in names.items()}
        rows = {n: full for n, full in names.items() if n in inputs}
        rest = {n: full for n, full in names.items() if n not in inputs}
        try:
            check_step_call(contract, {n: given[n] for n in rows}, {n: given[n] for n in rest})
        except RejectedInputError as error:
            found.case("refuse", name, inputs=rows, carry=rest, problems=list(error.problems))


def _wrong(contract: StepContract, good: Arrays) -> Iterator[tuple[str, dict[str, Array]]]:
    """A sentence, and the tensors that are then wrong."""
    tokens, state = good["inputs"], next(s for s in contract.carry if s.dtype == "float32").name
    limits = {"inputs": contract.vocab_size, "puzzle_identifiers": contract.num_puzzle_identifiers}
    for name, limit in limits.items():
        for value in (-1, limit, 2**31 - 1) if name in good else ():
            ids = good[name].copy()
            ids.reshape(-1)[-1] = value
            yield f"{name} has the id {value}", {name: ids}
    yield "inputs are float32", {"inputs": tokens.astype(np.float32)}
    yield "inputs are bool", {"inputs": tokens > 0}
    yield "inputs lack a cell", {"inputs": tokens[:, :-1]}
    yield "inputs have one cell too many", {"inputs": np.pad(tokens, ((0, 0), (0, 1)))}
    yield "inputs have one axis", {"inputs": tokens.reshape(-1)}
    yield "inputs have no rows", {"inputs": tokens[:0]}
    yield f"{state} has fewer rows than inputs", {state: good[state][:1]}
    yield f"{state} is int32", {state: good[state].astype(np.int32)}
    yield "steps are float32", {"steps": good["steps"].astype(np.float32)}
    yield "halted has two axes", {"halted": good["halted"][:, None]}
    yield "an unknown tensor", {"unknown": np.zeros(ROWS, np.int32)}
