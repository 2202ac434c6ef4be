"""Step servers: the toy model over a pipe, and everything that a server can do wrong."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.fakes import FakeRunner, make_contract, make_puzzles
from tests.runtime.graphs import write
from tests.runtime.test_command import unread
from trm_runtime import RejectedInputError, UsageError, initial_carry, open_runner, solve
from trm_runtime.__main__ import main
from trm_runtime.contract import MadeBy
from trm_runtime.parity import GoldenOrigin, record
from trm_runtime.parity.golden_file import write_golden
from trm_runtime.servers.messages import MAX_LINE, line_of, read_line
from trm_runtime.servers.runner import LoopOptions, ServerRunner

PROGRAM = Path(__file__).with_name("step_server.py")

needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc of Linux")


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
    return main(["check", "--command", command(PROGRAM, *fault.split()), *options, str(golden)])


def test_a_right_server_climbs_the_ladder(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(golden, "none", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["passed"]
    assert found["driver"] == "numpy (trm-runtime 0.1.0)"
    rungs = {rung["name"]: rung for rung in found["rungs"]}
    assert list(rungs)[-2:] == ["driver's loop", "refusals"]
    assert rungs["driver's loop"]["status"] == rungs["refusals"]["status"] == "ok"
    loop = rungs["driver's loop"]["summary"]
    assert loop == "of 84 puzzles 84 answers, 84 steps, 84 stop reasons are equal"
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
        ("end-exit", 4, "ended with exit code 9 at the end of its input; it wrote nothing to"),
        ("end-crash", 4, "crashed (SIGSEGV) at the end of its input"),
        ("end-garbage", 4, "wrote a message without a request"),
        ("hello-garbage", 4, "wrote no message but 'Welcome!"),
        ("hello-error", 4, "m.onnx: damaged."),
        ("hello-extra", 3, "pip install x."),
        ("hello-long 1", 1, r": \x1b[2J\x1b[2J"),
        ("hello-long 2", 2, r": \x1b[2J\x1b[2J"),
        ("hello-long 3", 3, r": \x1b[2J\x1b[2J"),
        ("hello-long 4", 4, r": \x1b[2J\x1b[2J"),
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
    assert len(captured.err) < 510
    assert captured.out == ""
    assert ("the engine said" in captured.err) == (fault == "exit")


def test_a_server_that_hangs_is_ended_at_the_limit(
    golden: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(golden, "hang", "--timeout", "3") == 4
    assert "has not answered in 3 s (--timeout); " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("end-hang", "has not ended 1 s after the end of its input; "),
        ("end-flood", "wrote a message without a request; "),
    ],
)
def test_a_server_that_does_not_end_is_ended_and_refused(
    golden: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    words: str,
) -> None:
    monkeypatch.setattr("trm_runtime.servers.process._ENDING", 1.0)
    assert checked(golden, fault) == 4
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


def test_a_server_that_has_ended_between_two_requests_is_refused() -> None:
    with ServerRunner(command(PROGRAM, "leaves"), 60) as server:
        carry = initial_carry(server.contract, 2)
        server.step({"inputs": make_puzzles(2)}, carry)
        server._server._readers[0].join(60)
        with pytest.raises(RejectedInputError, match="ended with exit code 7 before its answer"):
            server.step({"inputs": make_puzzles(2)}, carry)


def test_a_bad_end_hides_no_other_error(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(golden, "end-exit", "--puzzle-table", "t.npy") == 2
    assert capsys.readouterr().err.endswith(" its graph; drop --puzzle-table.\n")
    with pytest.raises(KeyError), ServerRunner(command(PROGRAM, "end-exit"), 60):
        raise KeyError


def test_a_long_name_of_an_engine_is_cut(golden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(golden, "long-engine", "--json") == 0
    driver = json.loads(capsys.readouterr().out)["driver"]
    assert len(driver) <= 200
    assert driver.startswith(r"\x1b[2J\x1b[2J")
    assert driver.endswith("(trm-runtime 0.1.0)")


@pytest.mark.parametrize("fault", ["print", "end-print"])
def test_what_an_engine_prints_does_no_harm(
    golden: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    assert checked(golden, fault) == 0


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("drifts", "FAILED at forced values"),
        ("loop-late", "FAILED at driver's loop: of 84 puzzles 81 answers, 84 steps"),
        ("loop-reason", "expected max_steps after 2 steps, got halted after 2"),
        ("loop-tries", "tries by first, puzzle 0: tries: expected "),
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


def test_the_help_of_check_shows_step_servers(
    golden: Path, toy_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["check", "--help"])
    shown = capsys.readouterr().out
    assert "--command COMMAND" in shown
    assert "--timeout SECONDS" in shown
    assert main(["check", str(toy_onnx), str(golden), "--timeout", "5"]) == 2
    assert capsys.readouterr().err == "Error: --timeout is for --command; drop it.\n"


def test_a_shortened_command_is_not_passed_over(
    golden: Path, toy_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "--comm", "true", str(toy_onnx), str(golden)]) == 2
    assert "Unrecognized arguments: --comm " in capsys.readouterr().err


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


def test_the_own_loop_asks_again_as_that_of_python() -> None:
    puzzles = make_puzzles(12)
    options = LoopOptions("learned", 3, None, 5, tries=4, vary="noise", choose="vote", seed=7)
    with ServerRunner(command(PROGRAM, "none"), 60) as server:
        assert server.tries == 1 << 16
        assert server.choose == ("score", "first", "vote")
        found = server.solve({"inputs": puzzles}, options)
        again = solve(server.whole, puzzles, max_steps=3, batch_size=5, tries=4, vary="noise",
                      choose="vote", seed=7)  # fmt: skip
        with pytest.raises(RejectedInputError, match="refused a solve: vary: expected one of"):
            server.solve({"inputs": puzzles}, replace(options, vary="all"))
        with pytest.raises(RejectedInputError, match="the step server has ended; start it again"):
            server.solve({"inputs": puzzles}, options)
    np.testing.assert_array_equal(found.answers, again.answers)
    assert found.about_tries.keys() == again.about_tries.keys()
    for name, values in again.about_tries.items():
        np.testing.assert_array_equal(found.about_tries[name], values)


def test_a_server_that_does_not_ask_again_is_not_asked_to(
    golden: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(golden, "no-tries") == 0
    assert "of 48 puzzles 48 answers, 48 steps, 48 stop reasons" in capsys.readouterr().out


def test_the_process_ends_with_its_runner() -> None:
    with ServerRunner(command(PROGRAM, "none"), 60) as server:
        process = server._server._process
        assert process.poll() is None
    assert process.returncode == 0
    with pytest.raises(UsageError):
        ServerRunner(command(PROGRAM, "none"), 0)


STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGINT, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import signal, time\\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\\ntime.sleep(60)"])
with open(sys.argv[1] + ".part", "w") as file:
    file.write(str(os.getpgid(0)))
os.rename(sys.argv[1] + ".part", sys.argv[1])
time.sleep(60)
"""


