"""A step server as a StepRunner, and its own loop.

Knows the contract and messages; knows no engine.
"""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, final

import numpy as np

from trm_runtime.checks import check_inputs, check_step_call
from trm_runtime.contract import MAX_CONTRACT_BYTES, StepContract
from trm_runtime.declared import check_rows
from trm_runtime.errors import RejectedInputError, UsageError
from trm_runtime.message_text import clipped, first_line, printable
from trm_runtime.open import complete_steps
from trm_runtime.puzzle_table import EMBEDDING, IDENTIFIERS, PuzzleTableRunner, open_table
from trm_runtime.runner import Arrays, StepOutput, StepRunner
from trm_runtime.servers.messages import (
    PROTOCOL,
    SOLVE,
    STEP,
    TRY_REPLIES,
    VERSION,
    Head,
    entering,
    leaving,
    packed,
    size_of,
    solved,
    unpacked,
)
from trm_runtime.servers.process import ServerProcess
from trm_runtime.signals import undisturbed
from trm_runtime.solution import STOP_REASONS
from trm_runtime.tensors import AnySpec
from trm_runtime.try_options import CHOOSE, SIGMA, VARY

TIMEOUT = 300.0  # seconds for one message, unless the user sets another

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class LoopOptions:
    """How a loop runs; the arguments of `trm_runtime.solve`."""

    halt: str | float
    max_steps: int
    deadline: float | None
    slots: int
    tries: int = 1
    vary: str = VARY[0]
    choose: str = CHOOSE[0]
    seed: int = 0
    sigma: float = SIGMA

    @property
    def head(self) -> Head:
        """The keys of a request; without several tries none about them."""
        fields = vars(self)
        return fields if self.tries > 1 else dict(islice(fields.items(), 4))


@dataclass(frozen=True)
class LoopResult:
    """What a driver's own loop returns for N puzzles of S cells; see Solution."""

    answers: Array  # (N, S) int32
    steps: Array  # (N,) int32
    stop_reasons: tuple[str, ...]  # STOP_REASONS, "?" for an unknown number
    about_tries: dict[str, Array]  # of TRY_REPLIES, (N,) int32; empty without several tries


