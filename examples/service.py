"""A web service whose requests share the calls of one model.

    pip install fastapi uvicorn
    TRM_MODEL=artifacts/sudoku9.onnx uvicorn --app-dir examples --factory service:create

    curl localhost:8000/solve -H "content-type: application/json" -d '{"puzzles": ["53..7...."]}'

Every request runs the ordinary loop, `solve`, in a thread of its own, on a runner that gathers the
steps of all requests into one call of the engine. A puzzle that halts leaves the call, and one of a
new request takes its place at the next step: nobody waits until others are finished. The rows of a
call are computed apart from each other, so each request gets what it would get alone.

Needs a file with a dynamic batch, which `trm-export onnx model.keras` writes.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any, final

import numpy as np
from fastapi import FastAPI, HTTPException
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from trm_runtime import (
    RejectedInputError,
    Solution,
    StepContract,
    StepOutput,
    StepRunner,
    UsageError,
    open_runner,
    solve,
)

ROWS = 64  # puzzles of one call, at most
DEADLINE = 10.0  # seconds for a request

Arrays = Mapping[str, np.ndarray[Any, Any]]
Waiting = tuple[Arrays, Arrays, "Future[StepOutput]"]  # inputs, carry, and where the result goes


@final
class SharedRunner:
    """A runner for many threads: their steps become rows of the same calls.

    A call begins as soon as every thread inside `solve` waits for a step, or `ROWS` rows wait.
    """

    def __init__(self, runner: StepRunner) -> None:
        if runner.contract.batch is not None:
            raise UsageError("The file has a fixed batch; export it with --batch free.")
        self._runner = runner
        self._waiting: deque[Waiting] = deque()
        self._solving = 0  # threads inside `solve`
        self._changed = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    @property
    def contract(self) -> StepContract:
        """The contract of the model."""
        return self._runner.contract

    def solve(self, puzzles: list[str]) -> Solution:
        """As `trm_runtime.solve`, for one request."""
        self._count(1)
        try:
            return solve(self, puzzles, deadline=DEADLINE, batch_size=ROWS)
        finally:
            self._count(-1)

    def step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """One step for the rows of one request; called by its loop."""
        result: Future[StepOutput] = Future()
        with self._changed:
            self._waiting.append((inputs, carry, result))
            self._changed.notify_all()
        return result.result()

    def _count(self, change: int) -> None:
        with self._changed:
            self._solving += change
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._ready)
                calls = self._taken()
            self._call(calls)

    def _ready(self) -> bool:
        rows = sum(len(inputs["inputs"]) for inputs, _, _ in self._waiting)
        return bool(self._waiting) and (len(self._waiting) >= self._solving or rows >= ROWS)

    def _taken(self) -> list[Waiting]:
        """The steps that have waited longest, with at most `ROWS` rows."""
        taken = [self._waiting.popleft()]
        rows = len(taken[0][0]["inputs"])
        while self._waiting and rows + len(self._waiting[0][0]["inputs"]) <= ROWS:
            taken.append(self._waiting.popleft())
            rows += len(taken[-1][0]["inputs"])
        return taken

    def _call(self, calls: list[Waiting]) -> None:
        inputs, carries, results = zip(*calls, strict=True)
        try:
            output = self._runner.step(_joined(inputs), _joined(carries))
        except BaseException as error:  # every request gets it, and answers it as its own
            for result in results:
                result.set_exception(error)
            return
        start = 0
        for tokens, result in zip(inputs, results, strict=True):
            rows = slice(start, start := start + len(tokens["inputs"]))
            result.set_result(StepOutput(_cut(output.carry, rows), _cut(output.outputs, rows)))


def _joined(parts: tuple[Arrays, ...]) -> Arrays:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _cut(arrays: Arrays, rows: slice) -> dict[str, np.ndarray[Any, Any]]:
    return {name: array[rows] for name, array in arrays.items()}


class Request(BaseModel):
    """Puzzles as text, a character a cell."""

    puzzles: list[str] = Field(min_length=1, max_length=1000)


class Answer(BaseModel):
    """The answer to one puzzle."""

    answer: str
    steps: int
    stop_reason: str  # "halted" if the model is sure


def create(runner: StepRunner | None = None) -> FastAPI:
    """The service for a runner; without one, for the file that TRM_MODEL names."""
    shared = SharedRunner(runner or open_runner(os.environ["TRM_MODEL"]))
    app = FastAPI()

    @app.exception_handler(RequestValidationError)
    def refused(_: object, error: RequestValidationError) -> JSONResponse:
        """Without the input, which JSON may be unable to hold, such as NaN."""
        found = [{"loc": one["loc"], "msg": one["msg"]} for one in error.errors()]
        return JSONResponse({"detail": found}, 422)

    @app.post("/solve")
    def answers(request: Request) -> list[Answer]:  # not async: FastAPI gives it a thread
        try:
            found = shared.solve(request.puzzles)
        except RejectedInputError as error:
            raise HTTPException(422, str(error)) from error
        rows = zip(found.texts, found.steps.tolist(), found.stop_reasons, strict=True)
        return [Answer(answer=text, steps=steps, stop_reason=why) for text, steps, why in rows]

    return app
