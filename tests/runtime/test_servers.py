"""Step servers: the toy model over a pipe, and everything that a server can do wrong."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.fakes import FakeRunner, make_puzzles
from tests.runtime.graphs import write
from trm_runtime import RejectedInputError, UsageError, initial_carry, open_runner
from trm_runtime.__main__ import main
from trm_runtime.parity import record
from trm_runtime.parity.golden_file import write_golden
from trm_runtime.servers.messages import MAX_LINE, read_line
from trm_runtime.servers.runner import LoopOptions, ServerRunner

PROGRAM = Path(__file__).with_name("step_server.py")


class Puzzles:
    """Toy puzzles without labels."""

    inputs = make_puzzles(12)
    labels = None


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("golden") / "toy.golden.npz"
    with path.open("wb") as file:
        write_golden(file, record(FakeRunner(), Puzzles()))
    return path


def command(*words: object) -> str:
    return shlex.join([sys.executable, *map(str, words)])


def checked(golden: Path, fault: str, *options: str) -> int:
    return main(["check", "--command", command(PROGRAM, fault), *options, str(golden)])


def test_a_right_server_climbs_the_ladder(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(golden, "none", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"]
    assert found["driver"] == "numpy (trm-runtime 0.1.0)"
    rungs = {rung["name"]: rung for rung in found["rungs"]}
    assert list(rungs)[-2:] == ["driver's loop", "refusals"]
    assert rungs["driver's loop"]["status"] == rungs["refusals"]["status"] == "ok"
    loop = rungs["driver's loop"]["summary"]
    assert loop == "of 48 puzzles 48 answers, 48 steps, 48 stop reasons are equal"
    assert checked(golden, "none", "--batch-size", "5") == 0
    assert "Driver: numpy" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "code", "words"),
    [
        ("exit", 4, "ended with exit code 9 before its answer was complete; its standard error"),
        ("crash", 4, "crashed (SIGSEGV)"),
        ("garbage", 4, "wrote no message but 'step 6 took 5 ms"),
        ("flood", 4, "wrote no message but 'xxx"),
        ("twice", 4, "answered step with rows 1 instead of 6"),
        ("cut", 4, "ended with exit code 0 before its answer was complete"),
        ("bool", 4, "halted: expected 0 or 1 in a bool"),
        ("refuse", 4, "refused a step: The request is refused: not enough"),
        ("hello-garbage", 4, "wrote no message but 'Welcome!"),
        ("hello-error", 4, "m.onnx: damaged."),
        ("hello-extra", 3, "pip install x."),
        ("hello-huge", 4, "announces a contract of 9,999,999,999 bytes"),
        ("hello-other", 4, "speaks another protocol, 'http'"),
        ("hello-newer", 4, "speaks version 2, this client 1"),
        ("hello-contract", 4, "its step contract is not valid"),
        ("hello-exit", 4, "ended with exit code 3"),
    ],
)
def test_what_a_server_does_wrong_is_one_sentence(
    golden: Path, capsys: pytest.CaptureFixture[str], fault: str, code: int, words: str
) -> None:
    assert checked(golden, fault) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert len(captured.err) < 600
    assert captured.out == ""
    assert ("the engine said" in captured.err) == (fault == "exit")


def test_a_server_that_hangs_is_ended_at_the_limit(
    golden: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(golden, "hang", "--timeout", "3") == 4
    assert "has not answered in 3 s" in capsys.readouterr().err


def test_what_an_engine_prints_does_no_harm(golden: Path) -> None:
    assert checked(golden, "print") == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("drifts", "FAILED at forced values"),
        ("loop-late", "FAILED at driver's loop: of 48 puzzles 46 answers, 48 steps"),
        ("loop-reason", "expected max_steps after 2 steps, got halted after 2"),
        ("accepts", "inputs with the id 6: expected an error, got a reply"),
    ],
)
def test_a_driver_that_computes_something_else_fails(
    golden: Path, capsys: pytest.CaptureFixture[str], fault: str, words: str
) -> None:
    assert checked(golden, fault) == 5
    assert words in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("no-such-program x", "cannot be started"),
        ("", "--command is empty"),
        ("python 'x", "No closing quotation"),
    ],
)
def test_a_command_that_cannot_be_started_is_usage(
    golden: Path, capsys: pytest.CaptureFixture[str], line: str, words: str
) -> None:
    assert main(["check", "--command", line, str(golden)]) == 2
    assert words in capsys.readouterr().err


def test_a_driver_of_another_model_fails_at_its_contract(
    golden: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(golden, "other") == 5
    found = capsys.readouterr().out
    assert "FAILED at names: puzzle_identifiers" in found.replace("input ", "")
    assert found.count("not judged") == 9


def test_a_puzzle_table_and_a_timeout_are_checked(golden: Path) -> None:
    assert checked(golden, "none", "--puzzle-table", "t.npy") == 2
    assert checked(golden, "none", "--timeout", "0") == 2
    assert checked(golden, "none", "--timeout", "nan") == 2


def test_tensors_larger_than_a_pipe_block_nobody() -> None:
    with ServerRunner(command(PROGRAM, "large"), 60) as server:
        puzzles = np.ones((20, 20_000), np.int32)
        carry = initial_carry(server.contract, 20)
        for _ in range(4):
            output = server.step({"inputs": puzzles}, carry)
            carry = output.carry
        assert output.outputs["logits"].nbytes > 9_000_000
        assert (output.outputs["logits"].argmax(-1) == 5).all()
        assert carry["z_H"].flags.writeable


def test_arrays_that_do_not_fit_never_reach_the_server() -> None:
    with ServerRunner(command(PROGRAM, "none"), 60) as server:
        carry = initial_carry(server.contract, 2)
        with pytest.raises(RejectedInputError, match=r"id 9 is not in 0\.\.5"):
            server.step({"inputs": np.full((2, 4), 9, np.int32)}, carry)
        found = server.solve({"inputs": make_puzzles(3)}, LoopOptions("max_steps", 2, None, 2))
        assert found.steps.tolist() == [2, 2, 2]
        assert found.stop_reasons == ("max_steps",) * 3


def test_the_process_ends_with_its_runner() -> None:
    with ServerRunner(command(PROGRAM, "none"), 60) as server:
        process = server._server._process
        assert process.poll() is None
    assert process.returncode == 0
    with pytest.raises(UsageError):
        ServerRunner(command(PROGRAM, "none"), 0)


# --- the server of this package, as another program sees it -------------------------------------


def served(path: object, data: bytes, *options: str) -> Any:
    words = [sys.executable, "-m", "trm_runtime", "serve", str(path), *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.run(
        words, input=data, capture_output=True, timeout=100, check=False, env=environment
    )


def messages(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    found = []
    while data:
        line, _, rest = data.partition(b"\n")
        head = read_line(line + b"\n")
        found.append((head, rest[: head["bytes"]]))
        data = rest[head["bytes"] :]
    return found


def test_it_says_who_it_is_and_ends_with_its_input(toy_onnx: Path) -> None:
    done = served(toy_onnx, b"")
    ((head, text),) = messages(done.stdout)
    assert done.returncode == 0
    assert (head["protocol"], head["version"]) == ("trm-step-server", 1)
    assert head["engine"].startswith("onnxruntime ")
    assert text.decode() == open_runner(toy_onnx).contract.to_json()


@pytest.mark.parametrize(
    ("request_line", "words"),
    [
        (b'{"request": "stop", "rows": 1, "bytes": 0}', "Expected the request step or solve"),
        (b'{"request": "step", "rows": 0, "bytes": 0}', "rows: expected 1 or more, got 0"),
        (b'{"request": "step", "rows": true, "bytes": 0}', "rows: expected 1 or more"),
        (b'{"request": "step", "rows": 1, "bytes": 0}', "expected 133 bytes for 1 row, got 0"),
        (b'{"request": "solve", "rows": 1, "slots": 1, "bytes": 1}\nx', "expected 16 bytes"),
    ],
)
def test_a_wrong_request_is_answered_and_the_next_one_read(
    toy_onnx: Path, request_line: bytes, words: str
) -> None:
    last = b"" if b"\n" in request_line else b"\n"
    again = b'{"request": "stop", "rows": 1, "bytes": 0}\n'
    done = served(toy_onnx, request_line + last + again)
    (_, (first, _), (second, _)) = messages(done.stdout)
    assert words in first["error"]
    assert "Expected the request" in second["error"]
    assert done.returncode == 0
    assert done.stderr == b""


@pytest.mark.parametrize(
    "data",
    [
        b"step please\n",
        b"[]\n",
        b'{"request": "step"}\n',
        b'{"request": "step", "rows": 1, "bytes": -1}\n',
        b'{"request": "step", "rows": 1, "bytes": 10}\nshort',
        b'{"request": "step", "rows": 1, "bytes": 99999999999}\n',
        b"x" * (MAX_LINE + 1) + b"\n",
        b'{"bytes": 0, "bytes": 0}\n',
        b"\xff\n",
        b'{"request": "step"',
    ],
)
def test_what_is_no_message_ends_it(toy_onnx: Path, data: bytes) -> None:
    done = served(toy_onnx, data)
    (_, (last, _)) = messages(done.stdout)
    assert done.returncode == last["exit_code"] == 4
    assert last["error"] in done.stderr.decode().replace("Error: ", "")


def test_a_file_that_cannot_be_opened_is_the_first_message(tmp_path: Path) -> None:
    done = served(tmp_path / "none.onnx", b"")
    ((head, _),) = messages(done.stdout)
    assert "none.onnx: " in head["error"]
    assert done.returncode == head["exit_code"] == 4


def test_a_fixed_batch_and_a_file_of_the_toy_climb_too(tmp_path: Path, golden: Path) -> None:
    write(tmp_path / "toy.onnx")
    words = command("-m", "trm_runtime", "serve", tmp_path / "toy.onnx", "--threads", "1")
    assert main(["check", "--command", words, str(golden)]) == 0
