"""Goldens of exported files: the same file on this engine, and on another one."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path

import pytest

import trm_export as te
from tests.parity.conftest import Exports
from tests.parity.faults import one_weight_off_by_5_percent
from tests.runtime.graphs import write
from trm_runtime import RejectedInputError, TRMError, open_runner
from trm_runtime.check_command import text
from trm_runtime.parity import Golden, check
from trm_runtime.parity.file_golden import LEAST, MARGIN, EngineHop, engine_hop
from trm_runtime.parity.golden_file import read_golden

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def folder(exports: Exports, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file, its golden, another file, and their model."""
    exported, folder = exports("mlp"), tmp_path_factory.mktemp("own")
    write(folder / "good.onnx", exported.proto)
    broken = copy.deepcopy(exported.proto)
    one_weight_off_by_5_percent(exported, broken)
    write(folder / "bad.onnx", broken)
    exported.model.save(folder / "m.keras")
    te.record(folder / "good.onnx", count=6)
    return folder


@pytest.fixture
def golden(folder: Path) -> Golden:
    return read_golden(folder / "good.onnx.golden.npz")


def hop_of(golden: Golden, path: Path) -> EngineHop:
    hop = engine_hop(golden, path, None)
    assert hop is not None
    return hop


def moved(golden: Golden, **changes: str) -> Golden:
    """The golden as another machine would have recorded it."""
    origin = {**golden.about.provenance, **changes}
    return dataclasses.replace(golden, about=dataclasses.replace(golden.about, provenance=origin))


def test_the_same_engine_gives_the_same_bits(golden: Golden, folder: Path) -> None:
    path = folder / "good.onnx"
    hop = hop_of(golden, path)
    assert hop.exact
    assert hop.gates.relative_l2 == 0.0
    result = check(golden, open_runner(path), gates=hop.gates)
    assert result
    assert result.forced_error == 0.0
    assert text(result, hop.words).splitlines()[1].startswith("Engine: onnxruntime")


@pytest.mark.parametrize("change", ["engine", "processor", "threads"])
def test_elsewhere_the_floor_of_the_engine_is_the_limit(
    golden: Golden, folder: Path, change: str
) -> None:
    control = golden.about.control
    assert control is not None
    assert set(control["errors"]) == {
        control["what"],
        *(what for what in control["errors"] if "optimisations" in what or "thread" in what),
    }
    hop = hop_of(moved(golden, **{change: "another one"}), folder / "good.onnx")
    assert not hop.exact
    assert hop.gates.relative_l2 == max(LEAST, MARGIN * control["forced_error"])
    assert hop.gates.relative_l2 < 1e-4
    assert check(golden, open_runner(folder / "good.onnx"), gates=hop.gates)


def test_a_changed_value_is_found_though_quantization_would_hide_it(
    golden: Golden, folder: Path
) -> None:
    hop = hop_of(moved(golden, engine="another one"), folder / "good.onnx")
    result = check(golden, open_runner(folder / "bad.onnx"), gates=hop.gates)
    assert result.broken is not None
    assert result.broken.name == "forced values"


def test_a_golden_of_another_file_is_refused(golden: Golden, folder: Path) -> None:
    with pytest.raises(RejectedInputError, match=r"the recording is of another file \(good.onnx"):
        engine_hop(golden, folder / "bad.onnx", None)


def test_a_golden_of_a_file_is_none_of_its_model(folder: Path) -> None:
    with pytest.raises(RejectedInputError, match=r"a recording of the exported file good\.onnx"):
        te.compare(folder / "m.keras", folder / "good.onnx", golden=folder / "good.onnx.golden.npz")


def test_a_loop_has_no_steps_to_record(exports: Exports, tmp_path: Path) -> None:
    path = tmp_path / "loop.onnx"
    te.export(exports("mlp").model, path, granularity="loop")
    with pytest.raises(TRMError, match="has granularity loop"):
        te.record(path)
