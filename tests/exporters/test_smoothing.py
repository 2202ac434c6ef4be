"""Channels that enter ``down`` are made similar in size: equal in function, nearer in 8 bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.explain.weights_rung import weights_report
from trm_export.exporters.choices import Choices
from trm_export.exporters.export import export, format_named
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.exporters.smoothing import Array, channel_scales, smoothed
from trm_export.tasks import get_task
from trm_runtime import initial_carry, open_runner

pytest.importorskip("onnxruntime")

PAIR = ("block/ffn/gate_up", "block/ffn/down")
LARGEST = np.array([1, 2, 1, 600, 0.5, 1, 3, 1], np.float32)  # of each channel
CHANNELS = {PAIR[1]: channel_scales(LARGEST)}
HARDEST = slice(160, 184)  # of 200 test puzzles: among them the one that 8 bits changed most


def weights() -> dict[str, Array]:
    rng = np.random.default_rng(3)
    found = {PAIR[0]: rng.normal(size=(6, 16)), PAIR[1]: rng.normal(size=(8, 5))}
    return {name: array.astype(np.float32) for name, array in found.items()}


def swiglu(x: Array, gate_up: Array, down: Array) -> Array:
    gate, up = np.split(x @ gate_up.astype(np.float64), 2, axis=1)
    result: Array = (gate / (1 + np.exp(-gate)) * up) @ down.astype(np.float64)
    return result


def test_the_function_is_the_same() -> None:
    before = weights()
    after = smoothed(before, CHANNELS, PAIR)
    x = np.random.default_rng(4).normal(size=(50, 6))
    wanted, found = (swiglu(x, *(part[name] for name in PAIR)) for part in (before, after))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(after[PAIR[0]][:, :8], before[PAIR[0]][:, :8])
    assert {array.dtype for array in after.values()} == {np.dtype(np.float32)}


def test_a_large_channel_is_divided_by_more_and_one_is_in_the_middle() -> None:
    scale = channel_scales(LARGEST)
    assert (LARGEST / scale).max() / np.median(LARGEST / scale) < 600**0.65
    assert list(np.argsort(scale, kind="stable")) == list(np.argsort(LARGEST, kind="stable"))
    assert np.exp(np.mean(np.log(scale))) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "largest", [[0, 0, 0], [0, 1, 1e9], [np.nan, 1, 2], [np.inf, 1, 2], [1e-40, 1e-38, 0]]
)
def test_no_channel_is_divided_by_nothing_or_without_end(largest: list[float]) -> None:
    scale = channel_scales(np.array(largest, np.float32))
    assert np.isfinite(scale).all()
    assert scale.min() > 0
    assert scale.max() / scale.min() <= 1001**0.4


def test_what_enters_a_rounded_matrix_counts_not_what_else_is_rounded() -> None:
    assert smoothed(weights(), CHANNELS, PAIR[:1]) == {}
    both, alone = (smoothed(weights(), CHANNELS, names) for names in (PAIR, PAIR[1:]))
    assert alone.keys() == set(PAIR)
    for name in PAIR:
        np.testing.assert_array_equal(alone[name], both[name])


def test_a_file_that_keeps_what_comes_before_in_float_is_its_model_rounded(tmp_path: Path) -> None:
    shared = Shared(load_model(shipped_checkpoint("sudoku4")))
    path, kind, probes = tmp_path / "m.onnx", format_named("onnx"), probe_puzzles(shared.model)
    kept = ("H_level/block/ffn/gate_up",)
    export(shared.model, path, probes, kind, Choices("int8", keep=kept), shared=shared)
    found = weights_report(shared, path)
    assert found.status == "ok"
    of_kept = [one for one in found.weights if one.weight == kept[0]]
    assert [(one.dtype, one.steps) for one in of_kept] == [("float32", 0.0)]


def test_a_channel_of_zeros_is_no_fault() -> None:
    found = weights()
    found[PAIR[0]][:, 2] = found[PAIR[0]][:, 9] = 0
    found[PAIR[1]][4] = 0
    channels = {PAIR[1]: channel_scales(np.where(np.arange(8) == 2, 0, LARGEST))}
    assert all(np.isfinite(array).all() for array in smoothed(found, channels, PAIR).values())


def test_the_worst_puzzle_is_as_near_as_the_others(tmp_path: Path) -> None:
    """Its first step had a cosine of 0.9975 with the model's before the channels were similar."""
    shared = Shared(load_model(shipped_checkpoint("sudoku9")))
    path, kind = tmp_path / "m.onnx", format_named("onnx")
    probes = probe_puzzles(shared.model)
    export(shared.model, path, probes, kind, Choices("int8"), shared=shared)
    tokens = get_task("sudoku9").puzzles("test", count=200).inputs
    inputs = {"inputs": np.asarray(tokens)[HARDEST]}
    carry = initial_carry(shared.runner.contract, len(inputs["inputs"]))
    wanted, found = (
        runner.step(inputs, carry).carry["z_H"].reshape(len(inputs["inputs"]), -1)
        for runner in (shared.runner, open_runner(path))
    )
    cosines = (wanted * found).sum(axis=1) / (
        np.linalg.norm(wanted, axis=1) * np.linalg.norm(found, axis=1)
    )
    assert cosines.min() > 0.999
