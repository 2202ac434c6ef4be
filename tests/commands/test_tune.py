"""`trm-export tune` on a real file, and what it refuses."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.graphs import write
from trm_export.artifacts.contract_rewrite import embedded_contract, rewrite
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support.app import run
from trm_export.commands.support.tune_tables import plot
from trm_export.halting.curve import Trace
from trm_export.halting.tuning import tune
from trm_export.tasks import get_task
from trm_runtime import HaltRule, UsageError, open_runner, solve
from trm_runtime.confidence import Confidence

SIZE = ["--count", "64"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped 4x4 model with a threshold that is much too high, and its int8 export."""
    from trm_export.checkpoints.loading import load_model
    from trm_export.model import TRM

    folder = tmp_path_factory.mktemp("tune")
    model = load_model(shipped_checkpoint("sudoku4"))
    slow = TRM.from_config({**model.get_config(), "halt_threshold": 30.0})
    slow.set_weights(model.get_weights())
    slow.save(folder / "slow.keras")
    target = str(folder / "slow.onnx")
    assert run(["onnx", str(folder / "slow.keras"), "--precision", "int8", "-o", target]) == 0
    return folder


@pytest.fixture
def files(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "files"))


def test_an_export_over_a_tuned_file_says_what_is_lost(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, file = files / "slow.keras", files / "slow.onnx"
    again = ["onnx", str(model), "--precision", "int8", "-o", str(file)]
    said = "The file before it was tuned, and this one is not; tune it again."
    assert run(["tune", str(file), *SIZE]) == 0
    for lost in (True, False):
        capsys.readouterr()
        assert run(again) == 0
        assert (said in " ".join(capsys.readouterr().err.split())) == lost
    contract = embedded_contract(file)
    sure = Confidence(-1.0, 0.5, 0.0, 0.0, 64, 1)
    rewrite(file, replace(contract, confidence=sure), file)
    capsys.readouterr()
    assert run([*again, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tuning_lost"] is True


def test_the_whole_road(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = files / "slow.onnx"
    assert run(["tune", str(file), *SIZE]) == 0
    captured = capsys.readouterr()
    written = [f"{file}{ending}" for ending in ("", ".json", ".measured.json")]
    assert captured.out.splitlines()[-3:] == written
    assert "present" in captured.out
    assert "chosen" in captured.out
    assert "0 lost, 0 won" in captured.err
    table = captured.out.replace(str(file), "")
    assert max(map(len, table.splitlines())) <= 80

    halt = embedded_contract(file).halt
    assert halt.trained == 30.0
    assert halt.threshold < 30.0
    assert run(["inspect", str(file)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"q_halt > {halt.threshold:g} (tuned; the model's own is 30), or step 8" in shown
    assert "the same beside the file" in shown

    assert run(["parity", str(files / "slow.keras"), str(file), *SIZE]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("PASSED")
    assert "The file is tuned: its halting threshold is " in captured.err
    assert "the errors of single steps measured again by" in " ".join(captured.out.split())

    assert run(["tune", str(file), *SIZE, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["written"] is None
    assert again["chosen"] == again["present"]
    assert again["trained"]["mean_steps"] == again["all_steps"]["mean_steps"] == 8


def test_json_is_the_whole_curve_and_the_original_stays(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, target = files / "slow.onnx", files / "quick.onnx"
    before = file.read_bytes()
    assert run(["tune", str(file), "-o", str(target), *SIZE, "--lose", "100", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert file.read_bytes() == before
    assert found["written"] == str(target)
    assert embedded_contract(target).halt == HaltRule("q_halt", found["chosen"]["threshold"], 30.0)
    assert found["chosen"]["mean_steps"] == 1
    assert found["puzzles"] == 64
    assert found["front"]
    assert all(point in found["points"] for point in found["front"])
    assert {"threshold", "exact", "interval", "mean_steps"} <= found["points"][0].keys()


def test_a_threshold_for_several_tries(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = files / "slow.onnx"
    assert run(["tune", str(file), *SIZE, "--tries", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tries"]["tries"] == 3
    assert found["present"]["mean_steps"] == 24
    assert found["chosen"]["mean_steps"] < 2
    assert found["all_steps"] is None
    assert embedded_contract(file).halt.threshold == found["chosen"]["threshold"]
    assert run(["tune", str(file), *SIZE, "--tries", "3", "--dry-run"]) == 0
    assert "at most 3 tries" in capsys.readouterr().out


def test_the_threshold_of_movement_goes_into_the_file_and_halts(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, target = files / "slow.onnx", files / "settled.onnx"
    with pytest.raises(UsageError, match="trm-export tune --settled"):
        solve(open_runner(file), "1.34341221434321", halt="settled")
    assert run(["tune", str(file), "-o", str(target), *SIZE, "--settled"]) == 0
    captured = capsys.readouterr()
    assert "By how far states move in a step" in captured.out
    assert max(map(len, captured.out.replace(str(target), "").splitlines())) <= 80
    settled = embedded_contract(target).halt.settled
    assert settled is not None
    assert f"Settled is moved < {settled:g}: " in captured.err
    runner = open_runner(target)
    solution = solve(runner, "1.34341221434321", halt="settled")
    assert solution.moved is not None
    assert (solution.moved[0] < settled) == (solution.stop_reasons[0] == "halted")
    again = embedded_contract(target)
    assert run(["tune", str(target), *SIZE]) == 0
    capsys.readouterr()
    assert embedded_contract(target) == again


def test_the_confidence_goes_into_the_file_and_withholds_answers(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, target = files / "slow.onnx", files / "sure.onnx"
    assert run(["evaluate", str(file), *SIZE, "--abstain", "0.5"]) == 2
    assert "`trm-export tune --confidence`" in capsys.readouterr().err
    assert run(["tune", str(file), "-o", str(target), *SIZE, "--confidence", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rule = embedded_contract(target).confidence
    assert rule is not None
    assert found["confidence"] == vars(rule)
    assert rule.puzzles == 64
    assert embedded_contract(target).halt.settled is None

    assert run(["evaluate", str(target), *SIZE, "--abstain", "0.9", "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert score["answered"] == round(score["coverage"] * 64)
    points = score["calibration"]["points"]
    assert [one["answered"] for one in points] == [32, 51, 61]
    assert [one["risk"] for one in points] == [one["wrong"] / one["answered"] for one in points]
    whole = score["calibration"]["curve"][-1]
    assert whole["answered"] == 64
    assert whole["risk"] == pytest.approx(1 - score["exact"])
    assert run(["evaluate", str(target), *SIZE, "--abstain", "0.9999999"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Wrong answers among the most confident" in shown
    assert "abstain 0.9999999 " in shown
    assert run(["evaluate", str(target), *SIZE, "--json"]) == 0
    assert "calibration" not in json.loads(capsys.readouterr().out)


def test_a_confidence_of_another_threshold_or_number_of_tries_is_dropped(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size = ["--count", "32"]  # eight times
    file, sure = str(files / "slow.onnx"), files / "sure.onnx"
    assert run(["tune", file, "-o", str(sure), *size, "--confidence"]) == 0
    kept = embedded_contract(sure)
    assert kept.confidence is not None
    assert run(["tune", str(sure), *size]) == 0
    assert "dropped" not in capsys.readouterr().err
    assert embedded_contract(sure) == kept

    slow, other = files / "slow-and-sure.onnx", files / "other.onnx"
    rewrite(sure, replace(kept, halt=HaltRule("q_halt", 30.0)), slow, force=False)
    for before, tries in ((slow, "1"), (sure, "3")):
        tuned = ["tune", str(before), "-o", str(other), *size, "--tries", tries]
        assert run([*tuned, "--dry-run"]) == 0
        assert "The confidence in the file would be dropped" in one_line(capsys)
        assert run(tuned) == 0
        said = one_line(capsys)
        assert "is dropped, because it was fitted at another threshold or number of tries" in said
        assert "give --confidence to fit it again." in said
        assert embedded_contract(other).confidence is None
        assert run([*tuned, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["confidence_dropped"] is True
        assert "confidence" not in found
    assert run([*tuned, "--confidence", "--json"]) == 0
    assert "confidence_dropped" not in json.loads(capsys.readouterr().out)


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


def test_a_confidence_by_a_constant_says_what_it_cannot_do(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, solution = files / "easy.txt", "1234341221434321"
    boards = [f"{solution[:at]}.{solution[at + 1 :]} {solution}\n" for at in range(16)]
    rows.write_text("".join([*boards, *boards[:8]]))
    easy = ["tune", str(files / "slow.onnx"), "--puzzles", str(rows), "--confidence"]
    assert run([*easy, "--dry-run"]) == 0
    said = one_line(capsys)
    assert "Confidence would be fitted on 24 puzzles by a constant, so it cannot tell right" in said
    assert "fit it on harder puzzles, and on more of them." in said
    assert run(easy) == 0
    assert "Confidence is fitted on 24 puzzles by a constant" in one_line(capsys)


def test_a_file_that_solves_nothing_stays_as_it_is(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, file = files / "wrong.txt", files / "slow.onnx"
    rows.write_text("................ 1234341221434321\n")
    before = {path: path.read_bytes() for path in files.iterdir()}
    assert run(["tune", str(file), "--puzzles", str(rows), "--settled"]) == 0
    captured = capsys.readouterr()
    said = " ".join(captured.err.split())
    assert "The present threshold 30 stays: no threshold solves a puzzle." in said
    assert "No threshold of movement is chosen: none solves a puzzle." in said
    assert "settled, chosen" not in captured.out
    assert run(["tune", str(file), "--puzzles", str(rows), "--settled", "--json"]) == 0
    settling = json.loads(capsys.readouterr().out)["settling"]
    assert settling["chosen"] is settling["chosen_both"] is None
    assert {path: path.read_bytes() for path in files.iterdir()} == before


def test_a_dry_run_writes_nothing(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in files.iterdir()}
    assert run(["tune", str(files / "slow.onnx"), *SIZE, "--dry-run"]) == 0
    captured = capsys.readouterr()
    assert "The rule would be q_halt > " in captured.err
    assert {path: path.read_bytes() for path in files.iterdir()} == before


def test_puzzles_of_a_file(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = tmp_path / "puzzles.txt"
    lines.write_text("1.34341221434321 1234341221434321\n")
    file = str(files / "slow.onnx")
    assert run(["tune", file, "--puzzles", str(lines), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["puzzles"] == 1
    lines.write_text("1.34341221434321\n")
    assert run(["tune", file, "--puzzles", str(lines)]) == 2
    assert "has no solutions" in capsys.readouterr().err


def split(folder: Path, name: str, count: int) -> None:
    """A split of an official data set."""
    puzzles = get_task("sudoku4").puzzles("train", count=count)
    (folder / name).mkdir(parents=True)
    (folder / name / "dataset.json").write_text('{"sets": ["all"], "seq_len": 16}')
    np.save(folder / name / "all__inputs.npy", puzzles.inputs)
    np.save(folder / name / "all__labels.npy", puzzles.solutions)


def test_a_folder_gives_its_validation_puzzles_and_never_those_of_a_test(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    split(data, "test", 2)
    split(data, "train", 3)
    tuned = ["tune", str(files / "slow.onnx"), "--dry-run", "--json", "--puzzles"]
    assert run([*tuned, str(data)]) == 4
    said = json.loads(capsys.readouterr().out)["error"]["message"]
    assert f"{data / 'validation'} has no dataset.json" in said
    assert f"{data} has the splits test, train: give the folder of one" in said
    assert run([*tuned, str(data / "train")]) == 0
    assert json.loads(capsys.readouterr().out)["puzzles"] == 3
    split(data, "validation", 4)
    assert run([*tuned, str(data)]) == 0
    assert json.loads(capsys.readouterr().out)["puzzles"] == 4


def test_a_loop_is_given_its_threshold_before_the_export(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, file = str(made / "slow.keras"), str(tmp_path / "loop.onnx")
    options = ["--granularity", "loop", "--halt-threshold", "-30", "-o", file]
    assert run(["onnx", model, *options]) == 0
    assert embedded_contract(Path(file)).halt == HaltRule("q_halt", -30.0)
    capsys.readouterr()
    assert run(["tune", file]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "has granularity loop: its threshold (-30) is a constant of the graph" in said
    assert "export the loop again with that --halt-threshold" in said
    assert run(["parity", model, file, "--count", "6", "--halt-threshold", "-30", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["decisions"]["candidate_mean_steps"] == 1
    assert run(["parity", model, file, "--count", "6"]) == 5


@pytest.mark.parametrize(
    ("options", "words", "code"),
    [
        ([], "No shipped puzzles fit this model", 2),
        (["--task", "sudoku5"], "There is no task 'sudoku5'", 2),
        (["--puzzles", "x.txt", "--blanks", "5"], "drop it or --puzzles", 2),
        (["--blanks", "some"], "--blanks must be a number, minimal or hard", 2),
        (["--puzzles", "x.txt"], "x.txt: no such file or folder of puzzles", 4),
        (["-o", "toy.tflite"], "must end in .onnx", 2),
        (["--lose", "101"], "--lose", 2),
    ],
)
def test_refusals(
    options: list[str],
    words: str,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "toy.onnx")
    before = (tmp_path / "toy.onnx").read_bytes()
    assert run(["tune", "toy.onnx", *options]) == code
    captured = capsys.readouterr()
    assert words in " ".join(captured.err.split())
    assert captured.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["toy.onnx"]
    assert (tmp_path / "toy.onnx").read_bytes() == before


def test_noise_on_a_file_with_int8_ports_is_tuned_and_planned(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = str(tmp_path / "ports.onnx")
    integers = ["--precision", "int8-static", "--integer-io"]
    assert run(["onnx", str(files / "slow.keras"), *integers, "-o", file]) == 0
    capsys.readouterr()
    again = ["--tries", "2", "--vary", "noise", "--count", "20", "--json"]
    assert run(["evaluate", file, *again]) == 0
    capsys.readouterr()
    assert run(["tune", file, *again, "--dry-run", "--settled", "--confidence"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tries"]["vary"] == "noise"
    assert found["settling"]["chosen"]["exact"] > 0.5
    assert run(["plan", file, *again, "--budget", "16steps"]) == 0
    assert json.loads(capsys.readouterr().out)["run"]["tries"] <= 2


def test_votes_have_no_threshold(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tune", str(files / "slow.onnx"), "--tries", "2", "--choose", "vote"]) == 2
    assert "no threshold saves any" in capsys.readouterr().err


def test_a_plot_has_its_marks_and_fits() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0, 3, (8, 200)).astype(np.float32)
    found: Any = tune(HaltRule("q_halt", -2.0), Trace(scores, scores > 0), 0.0)
    lines = plot(found).splitlines()
    assert max(map(len, lines)) <= 80
    text = "\n".join(lines[:-1])
    assert all(mark in text for mark in ".oPC")
    assert lines[1].strip().startswith(f"{max(p.exact for p in found.points):.1%}")
