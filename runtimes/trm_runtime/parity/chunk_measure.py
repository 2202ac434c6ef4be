"""Measure a candidate on one chunk of a golden; the result is small and can be stored in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Callable

import numpy as np

from trm_runtime.contract import StepContract
from trm_runtime.display import field_table, one_line
from trm_runtime.parity.any_batch import stepped
from trm_runtime.parity.few_steps import entering, recorded
from trm_runtime.parity.gaps import FIELDS, Gaps
from trm_runtime.parity.golden import Chunk, Golden
from trm_runtime.parity.outcomes import Columns, Valid, joined, outcomes
from trm_runtime.parity.recorder import solve_recorded
from trm_runtime.parity.slots import disturbed, puzzle_rows
from trm_runtime.runner import StepRunner, initial_carry
from trm_runtime.tensors import AnySpec

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]
Progress = Callable[[int], object]  # called with the units of work since the last call

STORIES = 12  # lost puzzles whose boards are stored, step by step


@dataclass(frozen=True)
class WorsePuzzles:
    """Puzzles on which the candidate is worse: m of them over T steps of S cells."""

    rows: Array  # (m,) int64
    inputs: Array  # (m, S) int32
    labels: Array  # (m, S) int32; of puzzles without labels the reference's answers
    reference: Array  # (T, m, S) int32 answer after each step, 0 after the last
    candidate: Array  # (T, m, S) int32

    __repr__ = one_line
    _repr_html_ = field_table


@dataclass(frozen=True)
class Part:
    """The measurements of a candidate on one chunk, or on the refilled slots.

    The rows of `forced` and `free` are the followed puzzles or the slots. Their puzzles are in
    `puzzles` (T, R); `refilled` and `settled` (R,) tell their kind.
    """

    forced: Gaps
    free: Gaps
    equal: Array  # (T, R) share of equal cells of the free run
    puzzles: Array
    refilled: Array
    settled: Array
    columns: Columns  # empty for refilled slots, and if only steps are compared
    stories: WorsePuzzles | None = None

    def arrays(self) -> dict[str, Array]:
        """Everything as named arrays, for a file."""
        arrays = {f"forced/{name}": a for name, a in self.forced.sums.items()}
        arrays.update({f"free/{name}": a for name, a in self.free.sums.items()})
        arrays.update({f"columns/{name}": a for name, a in self.columns.items()})
        for name in _OWN:
            arrays[name] = getattr(self, name)
        if self.stories is not None:
            arrays.update({f"stories/{name}": a for name, a in vars(self.stories).items()})
        return arrays

    @classmethod
    def from_arrays(cls, contract: StepContract, arrays: Arrays) -> Part:
        """The inverse of `arrays`, for a reference of this contract."""
        specs = judged(contract)
        sums = [{name: arrays[f"{kind}/{name}"] for name in FIELDS} for kind in ("forced", "free")]
        stories = _under(arrays, "stories")
        return cls(
            forced=Gaps(specs, sums[0]),
            free=Gaps(specs, sums[1]),
            columns=_under(arrays, "columns"),
            stories=WorsePuzzles(**stories) if stories else None,
            **{name: arrays[name] for name in _OWN},
        )


_OWN = ("equal", "puzzles", "refilled", "settled")


def _under(arrays: Arrays, folder: str) -> dict[str, Array]:
    return {n.split("/", 1)[1]: a for n, a in arrays.items() if n.startswith(f"{folder}/")}


def judged(contract: StepContract) -> tuple[AnySpec, ...]:
    """The tensors that are compared, integers first: a wrong counter explains a wrong state."""
    specs: list[AnySpec] = [*contract.carry, *contract.outputs]
    return tuple(sorted(specs, key=lambda spec: spec.dtype == "float32"))


def measure_chunk(
    golden: Golden,
    number: int,
    candidate: StepRunner,
    batch_size: int,
    progress: Progress,
    valid: Valid | None = None,
) -> Part:
    """Decisions of every puzzle of a chunk; values of the followed ones, forced and free.

    A candidate of granularity loop shows no steps, and so no values.
    """
    contract, chunk = golden.contract, golden.chunks[number]
    recorder, solution = solve_recorded(candidate, chunk.tokens, batch_size, progress)
    columns = outcomes(contract, chunk, solution, valid)
    stories = _stories(chunk, columns, recorder.cells)
    if candidate.contract.granularity == "loop":
        return _empty(contract, 0, np.zeros(0, bool), columns, stories)
    settled = columns["settled"][chunk.followed]
    part = _empty(contract, len(chunk.followed), settled, columns, stories)
    _follow(part, contract, chunk, candidate, batch_size, progress, free=True)
    return part


def force_chunk(golden: Golden, number: int, candidate: StepRunner, batch_size: int) -> Part:
    """Only the forced values of the followed puzzles of a chunk."""
    contract, chunk = golden.contract, golden.chunks[number]
    count = len(chunk.followed)
    steps = recorded(chunk.states)
    part = _empty(contract, count, np.zeros(count, bool), {}, None, steps)
    _follow(part, contract, chunk, candidate, batch_size, lambda done: None, free=False)
    return part


def measure_refilled(golden: Golden, candidate: StepRunner, progress: Progress) -> Part:
    """The forced values of the slots that change their puzzle between steps."""
    contract, slots = golden.contract, golden.refilled
    count = len(slots.numbers)
    steps = recorded(slots.states)
    part = _empty(contract, count, np.zeros(count, bool), {}, None, steps)
    part.refilled[:] = True
    carry = initial_carry(contract, count)
    rows = np.arange(count)
    for step in range(1, steps + 1):
        part.puzzles[step - 1] = puzzle_rows(slots.numbers, step, slots.puzzles)
        inputs = {name: array[step - 1] for name, array in slots.inputs.items()}
        got = stepped(candidate, inputs, disturbed(contract, slots.numbers, step, carry))
        expected = _at(slots.states, step)
        part.forced.add(step, rows, expected, got.tensors, contract.halt.untuned)
        carry = {spec.name: expected[spec.name] for spec in contract.carry}
        progress(count)
    return part


def _empty(
    contract: StepContract,
    rows: int,
    settled: Array,
    columns: Columns,
    stories: WorsePuzzles | None,
    steps: int | None = None,
) -> Part:
    """A part with zeros for the values of so many rows."""
    steps, specs = steps or contract.max_steps, judged(contract)
    return Part(
        forced=Gaps.empty(specs, steps, rows),
        free=Gaps.empty(specs, steps, rows),
        equal=np.ones((steps, rows)),
        puzzles=np.zeros((steps, rows), np.int64),
        refilled=np.zeros(rows, bool),
        settled=settled,
        columns=columns,
        stories=stories,
    )


def _follow(
    part: Part,
    contract: StepContract,
    chunk: Chunk,
    candidate: StepRunner,
    batch_size: int,
    progress: Progress,
    *,
    free: bool,
) -> None:
    """Every step of the followed puzzles from the reference's carry and, `free`, from its own."""
    part.puzzles[:] = chunk.first + chunk.followed
    tokens = {name: array[chunk.followed] for name, array in chunk.tokens.items()}
    steps = recorded(chunk.states)
    for rows in _batches(tokens, batch_size):
        inputs = {name: array[rows] for name, array in tokens.items()}
        carry = own = initial_carry(contract, len(rows))
        for step in range(1, steps + 1):
            expected = {name: array[rows] for name, array in _at(chunk.states, step).items()}
            forced = stepped(candidate, inputs, entering(contract, step, steps, carry))
            part.forced.add(step, rows, expected, forced.tensors, contract.halt.untuned)
            carry = {spec.name: expected[spec.name] for spec in contract.carry}
            progress(len(rows))
            if free:
                output = forced if step == 1 else stepped(candidate, inputs, own)
                part.free.add(step, rows, expected, output.tensors)
                same = expected["logits"].argmax(-1) == output.outputs["logits"].argmax(-1)
                part.equal[step - 1, rows] = same.mean(axis=1)
                own = output.carry
                progress(len(rows))


