from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import trm_runtime
from tests.runtime.fakes import make_contract
from tests.runtime.graphs import build, write
from trm_runtime import Symmetries
from trm_runtime.__main__ import main

pytest.importorskip("onnxruntime")

PUZZLES = "# first cell + 1 is the step at which it halts\n.123\n2 0 0 0\n"


def run(*arguments: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trm_runtime", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


@pytest.fixture
def puzzles(tmp_path: Path) -> Path:
    path = tmp_path / "puzzles.txt"
    path.write_text(PUZZLES)
    return path


def test_a_line_for_every_puzzle(toy_onnx: Path, puzzles: Path) -> None:
    done = run(toy_onnx, puzzles)
    assert done.stdout == "1234\t1\thalted\t0.5000\n?333\t3\thalted\t0.5000\n"
    summary, note = done.stderr.splitlines()
    assert summary.startswith("2 puzzles in ")
    assert summary.endswith(" s: 2 halted; 2.00 steps on average")
    assert note == "2 answers change a given cell of their puzzle"
    assert done.returncode == 7


def test_puzzles_from_standard_input(toy_onnx: Path) -> None:
    done = run(toy_onnx, "-", input=".123\n")
    assert done.stdout == "1234\t1\thalted\t0.5000\n"
    summary, note = done.stderr.splitlines()
    assert summary.startswith("1 puzzle in ")
    assert note == "1 answer changes a given cell of its puzzle"


def test_answers_that_keep_the_given_cells_need_no_note(toy_onnx: Path) -> None:
    done = run(toy_onnx, "-", "--json", input="....\n.1..\n")
    assert [puzzle["given_kept"] for puzzle in json.loads(done.stdout)["puzzles"]] == [True, False]
    assert done.returncode == 7
    kept = run(toy_onnx, "-", input="....\n")
    assert (kept.stderr.count("\n"), kept.returncode) == (1, 0)


def test_json(toy_onnx: Path, puzzles: Path) -> None:
    done = run(toy_onnx, puzzles, "--json", "--deadline", 0)
    value = json.loads(done.stdout)
    unsolved = {"answer": "????", "ids": [0] * 4, "steps": 0, "q_halt": None, "given_kept": None}
    assert value == {
        "model_name": "toy",
        "precision": "fp32",
        "puzzles": [{**unsolved, "stop_reason": "deadline"}] * 2,
    }
    assert done.returncode == 8
    assert done.stderr.splitlines()[1:] == [
        "the deadline ended 2 puzzles; a longer one gives complete answers"
    ]


class Piped:
    """The command, with pipes to write puzzles to and to read answers from."""

    def __init__(self, *arguments: Any) -> None:
        pipe = subprocess.PIPE
        words = [sys.executable, "-m", "trm_runtime", *map(str, arguments)]
        self.running = subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe)
        self.guard = threading.Timer(120, self.running.kill)

    def __enter__(self) -> Piped:
        self.guard.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.guard.cancel()
        self.running.kill()
        self.running.communicate()

    def ask(self, *pieces: bytes) -> str:
        """The next line of answers, after these bytes."""
        assert self.running.stdin is not None
        assert self.running.stdout is not None
        for piece in pieces:
            self.running.stdin.write(piece)
            self.running.stdin.flush()
            time.sleep(0.05)  # so that they do not arrive together
        return self.running.stdout.readline().decode()

    def end(self) -> tuple[int, str, str]:
        """The exit code, and the rest of both outputs."""
        out, error = self.running.communicate(timeout=100)
        return self.running.returncode, out.decode(), error.decode()


@pytest.mark.parametrize("options", [[], ["--batch-size", "1"], ["--deadline", "60"]])
def test_a_line_of_a_pipe_is_answered_before_the_next_is_there(
    toy_onnx: Path, options: list[str]
) -> None:
    with Piped(toy_onnx, "-", *options) as command:
        first = command.ask(b"# a comment\r\n", b"\r", b"\n.1", b"23\r\n")
        assert first == "1234\t1\thalted\t0.5000\n"
        assert command.ask(b"....\n") == "1111\t1\thalted\t0.5000\n"
        assert command.ask(b"....\n....\n") == command.ask() == "1111\t1\thalted\t0.5000\n"
        code, out, error = command.end()
    assert (code, out) == (7, "")
    assert error.startswith("4 puzzles in ")
    assert "4 halted; 1.00 steps on average" in error


