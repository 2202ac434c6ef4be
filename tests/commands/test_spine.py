"""The main road as a user walks it, on the shipped checkpoints: onnx, run, parity, demo, train."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from trm_export.commands.support.app import run as host

Called = Callable[..., str]

ROOT = Path(__file__).resolve().parents[2]
SUDOKU4 = ROOT / "artifacts" / "sudoku4.keras"
SUDOKU9 = ROOT / "artifacts" / "sudoku9.keras"


def run(*arguments: str, cwd: Path, module: str = "") -> subprocess.CompletedProcess[str]:
    program = ["-m", module] if module else [str(ROOT / "cli.py")]
    return subprocess.run(
        [sys.executable, *program, *arguments], cwd=cwd, capture_output=True, text=True,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.fixture
def called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Called:
    """Runs a command in this process, whose frameworks are loaded, in the folder of the test."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, code: int = 0) -> str:
        capsys.readouterr()
        found = host(arguments)
        said = capsys.readouterr()
        assert found == code, said.err + said.out
        return said.out

    return call


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("spine")
    done = run("onnx", str(SUDOKU4), "--json", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["forced_error"] < 1e-4
    return folder / "artifacts" / "sudoku4.onnx"


def test_device_command_line_gives_the_answers_of_the_task(exported: Path, tmp_path: Path) -> None:
    from trm_export.tasks import get_task

    puzzles = get_task("sudoku4").puzzles("test", count=50)
    assert puzzles.labels is not None
    lines = ["".join(".1234"[max(t - 1, 0)] for t in row) for row in puzzles.inputs.tolist()]
    (tmp_path / "puzzles.txt").write_text("\n".join(lines) + "\n")
    done = run(str(exported), "puzzles.txt", "--json", cwd=tmp_path, module="trm_runtime")
    assert done.returncode == 0, done.stderr
    answers = [puzzle["ids"] for puzzle in json.loads(done.stdout)["puzzles"]]
    right = sum(a == b for a, b in zip(answers, puzzles.labels.tolist(), strict=True))
    assert right >= 48


def test_parity_passes_on_the_export(exported: Path, called: Called) -> None:
    shown = called("parity", str(SUDOKU4), str(exported), "--count", "64", "--json")
    assert json.loads(shown)["passed"] is True


def test_parity_with_another_model_fails_with_5(
    exported: Path, tmp_path: Path, called: Called
) -> None:
    import zipfile

    called("train", "sudoku4", "-o", "other.keras", "--steps", "2", "--json")
    assert zipfile.is_zipfile(tmp_path / "other.keras")
    called("parity", "other.keras", str(exported), "--count", "8", code=5)


@pytest.mark.skipif(not SUDOKU9.exists(), reason="artifacts/sudoku9.keras is not shipped")
def test_demo_reaches_its_verdict(tmp_path: Path) -> None:
    done = run("demo", "--count", "6", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    document = json.loads(done.stdout)
    assert document["parity"]["passed"] is True
    assert (tmp_path / "artifacts" / "sudoku9.onnx").exists()
    files = ["artifacts/sudoku9.onnx", "artifacts/sudoku9-puzzles.txt"]
    assert document["puzzle_file"] == files[1]
    solved = run(*files, cwd=tmp_path, module="trm_runtime")
    assert solved.returncode == 0, solved.stderr
    assert len(solved.stdout.splitlines()) == 6


@pytest.mark.parametrize("maze", ["maze9", "maze11"])
def test_the_maze_goes_the_same_road(maze: str, tmp_path: Path, called: Called) -> None:
    document = json.loads(called("demo", maze, "--count", "20", "--json"))
    assert document["parity"]["passed"] is True
    assert document["exact"] >= 18
    assert document["mean_steps"] < document["max_steps"] / 2
    files = [f"artifacts/{maze}.onnx", f"artifacts/{maze}-puzzles.txt"]
    solved = run(*files, "--json", cwd=tmp_path, module="trm_runtime")
    assert solved.returncode == 0, solved.stderr
    answers = json.loads(solved.stdout)["puzzles"]
    assert sum(set(puzzle["ids"]) == {1, 2, 3, 4, 5} for puzzle in answers) >= 18
    shown = called("evaluate", files[0], "--count", "20", "--json")
    assert json.loads(shown)["exact"] == document["exact"] / 20


def test_a_demo_that_fails_is_one_document_about_all_puzzles(
    called: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trm_export.api.comparison import Comparison

    monkeypatch.setattr(Comparison, "__bool__", lambda self: False)
    document = json.loads(called("demo", "sudoku4", "--count", "210", "--json", code=5))
    assert document["parity"]["accuracy"]["n"] == document["puzzles"] == 210


def test_the_last_line_of_the_demo_is_a_whole_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from types import SimpleNamespace

    from trm_export.commands.demo import _report

    monkeypatch.setenv("COLUMNS", "40")
    export = SimpleNamespace(forced_error=0.0, path="artifacts/m.onnx", bytes=1, sidecar="m.json")
    solved = SimpleNamespace(
        exact=1, puzzles=1, mean_steps=1.0, max_steps=16, puzzle_file="artifacts/p.txt"
    )
    _report(solved, "PASSED", export)  # type: ignore[arg-type]
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert last[1:] == ["-m", "trm_runtime", "artifacts/m.onnx", "artifacts/p.txt"]
    assert Path(last[0]).samefile(sys.executable)


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["train", "chess"], 2, "chess"),
        (["onnx", "missing.keras"], 4, "missing.keras"),
        (["onnx", str(SUDOKU4), "--batch", "many"], 2, "batch must be 1 to"),
        (["onnx", str(SUDOKU4), "--recursion", "sideways"], 2, "sideways"),
        (["parity", str(SUDOKU4), "missing.onnx"], 4, "missing.onnx"),
    ],
)
def test_bad_input_is_one_sentence(
    arguments: list[str], code: int, sentence: str, tmp_path: Path
) -> None:
    done = run(*arguments, cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.rglob("*.onnx")) == []
