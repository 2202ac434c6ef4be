"""The program of a device runs with real files of two engines."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.examples.files import BOARD, EXAMPLES, SOLVED, exported

pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_it_answers_each_line_and_goes_on_after_a_bad_one(tmp_path: Path, suffix: str) -> None:
    model = exported(tmp_path / f"model{suffix}")
    command = [sys.executable, str(EXAMPLES / "device.py"), str(model)]
    lines = f"{BOARD}\n12\n{BOARD}\n"
    done = subprocess.run(command, input=lines, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (4, "")
    good = subprocess.run(command, input=f"{BOARD}\n", capture_output=True, text=True)
    assert (good.returncode, good.stderr) == (0, "")
    first, refused, last = done.stdout.splitlines()
    assert first == last
    assert first.split()[:2] == ["yes", SOLVED]
    assert refused.startswith("refused: ")
    assert "16" in refused


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        ([], 2, "Usage: python examples/device.py MODEL < BOARDS\n"),
        (["a.onnx", "b.txt"], 2, "Usage: python examples/device.py MODEL < BOARDS\n"),
        (["missing.onnx"], 4, "Error: missing.onnx: "),
        (["empty.onnx"], 4, "Error: empty.onnx: "),
    ],
)
def test_what_is_wrong_is_a_sentence_and_an_exit_code(
    tmp_path: Path, words: list[str], code: int, told: str
) -> None:
    (tmp_path / "empty.onnx").write_bytes(b"")
    command = [sys.executable, str(EXAMPLES / "device.py"), *words]
    done = subprocess.run(command, input=BOARD, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.startswith(told)
    assert done.stderr.count("\n") == 1


CLASHES = "1111............"  # no answer keeps these


def answered(model: Path, lines: str, *before: str) -> subprocess.CompletedProcess[str]:
    """What the program prints for these lines; `before` are statements that change it."""
    start = (
        f"import sys, device\n{chr(10).join(before)}\nsys.exit(device.main(sys.argv[1], sys.stdin))"
    )
    command = [sys.executable, "-c", start, str(model)]
    return subprocess.run(command, input=lines, capture_output=True, text=True, cwd=EXAMPLES)


def test_comments_and_empty_lines_are_no_boards(tmp_path: Path) -> None:
    done = answered(exported(tmp_path / "m.onnx"), f"# Sudoku\n\n  # more\n{BOARD}\n   \n")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"yes {SOLVED} 1\n", "")


def test_a_line_is_read_as_the_command_reads_it(tmp_path: Path) -> None:
    spaced = " ".join(BOARD.replace(".", "0"))
    done = answered(exported(tmp_path / "m.onnx"), f"{spaced}\n7,{BOARD},{SOLVED}\n")
    assert (done.returncode, done.stdout) == (0, f"yes {SOLVED} 1\n" * 2)


def test_an_answer_that_changes_a_given_cell_is_not_sure(tmp_path: Path) -> None:
    model = exported(tmp_path / "m.onnx")
    done = answered(model, f"{CLASHES}\n{BOARD}\n")
    assert done.returncode == 7
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["no", "yes"]
    assert answered(model, f"{CLASHES}\n12\n").returncode == 4


def test_a_board_that_the_deadline_ended_has_its_exit_code(tmp_path: Path) -> None:
    done = answered(exported(tmp_path / "m.onnx"), f"{BOARD}\n", "device.DEADLINE = 0.0")
    assert (done.returncode, done.stdout.split()[0]) == (8, "no")


def test_a_reader_that_goes_away_is_no_error(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLES / "device.py"), str(exported(tmp_path / "m.onnx"))]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        print(BOARD, file=program.stdin, flush=True)
        assert program.stdout.readline() == f"yes {SOLVED} 1\n"
        program.stdout.close()
        print(BOARD, file=program.stdin, flush=True)
        assert program.stderr is not None
        assert program.stderr.read() == ""
    assert program.returncode == 0


def test_it_needs_no_host_package() -> None:
    text = (EXAMPLES / "device.py").read_text(encoding="utf-8")
    assert "trm_export" not in text