def alive(group: int) -> list[str]:
    """The processes of a group that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, its_group = path.read_text().rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in "ZX":
                found.append(path.parent.name)
    return found


def started(golden: Path, folder: Path, *options: str) -> subprocess.Popen[str]:
    """`check` with a server that ignores signals and the end of its input, and has a child."""
    server = shlex.join([sys.executable, "-c", STUBBORN, str(folder / "group")])
    words = [sys.executable, "-m", "trm_runtime", "check", "--command", server, *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*words, str(golden)], stdout=pipe, stderr=pipe, text=True, env=environment
    )


def group_of(folder: Path, process: subprocess.Popen[str]) -> int:
    while not (folder / "group").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    group = int((folder / "group").read_text())
    assert group != os.getpgid(process.pid)
    assert len(alive(group)) == 2
    return group


@needs_proc
@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGINT, 130, "Interrupted."), (signal.SIGTERM, 143, "Terminated.")],
)
def test_a_signal_ends_the_server_and_all_that_it_has_started(
    golden: Path, tmp_path: Path, number: int, code: int, words: str
) -> None:
    with contextlib.ExitStack() as stack:
        checks = []
        for delay in (0.0, 0.3):
            folder = tmp_path / str(delay)
            folder.mkdir()
            check = stack.enter_context(started(golden, folder))
            group = group_of(folder, check)
            time.sleep(delay)
            check.send_signal(number)
            checks.append((check, group))
        for check, group in checks:
            out, err = check.communicate(timeout=30)
            assert alive(group) == []
            assert (check.returncode, out, err) == (code, "", f"{words}\n")


@needs_proc
def test_a_signal_at_any_moment_leaves_no_server(golden: Path, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        checks = []
        for turn in range(8):
            check = stack.enter_context(started(golden, tmp_path))
            for _ in range(2000):  # until the server is about to be started
                if len(Path(f"/proc/{check.pid}/task/{check.pid}/children").read_text().split()):
                    break
                time.sleep(0.001)
            time.sleep(turn * 0.01)
            check.send_signal((signal.SIGINT, signal.SIGTERM)[turn % 2])
            checks.append(check)
        for check in checks:
            check.communicate(timeout=30)
    assert stubborn(tmp_path) == []


def stubborn(folder: Path) -> list[str]:
    """The servers that `started` has started and that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if str(folder / "group").encode() in words:
                found.append(path.parent.name)
    return found


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_the_server_ends_with_a_check_that_is_killed(
    golden: Path, tmp_path: Path, number: int
) -> None:
    with started(golden, tmp_path) as check:
        group = group_of(tmp_path, check)
        check.send_signal(number)
        check.communicate(timeout=30)
        assert check.returncode == -number
    for _ in range(1000):  # its guard ends it
        if not alive(group):
            break
        time.sleep(0.02)
    assert alive(group) == []


