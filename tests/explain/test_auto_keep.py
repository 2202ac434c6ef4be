"""The worst layer is found and kept in float, and only as much as the budget allows."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.explain.conftest import HARD
from trm_export.artifacts.inspection import inspect_file
from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support.app import run
from trm_export.explain.auto_keep import auto_keep
from trm_export.explain.ranking import rank_layers
from trm_export.exporters.choices import Choices
from trm_export.exporters.export import export, format_named
from trm_export.exporters.export_result import ExportResult
from trm_export.exporters.file_check import file_check
from trm_export.exporters.keep_search import AutoKeepError
from trm_export.exporters.kept_layers import layers
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.model import TRM
from trm_runtime.json_values import plain

INT8 = Choices("int8")


@pytest.fixture(scope="module")
def shared(hard_model: TRM) -> Shared:
    return Shared(hard_model)


def kept(model: TRM, path: Path, budget: float, choices: Choices = INT8) -> ExportResult:
    return auto_keep(
        model, path, probe_puzzles(model), format_named(path.suffix[1:]), choices, budget=budget,
        judged=probe_puzzles(model, 20),
    )  # fmt: skip


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_the_layer_that_eight_bits_destroy_comes_first(shared: Shared, suffix: str) -> None:
    told: list[tuple[int, int]] = []
    found = rank_layers(
        shared, format_named(suffix), INT8, probe_puzzles(shared.model),
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert found[0].layer == HARD
    assert found[0].cosine < 0.9 < 0.999 < found[1].cosine
    assert found[0].relative_l2 > 10 * found[1].relative_l2
    sizes = {name: matrix.size for name, matrix in layers(shared.model).items()}
    assert len(found) == 4  # heads and embeddings are in float anyway
    for one in found:
        least = 0.7 if suffix == "tflite" else 0  # an unrolled graph needs more nodes, too
        assert least < one.bytes_saved / (3 * sizes[one.layer]) < 1.1
    assert told[-1] == (len(sizes), len(sizes))


def test_a_loop_is_ranked_by_its_step(shared: Shared) -> None:
    choices = Choices("int8", granularity="loop")
    found = rank_layers(shared, format_named("onnx"), choices, probe_puzzles(shared.model, 2))
    assert found[0].layer == HARD
    assert found[0].cosine < 0.9


def test_a_file_that_the_export_would_refuse_is_not_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [SimpleNamespace(passed=False, verdict="FAILED", result=SimpleNamespace(forced=()))]
    monkeypatch.setattr(
        "trm_export.explain.auto_keep.file_check",
        lambda *given: steps.pop() if steps else file_check(*given),
    )
    result = kept(load_model(shipped_checkpoint("sudoku4")), tmp_path / "m.onnx", 200)
    assert result.search
    assert [stage.passed for stage in result.search.stages] == [False, True]
    assert result.search.stages[0].verdict == "FAILED"
    assert len(result.kept) == 1


@pytest.mark.parametrize("suffix", ["onnx", "tflite"])
def test_it_is_kept_in_float_until_the_gate_passes(
    hard_model: TRM, suffix: str, tmp_path: Path
) -> None:
    path = tmp_path / f"m.{suffix}"
    result = kept(hard_model, path, 40)
    found = result.search
    assert found
    assert [stage.kept for stage in found.stages] == [(), (HARD,)]
    assert [stage.passed for stage in found.stages] == [False, True]
    first, last = found.stages
    assert first.bytes < last.bytes <= first.bytes * 1.4
    assert first.cosine < 0.9 < 0.998 <= last.cosine
    assert last.accuracy is not None
    assert last.accuracy.candidate.exact == 1.0
    assert result.kept == (HARD,)
    assert path.stat().st_size == pytest.approx(last.bytes, abs=100)
    assert inspect_file(path)
    document = json.loads(json.dumps(plain(result.to_json())))
    assert (document["kind"], document["passed"]) == ("auto-keep", True)
    assert document["stages"][-1]["kept"] == document["export"]["kept"] == [HARD]
    assert document["export"]["path"] == str(path)


def test_nothing_is_written_where_the_budget_is_too_small(hard_model: TRM, tmp_path: Path) -> None:
    with pytest.raises(AutoKeepError, match="5 % more bytes allow no more layers") as error:
        kept(hard_model, tmp_path / "m.onnx", 5)
    found = error.value.search
    assert not found
    assert HARD not in {name for stage in found.stages for name in stage.kept}
    assert all(stage.bytes <= found.stages[0].bytes * 1.05 for stage in found.stages)
    assert found.to_json()["export"] is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_passes_keeps_only_what_was_asked_for(tmp_path: Path) -> None:
    model = load_model(shipped_checkpoint("sudoku4"))
    found = kept(model, tmp_path / "m.onnx", 50, Choices("int8", keep=("lm_head",))).search
    assert found
    assert found.ranking == ()
    assert [stage.kept for stage in found.stages] == [("lm_head",)]


def test_what_a_plain_export_writes_is_kept_in_float_nowhere(tmp_path: Path) -> None:
    """Six puzzles are below the gate of int4 by one row, and so are the first eight; 32 are not."""
    shared = Shared(load_model(shipped_checkpoint("sudoku4")))
    model, few, kind = shared.model, probe_puzzles(shared.model), format_named("onnx")
    plain = export(model, tmp_path / "plain.onnx", few, kind, Choices("int4"), shared=shared)
    assert "Those of 6 puzzles alone were not." in plain.verdict
    result = auto_keep(
        model, tmp_path / "m.onnx", few, kind, Choices("int4"), budget=100,
        judged=probe_puzzles(model, 8), shared=shared,
    )  # fmt: skip
    assert result.kept == ()
    assert result.search
    assert [stage.kept for stage in result.search.stages] == [()]
    assert result.path.read_bytes() == plain.path.read_bytes()


def test_the_command_shows_accuracy_against_bytes(
    hard_model: TRM, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, path = str(tmp_path / "hard.keras"), str(tmp_path / "hard.onnx")
    hard_model.save(model)
    options = ["--precision", "int8", "-o", path, "--auto-keep-count", "10"]
    assert run(["onnx", model, *options, "--auto-keep", "5%"]) == 5
    assert "FAILED" in capsys.readouterr().out
    assert not Path(path).exists()
    assert run(["onnx", model, *options, "--auto-keep", "40"]) == 0
    text = capsys.readouterr().out
    for words in ("Layers by the forced error", "Accuracy against bytes", f"+ {HARD}", "passed"):
        assert words in text
    documents = ("json", "calibration.json", "keep.json", "measured.json")
    assert text.splitlines()[-5:] == [path, *(f"{path}.{name}" for name in documents)]
    assert max(map(len, text.replace(path, "").splitlines())) <= 80


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--precision", "int8", "--auto-keep", "much"], "expected a number of percent"),
        (["--auto-keep", "20"], "fp32 keeps every layer in float"),
    ],
)
def test_wrong_options(options: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["tflite", str(shipped_checkpoint("sudoku4")), *options]) == 2
    assert words in capsys.readouterr().err.replace("\n", " ")
