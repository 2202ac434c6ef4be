"""The SavedModel exporter: a folder that plain TensorFlow runs, replaced whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.errors import OverwriteError, TargetError, UsageError
from trm_export.exporters.export import Choices, ExportResult, export, format_named
from trm_export.exporters.probe import probe_puzzles
from trm_export.model import TRM
from trm_export.own_files import is_ours
from trm_export.step.keras_runner import KerasRunner
from trm_export.tasks import get_task
from trm_runtime import StepContract, open_runner, solve

PLAIN = """
import sys, numpy as np, tensorflow as tf
step = tf.saved_model.load(sys.argv[1]).signatures["act_step"]
feeds = {name: tf.constant(array) for name, array in np.load(sys.argv[2]).items()}
found = step(**feeds)
assert not [name for name in sys.modules if name.startswith("trm_")]
np.savez(sys.argv[3], **{name: tensor.numpy() for name, tensor in found.items()})
"""


@pytest.fixture(scope="module")
def model() -> TRM:
    return load_model(shipped_checkpoint("sudoku4"))


def saved(model: TRM, path: Path, precision: str = "fp32", *, force: bool = False) -> ExportResult:
    kind, choices = format_named("saved-model"), Choices(precision)
    return export(model, path, probe_puzzles(model), kind, choices, force=force)


def test_plain_tensorflow_runs_it_without_our_classes(model: TRM, tmp_path: Path) -> None:
    made = saved(model, tmp_path / "m")
    runner = KerasRunner(model)
    tokens = get_task("sudoku4").puzzles("test", count=5).inputs
    from trm_runtime import initial_carry

    feeds = {"inputs": tokens, **initial_carry(runner.contract, 5)}
    np.savez(tmp_path / "feeds.npz", **feeds)
    files = [str(made.path), str(tmp_path / "feeds.npz"), str(tmp_path / "found.npz")]
    done = subprocess.run(
        [sys.executable, "-I", "-c", PLAIN, *files], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = np.load(tmp_path / "found.npz")
    expected = runner.step({"inputs": tokens}, {k: v for k, v in feeds.items() if k != "inputs"})
    np.testing.assert_allclose(found["logits"], expected.outputs["logits"], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found["steps_next"], expected.carry["steps"])


def test_the_contract_is_inside_and_beside(model: TRM, tmp_path: Path) -> None:
    made = saved(model, tmp_path / "m")
    inside = (made.path / "assets.extra" / "trm_contract.json").read_text(encoding="utf-8")
    assert inside == made.sidecar.read_text(encoding="utf-8")
    assert StepContract.from_json(inside) == made.contract
    assert made.bytes > 100_000
    assert is_ours(made.path)


def test_fp16_stores_half_the_bytes(model: TRM, tmp_path: Path) -> None:
    def variables(path: Path) -> int:
        return sum(file.stat().st_size for file in (path / "variables").iterdir())

    whole, half = saved(model, tmp_path / "whole"), saved(model, tmp_path / "half", "fp16")
    weights = sum(int(np.prod(w.shape)) for w in model.weights if w.dtype == "float32")
    assert variables(whole.path) - variables(half.path) == pytest.approx(2 * weights, rel=0.01)
    assert half.forced_error < 2e-3
    puzzles = get_task("sudoku4").puzzles("test", count=100)
    solution = solve(open_runner(half.path), puzzles.inputs)
    np.testing.assert_array_equal(solution.answers, puzzles.labels)


def test_a_folder_is_replaced_whole_and_only_if_it_is_ours(model: TRM, tmp_path: Path) -> None:
    target = tmp_path / "m"
    first = saved(model, target)
    assert saved(model, target).contract == first.contract
    (target / "left.txt").write_text("from before")
    with pytest.raises(OverwriteError, match=r"m has files that .* since: left\.txt; move them"):
        saved(model, target)
    assert (target / "left.txt").read_text() == "from before"
    assert saved(model, target, force=True).contract == first.contract
    assert not (target / "left.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "m",
        "m.json",
        "m.measured.json",
    ]
    (target / "saved_model.pb").write_bytes(b"mine")
    with pytest.raises(OverwriteError, match=r" since: saved_model\.pb; move them"):
        saved(model, target)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    with pytest.raises(TargetError, match="mine is a directory that trm-export did not make"):
        saved(model, mine, force=True)
    assert (mine / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("/t/.m.part/variables/part; No space left on device", "No space left on device"),
        ("/t/.m.part/variables; Read-only file system [Op:SaveV2]\nmore", "Read-only file system"),
    ],
)
def test_a_full_disk_is_one_sentence(
    model: TRM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, reason: str
) -> None:
    import tensorflow as tf

    def save(*_: Any, **__: Any) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, said)

    monkeypatch.setattr(tf.saved_model, "save", save)
    with pytest.raises(TargetError) as caught:
        saved(model, tmp_path / "m")
    assert str(caught.value) == f"{tmp_path / 'm'} cannot be written: {reason}."
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("precision", ["int8", "int8-static"])
def test_integers_are_refused_with_the_reason(precision: str, model: TRM, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=f"{precision} is not supported for SavedModel.*floating point"
    ):
        saved(model, tmp_path / "m", precision)
    assert list(tmp_path.iterdir()) == []
