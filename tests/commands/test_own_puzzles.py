"""Puzzles that people bring, in every command that takes puzzles: any size, with identifiers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trm_export.commands.support.app import run
from trm_export.tasks import get_task

IDENTIFIERS = 20


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 6x6 model of no known task with identifiers, random weights, and its export."""
    import keras

    from trm_export import TRM

    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("own")
    model = TRM(
        8, 16, 2, 1.0, 36, family="paper", puzzle_emb_len=1, puzzle_emb_ndim=16, halt_max_steps=2,
        num_puzzle_identifiers=IDENTIFIERS,
    )  # fmt: skip
    table = next(weight for weight in model.weights if weight.shape == (IDENTIFIERS, 16))
    table.assign(np.random.default_rng(1).normal(0, 3, table.shape))
    model.save(folder / "six.keras")
    assert run(["onnx", str(folder / "six.keras"), "-o", str(folder / "six.onnx")]) == 0
    tokens = np.random.default_rng(0).integers(1, 8, (12, 36))
    np.savez(folder / "none.npz", inputs=tokens, labels=tokens)
    for name, first in (("a", 1), ("b", 8), ("beyond", IDENTIFIERS)):
        own = first + np.arange(12) % 3
        np.savez(folder / f"{name}.npz", inputs=tokens, labels=tokens, puzzle_identifiers=own)
    return folder


def document(capsys: pytest.CaptureFixture[str], *words: Any) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*map(str, words), "--json"]) == 0
    value: dict[str, Any] = json.loads(capsys.readouterr().out)
    return value


def commands(files: Path, puzzles: Path, out: Path) -> dict[str, list[Any]]:
    model, export = files / "six.keras", files / "six.onnx"
    return {
        "evaluate": ["evaluate", export, "--puzzles", puzzles],
        "parity": ["parity", model, export, "--puzzles", puzzles],
        "reference": ["reference", model, puzzles, "-o", out / "g.npz", "--no-control", "--force"],
        "tune": ["tune", export, "--puzzles", puzzles, "--dry-run"],
        "bench": ["bench", model, export, "--puzzles", puzzles],
        "profile": ["profile", export, "--puzzles", puzzles],
    }


def test_arrays_of_the_models_own_size_need_no_task(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, words in commands(files, files / "a.npz", tmp_path).items():
        text = json.dumps(document(capsys, *words))
        assert "under identifier 0" not in text, name
    evaluated = document(capsys, "evaluate", files / "six.onnx", "--puzzles", files / "a.npz")
    assert {"exact", "cells", "mean_steps"} <= set(evaluated)
    assert "valid" not in evaluated


def test_the_verdict_says_that_no_identifiers_are_known(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, words in commands(files, files / "none.npz", tmp_path).items():
        capsys.readouterr()
        assert run([str(word) for word in words]) == 0
        said = " ".join("".join(capsys.readouterr()).split())
        assert "all asked under identifier 0" in said, name


def test_identifiers_change_the_answers(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trm_export import evaluate

    answers = [
        np.array([board.answer for board in evaluate(files / "six.onnx", puzzles=path).boards])
        for path in (files / "none.npz", files / "a.npz", files / "b.npz")
    ]
    assert all((one != two).any() for one, two in ((answers[0], answers[1]), answers[1:]))


def test_identifiers_that_the_model_lacks_are_refused(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, words in commands(files, files / "beyond.npz", tmp_path).items():
        assert run([str(word) for word in words]) == 4, name
        said = " ".join(capsys.readouterr().err.split())
        assert "'puzzle_identifiers', row 0: id 20 is not in 0..19" in said, name


def test_a_task_of_another_size_is_refused_with_both(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, words in commands(files, files / "a.npz", tmp_path).items():
        assert run([*map(str, words), "--task", "sudoku9"]) == 2, name
        said = " ".join(capsys.readouterr().err.split())
        assert "sudoku9 has boards of 81 cells and 11 token ids, but the model 36 and 8" in said


def test_without_rules_answers_cannot_be_judged_by_them(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(files / "six.onnx"), "--judge", "valid"]
    assert run([*words, "--puzzles", str(files / "a.npz")]) == 2
    assert "tokens has no such rules. Drop --judge." in " ".join(capsys.readouterr().err.split())


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped 4x4 model in ONNX, and 60 puzzles, half of which have several solutions."""
    folder = tmp_path_factory.mktemp("four")
    assert run(["onnx", "artifacts/sudoku4.keras", "-o", str(folder / "four.onnx")]) == 0
    task = get_task("sudoku4")
    one = task.puzzles("test", (4, 9), 30)
    inputs, labels = np.tile(one.inputs, (2, 1)), np.tile(one.solutions, (2, 1))
    for row in inputs[30:]:  # no digit 1 or 2 is left, so these two may change places
        row[(row == 2) | (row == 3)] = 1
    np.savez(folder / "solved.npz", inputs=inputs, labels=labels)
    np.savez(folder / "open.npz", inputs=inputs)
    return folder


def test_several_solutions_are_counted(four: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = four / "four.onnx"
    exact = document(capsys, "evaluate", model, "--puzzles", four / "solved.npz")
    assert exact["several_solutions"] == 30
    assert exact["valid"] > exact["exact"]
    judged = document(capsys, "evaluate", model, "--puzzles", four / "open.npz", "--judge", "valid")
    assert judged["valid"] == exact["valid"]
    assert judged["judge"] == "valid"
    assert "exact" not in judged
    assert judged["interval_95"] != exact["interval_95"]


def test_tuning_by_the_rules_needs_no_solutions(
    four: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tune", four / "four.onnx", "--puzzles", four / "open.npz", "--dry-run"]
    assert run([*map(str, words)]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "open.npz has no solutions to compare answers with" in said
    assert "--judge valid" in said
    valid = document(capsys, *words, "--judge", "valid")
    rated = document(capsys, "evaluate", four / "four.onnx", "--puzzles", four / "solved.npz")
    assert valid["judge"] == "valid"
    assert valid["present"]["exact"] == pytest.approx(rated["valid"])
