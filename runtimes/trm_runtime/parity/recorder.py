"""Record a reference: any runner, on real puzzles, chunk by chunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from trm_runtime.checks import check_inputs, with_identifiers
from trm_runtime.contract import StepContract
from trm_runtime.declared import check_calls
from trm_runtime.errors import UsageError
from trm_runtime.loop import solve
from trm_runtime.parity.any_batch import stepped
from trm_runtime.parity.few_steps import FEW, SLOT, entering
from trm_runtime.parity.golden import Chunk, ChunkSize, Golden, GoldenOrigin, RefilledSlots, settled
from trm_runtime.parity.slots import disturbed, refilled_count, shown
from trm_runtime.runner import StepRunner, initial_carry
from trm_runtime.solution import Solution, StepEvent
from trm_runtime.tensors import AnySpec

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
Progress = Callable[[int], object]  # called with the units of work since the last call

CHUNK = 1024  # puzzles
IN_MEMORY = 256_000_000  # bytes of followed states in a recording without a file
LEAST_FOLLOWED, LEAST_REFILLED = 2, 3
MOST_FOLLOWED = 4096  # of tiny states, whose measurements need more memory than the states


class Puzzles(Protocol):
    """The protocol of puzzles; `trm_export.tasks.PuzzleSet` follows it.

    They may also have `feeds(num_puzzle_identifiers)`, all inputs of the model by name, `targets`,
    labels with UNJUDGED in cells that do not count, and `kind`, the kind of rows.
    """

    @property
    def inputs(self) -> Array:
        """(N, S) int32 tokens."""
        ...

    @property
    def labels(self) -> Array | None:
        """(N, S) int32 tokens of the solutions, if known."""
        ...


@dataclass(frozen=True)
class Plan:
    """The followed rows of N puzzles, and the number of refilled slots."""

    puzzles: int
    followed: Array  # (F,) int64
    refilled: int
    chunk: int  # puzzles

    @property
    def spans(self) -> list[range]:
        """The rows of each chunk."""
        starts = range(0, self.puzzles, self.chunk)
        return [range(start, min(start + self.chunk, self.puzzles)) for start in starts]

    def followed_in(self, span: range) -> Array:
        """The followed rows of a chunk, counted from its first: (f,) int64."""
        inside = (self.followed >= span.start) & (self.followed < span.stop)
        rows: Array = self.followed[inside] - span.start
        return rows

    def chunk_work(self, span: range, steps: int) -> int:
        """Units of progress of a chunk: puzzles, and steps of the followed ones."""
        return len(span) + len(self.followed_in(span)) * steps

    def work(self, steps: int) -> int:
        """Units of progress of a recording."""
        return self.puzzles + (len(self.followed) + self.refilled) * steps


def plan(contract: StepContract, puzzles: int, budget: int = IN_MEMORY) -> Plan:
    """Follows as many puzzles, evenly spread, as fit into `budget` bytes, and at least a few.

    Raises RejectedInputError for a model of more steps than `limits.CALLS`.
    """
    check_calls(contract, contract.max_steps)
    rows = budget // row_bytes(contract)
    refilled = min(refilled_count(puzzles), max(LEAST_REFILLED, rows // 4))
    followed = min(puzzles, max(LEAST_FOLLOWED, rows - refilled), MOST_FOLLOWED)
    chosen = np.unique(np.linspace(0, puzzles - 1, followed).astype(np.int64))
    return Plan(puzzles, chosen, refilled, CHUNK)


def row_bytes(contract: StepContract) -> int:
    """The bytes of the states of one followed puzzle."""
    specs: tuple[AnySpec, ...] = (*contract.carry, *contract.outputs)
    row = sum(math.prod(n or 1 for n in s.shape[1:]) * np.dtype(s.dtype).itemsize for s in specs)
    return row * contract.max_steps


def model_tokens(contract: StepContract, puzzles: Puzzles) -> Arrays:
    """The inputs of the model, checked; puzzle identifiers are 0 unless the puzzles have some.

    Raises RejectedInputError for puzzles that do not fit, UsageError without puzzles.
    """
    named = with_identifiers(contract, np.asarray(puzzles.inputs))
    if len(named) > 1 and hasattr(puzzles, "feeds"):
        named = puzzles.feeds(contract.num_puzzle_identifiers)
    tokens = check_inputs(contract, named)
    if len(tokens["inputs"]) == 0:
        raise UsageError("Parity needs at least one puzzle, got none.")
    return tokens


def targets(puzzles: Puzzles) -> Array | None:
    """(N, S) int32 labels, UNJUDGED in cells that do not count; None without labels."""
    labels: Array | None = getattr(puzzles, "targets", puzzles.labels)
    return labels


def check_batch_size(batch_size: int) -> None:
    """Raise UsageError for a batch size below 1."""
    if batch_size < 1:
        raise UsageError(f"batch_size: expected 1 or more, got {batch_size}.")


def record(
    runner: StepRunner,
    puzzles: Puzzles,
    *,
    batch_size: int = 64,
    about: GoldenOrigin | None = None,
    progress: Progress | None = None,
    steps: int | None = None,
) -> Golden:
    """The recording of some puzzles, in memory.

    Of so many `steps` it has the first ones and the last one before `max_steps`; it then has no
    answers, and is for single steps alone.

    Raises RejectedInputError for puzzles that do not fit the model, ContractMismatchError if a
    step returns other tensors than its contract, UsageError for a batch size below 1.
    """
    check_batch_size(batch_size)
    tokens = model_tokens(runner.contract, puzzles)
    count = len(tokens["inputs"])
    chosen = plan(runner.contract, count)
    report = progress or _silent
    about = about or GoldenOrigin(kind=getattr(puzzles, "kind", "puzzles"))
    refilled = record_refilled(runner, tokens, np.arange(chosen.refilled), report, steps)
    labels = targets(puzzles)
    chunks = list(record_chunks(runner, tokens, labels, chosen, batch_size, report, steps))
    sizes = tuple(ChunkSize(len(chunk), len(chunk.followed)) for chunk in chunks)
    return Golden(runner.contract, about, sizes, chunks, refilled)


def record_few(runner: StepRunner, puzzles: Puzzles, *, answers: bool) -> Golden:
    """A recording of a few steps of the first puzzle; see `few_steps`.

    Without `answers` it has none, and is for single steps alone.

    Raises what `record` raises.
    """
    contract, labels = runner.contract, targets(puzzles)
    first = {name: array[:1] for name, array in model_tokens(contract, puzzles).items()}
    recorder, steps = _unsolved(contract, 1)
    if answers:
        recorder, solution = solve_recorded(runner, first, 1, _silent)
        steps = solution.steps
    chunk = Chunk(
        first=0,
        tokens=first,
        labels=None if labels is None else np.asarray(labels[:1], np.int32),
        cells=recorder.cells,
        scores=recorder.scores,
        margins=recorder.margins,
        steps=steps,
        followed=np.zeros(1, np.int64),
        states=follow(runner, first, 1, _silent, FEW),
    )
    refilled = record_refilled(runner, first, np.array([SLOT]), _silent, FEW)
    about = GoldenOrigin(kind=getattr(puzzles, "kind", "puzzles"))
    return Golden(contract, about, (ChunkSize(1, 1),), [chunk], refilled)


def record_chunks(
    runner: StepRunner,
    tokens: Mapping[str, Array],
    labels: Array | None,
    chosen: Plan,
    batch_size: int,
    progress: Progress,
    few: int | None = None,
) -> Iterator[Chunk]:
    """Every chunk in turn; tokens and labels have all N rows."""
    for span in chosen.spans:
        yield record_chunk(runner, span, tokens, labels, chosen, batch_size, progress, few)


def record_chunk(
    runner: StepRunner,
    span: range,
    tokens: Mapping[str, Array],
    labels: Array | None,
    chosen: Plan,
    batch_size: int,
    progress: Progress,
    few: int | None = None,
) -> Chunk:
    """One chunk, of the rows `span`; tokens and labels have all N rows. Of a `few` steps, those."""
    contract, rows = runner.contract, slice(span.start, span.stop)
    tokens = {name: array[rows] for name, array in tokens.items()}
    labels = None if labels is None else np.asarray(labels[rows], np.int32)
    followed = chosen.followed_in(span)
    recorder, steps = _unsolved(contract, len(span))
    if few is None:
        recorder, solution = solve_recorded(runner, tokens, batch_size, progress)
        steps = solution.steps
        done = settled(contract, solution.answers, steps, labels)
        followed = both_kinds(followed, done, span.start // chosen.chunk)
    inputs = {name: array[followed] for name, array in tokens.items()}
    states = follow(runner, inputs, batch_size, progress, few)
    return Chunk(
        first=span.start,
        tokens=tokens,
        labels=labels,
        cells=recorder.cells,
        scores=recorder.scores,
        margins=recorder.margins,
        steps=steps,
        followed=followed,
        states=states,
    )


def both_kinds(followed: Array, done: Array, number: int = 0) -> Array:
    """As many rows as in `followed` (f,), a quarter of them unsettled if there are enough.

    `done` (n,): which rows of chunk `number` are settled. If few rows are followed in each chunk,
    some chunks have one unsettled row and others none. An error of one step grows only on unsettled
    puzzles.
    """
    count = len(followed)
    quarter = (number + 1) * count // 4 - number * count // 4
    wanted = min(quarter, int((~done).sum()))
    missing = wanted - int((~done[followed]).sum())
    if missing <= 0:
        return followed
    others = np.setdiff1d(np.flatnonzero(~done), followed)
    taken = others[np.linspace(0, len(others) - 1, missing).astype(np.int64)]
    kept = followed[~done[followed]], followed[done[followed]]
    spread = np.linspace(0, len(kept[1]) - 1, len(kept[1]) - missing).astype(np.int64)
    return np.sort(np.concatenate([kept[0], kept[1][spread], taken]))


class StepRecorder:
    """Stores every step of `solve`: answers, halting scores, the margins of the last answer."""

    def __init__(self, contract: StepContract, count: int, progress: Progress) -> None:
        steps, seq = contract.max_steps, contract.seq_len
        self._rule = contract.halt
        self._progress = progress
        self.cells = np.zeros((steps, count, seq), np.int32)
        self.scores = np.full((steps, count), np.nan, np.float32)
        self.margins = np.zeros((count, seq), np.float32)

    def __call__(self, event: StepEvent) -> None:
        """Stores the event of a step."""
        score = self._rule.score(event.q_halt, event.q_continue)
        self.cells[event.steps - 1, event.rows] = event.answers
        self.scores[event.steps - 1, event.rows] = score
        logits = event.outputs["logits"][event.slots[event.finished]]
        top = np.partition(logits, -2, axis=-1)[..., -2:]
        self.margins[event.rows[event.finished]] = top[..., 1] - top[..., 0]
        self._progress(int(event.finished.sum()))


def _unsolved(contract: StepContract, count: int) -> tuple[StepRecorder, Array]:
    """The record of no step, and `max_steps` for each of so many puzzles."""
    return StepRecorder(contract, count, _silent), np.full(count, contract.max_steps, np.int32)


def solve_recorded(
    runner: StepRunner, tokens: Mapping[str, Array], batch_size: int, progress: Progress
) -> tuple[StepRecorder, Solution]:
    """The solution of the puzzles by the learned rule, and the record of its steps."""
    recorder = StepRecorder(runner.contract, len(tokens["inputs"]), progress)
    size = batch_size if runner.contract.batch is None else None
    return recorder, solve(runner, tokens, on_step=recorder, batch_size=size)


def follow(
    runner: StepRunner,
    tokens: Mapping[str, Array],
    batch_size: int,
    progress: Progress,
    steps: int | None = None,
) -> Arrays:
    """Every tensor of every step of these puzzles: (T, f, ...) by name; of few `steps`, those."""
    contract, count = runner.contract, len(tokens["inputs"])
    steps = steps or contract.max_steps
    states = zeros(contract, count, steps)
    for start in range(0, count, batch_size):
        rows = slice(start, min(start + batch_size, count))
        inputs = {name: array[rows] for name, array in tokens.items()}
        carry = initial_carry(contract, rows.stop - start)
        for step in range(1, steps + 1):
            output = stepped(runner, inputs, entering(contract, step, steps, carry))
            for name, array in output.tensors.items():
                states[name][step - 1, rows] = array
            carry = output.carry
            progress(rows.stop - start)
    return states


def record_refilled(
    runner: StepRunner,
    tokens: Mapping[str, Array],
    numbers: Array,
    progress: Progress,
    steps: int | None = None,
) -> RefilledSlots:
    """The slots that change their puzzle between steps, with puzzles of the first chunk."""
    contract = runner.contract
    steps = steps or contract.max_steps
    among = min(len(tokens["inputs"]), CHUNK)
    first = {name: array[:among] for name, array in tokens.items()}
    states, carry = zeros(contract, len(numbers), steps), initial_carry(contract, len(numbers))
    given: dict[str, list[Array]] = {name: [] for name in tokens}
    for step in range(1, steps + 1):
        inputs = shown(contract, numbers, step, first)
        output = stepped(runner, inputs, disturbed(contract, numbers, step, carry))
        for name, array in output.tensors.items():
            states[name][step - 1] = array
        for name, array in inputs.items():
            given[name].append(array)
        carry = output.carry
        progress(len(numbers))
    inputs = {name: np.stack(arrays) for name, arrays in given.items()}
    return RefilledSlots(numbers, among, inputs, states)


def zeros(contract: StepContract, rows: int, steps: int | None = None) -> Arrays:
    """Zeros for every tensor of every step of so many rows."""
    specs: tuple[AnySpec, ...] = (*contract.carry, *contract.outputs)
    sizes = {spec.name: tuple(n or 1 for n in spec.shape[1:]) for spec in specs}
    return {
        spec.name: np.zeros((steps or contract.max_steps, rows, *sizes[spec.name]), spec.dtype)
        for spec in specs
    }


def _silent(done: int) -> None:
    pass