@final
class ServerRunner:
    """A StepRunner over a command that speaks the protocol; each step is one call of its graph.

    Raises UsageError if the command cannot be started, the error that it sends if it cannot open
    its file, and RejectedInputError, after which it has ended, for everything else that it does
    wrong, at the end of its input too. A context manager, which ends it.
    """

    def __init__(
        self,
        command: str,
        seconds: float = TIMEOUT,
        puzzle_table: str | os.PathLike[str] | None = None,
    ) -> None:
        if not 0 < seconds < threading.TIMEOUT_MAX:
            raise UsageError(f"timeout: expected seconds, above 0, got {seconds:g}.")
        with ExitStack() as unless_opened:
            with undisturbed():
                self._server = ServerProcess(command, seconds)
                unless_opened.callback(self._server.close)
            head, text = self._server.hello(MAX_CONTRACT_BYTES)
            self._refuse_other(head)
            self.engine = clipped(printable(f"{head.get('engine')} ({head.get('driver')})"), 200)
            self.tries = _whole(head.get("tries"))  # of its own loop, at most
            self.choose = tuple(rule for rule in CHOOSE if rule in _listed(head.get("choose")))
            self.contract: StepContract = _contract(bytes(text), self._server.name)
            self._table = self._opened(puzzle_table)
            unless_opened.pop_all()

    def __enter__(self) -> ServerRunner:
        return self

    def __exit__(self, error: object, *details: object) -> None:
        if error is None:
            self._server.finish()
        else:
            self._server.close()

    @property
    def whole(self) -> StepRunner:
        """A runner of complete steps on float32 and identifiers."""
        runner = complete_steps(self)
        return runner if self._table is None else PuzzleTableRunner(runner, self._table)

    def feeds(self, inputs: Arrays) -> dict[str, Array]:
        """The inputs of the graph from those of `whole`."""
        found = dict(inputs)
        if self._table is not None:
            found[EMBEDDING] = self._table[found.pop(IDENTIFIERS)]
        return found

    def step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """One call of the graph; see StepRunner.step."""
        tensors = {**check_step_call(self.contract, inputs, carry), **carry}
        found = self._asked({"request": STEP}, entering(self.contract), tensors)
        return StepOutput(
            carry={spec.name: found[spec.name] for spec in self.contract.carry},
            outputs={spec.name: found[spec.name] for spec in self.contract.outputs},
        )

    def solve(self, inputs: Arrays, options: LoopOptions) -> LoopResult:
        """What the server's own loop returns for N puzzles; the inputs are those of `whole`."""
        head = {"request": SOLVE, **options.head}
        tensors = check_inputs(self.contract, self.feeds(inputs))
        found = self._asked(head, self.contract.inputs, tensors)
        known = range(len(STOP_REASONS))
        reasons = (STOP_REASONS[n] if n in known else "?" for n in found["stop_reasons"].tolist())
        more = {name: found[name] for name in TRY_REPLIES if name in found}
        return LoopResult(found["answers"], found["steps"], tuple(reasons), more)

    def refusal(self, inputs: Arrays, carry: Arrays, dropped: int = 0) -> str | None:
        """The error for a step that must be refused, and is not checked here; None without one.

        `dropped` bytes at the end are not sent.
        """
        specs, rows = entering(self.contract), len(inputs["inputs"])
        data = b"".join(packed(specs, {**inputs, **carry}))
        size = size_of(leaving(self.contract), rows)
        head, reply = {"request": STEP, "rows": rows}, {"reply": STEP, "rows": rows}
        sent = data[: len(data) - dropped]
        error, _ = self._server.ask(head, [sent], reply, size)
        return error

    def _asked(self, head: Head, specs: tuple[AnySpec, ...], tensors: Arrays) -> dict[str, Array]:
        rows, kind = len(tensors["inputs"]), head["request"]
        is_step = kind == STEP
        replies = leaving(self.contract) if is_step else solved(self.contract, head.get("tries", 1))
        check_rows(self.contract, rows if is_step else head["slots"])
        error, data = self._server.ask(
            {**head, "rows": rows},
            packed(specs, tensors),
            {"reply": kind, "rows": rows},
            size_of(replies, rows),
        )
        if error is not None:
            raise self._server.failed(f"refused a {kind}: {printable(error).rstrip('.')}")
        try:
            return unpacked(replies, rows, data)
        except ValueError as problem:
            raise self._server.failed(f"answered wrongly: {first_line(problem)}") from problem

    def _opened(self, puzzle_table: str | os.PathLike[str] | None) -> Array | None:
        """The rows of the puzzle embeddings, if the graph does not have them."""
        wanted = self.contract.puzzle_table_sha256 is not None
        if wanted and puzzle_table is not None:
            return open_table(Path(puzzle_table), self.contract)
        if wanted or puzzle_table is not None:
            raise UsageError(
                f"{self._server.name}: its model has its puzzle embeddings in "
                f"{'a file; give it with' if wanted else 'its graph; drop'} --puzzle-table."
            )
        return None

    def _refuse_other(self, head: Head) -> None:
        if head.get("protocol") != PROTOCOL:
            raise self._server.failed(f"speaks another protocol, {head.get('protocol')!r:.40}")
        version = head.get("version")
        if version != VERSION:
            raise self._server.failed(f"speaks version {version!r:.40}, this client {VERSION}")


def _whole(number: object) -> int:
    return number if type(number) is int and number > 1 else 1


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else []


def _contract(text: bytes, name: str) -> StepContract:
    try:
        return StepContract.from_json(text.decode("utf-8"), f"{name}: its step contract")
    except UnicodeDecodeError as error:
        raise RejectedInputError(f"{name}: its step contract is not UTF-8.") from error