@needs_proc
def test_a_stubborn_server_is_ended_at_the_limit(golden: Path, tmp_path: Path) -> None:
    with started(golden, tmp_path, "--timeout", "4", "--json") as check:
        group = group_of(tmp_path, check)
        out, _ = check.communicate(timeout=30)
        assert check.returncode == json.loads(out)["error"]["exit_code"] == 4
        assert alive(group) == []


@needs_proc
def test_what_a_right_server_leaves_behind_is_ended(golden: Path, tmp_path: Path) -> None:
    child = (
        "import os, subprocess, sys; subprocess.Popen(['sleep', '61']); "
        "open(sys.argv[1], 'w').write(str(os.getpgid(0))); os.execv(sys.argv[2], sys.argv[2:])"
    )
    server = command("-c", child, tmp_path / "group", sys.executable, PROGRAM, "none")
    assert main(["check", "--command", server, str(golden)]) == 0
    assert alive(int((tmp_path / "group").read_text())) == []


def test_it_is_told_what_is_waited_for(
    golden: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert checked(golden, "none", "--timeout", "77") == 0
    shown = capsys.readouterr().err
    assert "Waiting for the first message of " in shown
    assert "(at most 77 s) ..." in shown
    assert "Comparing the driver's own loop ..." in shown
    assert shown.endswith("\r\033[K")


# --- a file or server of other weights than the golden, which its contract shows ----------------


@pytest.fixture
def other_golden(tmp_path: Path) -> Path:
    """A recording of the toy model with other weights."""
    made_by = MadeBy("tests", {"numpy": "2"}, "1" * 64, "none")
    about = GoldenOrigin(provenance={"model": "my model.keras"})
    path = tmp_path / "other.golden.npz"
    with path.open("wb") as file:
        recorded = record(FakeRunner(make_contract(made_by=made_by)), Puzzles(), about=about)
        write_golden(file, recorded)
    return path


WEIGHTS = "its contract records the SHA-256 0000000000000000... of them, the reference 1111111111"


def test_a_file_of_other_weights_is_not_opened(
    tmp_path: Path,
    other_golden: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write(tmp_path / "toy.onnx")

    def refuse(*arguments: object) -> None:
        raise AssertionError("It was opened.")

    monkeypatch.setattr("trm_runtime.open.open_driver", refuse)
    assert main(["check", str(path), str(other_golden)]) == 5
    said = capsys.readouterr()
    start = "FAILED: made from other weights than the reference, which shows at weights: "
    told = " ".join(said.out.split())
    assert told.startswith(f"{start}{WEIGHTS}")
    assert f" {path} against {other_golden}, a recording of my model.keras. " in told
    widest = max(len(line) for line in said.out.splitlines() if str(tmp_path) not in line)
    assert widest <= 80
    assert said.err == f"Try: trm-export parity 'my model.keras' {path}\n"
    assert main(["check", str(path), str(other_golden), "--json"]) == 5
    found = json.loads(capsys.readouterr().out)
    statuses = {rung["name"]: rung["status"] for rung in found["rungs"]}
    assert (found["same_weights"], statuses["weights"]) == (False, "failed")
    assert set(list(statuses.values())[4:]) == {"not judged"}


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_verdict_counts_without_a_reader(
    tmp_path: Path, other_golden: Path, more: list[str]
) -> None:
    path = write(tmp_path / "toy.onnx")
    code, said = unread("check", path, other_golden, *more)
    assert code == 5
    assert said == ("" if more else f"Try: trm-export parity 'my model.keras' {path}\n")


def test_a_file_of_another_model_gets_no_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`parity` would only say the same."""
    made_by = MadeBy("tests", {"numpy": "2"}, "1" * 64, "none")
    contract = make_contract(made_by=made_by, seq=Puzzles.inputs.shape[1] + 1, max_steps=3)
    longer, about = Puzzles(), GoldenOrigin(provenance={"model": "m.keras"})
    longer.inputs = np.pad(Puzzles.inputs, ((0, 0), (0, 1)), constant_values=1)
    path, golden = write(tmp_path / "toy.onnx"), tmp_path / "other.golden.npz"
    with golden.open("wb") as file:
        write_golden(file, record(FakeRunner(contract), longer, about=about))
    assert main(["check", str(path), str(golden)]) == 5
    said = capsys.readouterr()
    verdict = " ".join(said.out.split()).partition(". ")[0]
    assert "the file is of another model: seq_len " in verdict
    assert verdict.endswith(" more problems")
    assert said.err == ""


def test_a_server_of_other_weights_is_asked_nothing(
    other_golden: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checked(other_golden, "garbage") == 5
    said = capsys.readouterr()
    told = " ".join(said.out.split())
    assert WEIGHTS in told
    assert f"The step server against {other_golden}, a recording of my model.keras." in told
    assert said.err == ""


@pytest.mark.parametrize(("fault", "cure"), [("drifts", True), ("other", False)])
def test_a_driver_that_fails_ends_with_the_command_to_try(
    tmp_path: Path, fault: str, cure: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    about, path = GoldenOrigin(provenance={"model": "m.keras"}), tmp_path / "named.golden.npz"
    with path.open("wb") as file:
        write_golden(file, record(FakeRunner(), Puzzles(), about=about))
    assert checked(path, fault) == 5
    assert capsys.readouterr().err == "Try: trm-export vectors m.keras\n" * cure


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


def solve_of(**changes: object) -> bytes:
    """A right request for one puzzle but for these keys."""
    head = {"request": "solve", "rows": 1, "slots": 1, "halt": "learned", "max_steps": 2}
    return line_of({**head, "deadline": None, **changes}, 16) + bytes([1, 0, 0, 0] * 4)


def test_it_says_who_it_is_and_ends_with_its_input(toy_onnx: Path) -> None:
    done = served(toy_onnx, b"")
    ((head, text),) = messages(done.stdout)
    assert done.returncode == 0
    assert (head["protocol"], head["version"]) == ("trm-step-server", 1)
    assert head["engine"].startswith("onnxruntime ")
    assert text.decode() == open_runner(toy_onnx).contract.to_json()


@pytest.mark.parametrize("options", [[], ["--isolate"]])
def test_a_closed_standard_input_is_named(toy_onnx: Path, options: list[str]) -> None:
    words = [sys.executable, "-m", "trm_runtime", "serve", str(toy_onnx), *options]
    done = subprocess.run(
        ["sh", "-c", '"$@" <&-', "sh", *words], capture_output=True, timeout=100, check=False
    )
    ((head, _),) = messages(done.stdout)
    assert head["error"] == "Standard input cannot be read: it is closed."
    assert done.returncode == head["exit_code"] == 4
    assert done.stderr.decode() == "Error: Standard input cannot be read: it is closed.\n"


@pytest.mark.parametrize(
    ("request_line", "words"),
    [
        (b'{"request": "stop", "rows": 1, "bytes": 0}', "Expected the request step or solve"),
        (b'{"request": "step", "rows": 0, "bytes": 0}', "rows: expected 1 or more, got 0"),
        (b'{"request": "step", "rows": true, "bytes": 0}', "rows: expected 1 or more"),
        (b'{"request": "step", "rows": 1, "bytes": 0}', "expected 133 bytes for 1 row, got 0"),
        (b'{"request": "solve", "rows": 1, "slots": 1, "bytes": 1}\nx', "expected 16 bytes"),
        (solve_of(slots=None), "slots: expected a whole number, got null"),
        (solve_of(max_steps=None), "max_steps: expected a whole number, got null"),
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
    assert first["exit_code"] == (2 if "null" in words else 4)
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


@pytest.mark.parametrize("options", [[], ["--isolate"]])
@pytest.mark.parametrize(
    ("demand", "words"),
    [
        (["--expect-sha256", "0" * 64], "toy.onnx: expected the SHA-256 000"),
        (["--verify-key", "none.pem"], "none.pem: cannot be read"),
    ],
)
def test_a_file_that_the_user_does_not_trust_is_not_opened(
    tmp_path: Path, demand: list[str], words: str, options: list[str]
) -> None:
    path = tmp_path / "toy.onnx"
    path.write_bytes(b"an engine would refuse this")
    done = served(path, b"", *demand, *options)
    ((head, _),) = messages(done.stdout)
    assert words in head["error"]
    assert done.returncode == head["exit_code"] == 4
    assert done.stderr.decode() == f"Error: {head['error']}\n"


def test_a_fixed_batch_and_a_file_of_the_toy_climb_too(tmp_path: Path, golden: Path) -> None:
    write(tmp_path / "toy.onnx")
    words = command("-m", "trm_runtime", "serve", tmp_path / "toy.onnx", "--threads", "1")
    assert main(["check", "--command", words, str(golden)]) == 0