def test_with_json_too_a_line_is_answered_before_the_next_is_there(toy_onnx: Path) -> None:
    with Piped(toy_onnx, "-", "--json") as command:
        text = command.ask(b"....\n") + command.ask()
        assert json.loads(f"{text}]}}")["puzzles"][0]["answer"] == "1111"
        text += command.ask(b"....\n")
        assert text.splitlines()[-1].startswith(',{"answer": "1111"')
        code, rest, _ = command.end()
    assert code == 0
    assert len(json.loads(text + rest)["puzzles"]) == 2


def test_a_bad_line_of_a_pipe_ends_the_command_after_those_before_it(toy_onnx: Path) -> None:
    done = run(toy_onnx, "-", "--json", input="....\n\n....\n12\n....\n34\n")
    value = json.loads(done.stdout)
    assert len(value["puzzles"]) == 2
    assert value["error"]["exit_code"] == done.returncode == 4
    assert value["error"]["message"] == "standard input: 2 bad lines:"
    assert value["error"]["problems"][0].startswith("line 4: ")


def test_other_formats_of_a_pipe_are_read_to_the_end(toy_onnx: Path, puzzles: Path) -> None:
    for text in ('["....", "...."]', "puzzle,level\n....,1\n....,2\n", "..\n..\n\n..\n..\n"):
        assert run(toy_onnx, "-", input=text).stdout == "1111\t1\thalted\t0.5000\n" * 2
    with puzzles.open("rb") as file:  # a file is there as a whole, so a bad line is refused first
        assert run(toy_onnx, "-", stdin=file).stdout == run(toy_onnx, puzzles).stdout
    puzzles.write_text("....\n12\n")
    with puzzles.open("rb") as file:
        refused = run(toy_onnx, "-", stdin=file)
    assert (refused.returncode, refused.stdout) == (4, "")


def test_an_answer_that_the_deadline_cut_short_counts_before_changed_givens(
    toy_onnx: Path,
) -> None:
    rows = "1...\n" * 1000  # changes its given cell
    assert run(toy_onnx, "-", "--batch-size", 1, input=rows).returncode == 7
    late = run(toy_onnx, "-", "--batch-size", 1, "--deadline", "0.005", input=rows)
    assert late.returncode == 8
    assert "\tdeadline\t" in late.stdout


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        (["--halt", "max_steps"], [8, 8]),
        (["--halt", "max_steps", "--max-steps", "5"], [5, 5]),
        (["--halt", "1.0"], [2, 4]),
        (["--halt", "-1.5", "--batch-size", "1", "--threads", "1"], [1, 2]),
    ],
)
def test_options(toy_onnx: Path, puzzles: Path, options: list[str], steps: list[int]) -> None:
    value = json.loads(run(toy_onnx, puzzles, "--json", *options).stdout)
    assert [puzzle["steps"] for puzzle in value["puzzles"]] == steps


