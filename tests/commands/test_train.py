"""`trm-export train` around a training run that is only played: what it says, and its exit code."""

from __future__ import annotations

import dataclasses
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support import interruption
from trm_export.commands.support.app import run
from trm_export.errors import DivergedError
from trm_export.training import run as training
from trm_export.training.recipe import Recipe, recipe_for
from trm_export.training.run import TrainResult
from trm_export.training.run_files import RunFiles
from trm_export.training.run_state import SLOTS, RunState
from trm_export.training.validation import HaltingPoint

Play = Callable[..., list[Recipe]]


asked_until: list[float | None] = []


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Play:
    """Makes `train` give a result with these fields; the list fills with the recipes it gets."""
    monkeypatch.chdir(tmp_path)

    def arrange(**fields: Any) -> list[Recipe]:
        asked: list[Recipe] = []

        def train(recipe: Recipe, output: Path, **options: Any) -> TrainResult:
            asked.append(recipe)
            asked_until.append(options["until"])
            point = HaltingPoint(0.0, 0.0, 0.0, 8.0, float("nan"))
            result = TrainResult(output, None, None, 0, False, 0.1, point, None)
            return dataclasses.replace(result, **fields)

        monkeypatch.setattr(training, "train", train)
        return asked

    return arrange


def test_an_interrupted_run_ends_with_130(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    play(interrupted=True)
    assert run(["train", "sudoku4", "-o", "c.keras"]) == 130
    said = capsys.readouterr()
    assert said.out == "c.keras\nc.recipe.json\n"
    assert said.err.startswith("Interrupted; the run is backed up.")
    play(interrupted=True, epochs=3, log=Path("c.csv"))
    assert run(["train", "sudoku4", "-o", "c.keras"]) == 130
    said = capsys.readouterr()
    assert said.out == "c.keras\nc.csv\nc.recipe.json\n"
    again = "after epoch 3 of 16 with: trm-export train sudoku4 -o c.keras --resume"
    assert again in said.err


@pytest.mark.parametrize(
    ("reason", "second"), [("Interrupted.", "Ctrl-C"), ("Terminated.", "signal")]
)
def test_a_run_says_by_which_signal_it_ended(
    play: Play, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str],
    reason: str, second: str,
) -> None:  # fmt: skip
    play(interrupted=True)
    played = training.train

    def train(*given: Any, **options: Any) -> TrainResult:
        assert interruption._reaction is not None
        options["stop"].useful = True
        assert interruption._reaction(reason)
        return played(*given, **options)

    monkeypatch.setattr(training, "train", train)
    assert run(["train", "sudoku4", "-o", "c.keras"]) == 130
    error = capfd.readouterr().err
    assert f"; a second {second} ends the run without it.\n" in error
    assert f"\n{reason[:-1]}; the run is backed up." in error