def _batches(tokens: Arrays, batch_size: int) -> list[Array]:
    count = len(tokens["inputs"])
    return [np.arange(s, min(s + batch_size, count)) for s in range(0, count, batch_size)]


def _at(states: Arrays, step: int) -> dict[str, Array]:
    return {name: array[step - 1] for name, array in states.items()}


def _stories(chunk: Chunk, columns: Columns, cells: Array) -> WorsePuzzles | None:
    """The first settled puzzles to which the candidate gives another answer."""
    worse = columns["settled"] & (columns["different"] > 0)
    rows = np.flatnonzero(worse)[:STORIES]
    if not len(rows):
        return None
    labels = chunk.answers if chunk.labels is None else chunk.labels
    return WorsePuzzles(
        columns["row"][rows],
        chunk.tokens["inputs"][rows],
        labels[rows],
        chunk.cells[:, rows],
        cells[:, rows],
    )


def merged(parts: Sequence[Part]) -> Part:
    """One part with the rows of all parts, in this order."""
    columns = [part.columns for part in parts if part.columns]
    stories = [part.stories for part in parts if part.stories is not None]
    return Part(
        forced=Gaps.joined([part.forced for part in parts]),
        free=Gaps.joined([part.free for part in parts]),
        equal=np.concatenate([part.equal for part in parts], axis=1),
        puzzles=np.concatenate([part.puzzles for part in parts], axis=1),
        refilled=np.concatenate([part.refilled for part in parts]),
        settled=np.concatenate([part.settled for part in parts]),
        columns=joined(columns) if columns else {},
        stories=_first_stories(stories) if stories else None,
    )


def _first_stories(stories: Sequence[WorsePuzzles]) -> WorsePuzzles:
    axes = {"rows": 0, "inputs": 0, "labels": 0, "reference": 1, "candidate": 1}
    return WorsePuzzles(**{
        name: np.concatenate([getattr(s, name) for s in stories], axis=axis).take(
            range(min(STORIES, sum(len(s.rows) for s in stories))), axis=axis
        )
        for name, axis in axes.items()
    })  # fmt: skip
