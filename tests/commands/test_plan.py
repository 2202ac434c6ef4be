"""`trm-export plan` on real files: the choice, what is kept beside them, and what is refused."""

from __future__ import annotations

import base64
import json
import shlex
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

import trm_export as te
from trm_export.api import planning
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support.app import run
from trm_export.errors import RejectedInputError, UsageError
from trm_export.tasks import get_task
from trm_runtime import open_runner, solve
from trm_runtime.__main__ import main as device
from trm_runtime.digest import tree_digest
from trm_runtime.measure import joules

SIZE = ["--count", "24", "--tries", "3"]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped 4x4 model and two of its exports, measured."""
    folder = tmp_path_factory.mktemp("plan")
    shutil.copy(shipped_checkpoint("sudoku4"), folder)
    for precision in ("fp32", "int8"):
        te.export(
            folder / "sudoku4.keras", folder / f"sudoku4-{precision}.onnx", precision=precision
        )
    assert run(["plan", str(folder / "sudoku4.keras"), "--deadline", "5s", *SIZE]) == 0
    return folder


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # away from files in artifacts/, which plan finds


@pytest.fixture
def files(made: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made, tmp_path / "files"))


def planned(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> Any:
    assert run(["plan", *map(str, words), *SIZE, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_a_plan_names_a_file_and_its_command_runs(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = planned(capsys, files / "sudoku4.keras", "--deadline", "500ms", "--exact", "90%")
    own = found["run"]
    assert found["within_limits"]
    assert "error" not in found
    assert {Path(cost["file"]).name for cost in found["costs"]} == {
        "sudoku4-fp32.onnx",
        "sudoku4-int8.onnx",
    }
    least = min(cost["step_ms"] for cost in found["costs"])
    assert own["mean_ms"] == pytest.approx(own["mean_steps"] * own["step_ms"])
    assert own["exact"] == own["puzzles"] / 24 == 1
    assert own["interval"][0] < 0.9
    assert own["step_ms"] == least
    assert own["deadline_each"] == pytest.approx(0.5 - own["step_ms"] / 1e3, abs=1e-3)
    assert own["mean_joules"] is None or found["energy_meter"]

    one = te.plan(files / "sudoku4-fp32.onnx", budget=8, count=24, tries=3).run
    assert one is not None
    assert replace(one, chosen_engine="a; b").command.split(" --engine ")[1].startswith("'a; b' ")
    rows = files / "rows.txt"
    rows.write_text("2.4.....1..442..\n")
    words = shlex.split(own["command"].replace("PUZZLES", str(rows)))
    assert words[:3] == ["python", "-m", "trm_runtime"]
    assert device(words[3:]) == 0
    assert capsys.readouterr().out.startswith("2143341213244231\t")
    names = {"solve": solve, "open_runner": open_runner, "puzzles": "2.4.....1..442.."}
    solution = eval(own["python"], names)
    assert solution.texts == ["2143341213244231"]


def test_a_second_plan_measures_nothing_that_is_known(
    files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trm_export.api.planning.step_cost", None)
    monkeypatch.setattr("trm_export.api.planning.run_tries", None)
    found = planned(capsys, files / "sudoku4.keras", "--budget", "8steps")
    assert found["run"]["tries"] * found["run"]["max_steps"] <= 8
    assert found["run"]["deadline_each"] is None
    with pytest.raises(TypeError):
        te.plan(files / "sudoku4-int8.onnx", budget=8, count=25, tries=3)
    beside = files / "sudoku4-int8.onnx.plan.json"
    beside.write_text(beside.read_text()[:-20])
    with pytest.raises(TypeError):
        te.plan(files / "sudoku4-int8.onnx", budget=8, count=24, tries=3)


def test_what_cannot_be_kept_is_told(files: Path) -> None:
    beside = files / "sudoku4-int8.onnx.plan.json"
    beside.write_text("garbage")
    found = te.plan(files / "sudoku4-int8.onnx", budget=8, count=24, tries=3)
    assert found.unkept == (beside,)
    slow = replace(found, seconds=5.0)
    assert f"Measured in 5 s, but not kept: {beside} cannot be written, or is not" in slow.legend
    assert beside.read_text() == "garbage"


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("costs", {"threads": "1; rm -rf ~"}),
        ("costs", {"threads": 0}),
        ("costs", {"threads": 512}),
        ("costs", {"threads": True}),
        ("costs", {"step_ms": -1}),
        ("costs", {"step_ms": 0}),
        ("costs", {"step_ms": 5e-324}),
        ("costs", {"step_ms": "abc"}),
        ("costs", {"step_ms": 10**400}),
        ("costs", {"load_ms": None}),
        ("costs", {"resident_mb": -1.0}),
        ("costs", {"step_joules": "x"}),
        ("costs", {"more": 1}),
        ("costs", []),
        ("costs", 1),
        ("traces", {"exact": ""}),
        ("traces", {"scores": ""}),
        ("traces", {"scores": "****"}),
        ("traces", {"scores": None}),
        ("traces", {"shape": [3, 16]}),
        ("traces", {"shape": [3, True, 24]}),
        ("traces", {"shape": [10**6, 10**6, 10**6]}),
        ("traces", []),
    ],
)
def test_what_is_kept_and_was_not_written_so_is_measured_again(
    files: Path, monkeypatch: pytest.MonkeyPatch, part: str, change: Any
) -> None:
    beside = files / "sudoku4-fp32.onnx.plan.json"
    document = json.loads(beside.read_text())
    found = document[part]["found"]
    if not isinstance(change, dict):
        document[part]["found"] = change
    elif part == "costs":
        found[0].update(change)
    else:
        found.update(change)
    beside.write_text(json.dumps(document))
    measure = {"costs": "step_cost", "traces": "run_tries"}[part]
    monkeypatch.setattr(f"trm_export.api.planning.{measure}", None)
    with pytest.raises(TypeError, match="'NoneType' object is not callable"):
        te.plan(files / "sudoku4-fp32.onnx", budget=8, count=24, tries=3)


def test_scores_that_no_run_keeps_are_measured_again(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = files / "sudoku4-fp32.onnx.plan.json"
    document = json.loads(beside.read_text())
    found = document["traces"]["found"]
    monkeypatch.setattr("trm_export.api.planning.run_tries", None)
    for bad in (np.nan, np.inf, -np.inf):
        scores = np.frombuffer(base64.b64decode(found["scores"]), "<f4").copy()
        scores[0] = bad
        found["scores"] = base64.b64encode(scores.tobytes()).decode()
        beside.write_text(json.dumps(document))
        with pytest.raises(TypeError, match="'NoneType' object is not callable"):
            te.plan(files / "sudoku4-fp32.onnx", budget=8, count=24, tries=3)


@pytest.mark.parametrize(
    ("limits", "problem"),
    [
        (["--deadline", "0.001ms"], "No file computes a step within 0.001 ms; the nearest is "),
        (["--memory", "1kB"], "No file runs within 1 kB; the nearest is sudoku4-"),
    ],
)
def test_no_choice_within_the_limits_is_one_sentence(
    files: Path, capsys: pytest.CaptureFixture[str], limits: list[str], problem: str
) -> None:
    found = planned(capsys, files / "sudoku4.keras", *limits, code=1)
    assert found["run"] is None
    assert found["problem"].startswith(problem)
    assert found["error"] == {
        "type": "TRMError",
        "message": found["problem"],
        "problems": [],
        "exit_code": 1,
    }
    assert run(["plan", str(files / "sudoku4.keras"), *limits, *SIZE]) == 1
    assert f"Error: {problem}" in " ".join(capsys.readouterr().err.split())


def test_an_accuracy_that_no_choice_has(files: Path) -> None:
    puzzles = get_task("sudoku4").puzzles("validation", count=8)
    wrong = puzzles.solutions.copy()
    wrong[::2] = wrong[::2, ::-1]
    known = replace(puzzles, labels=wrong)
    found = te.plan(files / "sudoku4-fp32.onnx", exact=95, tries=2, puzzles=known)
    assert not found
    assert found.run is not None
    assert found.run.exact < 0.9
    told = f"the nearest is sudoku4-fp32.onnx with {found.run.exact:.1%}."
    assert found.problem.startswith("No choice within the limits is expected to answer 95 % of ")
    assert found.problem.endswith(told)
    assert "The nearest choice" in found.tables()[0].title


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "A plan needs a limit"),
        (["--deadline", "50"], "--deadline: expected something like 50ms"),
        (["--budget", "3h"], "--budget: expected something like 20steps"),
        (["--budget", "1.5"], "--budget: expected something like 20steps, got '1.5'."),
        (["--budget", "1e400"], "--budget: expected something like 20steps"),
        (["--budget", "nan"], "--budget: expected something like 20steps"),
        (["--memory", "lots"], "--memory: expected something like 1MB"),
        (["--memory", "nanMB"], "--memory: expected something like 1MB"),
        (["--memory", "1e400MB"], "--memory: expected something like 1MB"),
        (["--memory", "1e305MB"], "--memory: expected something like 1MB"),
        (["--memory", "0.5B"], "memory must be a number above 0, got 0."),
        (["--exact", "nan"], "--exact: expected something like 95"),
        (["--deadline", "1e306s"], "deadline must be a number above 0"),
        (["--exact", "101"], "The percentage exact must be at most 100"),
        (["--deadline", "-1s"], "deadline must be a number above 0"),
    ],
)
def test_wrong_limits_are_refused(
    files: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run(["plan", str(files / "sudoku4.keras"), *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "limit",
    [
        {"deadline": "50ms"},
        {"deadline": True},
        {"deadline": 10**400},
        {"budget": "a"},
        {"budget": True},
        {"budget": 1.5},
        {"memory": "30MB"},
        {"memory": True},
        {"exact": [95]},
    ],
)
def test_a_limit_is_a_number(limit: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"^{next(iter(limit))} must be a "):
        te.plan(shipped_checkpoint("sudoku4"), **limit)


def test_limits_of_any_size_are_met(files: Path) -> None:
    for limit in ({"deadline": 1e300}, {"budget": 10**200}, {"memory": 10**200}):
        assert te.plan(files / "sudoku4-fp32.onnx", count=24, tries=3, **limit)


@pytest.mark.parametrize(
    ("words", "digest", "code", "message"),
    [
        (["sudoku4-fp32.onnx"], "0" * 64, 4, "expected the SHA-256 000"),
        (["sudoku4-fp32.onnx", "sudoku4-int8.onnx"], "fp32", 4, "sudoku4-int8.onnx: expected the"),
        (["sudoku4.keras", "sudoku4-fp32.onnx"], "0" * 64, 4, "expected the SHA-256 000"),
        (["sudoku4-fp32.onnx"], "abc", 2, "expected 64 hexadecimal digits"),
        (["sudoku4.keras"], "fp32", 2, "are for exported files that are named; name them"),
        (["sudoku4-fp32.onnx"], "fp32", 0, ""),
        (["sudoku4.keras", "sudoku4-fp32.onnx"], "fp32", 0, ""),
    ],
)
def test_every_exported_file_has_the_digest_that_is_demanded(
    files: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    digest: str,
    code: int,
    message: str,
) -> None:
    demanded = tree_digest(files / "sudoku4-fp32.onnx") if digest == "fp32" else digest
    paths = [str(files / word) for word in words]
    options = ["--budget", "8", "--expect-sha256", demanded, *SIZE]
    assert run(["plan", *paths, *options]) == code
    assert message in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("command", ["plan", "bench"])
def test_a_key_without_named_files_is_refused(
    files: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    limits = ["--budget", "8"] if command == "plan" else []
    words = [str(files / "sudoku4.keras"), *limits, "--verify-key", str(files / "key.pem")]
    assert run([command, *words]) == 2
    assert "exported files that are named" in " ".join(capsys.readouterr().err.split())


def test_files_must_be_exports_of_the_model(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    alone = Path(shutil.copy(files / "sudoku4.keras", tmp_path / "alone.keras"))
    with pytest.raises(UsageError, match=r"No exported file of .*alone\.keras lies"):
        te.plan(alone, deadline=1.0)
    other = shipped_checkpoint("maze9")
    with pytest.raises(
        RejectedInputError, match=r"other weights than .*maze9\.keras: .*fp32\.onnx; a plan chooses"
    ):
        te.plan(other, files / "sudoku4-fp32.onnx", deadline=1.0)


def test_a_model_of_another_class_is_told_what_can_take_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "theirs.keras"
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)
    assert run(["plan", str(path), "--budget", "8"]) == 4
    told = " ".join(capsys.readouterr().err.split())
    assert "An exported file can take the place of the model in a plan." in told


def test_files_of_two_models_are_refused(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = te.export(shipped_checkpoint("maze9"), files / "maze9.onnx").path
    words = [files / "sudoku4-fp32.onnx", other, "--budget", 8]
    assert run(["plan", *map(str, words)]) == 4
    told = " ".join(capsys.readouterr().err.split())
    assert "maze9.onnx; a plan chooses among files of one model" in told
    assert "--weights" not in told


def test_a_choice_that_solves_nothing_is_told(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    puzzles = get_task("sudoku4").puzzles("validation", count=8)
    wrong = replace(puzzles, labels=puzzles.solutions[:, ::-1])
    told = "This choice is not expected to solve any of these puzzles; give it more time or steps."
    found = te.plan(files / "sudoku4-fp32.onnx", budget=8, tries=2, puzzles=wrong)
    assert found
    assert found.run is not None
    assert found.run.exact == 0
    assert found.legend.startswith(told)
    assert told not in te.plan(files / "sudoku4-fp32.onnx", budget=8, tries=3, count=24).legend


def test_energy_is_that_of_the_meters_that_can_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trm_runtime.measure.METERS", tmp_path)
    assert joules() is None
    for name, energy in (("intel-rapl:0", 2_500_000), ("intel-rapl:1", 500_000)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "energy_uj").write_text(f"{energy}\n")
    assert joules() == 3.0


def test_the_exports_of_a_model_are_found_whatever_they_are_called(files: Path) -> None:
    model, graph = files / "sudoku4[1].keras", files / "sudoku4[1].onnx"
    shutil.copy(files / "sudoku4.keras", model)
    shutil.copy(files / "sudoku4-fp32.onnx", graph)
    folder = te.export(model, files / "sudoku4[1]_saved_model").path
    (files / "sudoku4[1]-none").mkdir()
    weights = open_runner(graph).contract.made_by.weights_sha256
    assert planning._exports(model, weights) == [graph, folder]


def test_a_small_negative_threshold_is_not_taken_for_an_option(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = te.plan(files / "sudoku4-fp32.onnx", budget=8, count=24, tries=3).run
    assert found is not None
    line = replace(found, threshold=-1e-05).command
    Path("PUZZLES").write_text("2.4.....1..442..\n")
    assert device(shlex.split(line)[3:]) == 0
    assert capsys.readouterr().out.startswith("2")


def test_the_line_to_run_asks_again_as_the_plan_did(files: Path) -> None:
    plain = te.plan(files / "sudoku4-fp32.onnx", budget=8, count=24, tries=3).run
    assert plain is not None
    run = replace(plain, tries=2)
    assert {"vary", "seed", "sigma"}.isdisjoint(run.options)
    other = replace(run, vary="both", seed=3, sigma=0.5)
    assert other.command.endswith("--tries 2 --vary both --seed 3 --sigma 0.5 --batch-size 1")
    assert "sigma" not in replace(run, sigma=0.5).options  # refused where there is no noise
    assert "vary" not in replace(other, tries=1).options
    noisy = te.plan(
        files / "sudoku4-fp32.onnx", budget=8, count=24, tries=2, vary="noise", seed=5, sigma=0.3
    ).run
    assert noisy is not None
    assert (noisy.vary, noisy.seed, noisy.sigma) == ("noise", 5, 0.3)


def test_one_puzzle_is_no_plan(files: Path) -> None:
    with pytest.raises(UsageError, match=r"^A plan needs at least 2 puzzles: "):
        te.plan(files / "sudoku4-fp32.onnx", budget=8, count=1)


def test_files_of_one_name_are_told_apart(files: Path) -> None:
    for name in ("sudoku4-fp32.onnx", "sudoku4-fp32.onnx.plan.json"):
        (files / "old").mkdir(exist_ok=True)
        shutil.copy(files / name, files / "old" / name)
    both = [files / "sudoku4-fp32.onnx", files / "old" / "sudoku4-fp32.onnx"]
    costs = te.plan(*both, budget=8, count=24, tries=3).tables()[1]
    assert {row[0] for row in costs.rows} == {f"{path.parent.name}/{path.name}" for path in both}