def test_a_model_that_solves_nothing_is_called_that(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    play()
    assert run(["train", "sudoku4", "-o", "c.keras"]) == 0
    assert "The model has not learnt the task yet; train longer." in capsys.readouterr().err


def test_the_longer_run_has_the_same_options(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = play(epochs=5)
    options = ["--from", "s.keras", "--batch-size", "8", "--ema", "0.9", "-o", "c.keras"]
    shutil.copy(shipped_checkpoint("sudoku4"), "s.keras")
    assert run(["train", "sudoku4", "--steps", "500", "--seed", "3", *options]) == 0
    (tried,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Try: ")]
    assert run(shlex.split(tried)[2:]) == 0
    assert asked[1] == dataclasses.replace(asked[0], steps=5000)
    assert "--from s.keras" in tried


@pytest.mark.parametrize(("epoch", "end"), [(1, ""), (3, " --force")])
def test_a_run_that_diverges_ends_with_6(
    epoch: int,
    end: str,
    play: Play,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    play()

    def train(*_: Any, **__: Any) -> None:
        raise DivergedError(epoch, float("nan"), 1.0)

    monkeypatch.setattr(training, "train", train)
    assert run(["train", "sudoku4", "-o", "c.keras", "--learning-rate", "1"]) == 6
    said = " ".join(capsys.readouterr().err.split())
    assert f"Training diverged: the loss is nan in epoch {epoch}, and" in said
    assert said.endswith(f"Try: trm-export train sudoku4 --learning-rate 0.1 -o c.keras{end}")


def test_an_interrupted_run_is_still_one_document(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    play(interrupted=True)
    assert run(["train", "sudoku4", "-o", "c.keras", "--json"]) == 130
    document = json.loads(capsys.readouterr().out)
    assert document["interrupted"] is True
    assert (document["model"], document["log"], document["curve"]) == ("c.keras", None, None)


def test_a_run_without_a_curve_says_why(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    why = "No learning curve was drawn, because there is no pen."
    play(no_curve=why)
    assert run(["train", "sudoku4", "-o", "c.keras"]) == 0
    assert why in capsys.readouterr().err.splitlines()
    assert run(["train", "sudoku4", "-o", "c.keras", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["no_curve"] == why
    play()
    assert run(["train", "sudoku4", "-o", "c.keras"]) == 0
    assert "curve" not in capsys.readouterr().err


def test_resume_needs_no_other_option(play: Play, capsys: pytest.CaptureFixture[str]) -> None:
    asked, files = play(epochs=4), RunFiles(Path("t4.keras"))
    recipe = recipe_for("sudoku4", steps=2000, learning_rate=1e-3)
    files.begin(recipe)
    described = json.loads(json.dumps(dataclasses.asdict(recipe)))
    RunState(1, 0, described, [], [], SLOTS[0]).write(files.backup)
    resume = ["train", "sudoku4", "-o", "t4.keras", "--resume"]
    assert run(resume) == 0
    longer = "Try: trm-export train sudoku4 --steps 20000 --learning-rate 0.001 -o t4.keras"
    assert capsys.readouterr().err.splitlines()[-1] == longer
    assert run([*resume, "--steps", "2000"]) == 0
    assert asked == [recipe, recipe]
    capsys.readouterr()
    assert run([*resume, "--steps", "500"]) == 2
    assert "steps is 2000 in the run, got 500" in capsys.readouterr().err
    assert run(["train", "sudoku9", *resume[2:]]) == 2
    assert "task is 'sudoku4' in the run, got 'sudoku9'" in capsys.readouterr().err


def test_an_average_that_lags_behind_is_told(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    play(training_exact=0.76)
    assert run(["train", "sudoku4", "-o", "c.keras"]) == 0
    said = capsys.readouterr().err
    assert "Training ended at 76.0% exact." in said
    assert "over about 500 steps, which is still worse: train longer, or use a lower" in said
    play(training_exact=0.05)
    assert run(["train", "sudoku4", "-o", "c.keras"]) == 0
    assert "average" not in capsys.readouterr().err.replace("steps on average", "")


def test_a_run_that_stops_in_time_ends_with_0(
    play: Play, capsys: pytest.CaptureFixture[str]
) -> None:
    play(epochs=3, log=Path("c.csv"))
    assert run(["train", "sudoku4", "-o", "c.keras", "--until", "2999-01-01T00:00"]) == 0
    assert asked_until[-1] is not None
    assert asked_until[-1] > 3e10  # seconds since 1970
    said = capsys.readouterr().err
    ended = "Stopped before the time; the run is backed up. Resume after epoch 3 of 16 with: "
    assert said.startswith(ended)
    for epochs in (3, 16):
        play(epochs=epochs)
        assert run(["train", "sudoku4", "-o", "c.keras", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["complete"] == (epochs == 16)
    assert run(["train", "sudoku4", "-o", "c.keras"]) == 0
    assert asked_until[-1] is None
    assert capsys.readouterr().err.startswith("Training is complete.")
    assert run(["train", "sudoku4", "-o", "c.keras", "--until", "soon"]) == 2
    assert "--until soon: expected a time such as 09:15" in capsys.readouterr().err