def test_tries_add_three_columns_and_keys(tmp_path: Path, puzzles: Path) -> None:
    symmetries = Symmetries(((1, 2, 3, 0), (1, 0, 2, 3)))
    model = write(tmp_path / "again.onnx", build(make_contract(symmetries=symmetries)))
    options = ["--tries", "9", "--max-steps", "2", "--batch-size", "1", "--seed", "3"]
    done = run(model, puzzles, *options)
    plain, again = (line.split("\t") for line in done.stdout.splitlines())
    assert plain == ["1234", "1", "halted", "0.5000", "1", "1", "0"]
    assert again[2] == "halted"
    number, steps, chosen = map(int, again[4:])
    assert number == chosen + 1 > 1
    assert steps == 2 * chosen + int(again[1])
    assert " tries on average" in done.stderr
    found = json.loads(run(model, puzzles, "--json", *options).stdout)["puzzles"]
    assert [found[1][key] for key in ("tries", "total_steps", "chosen")] == [number, steps, chosen]
    first = run(model, puzzles, *options, "--choose", "first", "--vary", "both", "--sigma", "1e-9")
    assert first.stdout.splitlines()[0] == done.stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (
            ["--halt", "never"],
            2,
            "expected learned, max_steps, settled, both or a number, got 'never'",
        ),
        (["--colour"], 2, "Error: Unrecognized arguments: --colour (see `python -m trm_runtime "),
        (["--max-steps", "9"], 2, "Error: max_steps: expected at most 8, after which"),
        (["--tries", "0"], 2, "Error: tries: expected 1 or more"),
        (["--tries", "2"], 2, "Error: The contract of this model lists no symmetries"),
        (
            ["--seed", "0"],
            2,
            "Error: --seed: without effect while a puzzle has one try; give --tries",
        ),
        (
            ["--tries", "1", "--vary", "all", "--choose", "vote", "--sigma", "0.1"],
            2,
            "Error: --vary and --choose and --sigma: without effect while a puzzle has one try",
        ),
        (
            ["--tries", "2", "--vary", "all"],
            2,
            "Error: vary: expected one of symmetry, noise, both, got 'all'",
        ),
        (["--tries", "2", "--sigma", "1"], 2, "Error: --sigma: without effect while tries differ"),
        (["--settled", "1"], 2, "Error: --settled: without effect; give --halt settled or both"),
        (["--max", "3"], 2, "Error: Unrecognized arguments: --max 3 (see"),
        (["--batch-size", "0"], 2, "Error: batch_size: expected 1 or more"),
        (["--threads", "0"], 2, "Error: threads: expected 1 or more"),
        (["--deadline", "-1"], 2, "Error: deadline: expected seconds, 0 or more"),
    ],
)
def test_bad_options_exit_with_2(
    toy_onnx: Path, puzzles: Path, options: list[str], code: int, complaint: str
) -> None:
    done = run(toy_onnx, puzzles, *options)
    assert done.returncode == code
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize("words", [("chek",), ("chek", "m.onnx", "golden.npz"), ("docter",)])
def test_a_misspelt_command_is_not_taken_for_a_model(words: tuple[str, ...]) -> None:
    done = run(*words)
    meant = {"chek": "check", "docter": "doctor"}[words[0]]
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: {words[0]}: there is no such file; the command is `python -m trm_runtime {meant}`."
        "\n"
    )


@pytest.mark.parametrize(
    "words", [("inspect",), ("plan", "--deadline", "50ms", "m.keras"), ("parity", "m.keras", "f")]
)
def test_a_command_of_the_host_is_named(words: tuple[str, ...]) -> None:
    done = run(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: {words[0]}: there is no such file; it is a command of the host: "
        f"`trm-export {words[0]}`.\n"
    )


def test_a_file_may_have_the_name_of_a_command_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "bench").touch()
    done = run("bench", "none.txt", cwd=tmp_path)
    assert done.returncode == 4
    assert "trm-export" not in done.stderr


def test_standard_input_is_one_thing(toy_onnx: Path) -> None:
    done = run("none.onnx", "-", "--identifiers", "-", input=".123\n")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "Error: Standard input cannot be both PUZZLES and --identifiers; give a file for one of "
        "them.\n"
    )


def test_solving_needs_no_word(toy_onnx: Path, puzzles: Path) -> None:
    done = run("solve", str(toy_onnx), str(puzzles))
    assert (done.returncode, done.stdout) == (2, "")
    words = (
        "solve: there is no such file; solving needs no word: `python -m trm_runtime MODEL PUZZLES`"
    )
    assert done.stderr == f"Error: {words}.\n"


