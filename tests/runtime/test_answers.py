"""`write`: what the command prints, to a file or a stream."""

from __future__ import annotations

import io
import json
import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.fakes import FakeRunner, make_contract
from trm_runtime import Solution, StepEvent, solve, write
from trm_runtime.answers import Stream, refuse_place
from trm_runtime.errors import RejectedInputError, UsageError


def solved(**fields: Any) -> Solution:
    return solve(FakeRunner(make_contract(**fields)), [[2, 1, 1, 1], [1, 1, 1, 1]])


def test_lines_and_a_document(tmp_path: Path) -> None:
    solution = solved()
    write(solution, tmp_path / "answers.txt")
    lines = "3222\t2\thalted\t0.5000\n1111\t1\thalted\t0.5000\n"
    assert (tmp_path / "answers.txt").read_text() == lines
    write(solution, str(tmp_path / "answers.json"))
    found = json.loads((tmp_path / "answers.json").read_text())
    assert (found["model_name"], found["precision"]) == ("toy", "fp32")
    assert found["puzzles"][0] == {
        "answer": "3222", "ids": [4, 3, 3, 3], "steps": 2, "stop_reason": "halted",
        "q_halt": 0.5, "given_kept": False,
    }  # fmt: skip
    assert sorted(path.name for path in tmp_path.iterdir()) == ["answers.json", "answers.txt"]


@pytest.mark.parametrize("as_json", [False, True])
def test_a_stream_and_a_file_get_the_same(tmp_path: Path, as_json: bool) -> None:
    stream = io.StringIO()
    write(solved(), stream, as_json=as_json)
    write(solved(), tmp_path / "x", as_json=as_json)
    assert (tmp_path / "x").read_text() == stream.getvalue()
    assert stream.getvalue().startswith("{" if as_json else "3222")


def test_a_line_is_written_when_its_puzzle_and_all_before_it_are_done() -> None:
    puzzles = np.array([[3, 1, 1, 1], [1, 1, 1, 1], [2, 1, 1, 1], [5, 1, 1, 1]], np.int32)
    for slots, seen in ((4, [0, 0, 3, 3, 4]), (1, [0, 0, 1, 2, 2, 3, 3, 3, 3, 3, 4])):
        text, counts = io.StringIO(), []
        stream = Stream(text, make_contract(), puzzles, as_json=True)

        def note(event: StepEvent, stream: Stream = stream, text: Any = text) -> None:
            stream(event)
            assert text.getvalue()[-1:] in ("", "\n")
            counts.append(text.getvalue().count('"answer"'))  # noqa: B023

        solution = solve(FakeRunner(make_contract()), puzzles, batch_size=slots, on_step=note)
        stream.finish(solution)
        stream.end()
        assert counts == seen
        whole = io.StringIO()
        write(solution, whole, as_json=True)
        assert text.getvalue() == whole.getvalue()
        lines = text.getvalue().splitlines()
        assert [json.loads(line.lstrip(","))["steps"] for line in lines[1:-1]] == [3, 1, 2, 5]
        assert len(json.loads(text.getvalue())["puzzles"]) == 4


def test_a_document_that_an_error_ends_is_whole(
    toy_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from trm_runtime import loop
    from trm_runtime.__main__ import main

    solved_before = loop.solve

    def fail(*arguments: Any, **options: Any) -> None:
        solved_before(*arguments, **options)
        raise RejectedInputError("The engine has failed.")

    puzzles = tmp_path / "puzzles.txt"
    puzzles.write_text("....\n....\n")
    monkeypatch.setattr(loop, "solve", fail)
    assert main([str(toy_onnx), str(puzzles), "--json"]) == 4
    found = json.loads(capsys.readouterr().out)
    assert len(found["puzzles"]) == 2
    assert found["error"]["message"] == "The engine has failed."
    assert main([str(toy_onnx), "nothing.txt", "--json"]) == 4
    assert [*json.loads(capsys.readouterr().out)] == ["error"]


def test_ids_where_there_is_no_alphabet(tmp_path: Path) -> None:
    write(solved(alphabet=None), tmp_path / "answers.txt")
    assert (tmp_path / "answers.txt").read_text().startswith("4 3 3 3\t2\t")


def test_a_file_is_replaced_and_what_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "answers.txt"
    path.write_text("old")
    write(solved(), path)
    assert path.read_text().startswith("3222")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write(solved(), tmp_path / "folder")
    with pytest.raises(IsADirectoryError, match=r"'\.'"):
        write(solved(), ".")
    with pytest.raises(OSError, match=r"'[^']*nowhere/answers.txt'"):
        write(solved(), tmp_path / "nowhere" / "answers.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["answers.txt", "folder"]


@pytest.mark.parametrize(
    ("solution", "target", "said"),
    [
        (None, "a.txt", "solution: expected one of solve, got None"),
        (True, 5, "target: expected a path or a stream, got 5"),
        (True, io.BytesIO(), r"^target: expected a stream of text, got <_io\.BytesIO"),
    ],
)
def test_what_is_no_solution_or_no_target(solution: Any, target: Any, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        write(solved() if solution else solution, target)
    with pytest.raises(UsageError, match=r"^as_json: expected True, False or None, got 'no'"):
        write(solved(), "a.txt", as_json="no")  # type: ignore[arg-type]


def test_a_name_that_is_too_long_is_the_one_given(tmp_path: Path) -> None:
    for length in (255, 300):
        path = tmp_path / ("a" * length)
        with pytest.raises(OSError, match="File name too long") as caught:
            write(solved(), path)
        assert caught.value.filename == str(path)
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_is_not_replaced_and_a_link_stays(tmp_path: Path) -> None:
    pipe, link, path = tmp_path / "pipe", tmp_path / "link.txt", tmp_path / "answers.txt"
    os.mkfifo(pipe)
    for refuse in (lambda: write(solved(), pipe), lambda: refuse_place(pipe)):
        with pytest.raises(UsageError, match=r"pipe: not a plain file, and is not replaced"):
            refuse()
    assert pipe.is_fifo()
    link.symlink_to(path.name)
    for _ in range(2):  # the file behind it is not there, and then it is
        write(solved(), link)
        assert link.is_symlink()
        assert path.read_text().startswith("3222")
        path.write_text("old")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["answers.txt", "link.txt", "pipe"]
    loop = tmp_path / "loop.txt"
    loop.symlink_to(loop.name)
    write(solved(), loop)  # there is no file behind it
    assert loop.read_text().startswith("3222")


def test_the_example_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnxruntime")
    from tests.runtime.graphs import write as write_graph

    readme = Path(__file__).parents[2] / "runtimes" / "README.md"
    (example,) = re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    write_graph(tmp_path / "model.onnx")
    Path("puzzles.txt").write_text("1.0_\n")
    exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out == "['3222'] [2] ('halted',)\n"
    assert json.loads(Path("answers.json").read_text())["puzzles"][0]["answer"] == "3222"
