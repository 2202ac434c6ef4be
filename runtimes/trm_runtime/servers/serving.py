"""A step server over the drivers of this package: `python -m trm_runtime serve MODEL`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, final

import numpy as np

from trm_runtime import __version__
from trm_runtime.errors import RejectedInputError, TRMError, UsageError
from trm_runtime.limits import MEMORY_MB
from trm_runtime.loop import solve
from trm_runtime.measure import load_engine
from trm_runtime.message_text import clipped, first_line, printable
from trm_runtime.open import complete_steps, open_driver
from trm_runtime.runner import StepRunner
from trm_runtime.servers.messages import (
    MAX_LINE,
    PROTOCOL,
    SOLVE,
    STEP,
    VERSION,
    Head,
    entering,
    leaving,
    line_of,
    packed,
    read_line,
    reason_numbers,
    solved,
    unpacked,
)
from trm_runtime.tensors import AnySpec
from trm_runtime.tries import MAX_TRIES
from trm_runtime.try_options import CHOOSE

Array = np.ndarray[Any, Any]

_LONGEST = 2000  # characters of an error
_WHOLE = ("slots", "max_steps")  # keys of a request, for which `solve` takes None
_ABOUT_TRIES = ("tries", "vary", "choose", "seed", "sigma")  # keys of a request


@contextmanager
def own_output() -> Iterator[BinaryIO]:
    """Standard output for messages only.

    What an engine prints goes to standard error until this process ends: buffers are written last.
    """
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "wb") as output:
        os.dup2(2, 1)
        yield output


@final
class StepServer:
    """Answers the requests for one model.

    `driver` makes one call of the graph a step; the loop of this package runs over it.
    """

    def __init__(self, driver: StepRunner, engine: str, output: BinaryIO) -> None:
        self._driver, self._engine, self._output = driver, engine, output
        self._whole = complete_steps(driver)

    def serve(self, source: BinaryIO) -> None:
        """Answer until the input ends.

        Raises RejectedInputError for what is no message, which it also sends.
        """
        head = {"protocol": PROTOCOL, "version": VERSION, "driver": f"trm-runtime {__version__}"}
        text = self._driver.contract.to_json().encode()
        self._send({**head, "engine": self._engine, "tries": MAX_TRIES, "choose": CHOOSE}, [text])
        while line := source.readline(MAX_LINE):
            request, data = _message(line, source)
            try:
                reply, parts = self._answer(request, data)
            except Exception as error:
                send_error(self._output, error)
            else:
                self._send(reply, parts)

    def _answer(self, request: Head, data: bytearray) -> tuple[Head, list[bytes]]:
        """The reply to a request; raises any exception for one that is refused."""
        kind, rows = request.get("request"), request.get("rows")
        if kind not in (STEP, SOLVE):
            raise RejectedInputError(f"Expected the request step or solve, got {kind!r:.60}.")
        if type(rows) is not int or rows < 1:
            raise RejectedInputError(f"rows: expected 1 or more, got {rows!r:.60}.")
        parts = self._step(rows, data) if kind == STEP else self._solve(request, rows, data)
        return {"reply": kind, "rows": rows}, parts

    def _step(self, rows: int, data: bytearray) -> list[bytes]:
        contract = self._driver.contract
        given = _tensors(entering(contract), rows, data)
        inputs = {spec.name: given.pop(spec.name) for spec in contract.inputs}
        return packed(leaving(contract), self._driver.step(inputs, given).tensors)

    def _solve(self, request: Head, rows: int, data: bytearray) -> list[bytes]:
        for key in _WHOLE:
            if request.get(key, 1) is None:
                raise UsageError(f"{key}: expected a whole number, got null.")
        found = solve(
            self._whole,
            _tensors(self._driver.contract.inputs, rows, data),
            halt=request.get("halt", "learned"),
            max_steps=request.get("max_steps"),
            deadline=request.get("deadline"),
            batch_size=request.get("slots"),
            **{name: request[name] for name in _ABOUT_TRIES if name in request},
        )
        arrays = {
            "answers": found.answers,
            "steps": found.steps,
            "stop_reasons": reason_numbers(found.stop_reasons),
            "tries": (found.steps > 0).astype(np.int32),
            "total_steps": found.steps,
            "chosen": np.zeros(rows, np.int32),
            **found.about_tries,
        }
        return packed(solved(self._driver.contract, request.get("tries", 1)), arrays)

    def _send(self, head: Head, parts: list[bytes]) -> None:
        send(self._output, head, parts)


def send(output: BinaryIO, head: Head, parts: list[bytes]) -> None:
    """Write a message."""
    output.write(line_of(head, sum(map(len, parts))))
    for part in parts:
        output.write(part)
    output.flush()


def send_error(output: BinaryIO, error: BaseException) -> None:
    """Write an error as a message."""
    code = getattr(error, "exit_code", TRMError.exit_code)
    send(output, {"error": _sentence(error), "exit_code": code}, [])


def _sentence(error: BaseException) -> str:
    """The message of an error with all its problems, in one line."""
    if isinstance(error, RejectedInputError):
        return clipped(" ".join([error.summary, "; ".join(error.problems)]).strip(), _LONGEST)
    if isinstance(error, TRMError):
        return clipped(printable(str(error)), _LONGEST)
    return clipped(f"The request is refused: {first_line(error)}.", _LONGEST)


def _tensors(specs: Sequence[AnySpec], rows: int, data: bytearray) -> dict[str, Array]:
    """The tensors of a request; RejectedInputError for bytes that are not theirs."""
    try:
        return unpacked(specs, rows, data)
    except ValueError as error:
        raise RejectedInputError(f"The request is refused: {first_line(error)}.") from error


def _message(line: bytes, source: BinaryIO) -> tuple[dict[str, Any], bytearray]:
    try:
        head = read_line(line)
    except ValueError as error:
        raise RejectedInputError(f"The input is no message: {first_line(error)}.") from error
    size = head["bytes"]
    if size > MEMORY_MB.bytes:
        raise RejectedInputError(
            f"A message of {size >> 20:,} MB, more than {MEMORY_MB.value:,}; {MEMORY_MB.remedy}."
        )
    data = bytearray(size)
    found = source.readinto(data)  # type: ignore[attr-defined]
    if found < size:
        raise RejectedInputError(f"The input ends after {found:,} of {size:,} bytes of a message.")
    return head, data


def serve_file(
    path: Path, threads: int | None, engine: str | None, before: Callable[[], object]
) -> None:
    """Open a model and answer until standard input ends; an error is sent, and raised.

    `before` is called before the file is opened.
    """
    with own_output() as output:
        try:
            if sys.stdin is None:
                raise RejectedInputError("Standard input cannot be read: it is closed.")
            before()
            driver = open_driver(path, threads, engine=engine)
            StepServer(driver, load_engine(path, engine), output).serve(sys.stdin.buffer)
        except TRMError as error:
            send_error(output, error)
            raise