def test_rejected_files_exit_with_4(toy_onnx: Path, puzzles: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("12\n")
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(toy_onnx.read_bytes()[:-9])
    for model, rows, complaint in (
        (toy_onnx, bad, f"{bad}: 1 bad line:\n  - line 1: expected 4 characters, got 2"),
        (toy_onnx, tmp_path / "none.txt", "none.txt: cannot be read: No such file"),
        (damaged, puzzles, f"Error: {damaged}: not an ONNX file, or a damaged one"),
        (tmp_path / "none.onnx", puzzles, "none.onnx: cannot be read: No such file"),
    ):
        done = run(model, rows)
        assert (done.returncode, done.stdout) == (4, "")
        assert complaint in done.stderr
        assert "Traceback" not in done.stderr


def test_bad_puzzles_are_reported_before_an_engine_is_loaded(
    toy_onnx: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("An engine was loaded.")

    monkeypatch.setattr("trm_runtime.open.open_driver", refuse)
    bad, good = tmp_path / "bad.txt", tmp_path / "good.txt"
    bad.write_text(".12\n")
    good.write_text(".123\n")
    assert main([str(toy_onnx), str(bad)]) == 4
    assert "line 1: expected 4 characters, got 3" in capsys.readouterr().err
    assert main([str(toy_onnx), str(good), "--identifiers", str(tmp_path / "none.txt")]) == 4
    assert "none.txt" in capsys.readouterr().err
    with pytest.raises(AssertionError, match="An engine was loaded"):
        main([str(toy_onnx), str(good)])


def test_a_missing_engine_exits_with_3(toy_onnx: Path, puzzles: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text("import sys; sys.modules['onnxruntime'] = None\n")
    path = os.pathsep.join([str(blocked), os.environ.get("PYTHONPATH", "")])
    done = run(toy_onnx, puzzles, env={**os.environ, "PYTHONPATH": path})
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert 'pip install "trm-runtime[onnx]"' in done.stderr


def failure(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The one document on standard output, with nothing beside it."""
    out, err = capsys.readouterr()
    assert err == ""
    document: dict[str, dict[str, Any]] = json.loads(out)
    assert list(document) == ["error"]
    assert list(document["error"]) == ["type", "message", "problems", "exit_code"]
    return document["error"]


@pytest.mark.parametrize(
    ("words", "kind", "code", "message"),
    [
        (["none.onnx", "-"], "RejectedInputError", 4, "none.onnx: cannot be read: No such file"),
        (["none.onnx", "-", "--colour"], "UsageError", 2, "Unrecognized arguments: --colour"),
        (
            ["none.onnx", "-", "--halt", "no"],
            "UsageError",
            2,
            "expected learned, max_steps, settled",
        ),
        (["doctor", "model.onnx"], "UsageError", 2, "(see `python -m trm_runtime doctor --help`)."),
        (["check", "none.onnx"], "UsageError", 2, "arguments are required: GOLDEN"),
        (["check", "none.onnx", "none.npz"], "RejectedInputError", 4, "none.npz: cannot be read"),
        (["check", "a.onnx", "a.npz", "--gate", "g"], "RejectedInputError", 4, "g: cannot be read"),
    ],
)
def test_an_error_is_one_document_too(
    words: list[str], kind: str, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--json"]) == code
    found = failure(capsys)
    assert message in found["message"]
    assert (found["type"], found["exit_code"], found["problems"]) == (kind, code, [])
    assert main(words) == code
    assert capsys.readouterr() == ("", f"Error: {found['message']}\n")


def test_problems_are_listed_apart_and_files_of_engines_are_refused_as_documents(
    toy_onnx: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "bad.txt"
    rows.write_text("12\n123\n")
    assert main([str(toy_onnx), str(rows), "--json"]) == 4
    found = failure(capsys)
    assert len(found["problems"]) == 2
    assert found["problems"][0] not in found["message"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_an_error_that_cannot_be_written_is_told_on_standard_error(puzzles: Path) -> None:
    done = shell("--json >/dev/full", Path("none.onnx"), puzzles)
    assert done.stderr == "Error: Standard output cannot be written: No space left on device.\n"
    assert done.returncode == 4


def test_a_model_without_an_alphabet_prints_ids(tmp_path: Path) -> None:
    model = write(tmp_path / "toy.onnx", build(make_contract(alphabet=None)))
    assert run(model, "-", input="1 2 3 4\n").stdout == "2 3 4 5\t1\thalted\t0.5000\n"


def test_a_closed_pipe_is_no_error(toy_onnx: Path) -> None:
    command = [sys.executable, "-m", "trm_runtime", str(toy_onnx), "-"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(b".123\n" * 5000)
        process.stdin.close()
        complaint = process.stderr.read()
    assert process.returncode == 0
    assert b"Broken" not in complaint
    assert b"Traceback" not in complaint


def unread(*arguments: Any, both: bool = False) -> tuple[int, str]:
    """Exit code and standard error of a command whose output, perhaps both, nobody reads."""
    read, written = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "trm_runtime", *map(str, arguments)],
            stdout=written, stderr=written if both else subprocess.PIPE, text=True, timeout=120,
        )  # fmt: skip
    finally:
        os.close(written)
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize("more", [[], ["--json"], ["--isolate"]])
def test_answers_that_are_all_found_keep_their_code_without_a_reader(
    toy_onnx: Path, tmp_path: Path, more: list[str]
) -> None:
    clash, kept = tmp_path / "clash.txt", tmp_path / "kept.txt"
    clash.write_text(".123\n")
    kept.write_text("....\n")
    code, said = unread(toy_onnx, clash, *more)
    assert (code, said.splitlines()[1:]) == (7, ["1 answer changes a given cell of its puzzle"])
    assert unread(toy_onnx, clash, *more, both=True) == (7, "")
    assert unread(toy_onnx, clash, "--deadline", 0, *more)[0] == 8
    assert unread(toy_onnx, kept, *more)[0] == 0


def test_a_run_that_nobody_reads_ends_before_all_is_computed(toy_onnx: Path, puzzles: Path) -> None:
    assert unread(toy_onnx, puzzles, "--batch-size", 1) == (0, "")


def test_a_wrong_command_keeps_its_code_without_a_reader(puzzles: Path) -> None:
    assert unread("none.onnx", puzzles, "--json")[0] == 4
    assert unread("none.onnx", puzzles, both=True)[0] == 4
    assert unread("--help") == (0, "")


def test_a_server_without_a_host_says_nothing(toy_onnx: Path) -> None:
    assert unread("serve", toy_onnx) == (0, "")


def shell(command: str, *files: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """`command` in a shell, `$RUN` being `python -m trm_runtime FILES`."""
    words = [sys.executable, "-m", "trm_runtime", *map(str, files)]
    full = {**os.environ, "RUN": shlex.join(words), **variables}
    return subprocess.run(
        ["sh", "-c", f"eval $RUN {command}"], env=full, capture_output=True, text=True
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_sentence(toy_onnx: Path, puzzles: Path, unbuffered: str) -> None:
    done = shell(">/dev/full", toy_onnx, puzzles, PYTHONUNBUFFERED=unbuffered)
    assert done.stderr == "Error: Standard output cannot be written: No space left on device.\n"
    assert done.returncode == 1
    assert shell("2>/dev/full", toy_onnx, puzzles, PYTHONUNBUFFERED=unbuffered).returncode == 7


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_answers_to_a_closed_output_are_no_success(
    toy_onnx: Path, puzzles: Path, closed: str
) -> None:
    done = shell(closed, toy_onnx, puzzles)
    assert done.returncode == (7 if closed == "2>&-" else 1)
    told = "Error: Standard output cannot be written: it is closed.\n" if closed == ">&-" else ""
    assert done.stderr == told
    assert ("1234" in done.stdout) == (closed == "2>&-")
    assert "change a given" not in done.stdout


def test_a_closed_standard_input_is_named(toy_onnx: Path) -> None:
    done = shell("- <&-", toy_onnx)
    assert done.returncode == 4
    assert done.stderr == "Error: standard input: cannot be read: it is closed.\n"


def test_an_interrupt_exits_with_130(
    toy_onnx: Path, puzzles: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("trm_runtime.loop.solve", interrupted)
    assert main([str(toy_onnx), str(puzzles)]) == 130
    assert capsys.readouterr() == ("", "Interrupted.\n")
    assert main([str(toy_onnx), str(puzzles), "--json"]) == 130
    assert failure(capsys)["message"] == "Interrupted."


def test_a_terminal_sees_progress(
    toy_onnx: Path, puzzles: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main([str(toy_onnx), str(puzzles)]) == 7
    out, err = capsys.readouterr()
    assert out.count("\n") == 2
    shown = [text for text in err.replace("\033[K", "").split("\r") if text]
    assert shown[:4] == ["Opening toy.onnx ...", *["1 of 2 puzzles"] * 2, "2 of 2 puzzles"]
    assert shown[4].startswith("2 puzzles in ")


def test_version_and_help() -> None:
    assert run("--version").stdout == f"trm-runtime {trm_runtime.__version__}\n"
    assert "MODEL PUZZLES" in run("--help").stdout
