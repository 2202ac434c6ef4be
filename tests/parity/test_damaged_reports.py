"""`trm-export report` of documents that `parity` would not have written."""

from __future__ import annotations

import copy
import json
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from tests.parity import reports
from trm_export.commands.support.app import run
from trm_export.errors import RejectedInputError
from trm_export.report.write import rewrite_report

GONE = object()
GOOD, BAD = "files.0.result", "files.1.result"
SIZE = "free.0.tensors.z_H.all.relative_l2"

DAMAGES = {
    "a missing key": ("reference.halt", GONE, "reference.halt: missing"),
    "a missing field": (f"{GOOD}.decisions.settled", GONE, "decisions.settled: missing"),
    "a missing verdict": (f"{GOOD}.verdict", GONE, "files[0].result.verdict: missing"),
    "a word for yes": ("passed", "no", "passed: expected true or false, got string 'no'"),
    "no list": ("files", {}, "files: expected a list, got object"),
    "no object": ("files.0", 3, "files[0]: expected an object, got integer"),
    "null for an object": ("reference", None, "reference: expected an object, got null"),
    "no file": ("files", [], "files: expected at least one"),
    "a number for a name": ("files.0.file", 3, "files[0].file: expected a string"),
    "a word for a size": ("files.0.bytes", "big", "files[0].bytes: expected a count"),
    "a negative size": ("files.0.bytes", -1, "files[0].bytes: expected a count"),
    "half a puzzle": ("reference.puzzles", 0.5, "reference.puzzles: expected a count, got number"),
    "too much": ("reference.puzzles", 10**4000, "reference.puzzles: expected a count"),
    "a word for an error": (f"{GOOD}.{SIZE}", "1e-3", f"{SIZE.replace('.0', '[0]')}: expected a"),
    "no share": (f"{GOOD}.accuracy.reference.exact", None, "exact: expected a number, got null"),
    "half an interval": (f"{GOOD}.accuracy.reference.interval", [0.5], "expected two numbers"),
    "a word for a time": ("files.0.cost.step_ms", "fast", "cost.step_ms: expected a number"),
    "a list for versions": ("files.0.made_by.versions", [], "versions: expected an object"),
    "a name for a device": ("reference.provenance.device", "cpu", "device: expected an object"),
    "words for values": ("files.1.clipping", {"a": ["b"]}, "clipping.a[0]: expected a number"),
    "another verdict": ("passed", True, "passed: contradicts the results"),
    "another rung": (f"{BAD}.passed", True, "files[1].result.passed: contradicts the rungs"),
    "steps that are missing": (f"{GOOD}.forced_steps", [], "expected the steps and tensors of"),
    "a tensor less": (f"{GOOD}.free.1.tensors.z_H", GONE, "expected the steps and tensors of free"),
    "a ragged matrix": (f"{GOOD}.halting.matrix", [[1, 2]], "as many columns as rows"),
    "no margins": (f"{GOOD}.halting.margins", [], "one for each of the margin_edges"),
    "no decisions": (f"{GOOD}.decisions", None, "decisions: missing beside halting"),
    "no puzzle": (f"{GOOD}.accuracy.n", 0, "accuracy.n: expected at least 1 puzzle"),
    "ragged boards": (
        f"{BAD}.stories.inputs",
        [[1], [1, 2]],
        "expected lists of integers, all of the same",
    ),
    "another board": (f"{BAD}.stories.labels", [[1, 2]], "stories.labels: expected the shape ("),
}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return reports.document(tmp_path_factory.mktemp("files"))


def damaged(document: dict[str, Any], place: str, value: object) -> dict[str, Any]:
    """A copy with another value at a place."""
    made = copy.deepcopy(document)
    *path, last = [int(name) if name.isdecimal() else name for name in place.split(".")]
    inner: Any = reduce(lambda found, name: found[name], path, made)
    if value is GONE:
        del inner[last]
    else:
        inner[last] = value
    return made


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_wrong_is_named_and_nothing_is_written(
    name: str,
    document: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place, value, words = DAMAGES[name]
    path = tmp_path / "r.json"
    path.write_text(json.dumps(damaged(document, place, value)))
    assert run(["report", str(path)]) == RejectedInputError.exit_code
    summary, *problems = capsys.readouterr().err.splitlines()
    assert summary == f"Error: {path}: a damaged parity report:"
    assert words in "\n".join(problems)
    assert [file.name for file in tmp_path.iterdir()] == ["r.json"]


def test_everything_is_named_at_once(document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    made = damaged(damaged(document, "tool", 1), "files.1.batch", "any")
    path.write_text(json.dumps(damaged(made, "reference.task", 2)))
    with pytest.raises(RejectedInputError) as caught:
        rewrite_report(path, tmp_path / "r.html")
    places = [problem.split(":")[0] for problem in caught.value.problems]
    assert places == ["tool", "reference.task", "files[1].batch"]


@pytest.mark.parametrize(
    "text",
    ['{"kind": "parity report", "passed": NaN}', '{"kind": 1, "kind": 1}', "[" * 100_000, "\ud800"],
)
def test_what_is_no_json_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(RejectedInputError, match=": not valid JSON: "):
        rewrite_report(path, tmp_path / "r.html")


def test_another_file_than_the_document_is_named(tmp_path: Path) -> None:
    page, other = tmp_path / "r.html", tmp_path / "golden.npz"
    page.write_text("<!doctype html><p>A report.</p>")
    with pytest.raises(RejectedInputError, match=r"a page, not the document.*; give .*r\.json\."):
        rewrite_report(page, tmp_path / "again.html")
    other.write_bytes(b"PK\x03\x04\x8f")
    with pytest.raises(RejectedInputError, match=r"not valid JSON: it is not a text in UTF-8\."):
        rewrite_report(other, tmp_path / "again.html")


@pytest.mark.parametrize("name", [".", "/", "folder"])
def test_a_folder_is_no_document(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    assert run(["report", name]) == 4
    said = f"Error: {name}: a folder, but the .json of a report is read.\n"
    assert capsys.readouterr().err == said


def test_what_has_no_place_does_not_go_together(document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(
        json.dumps(damaged(document, "reference.provenance.x", 7)).replace("7", "1e999")
    )
    with pytest.raises(RejectedInputError, match=r"r\.json: "):
        rewrite_report(path, tmp_path / "r.html")
    assert [file.name for file in tmp_path.iterdir()] == ["r.json"]


def test_an_infinite_error_is_null_and_whole(document: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    path.write_text(json.dumps(damaged(document, f"{GOOD}.{SIZE}", None)))
    rewrite_report(path, tmp_path / "r.html")
