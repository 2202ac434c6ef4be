"""Goldens of exported files: the same file on this engine, and on another one."""

from __future__ import annotations

import copy
import dataclasses
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

import trm_export as te
from tests.parity.conftest import Exports
from tests.parity.faults import one_weight_off_by_5_percent
from tests.runtime.graphs import write
from trm_export.exporters.probe import probe_puzzles
from trm_export.parity.engine_rung import engine_rung
from trm_export.parity.recording import record_export
from trm_runtime import RejectedInputError, TRMError, open_runner
from trm_runtime.__main__ import main as device
from trm_runtime.check_command import text
from trm_runtime.cores import available_cores
from trm_runtime.parity import Golden, GoldenOrigin, Rung, check
from trm_runtime.parity.file_golden import LEAST, MARGIN, EngineHop, engine_hop, origin_of
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
    assert "\nEngine: onnxruntime" in text(result, hop.words)


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


def test_a_step_server_is_another_engine(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    golden = folder / "good.onnx.golden.npz"
    for name, code in (("good.onnx", 0), ("bad.onnx", 5)):
        words = [sys.executable, "-m", "trm_runtime", "serve", str(folder / name)]
        assert device(["check", "--json", "--command", shlex.join(words), str(golden)]) == code
        found = json.loads(capsys.readouterr().out)
        hop = found["engine_hop"]
        assert not hop["exact"]
        assert LEAST <= hop["gates"]["relative_l2"] < 1e-4
        assert found["driver"] in hop["words"]


def test_a_golden_of_another_file_is_refused(golden: Golden, folder: Path) -> None:
    with pytest.raises(RejectedInputError, match=r"the recording is of another file \(good.onnx"):
        engine_hop(golden, folder / "bad.onnx", None)


def test_a_golden_of_a_file_is_none_of_its_model(folder: Path) -> None:
    with pytest.raises(RejectedInputError, match=r"a recording of the exported file good\.onnx"):
        te.compare(folder / "m.keras", folder / "good.onnx", golden=folder / "good.onnx.golden.npz")


def test_in_int8_the_floor_also_has_what_a_rounding_to_the_other_side_does(
    exports: Exports, tmp_path: Path
) -> None:
    path = tmp_path / "small.onnx"
    te.export(exports("mlp").model, path, precision="int8")
    control = te.record(path, count=6).golden.about.control
    assert control is not None
    nudged = control["errors"]["the same file with carries that differ by 1e-06"]
    assert 0 < nudged <= control["forced_error"] < 0.1


@pytest.fixture(scope="module")
def reference(folder: Path) -> Golden:
    return te.record(folder / "m.keras", output=folder / "m.npz", count=4, control=False).golden


def rung_of(path: Path, reference: Golden, threads: int | None = None) -> Rung:
    rung = engine_rung(path, reference, threads)
    assert rung is not None
    return rung


def test_parity_compares_a_file_with_the_recording_beside_it(folder: Path) -> None:
    found = te.compare(folder / "m.keras", folder / "good.onnx", count=4).files[0]
    names = [rung.name for rung in found.result.rungs]
    assert names[names.index("engine") + 1] == "forced values"
    (told,) = (sentence for sentence in found.hops if sentence.startswith("Engine: "))
    assert re.fullmatch(
        r"Engine: onnxruntime [\d.]+ gives every value of its recording to the last bit\.", told
    )


def test_with_other_threads_parity_allows_the_floor(folder: Path, reference: Golden) -> None:
    rung = rung_of(folder / "good.onnx", reference, 1 + available_cores())
    assert rung.status == "ok"
    assert re.search(
        r"differs from the recording by onnxruntime .*, at most 1.0e-06$", rung.summary
    )


def test_without_a_recording_the_engine_is_measured_against_itself(
    folder: Path, reference: Golden
) -> None:
    rung = rung_of(folder / "bad.onnx", reference)
    assert rung.status == "reported"
    assert "on 2 puzzles against itself: " in rung.summary
    assert "(the same file with the optimisations of the engine off)" in rung.summary


def test_an_engine_that_computes_something_else_fails_parity(
    folder: Path, reference: Golden, tmp_path: Path
) -> None:
    path, other = tmp_path / "good.onnx", folder / "bad.onnx"
    path.write_bytes((folder / "good.onnx").read_bytes())
    beside, puzzles = tmp_path / "good.onnx.golden.npz", probe_puzzles(te.load(folder / "m.keras"))
    about = GoldenOrigin(provenance={**origin_of(path, None), "device": {"versions": {}}})
    record_export(other, puzzles, beside, about)
    rung = rung_of(path, reference)
    assert rung.status == "failed"
    assert " does not compute what onnxruntime " in rung.summary
    path.write_bytes(other.read_bytes())
    assert "the recording is of another file" in rung_of(path, reference).summary


def test_a_loop_has_no_steps_to_record(exports: Exports, tmp_path: Path) -> None:
    path = tmp_path / "loop.onnx"
    te.export(exports("mlp").model, path, granularity="loop")
    with pytest.raises(TRMError, match="has granularity loop"):
        te.record(path)
    model, output = exports("mlp").model, tmp_path / "m.npz"
    recorded = te.record(model, output=output, count=2, control=False)
    assert engine_rung(path, recorded.golden, None) is None
