"""Tuning, on the toy model: the curve is what the loop does, and the choice goes into files."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.parity.fakes import toy_puzzles
from tests.runtime.fakes import MAX_STEPS, FakeRunner, make_contract
from tests.runtime.graphs import write
from tests.runtime.test_settling import Moving
from tests.runtime.tf_graphs import write_saved_model, write_tflite
from trm_export.artifacts.contract_rewrite import embedded_contract, refuse_rewrite, rewrite
from trm_export.artifacts.inspection import inspect_file
from trm_export.errors import OverwriteError, RejectedInputError, UsageError
from trm_export.files import CALIBRATION, KEEP, MEASURED, MICRO, sidecar
from trm_export.halting.curve import Trace, point, settled_curve
from trm_export.halting.trying import run_all_steps
from trm_export.halting.tuning import refuse_loop, tune
from trm_export.tasks import PuzzleSet
from trm_export.version import TOOL
from trm_runtime import HaltRule, StepContract, open_runner, solve
from trm_runtime.digest import tree_digest
from trm_runtime.drivers.tflite_file import append_contract
from trm_runtime.puzzle_table import table_beside

KINDS = ("onnx", "tflite", "saved_model")


def artifact(folder: Path, kind: str, **fields: Any) -> Path:
    """The toy model as a file or folder of that kind, with its contract beside it."""
    contract = make_contract(**fields)
    if kind == "onnx":
        from tests.runtime.graphs import build

        path = write(folder / "toy.onnx", build(contract))
    elif kind == "tflite":
        pytest.importorskip("tensorflow")
        path = write_tflite(folder / "toy.tflite", contract)
    else:
        pytest.importorskip("tensorflow")
        path = write_saved_model(folder / "toy", contract)
    path.with_name(f"{path.name}.json").write_text(contract.to_json())
    return path


def tuned(contract: StepContract, threshold: float = 1.25) -> StepContract:
    return replace(contract, halt=contract.halt.tuned(threshold))


# --- the curve ------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [None, 5])
@pytest.mark.parametrize("kind", ["q_halt", "q_halt_minus_q_continue"])
def test_the_curve_is_what_the_loop_does_at_every_threshold(kind: str, batch: int | None) -> None:
    runner = FakeRunner(make_contract(halt=HaltRule(kind, 0.0), batch=batch))
    puzzles = toy_puzzles(13, (3,))
    trace = run_all_steps(runner, puzzles)
    assert trace.scores.shape == trace.exact.shape == (MAX_STEPS, 13)
    for found in tune(runner.contract.halt, trace, 0.0).points:
        solution = solve(runner, puzzles.inputs, halt=found.threshold)
        assert found.mean_steps == solution.steps.mean()
        assert found.exact == (solution.answers == puzzles.solutions).all(axis=1).mean()


@pytest.mark.parametrize("batch", [None, 5])
def test_the_curves_of_movement_are_what_the_loop_does(batch: int | None) -> None:
    """The toy model that settles, at every threshold of both rules."""
    runner = Moving(halt=HaltRule("q_halt", 0.5), batch=batch)
    puzzles = toy_puzzles(13, (3,))
    trace = run_all_steps(runner, puzzles, measured=True)
    found = tune(runner.contract.halt, trace, 0.0)
    assert found.settling is not None
    chosen = replace(runner.contract, halt=HaltRule("q_halt", found.chosen.threshold))
    runner.contract = chosen
    assert len(found.settling.settled) > 5
    for halt, points in (("settled", found.settling.settled), ("both", found.settling.both)):
        for one in points:
            solution = solve(runner, puzzles.inputs, halt=halt, settled=one.threshold)
            assert one.mean_steps == solution.steps.mean()
            assert one.exact == (solution.answers == puzzles.solutions).all(axis=1).mean()
    rule = found.tuned(HaltRule("q_halt", 0.5))
    assert found.settling.chosen is not None
    assert found.settling.chosen_both is not None
    assert rule.settled == found.settling.chosen.threshold
    assert found.settling.chosen_both.threshold == rule.settled
    best = max(one.exact for one in found.settling.settled)
    assert found.settling.chosen.exact == best


def test_movement_is_measured_only_if_asked() -> None:
    runner = Moving()
    trace = run_all_steps(runner, toy_puzzles(4))
    found = tune(runner.contract.halt, trace, 0.0)
    assert trace.moved is found.settling is None
    assert found.tuned(HaltRule()).settled is None


@pytest.mark.parametrize("moved", [[np.inf], [np.inf, 0.0]])
def test_states_that_never_move_have_no_threshold_of_movement(moved: list[float]) -> None:
    shape = len(moved), 3
    movement = np.broadcast_to(np.array(moved, np.float32)[:, None], shape)
    trace = Trace(np.ones(shape, np.float32), np.ones(shape, bool), movement)
    with pytest.raises(UsageError, match="the states of this model never move from one step to"):
        tune(HaltRule(), trace, 0.0)


def test_a_puzzle_that_breaks_down_stops_there_for_every_threshold_of_movement() -> None:
    runner = FakeRunner(poison={1: ("z_L", 3)})
    puzzles = toy_puzzles(12)
    puzzles.inputs[:, -1] = 1
    trace = run_all_steps(runner, puzzles, measured=True)
    for one in settled_curve(np.asarray(trace.moved), trace.exact):
        assert one.mean_steps <= 3


def test_a_puzzle_that_breaks_down_stops_there_as_in_the_loop() -> None:
    puzzles = toy_puzzles(12)
    puzzles.inputs[:, -1] = np.arange(12) % 5 + 1
    labels = puzzles.solutions.copy()
    labels[:, -1] = (puzzles.inputs[:, -1] + puzzles.inputs[:, 0]) % 6
    puzzles = replace(puzzles, labels=labels)
    runner = FakeRunner(poison={1: ("z_L", 3), 2: ("logits", 1), 3: ("q_halt_logits", MAX_STEPS)})
    trace = run_all_steps(runner, puzzles)
    for threshold in (-99.0, -1.0, 0.0, 1.0, 99.0):
        solution = solve(runner, puzzles.inputs, halt=threshold)
        found = point(trace.scores, trace.exact, threshold)
        assert found.mean_steps == solution.steps.mean()
        assert found.exact == (solution.answers == puzzles.solutions).all(axis=1).mean()


def test_the_choice_and_what_it_is_compared_with() -> None:
    trace = run_all_steps(FakeRunner(), toy_puzzles(12, (5,)))
    found = tune(HaltRule("q_halt", 2.0), trace, 0.0)
    assert found.present.threshold == found.trained.threshold == 2.0
    assert found.present.exact == 0  # the toy forgets what it knew
    assert -0.5 <= found.chosen.threshold < 0.5
    assert found.chosen.exact == 11 / 12
    assert (found.won, found.lost, found.puzzles) == (11, 0, 12)
    assert found.p_value < 0.001
    assert found.chosen in found.front
    assert found.all_steps is not None
    assert found.all_steps.mean_steps == MAX_STEPS
    assert found.changes


def test_the_present_threshold_stays_where_no_other_is_better() -> None:
    trace = run_all_steps(FakeRunner(), toy_puzzles(12))
    found = tune(HaltRule("q_halt", 0.2, trained=5.0), trace, 0.0)
    assert not found.changes
    assert found.chosen.threshold == 0.2
    assert found.trained.threshold == 5.0


def test_nothing_is_chosen_where_no_threshold_solves_a_puzzle() -> None:
    scores = np.array([[-2.0, -3.0], [1.0, 2.0]], np.float32)
    moved = np.array([[np.inf, np.inf], [0.1, 0.2]], np.float32)
    rule = HaltRule("q_halt", 0.5)
    found = tune(rule, Trace(scores, np.zeros((2, 2), bool), moved), 0.0)
    assert not found.solves
    assert not found.changes
    assert found.tuned(rule) == rule
    right = np.array([[True, True], [False, False]])  # in the first step, which has no movement
    found = tune(rule, Trace(scores, right, moved), 0.0)
    assert found.solves
    assert found.settling is not None
    assert found.settling.chosen is found.settling.chosen_both is None
    assert found.tuned(rule).settled is None


def test_progress_counts_to_its_total() -> None:
    calls: list[tuple[int, int]] = []
    run_all_steps(FakeRunner(), toy_puzzles(70), lambda done, total: calls.append((done, total)))
    assert [done for done, _ in calls] == sorted({done for done, _ in calls})
    assert calls[-1] == (70 * MAX_STEPS, 70 * MAX_STEPS)


def test_refusals() -> None:
    no_labels = PuzzleSet(toy_puzzles(3).inputs, None, np.zeros(3, np.int32))
    with pytest.raises(UsageError, match="no solutions"):
        run_all_steps(FakeRunner(), no_labels)
    trace = run_all_steps(FakeRunner(), toy_puzzles(3))
    for lose in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match="share of answers to lose must be 0 to 1"):
            tune(HaltRule(), trace, lose)
    refuse_loop(make_contract(), "toy.onnx")


# --- the file -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_driver_halts_by_the_new_threshold(kind: str, tmp_path: Path) -> None:
    path = artifact(tmp_path, kind)
    rewrite(path, tuned(embedded_contract(path)), path)
    runner, puzzles = open_runner(path), toy_puzzles(12)
    assert runner.contract.halt == HaltRule("q_halt", 1.25, trained=0.0)
    solution = solve(runner, puzzles.inputs)
    np.testing.assert_array_equal(solution.steps, puzzles.inputs[:, 0] + 1)
    info = inspect_file(path)
    assert info
    assert info.to_json()["sidecar"] == "same"


@pytest.mark.parametrize("kind", KINDS)
def test_tuning_back_gives_the_very_same_bytes(kind: str, tmp_path: Path) -> None:
    path = artifact(tmp_path, kind)
    before = _bytes(tmp_path)
    rewrite(path, tuned(embedded_contract(path)), path)
    changed = _bytes(tmp_path)
    assert {name for name in before if before[name] != changed[name]} == {
        "onnx": {"toy.onnx", "toy.onnx.json"},
        "tflite": {"toy.tflite", "toy.tflite.json"},
        "saved_model": {
            "toy.json", "toy/assets.extra/trm_contract.json",
            "toy/assets.extra/trm_contract.sha256",
        },
    }[kind]  # fmt: skip
    rewrite(path, tuned(embedded_contract(path), 0.0), path)
    assert _bytes(tmp_path) == before


def test_onnx_keeps_every_byte_that_is_not_the_contract(tmp_path: Path) -> None:
    path = artifact(tmp_path, "onnx")
    old, before = embedded_contract(path).to_json().encode(), path.read_bytes()
    rewrite(path, tuned(embedded_contract(path)), path)
    new, after = embedded_contract(path).to_json().encode(), path.read_bytes()
    (head, tail), (new_head, new_tail) = before.split(old), after.split(new)
    entry = head.index(b"\x0a\x0ctrm_contract")  # the key; before it the length of the entry
    assert new_head[: entry - 2] == head[: entry - 2]
    assert new_tail[:-64] == tail[:-64]  # but for the checksum
    onnx.checker.check_model(onnx.load(path))


def test_tflite_keeps_its_flatbuffer(tmp_path: Path) -> None:
    path = artifact(tmp_path, "tflite")
    with zipfile.ZipFile(path) as archive:
        end = min(member.header_offset for member in archive.infolist())
    flatbuffer = path.read_bytes()[:end]
    rewrite(path, tuned(embedded_contract(path)), path)
    assert path.read_bytes()[:end] == flatbuffer
    path.write_bytes(flatbuffer)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("labels.txt", "a\nb\n")
    append_contract(path, tuned(make_contract()).to_json())
    with pytest.raises(RejectedInputError, match="would be lost") as caught:
        rewrite(path, tuned(embedded_contract(path), 3.0), path)
    assert caught.value.problems == ("labels.txt",)
    assert embedded_contract(path).halt.threshold == 1.25


@pytest.mark.parametrize("kind", KINDS)
def test_another_target_leaves_the_file_as_it_is(kind: str, tmp_path: Path) -> None:
    path = artifact(tmp_path, kind)
    before = _bytes(tmp_path)
    target = tmp_path / "new" / f"tuned{path.suffix}"
    rewrite(path, tuned(embedded_contract(path)), target)
    assert {name: data for name, data in _bytes(tmp_path).items() if name in before} == before
    assert embedded_contract(target).halt.trained == 0.0
    assert inspect_file(target).to_json()["sidecar"] == "same"


@pytest.mark.parametrize("kind", KINDS)
def test_through_a_link_the_file_behind_it_gets_all_documents(kind: str, tmp_path: Path) -> None:
    path = artifact(tmp_path, kind)
    link = tmp_path / "links" / path.name
    link.parent.mkdir()
    link.symlink_to(path)
    measured = {"tool": TOOL, "file_sha256": tree_digest(path)}
    sidecar(path, MEASURED).write_text(json.dumps(measured))
    refuse_rewrite(link, link)
    written = rewrite(link, tuned(embedded_contract(link)), link)
    assert written == (link, sidecar(path), sidecar(path, MEASURED))
    assert [one.name for one in link.parent.iterdir()] == [link.name]
    assert link.is_symlink()
    assert inspect_file(path).to_json()["sidecar"] == "same"
    bound = json.loads(sidecar(path, MEASURED).read_text())
    assert bound["file_sha256"] == tree_digest(path)
    sidecar(path, CALIBRATION).write_text(json.dumps({"tool": TOOL}))
    copy = tmp_path / "copies" / path.name
    rewrite(link, embedded_contract(link), copy)
    assert sidecar(copy, CALIBRATION).is_file()
    assert sidecar(copy, MEASURED).is_file()
    sidecar(link).write_text(embedded_contract(path).to_json())  # exported through the link
    assert rewrite(link, tuned(embedded_contract(link)), link)[1] == sidecar(link)
    assert inspect_file(link).to_json()["sidecar"] == "same"


@pytest.mark.parametrize("kind", KINDS)
def test_a_failure_on_the_way_leaves_the_old_file(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = artifact(tmp_path, kind)
    before = _bytes(tmp_path)

    def fail(path: Path) -> StepContract:
        raise KeyboardInterrupt

    contract = tuned(embedded_contract(path))
    monkeypatch.setattr("trm_export.artifacts.contract_rewrite.embedded_contract", fail)
    with pytest.raises(KeyboardInterrupt):
        rewrite(path, contract, path)
    assert _bytes(tmp_path) == before


def test_a_puzzle_table_goes_with_its_file(tmp_path: Path) -> None:
    from tests.runtime.test_puzzle_table import external

    path = write(tmp_path / "toy.onnx")
    table_beside(path).write_bytes(b"rows")
    contract = external("ab" * 32)
    rewrite(path, contract, tmp_path / "b.onnx")
    assert table_beside(tmp_path / "b.onnx").read_bytes() == b"rows"
    rewrite(path, contract, path)
    assert table_beside(path).read_bytes() == b"rows"


def test_documents_go_with_their_file_and_those_of_the_file_before_go(tmp_path: Path) -> None:
    path, target = artifact(tmp_path, "onnx"), tmp_path / "b.onnx"
    contract, tool = embedded_contract(path), json.dumps({"tool": TOOL})
    sidecar(path, CALIBRATION).write_text(tool)
    sidecar(target, KEEP).write_text(tool)
    notes = tmp_path / "b.onnx.notes.json"
    notes.write_text(tool)
    rewrite(path, contract, target)
    assert sidecar(target, CALIBRATION).read_text() == tool
    assert not sidecar(target, KEEP).exists()
    assert notes.exists()
    rewrite(path, contract, path)
    assert sidecar(path, CALIBRATION).read_text() == tool
    sidecar(target, KEEP).write_text("mine")
    sidecar(path, KEEP).write_text(tool)
    with pytest.raises(OverwriteError):
        rewrite(path, contract, target)
    sidecar(path, KEEP).unlink()
    rewrite(path, contract, target)
    assert sidecar(target, KEEP).read_text() == "mine"


def test_what_is_not_of_the_tool_beside_a_file_stays_there(tmp_path: Path) -> None:
    path, target = artifact(tmp_path, "onnx"), tmp_path / "b.onnx"
    contract = embedded_contract(path)
    sidecar(path, KEEP).write_text("mine")
    for place in (path, target, target):
        rewrite(path, contract, place)
    assert sidecar(path, KEEP).read_text() == "mine"
    assert not sidecar(target, KEEP).exists()
    sidecar(target, MICRO).write_text(json.dumps({"tool": TOOL}))  # of the file before
    rewrite(path, contract, target)
    assert not sidecar(target, MICRO).exists()


def test_somebody_elses_target_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    path = artifact(tmp_path, "onnx")
    other = tmp_path / "other.onnx"
    other.write_bytes(b"mine")
    contract = embedded_contract(path)
    with pytest.raises(OverwriteError):
        rewrite(path, contract, other)
    with pytest.raises(UsageError, match=r"must end in \.onnx"):
        rewrite(path, contract, tmp_path / "toy.tflite")
    rewrite(path, contract, other, force=True)
    assert embedded_contract(other) == contract
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(RejectedInputError):
        embedded_contract(path)


def _bytes(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
