"""The step server of the generated C refuses what that of Python refuses, with its exit codes."""

from __future__ import annotations

import io
import json
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import trm_export as te
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.exporters.c_source.compiled import compiled_server, compiler
from trm_export.tasks import get_task
from trm_runtime import RejectedInputError
from trm_runtime.servers.runner import ServerRunner
from trm_runtime.servers.serving import StepServer, send_error

pytestmark = pytest.mark.skipif(compiler() is None, reason="there is no C compiler")

TRIES = 5
USUAL = {
    "request": "solve", "rows": 1, "slots": 1, "halt": "learned", "max_steps": 2, "deadline": None,
    "tries": 2, "vary": "both", "bytes": 64,
}  # fmt: skip
VALUES = {  # of a key, as JSON
    "slots": 'null 0 2 -1 "1" 1.0 true []',
    "max_steps": 'null 0 99 -1 "1" 1.5 true 2e0 02 -0 1 99999999999999999999',
    "halt": 'null "settle" "learne" [1] true {} 1e400 01 1. .5 +1 1e NaN Infinity 5 -2.5 1E+2 1e39',
    "deadline": '"5" -1 true 1e400 -0.0 -0 0 [] NaN 00 1e-9',
    "rows": 'null 0 -1 2 1.5 true "1" 1.0 01 1e0 4611686018427387905',
    "request": 'null "solver" ["solve"] 5 "s\\u006flve"',
    "bytes": '064 64.0 6.4e1 "64" true null -1 99999999999999999999',
    "tries": 'null 0 1 "2" 2.5 true 2.0 02 70000',
    "vary": 'null "all" 1 "noise" "symmetry"',
    "choose": 'null "best" 1 "first" "f\\u0069rst"',
    "seed": 'null -1 1.5 "1" true 4294967296 4294967295 01 1.0 -0',
    "sigma": 'null 0 "x" -1 1000 999.9 true 1e400 01 0.5 1e-320',
    "x": r'"\ud800" "\udc00" "\ud83d\ude00" "\x" "\u12g4" tru nulll hello [1,] {"a":1,} [,1] '
    '{"a"1} {a:1} [1 [1} 1,, - -0 -Infinity "\\/" \'a\' 1e 1e5 1e999 \v1 \f1 "\t" "\x7f" "é" '
    '{"a":1,"b":{"a":2}} {"a":1,"b":{"a":2},"a":3} [{"a":1},{"a":1}] {"é":1,"\\u00e9":1} '
    '{"Ã©":1,"\\u00e9":1} {"a":1,"\\u0061":2} {"":1,"":2}',
}
HEAD = json.dumps(USUAL)
LINES = [
    *(
        json.dumps({**USUAL, key: "@"}).replace('"@"', value)
        for key, values in VALUES.items()
        for value in values.split(" ")
    ),
    *('{"x": ' + "[" * depth + "]" * depth + "," + HEAD[1:] for depth in (50, 100)),
    *(f"{{{key}: 1, {HEAD[1:]}" for key in ('"rows"', r'"\u0072ows"', '"x": 1, "x"', '"rowsx"')),
    *(HEAD.replace('"rows"', r'"\u0072ows"'), f"{HEAD[:-1]},}}", f"{HEAD} x", f"{HEAD} \t\r"),
    *("[1]", "{}", HEAD[:-1], "", f"\ufeff{HEAD}", f'{HEAD[:-1]}, "y": "a\0b"}}'),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The step server of a model with tries, which ends at what sanitizers find."""
    folder = tmp_path_factory.mktemp("c") / "m"
    te.export_c(shipped_checkpoint("sudoku4"), folder, tries=TRIES)
    sanitized = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1")
    return compiled_server(folder, folder / "serve", [str(compiler()), *sanitized])


@pytest.fixture(scope="module")
def runner(server: Path) -> Iterator[ServerRunner]:
    """The same code for the server of Python, which judges the requests itself."""
    with ServerRunner(shlex.quote(str(server))) as opened:
        yield opened


def codes(output: bytes) -> list[int | None]:
    """The exit codes of the replies behind the first message; None for a reply that is no error."""
    found = []
    while output:
        line, _, output = output.partition(b"\n")
        head = json.loads(line)
        output = output[head["bytes"] :]
        found.append(head.get("exit_code"))
    return found[1:]


def of_c(server: Path, requests: bytes) -> tuple[list[int | None], int]:
    done = subprocess.run([server], input=requests, capture_output=True, timeout=60)
    assert done.stderr == b"", done.stderr[:400]
    return codes(done.stdout), done.returncode


def of_python(runner: ServerRunner, requests: bytes) -> tuple[list[int | None], int]:
    output, source = io.BytesIO(), io.BufferedReader(io.BytesIO(requests))  # type: ignore[arg-type]
    try:
        StepServer(runner, "C99", output).serve(source)
    except RejectedInputError as error:
        send_error(output, error)
        return codes(output.getvalue()), error.exit_code
    return codes(output.getvalue()), 0


def board() -> bytes:
    return np.asarray(get_task("sudoku4").puzzles("test", count=1).inputs, np.int32).tobytes()


def test_a_request_is_refused_as_by_python(server: Path, runner: ServerRunner) -> None:
    assert len(LINES) > 150
    differing, seen = [], set()
    for line in LINES:
        requests = (line.encode() + b"\n" + board()) + (HEAD.encode() + b"\n" + board())
        own, wanted = of_c(server, requests), of_python(runner, requests)
        seen.add((wanted[0][0], wanted[1]))
        if own != wanted:
            differing.append((line, own, wanted))
    assert differing == []
    assert seen == {(None, 0), (2, 0), (4, 0), (4, 4)}


def test_more_tries_than_the_code_has_are_a_wrong_option(server: Path) -> None:
    line = json.dumps({**USUAL, "tries": TRIES + 1}).encode()
    assert of_c(server, line + b"\n" + board()) == ([2], 0)


@pytest.mark.parametrize("halted", [0, 1, 2, 255])
def test_a_bool_is_0_or_1(halted: int, server: Path, runner: ServerRunner) -> None:
    carry = [
        bytes(np.dtype(spec.dtype).itemsize * int(np.prod(spec.shape[1:])))
        if spec.name != "halted"
        else bytes([halted])
        for spec in runner.contract.carry
    ]
    data = board() + b"".join(carry)
    line = json.dumps({"request": "step", "rows": 1, "bytes": len(data)}).encode()
    found = of_c(server, line + b"\n" + data)
    assert found == of_python(runner, line + b"\n" + data) == ([4 if halted > 1 else None], 0)


@pytest.mark.parametrize("given", [0, 63])
@pytest.mark.parametrize("change", [{}, {"slots": None}, {"request": "stop"}, {"rows": 2}])
def test_an_end_in_a_message_is_told(
    given: int, change: dict[str, Any], server: Path, runner: ServerRunner
) -> None:
    requests = json.dumps({**USUAL, **change}).encode() + b"\n" + board()[:given]
    assert of_c(server, requests) == of_python(runner, requests) == ([4], 4)
