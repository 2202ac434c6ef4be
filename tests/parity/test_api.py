"""`compare`, `record` and `write_report` as functions: what they take, and what they refuse."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import trm_export as te
from tests.parity.conftest import Exports
from tests.parity.faults import one_weight_off_by_5_percent
from tests.runtime.graphs import write
from trm_export.commands.support.app import run
from trm_export.errors import OverwriteError, RejectedInputError, UsageError
from trm_export.parity.bench_document import rows_for
from trm_export.tasks import get_task
from trm_runtime.digest import tree_digest
from trm_runtime.json_values import plain
from trm_runtime.measure import load_engine

pytest.importorskip("onnxruntime")


class Files(NamedTuple):
    """A Keras model, its file, its export, and an export with a wrong weight."""

    model: Any
    path: Path
    good: Path
    bad: Path


@pytest.fixture(scope="session")
def files(exports: Exports, tmp_path_factory: pytest.TempPathFactory) -> Files:
    exported = exports("mlp")
    folder = tmp_path_factory.mktemp("api")
    exported.model.save(folder / "m.keras")
    broken = copy.deepcopy(exported.proto)
    one_weight_off_by_5_percent(exported, broken)
    good, bad = write(folder / "good.onnx", exported.proto), write(folder / "bad.onnx", broken)
    return Files(exported.model, folder / "m.keras", good, bad)


def test_a_model_in_memory_and_its_file_give_the_same_result(files: Files) -> None:
    in_memory = te.compare(files.model, files.good, count=6)
    by_path = te.compare(str(files.path), [str(files.good)], count=6)
    assert in_memory
    assert in_memory.to_json() == by_path.to_json()
    assert in_memory.document["reference"]["provenance"].keys() ^ {"model_sha256"} == (
        by_path.document["reference"]["provenance"].keys()
    )


def test_the_report_has_what_one_call_of_the_file_does(files: Files, tmp_path: Path) -> None:
    for granularity in ("block", "loop"):
        path = tmp_path / f"{granularity}.onnx"
        te.export(files.model, path, granularity=granularity)
        (told,) = te.compare(files.model, path, count=4).document["files"]
        assert told["granularity"] == granularity


def test_a_loop_of_a_model_that_settles_nothing_is_not_called_judged(tmp_path: Path) -> None:
    model = te.TRM(5, 8, 2, 2.0, 4, h_layers=1, l_layers=1, halt_max_steps=3)
    loop, loop8, step = (tmp_path / name for name in ("loop.onnx", "loop8.onnx", "step.onnx"))
    te.export(model, loop, granularity="loop")
    te.export(model, loop8, granularity="loop", precision="int8")
    te.export(model, step)
    for path in (loop, loop8):
        found = te.compare(model, path, count=8, report=tmp_path / "page.html", force=True)
        assert found.verdict == (
            "The model settles none of 8 rows of random tokens, which are no puzzles, so neither "
            f"single steps nor answers of {path.name} could be judged."
        )
        assert "so only single steps were judged" not in (tmp_path / "page.html").read_text()
        assert "Ship none of these files" in (tmp_path / "page.md").read_text()
    verdict = te.compare(model, [step, loop8, loop], count=8).verdict
    assert verdict.startswith("1 of 3 files matches its model on 8 rows")
    assert verdict.endswith(
        "so only single steps were judged. Neither single steps nor answers of loop8.onnx, "
        "loop.onnx could be judged."
    )


def test_the_command_shows_what_the_function_returns(
    files: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    found = te.compare(files.path, files.good, blanks=8, count=6)
    words = ["parity", str(files.path), str(files.good), "--blanks", "8", "--count", "6", "--json"]
    assert run(words) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(json.dumps(plain(found.to_json())))


def test_a_file_that_fails_makes_the_whole_falsy(files: Files) -> None:
    found = te.compare(files.model, (files.good, files.bad, files.good), count=6)
    assert not found
    assert [bool(result) for result in found.results] == [True, False]
    assert repr(found).startswith("<Comparison: FAILED. 1 of 2 files")
    assert len(repr(found).splitlines()) <= 3
    assert found.to_json()["passed"] is False
    assert "FAILED at weights" in found._repr_html_()


def test_what_a_notebook_shows_is_escaped(files: Files, tmp_path: Path) -> None:
    odd = tmp_path / "<b>odd.onnx"
    odd.write_bytes(files.good.read_bytes())
    shown = te.compare(files.model, odd, count=2)._repr_html_()
    assert "&lt;b&gt;odd.onnx" in shown
    assert "<b>" not in shown


# --- puzzles in memory ----------------------------------------------------------------------------


def test_arrays_pairs_and_sets_are_puzzles(files: Files, tmp_path: Path) -> None:
    given = get_task("sudoku4").puzzles("test", count=3)
    lone = te.compare(files.model, files.good, puzzles=given.inputs)
    assert (lone.results[0].puzzles, lone.results[0].accuracy) == (3, None)
    lists = te.compare(files.model, files.good, puzzles=given.inputs.tolist())
    assert lists.to_json() == lone.to_json()
    pair = te.compare(files.model, files.good, puzzles=(given.inputs, given.labels))
    whole = te.compare(files.model, files.good, puzzles=given)
    assert pair.to_json() == whole.to_json()
    accuracy = whole.results[0].accuracy
    assert accuracy is not None
    assert accuracy.n == 3
    assert te.compare(files.model, files.good, puzzles=given, count=2).results[0].puzzles == 2


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([[0] * 16], "at position 1 of the puzzle, got 0"),
        ([[9] * 16], "at position 1 of the puzzle, got 9"),
        ([[1] * 15], "expected the shape (rows, 16)"),
        ([[0.5] * 16], "expected integer tokens"),
        ([[1] * 16, [1]], "have different lengths"),
    ],
)
def test_arrays_that_are_no_puzzles(files: Files, rows: list[list[int]], said: str) -> None:
    with pytest.raises(RejectedInputError) as caught:
        te.compare(files.model, files.good, puzzles=rows)
    assert said in "\n".join([str(caught.value), *getattr(caught.value, "problems", ())])


def test_other_puzzles_are_another_job(files: Files, tmp_path: Path) -> None:
    """A kept golden of other puzzles would show in their number."""
    given = get_task("sudoku4").puzzles("test", count=4)
    output = tmp_path / "out.json"
    for count in (4, 3):
        te.compare(files.model, files.good, puzzles=given.inputs[:count], output=output)
        assert json.loads(output.read_text())["puzzles"] == count
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"]


# --- a recording ----------------------------------------------------------------------------------


def test_a_recording_stands_for_its_model_and_no_other(files: Files, tmp_path: Path) -> None:
    recorded = te.record(files.model, output=tmp_path / "g.npz", count=5, states=1)
    assert recorded.to_json()["puzzles"] == 5
    assert "model_sha256" not in recorded.golden.about.provenance
    assert te.compare(files.model, files.good, golden=recorded.path)
    other = te.load(files.path)
    kernel = other.inner.lm_head.kernel
    kernel.assign(kernel.value * 2)
    with pytest.raises(
        RejectedInputError,
        match=r"recorded from another model \(.*\) than this one; record it again",
    ):
        te.compare(other, files.good, golden=recorded.path)
    hints = te.ModelHints(max_steps=3)
    for option in ({"blanks": 5}, {"hints": hints}, {"control": False}, {"count": 3}):
        with pytest.raises(UsageError, match="a golden is recorded already"):
            te.compare(files.model, files.good, golden=recorded.path, **option)


def test_shares_of_stages_are_told(files: Files) -> None:
    told: list[tuple[float, str]] = []
    te.compare(files.model, files.good, count=4, progress=lambda *said: told.append(said))
    assert list(dict.fromkeys(stage for _, stage in told)) == [
        "Recording",
        "Comparing",
        "Comparing weights",
    ]
    for stage in ("Recording", "Comparing", "Comparing weights"):
        shares = [share for share, of in told if of == stage]
        assert shares == sorted(shares)
        assert shares[-1] == 1.0


# --- a report -------------------------------------------------------------------------------------


def test_a_report_of_a_result_and_of_its_json(files: Files, tmp_path: Path) -> None:
    found = te.compare(files.path, files.good, count=6, report=tmp_path / "r.html")
    assert found.report == tmp_path / "r.html"
    assert f"trm_export.compare({str(files.path)!r}" in found.document["command"]
    assert set(found.document["speed"]) == {"machine", "date"}
    model, (file,) = found.document["reference"]["cost"], found.document["files"]
    assert model["bytes"] == te.load(files.path).count_params() * 4
    assert model["step_ms"] > 0 < file["cost"]["step_ms"]
    assert "ms a step on this machine, 20" in (tmp_path / "r.md").read_text()
    written = te.write_report(found, tmp_path / "again.html")
    assert [path.name for path in written] == ["again.html", "again.md", "again.json"]
    for path in written:
        assert path.read_bytes() == (tmp_path / f"r{path.suffix}").read_bytes()
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(OverwriteError):
        te.write_report(tmp_path / "r.json", tmp_path / "mine.html")
    with pytest.raises(UsageError, match=r"must end in \.html"):
        te.write_report(found, tmp_path / "page.txt")


def test_a_report_without_speed_is_the_same_every_time(files: Files, tmp_path: Path) -> None:
    page, again = tmp_path / "r.html", tmp_path / "r.json"
    texts = []
    for _ in range(2):
        found = te.compare(files.path, files.good, count=4, report=page, speed=False)
        texts.append(again.read_bytes())
    assert texts[0] == texts[1]
    assert "speed" not in found.document
    assert found.document["files"][0]["cost"] is None


# --- the costs of another run ---------------------------------------------------------------------


def row_of(path: Path, **changed: Any) -> dict[str, Any]:
    """A row of a file as `bench` writes it, some of it changed; None: left out."""
    row = {
        "file": path.name,
        "engine": load_engine(path),
        "bytes": path.stat().st_size,
        "sha256": tree_digest(path),
        "step_ms": 1234.5,
        "load_ms": 3.0,
        **changed,
    }
    return {key: value for key, value in row.items() if value is not None}


def bench_document(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "bench.json"
    path.write_text(json.dumps({"kind": "bench", "rows": rows}))
    return path


def test_bench_records_the_digest_of_a_file(files: Files) -> None:
    (row,) = te.bench(files.path, files.good, count=1).rows
    assert row.sha256 == tree_digest(files.good)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"bytes": 7}, r"it has 7 bytes and the file [\d,]+; "),
        ({"sha256": "0" * 64}, r"it has the SHA-256 000000000000 and the file \w{12}; "),
        ({"sha256": None, "bytes": 7}, "it has 7 bytes"),
        ({"engine": "openvino 2026.4.1"}, "on openvino 2026.4.1 and the file is compared on onnxr"),
        ({"engine": "onnxruntime 1.32.0 bf16"}, "it was measured on onnxruntime 1.32.0 bf16"),
    ],
)
def test_a_row_of_another_file_or_engine_is_refused(
    changed: dict[str, Any], said: str, files: Files, tmp_path: Path
) -> None:
    document = bench_document(tmp_path, row_of(files.good, **changed))
    with pytest.raises(RejectedInputError, match=said) as refused:
        rows_for(document, [files.good])
    begins = f"{document}: its row good.onnx is not of {files.good}: it "
    assert str(refused.value).startswith(begins)
    again = f"measure it again with `trm-export bench MODEL {files.good} -o bench.json`."
    assert str(refused.value).endswith(again)
    with pytest.raises(RejectedInputError, match=said):
        te.compare(files.path, files.good, count=4, bench=document)


def test_a_row_of_the_same_file_is_taken(files: Files, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    double = tmp_path / "other" / "good.onnx"
    double.write_bytes(files.bad.read_bytes())
    rows = row_of(double), row_of(files.good, engine="onnxruntime 1.0.0", step_ms=5)
    both = rows_for(bench_document(tmp_path, *rows), [files.good, double, files.bad])
    assert both == [rows[1], rows[0], None]
    earlier = row_of(files.good, sha256=None)
    assert rows_for(bench_document(tmp_path, earlier), [files.good]) == [earlier]
    assert rows_for(None, [files.good, double]) == [None, None]


def test_only_what_has_no_row_is_timed_for_a_report(files: Files, tmp_path: Path) -> None:
    te.bench(files.path, files.good, count=1, output=tmp_path / "bench.json")
    options: dict[str, Any] = {"count": 4, "bench": tmp_path / "bench.json"}
    page = tmp_path / "r.html"
    found = te.compare(files.path, [files.good, files.bad], report=page, **options)
    (row,) = json.loads((tmp_path / "bench.json").read_text())["rows"]
    good, bad = (file["cost"] for file in found.document["files"])
    assert good["sha256"] == row["sha256"]
    assert good["step_ms"] == pytest.approx(row["step_ms"], rel=1e-4)
    assert bad["step_ms"] > 0
    assert "speed" not in found.document
    found = te.compare(files.path, files.good, report=page, force=True, **options)
    assert "speed" not in found.document
    found = te.compare(files.path, [files.good, files.bad], **options)
    assert [file["cost"] for file in found.document["files"]] == [good, None]


@pytest.mark.parametrize("text", ["{", "[]", '{"kind": "parity report"}', '{"rows": [{}]}'])
def test_what_is_no_document_of_bench_is_refused(text: str, files: Files, tmp_path: Path) -> None:
    document = tmp_path / "rep.json"
    document.write_text(text)
    with pytest.raises(RejectedInputError) as refused:
        te.compare(files.path, files.good, count=4, bench=document)
    assert str(refused.value) == (
        f"{document}: not a document of bench; write one with "
        "`trm-export bench MODEL FILE -o bench.json`."
    )


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"output": "m.txt"}, "must end in .json"),
        ({"report": "m.json"}, "must end in .html"),
        ({"blanks": "some"}, "--blanks must be a number, minimal or hard"),
        ({"task": "sudoku5"}, "There is no task 'sudoku5'"),
        ({"puzzles": np.ones((1, 16), np.int32), "blanks": 5}, "drop it or --puzzles"),
        ({"jobs": 2, "ray": "local"}, "--jobs is for this machine alone"),
        ({"files": []}, "There is no file to compare"),
        ({"trust": "no_such_package"}, "there is no module 'no_such_package'"),
    ],
)
def test_words_are_refused_before_a_framework_is_loaded(
    options: dict[str, Any],
    said: str,
    files: Files,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load_keras(**options: bool) -> None:
        pytest.fail("a framework is loaded before the refusal")

    monkeypatch.setattr("trm_export.api.frameworks.load_keras", load_keras)
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        te.compare(files.path, **{"files": files.good, **options})
