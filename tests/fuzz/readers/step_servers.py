"""The messages of step servers: what a client sends to ours, and the first one of any other."""

from __future__ import annotations

import functools
import io
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.mutate_bytes import damaged
from tests.fuzz.mutate_json import changed_text
from tests.fuzz.reader import Files, Reader, one_file
from tests.runtime.fakes import FakeRunner, make_puzzles
from trm_runtime import initial_carry
from trm_runtime.servers.messages import entering, line_of, packed, read_line
from trm_runtime.servers.serving import StepServer

_NAME = "input"


@functools.cache
def _requests() -> Sequence[Files]:
    """A step, and a solve and a step."""
    contract = FakeRunner().contract
    puzzles = {"inputs": make_puzzles(2)}
    tensors = {**puzzles, **initial_carry(contract, 2)}
    step = b"".join(packed(entering(contract), tensors))
    board = b"".join(packed(contract.inputs, puzzles))
    ways = {"slots": 1, "halt": "learned", "max_steps": 8, "deadline": None}
    asked = line_of({"request": "step", "rows": 2}, len(step)) + step
    solved = line_of({"request": "solve", "rows": 2, **ways}, len(board)) + board
    return [{_NAME: asked}, {_NAME: solved + asked}]


def _mutate(rng: Random, data: bytes) -> bytes:
    """Damage anywhere, or other values in the first line."""
    if rng.random() < 0.4:
        return damaged(rng, data)
    line, _, rest = data.partition(b"\n")
    return changed_text(rng, line).replace(b"\n", b" ") + b"\n" + rest


def _serve(folder: Path) -> Any:
    """The replies of our server."""
    output = io.BytesIO()
    source = io.BufferedReader(io.BytesIO((folder / _NAME).read_bytes()))  # type: ignore[arg-type]
    StepServer(FakeRunner(), "numpy", output).serve(source)
    return output.getvalue()


def _line(folder: Path) -> Any:
    """The first line, as a client reads it."""
    line, end, _ = (folder / _NAME).read_bytes().partition(b"\n")
    try:
        return read_line(line + end)
    except ValueError:
        return None


READERS = (
    Reader("step server, requests", _requests, one_file(_mutate), _serve),
    Reader("step server, a line", _requests, one_file(_mutate), _line),
)
