"""The service answers as the driver does, and its requests share the calls of the engine."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.examples.files import BOARD, EXAMPLES, ROOT, SOLVED, exported
from trm_runtime import StepContract, StepOutput, StepRunner, UsageError, open_runner, solve

pytest.importorskip("fastapi", reason="fastapi is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

_JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def service() -> ModuleType:
    spec = importlib.util.spec_from_file_location("service", EXAMPLES / "service.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shipped model that needs several steps, as ONNX with a dynamic batch."""
    import trm_export as te

    path = tmp_path_factory.mktemp("maze") / "maze9.onnx"
    return te.export(ROOT / "artifacts" / "maze9.keras", path).path


@pytest.fixture(scope="module")
def puzzles() -> np.ndarray[Any, Any]:
    from trm_export.tasks import get_task

    tokens: np.ndarray[Any, Any] = get_task("maze9").puzzles("test", None, 6).inputs
    return tokens


class Held:
    """A runner that counts its calls, and waits in the first one until it is let go."""

    def __init__(self, runner: StepRunner) -> None:
        self._runner = runner
        self.begun, self.go = threading.Event(), threading.Event()
        self.rows: list[int] = []

    @property
    def contract(self) -> StepContract:
        return self._runner.contract

    def step(self, inputs: Any, carry: Any) -> StepOutput:
        self.rows.append(len(inputs["inputs"]))
        self.begun.set()
        assert self.go.wait(60)
        return self._runner.step(inputs, carry)


def test_requests_share_calls_and_get_the_answers_that_each_gets_alone(
    service: ModuleType, maze: Path, puzzles: Any
) -> None:
    runner = open_runner(maze)
    alone = solve(runner, puzzles)
    held = Held(runner)
    shared = service.SharedRunner(held)
    with ThreadPoolExecutor(len(puzzles)) as pool:
        first = pool.submit(shared.solve, puzzles[:1])
        assert held.begun.wait(60)
        others = [pool.submit(shared.solve, puzzles[i : i + 1]) for i in range(1, len(puzzles))]
        while len(shared._waiting) < len(others):
            time.sleep(0.001)
        held.go.set()
        found = [request.result() for request in (first, *others)]
    np.testing.assert_array_equal(np.concatenate([one.answers for one in found]), alone.answers)
    np.testing.assert_array_equal([one.steps[0] for one in found], alone.steps)
    assert held.rows[0] == 1  # the first came alone, the others joined it at its second step
    assert held.rows[1] >= len(others)
    assert sum(held.rows) == alone.steps.sum()
    assert len(held.rows) <= 1 + alone.steps.max()


def test_a_request_gives_answers_over_http(service: ModuleType, tmp_path: Path) -> None:
    app = service.create(open_runner(exported(tmp_path / "sudoku4.onnx")))
    asked = [[BOARD, BOARD], ["12"], []]
    answered, refused, empty = asyncio.run(posted(app, asked))
    assert answered.status_code == 200
    assert [row["answer"] for row in answered.json()] == [SOLVED, SOLVED]
    assert {row["stop_reason"] for row in answered.json()} == {"halted"}
    assert refused.status_code == 422
    assert "16" in refused.json()["detail"]
    assert empty.status_code == 422


@pytest.mark.parametrize("puzzle", ["NaN", "Infinity", "1"])
def test_what_is_no_text_is_refused_in_json(
    service: ModuleType, tmp_path: Path, puzzle: str
) -> None:
    app = service.create(open_runner(exported(tmp_path / "sudoku4.onnx")))
    (refused,) = asyncio.run(posted(app, [f'{{"puzzles": [{puzzle}]}}']))
    assert refused.status_code == 422
    assert "string" in refused.json()["detail"][0]["msg"]


async def posted(app: Any, asked: Sequence[list[str] | str]) -> list[Any]:
    """The responses to requests, of puzzles or a JSON text, that are sent at the same time."""
    import httpx

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        texts = [one if isinstance(one, str) else json.dumps({"puzzles": one}) for one in asked]
        sent = [client.post("/solve", content=text, headers=_JSON) for text in texts]
        return await asyncio.gather(*sent)


def test_an_engine_that_fails_fails_every_request_in_the_call(
    service: ModuleType, maze: Path, puzzles: Any
) -> None:
    class Broken(Held):
        def step(self, inputs: Any, carry: Any) -> StepOutput:
            raise MemoryError("full")

    shared = service.SharedRunner(Broken(open_runner(maze)))
    for _ in range(2):  # and the service goes on
        with pytest.raises(MemoryError, match="full"):
            shared.solve(puzzles[:1])


def test_a_file_with_a_fixed_batch_is_refused(service: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--batch free"):
        service.SharedRunner(open_runner(exported(tmp_path / "sudoku4.tflite")))
