"""What `parity` and `inspect` write for build servers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.runtime.graphs import write
from trm_export.api import build_servers
from trm_export.api.build_servers import refusals
from trm_export.artifacts.contract_rewrite import embedded_contract, rewrite
from trm_export.commands.support.app import run
from trm_export.errors import TargetError, TRMError, UsageError
from trm_export.files import refuse_append

pytest.importorskip("onnxruntime")


def test_the_ladder_as_junit_and_the_verdict_as_a_summary(
    files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    xml, summary = tmp_path / "results.xml", tmp_path / "summary.md"
    summary.write_text("before\n")
    asked = ["--count", "6", "--junit", str(xml), "--summary", str(summary)]
    assert run(["parity", *files, *asked]) == 5
    root = ElementTree.parse(xml).getroot()
    good, bad = root.findall("testsuite")
    assert (good.get("failures"), bad.get("failures")) == ("0", "1")
    assert root.get("failures") == "1"
    assert int(good.get("tests", 0)) == len(good.findall("testcase"))
    (failure,) = bad.iter("failure")
    assert "values differ" in str(failure.text)
    assert int(bad.get("skipped", 0)) == len(list(bad.iter("skipped"))) > 0
    before, verdict = summary.read_text().splitlines()[:2]
    assert (before, verdict[:5]) == ("before", "### ❌")
    assert "| bad.onnx | FAILED |" in summary.read_text()
    assert run(["parity", *files[:2], *asked]) == 0  # our own file is replaced
    assert ElementTree.parse(xml).getroot().get("failures") == "0"
    assert summary.read_text().count("###") == 2


def test_a_refused_file_is_an_error_in_both_files(
    files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    xml, summary, cut = tmp_path / "results.xml", tmp_path / "summary.md", tmp_path / "cut.onnx"
    cut.write_bytes(Path(files[1]).read_bytes()[:1000])
    asked = ["--junit", str(xml), "--summary", str(summary)]
    assert run(["parity", *files[:2], str(cut), *asked]) == 4
    root = ElementTree.parse(xml).getroot()
    assert (root.get("tests"), root.get("errors")) == ("1", "1")
    (error,) = root.iter("error")
    assert "cut.onnx" in str(error.get("message"))
    assert "cut.onnx" in capsys.readouterr().err
    (line,) = summary.read_text().splitlines()[:1]
    assert line.startswith("### ❌")
    assert "cut.onnx" in line


def test_an_engine_without_memory_is_an_error_in_both_files(tmp_path: Path) -> None:
    xml, summary = tmp_path / "results.xml", tmp_path / "summary.md"
    for error in (TRMError("a.onnx: engine has not enough memory."), UsageError("Drop it.")):
        with pytest.raises(type(error)), refusals(xml, summary, force=False):
            raise error
    (found,) = ElementTree.parse(xml).getroot().iter("error")
    assert found.get("message") == "a.onnx: engine has not enough memory."
    assert summary.read_text().count("not enough memory") == 1


def of_other_weights(path: str, folder: Path) -> Path:
    """The file under a contract that records other weights."""
    contract, target = embedded_contract(Path(path)), folder / f"other-{Path(path).name}"
    made_by = replace(contract.made_by, weights_sha256="0" * 64)
    rewrite(Path(path), replace(contract, made_by=made_by), target)
    return target


def test_a_file_of_other_weights_fails_like_any_other(
    files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    xml, summary, page = (tmp_path / name for name in ("r.xml", "summary.md", "r.html"))
    other = of_other_weights(files[1], tmp_path)
    asked = ["--count", "4", "--junit", str(xml), "--summary", str(summary), "--json"]
    more = ["--report", str(page), "--no-speed"]
    assert run(["parity", files[0], str(other), files[1], *asked, *more]) == 5
    document = json.loads(capsys.readouterr().out)
    bad, good = (file["result"] for file in document["files"])
    assert (bad["passed"], good["passed"], good["puzzles"]) == (False, True, 4)
    statuses = {rung["name"]: rung["status"] for rung in bad["rungs"]}
    assert statuses.pop("weights") == "failed"
    assert list(statuses.values()) == ["ok"] * 3 + ["not judged"] * 5
    assert "so nothing was computed" in bad["verdict"]
    first, second = ElementTree.parse(xml).getroot().findall("testsuite")
    assert (first.get("failures"), second.get("failures")) == ("1", "0")
    assert (first.get("errors", "0"), first.get("skipped")) == ("0", "5")
    assert f"| {other.name} | FAILED |" in summary.read_text()
    assert other.name in page.read_text()
    assert json.loads(page.with_suffix(".json").read_text())["files"] == document["files"]


def test_where_no_file_is_of_the_model_all_fail(
    files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    xml, other = tmp_path / "r.xml", of_other_weights(files[1], tmp_path)
    model, asked = files[0], ["--count", "2"]
    assert run(["parity", model, str(other), *asked]) == 5  # nothing is written, nor recorded
    assert capsys.readouterr().err.startswith("Error: Made from other weights: ")
    assert run(["parity", model, str(other), *asked, "--junit", str(xml)]) == 5
    said = capsys.readouterr()
    assert said.out.startswith("FAILED: made from other weights than the reference, which shows")
    assert said.err.splitlines()[-1].startswith(f"Try: trm-export onnx {model} ")
    (suite,) = ElementTree.parse(xml).getroot().findall("testsuite")
    assert (suite.get("failures"), suite.get("errors", "0")) == ("1", "0")
    assert run(["parity", model, str(other), *asked, "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["passed"] is False
    assert run(["parity", model, str(other), *asked, "--weights"]) == 0  # it is compared


def test_others_files_are_kept(
    files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.xml"
    other.write_text('<testsuites name="pytest tests"/>')
    assert run(["parity", *files[:2], "--junit", str(other)]) == 1
    assert "was not made by trm-export" in capsys.readouterr().err
    assert run(["parity", *files[:2], "--junit", str(tmp_path / "r.json")]) == 2
    assert run(["parity", *files[:2], "--count", "2", "--summary", str(tmp_path)]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_a_summary_is_added_to_text_only(
    files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["text", "new.md", "NEW.Markdown"]
    binary, puzzles, copy = tmp_path / "binary", tmp_path / "p.txt", tmp_path / "new.tflite"
    binary.write_bytes(b"text\0")
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    puzzles.write_text("1234............\n")
    data, table = tmp_path / "text.dat", tmp_path / "other.txt"
    data.write_text("text")
    table.write_text("1234............\n")
    others = [*files, str(binary), str(tmp_path / "latin"), str(puzzles), str(data), str(table)]
    others.append(str(copy))
    before = {name: Path(name).read_bytes() for name in others[:-1]}
    for name in others:
        asked = ["--count", "2", "--puzzles", str(puzzles), "--summary", name]
        assert run(["parity", *files[:2], *asked]) == 2, name
        assert "choose another name" in " ".join(capsys.readouterr().err.split())
    assert {name: Path(name).read_bytes() for name in others[:-1]} == before
    assert not copy.exists()
    for name in given:
        (tmp_path / name).write_text("caf\u00e9\n")
        refuse_append(tmp_path / name)


def test_no_output_is_an_input_or_another_output(
    files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "b.json").write_text("{}")
    for asked, words in (
        (["--bench", "b.json", "-o", "b.json"], "b.json is an input (b.json)"),
        (["--bench", "b.json", "--report", "b.html"], "b.json is an input (b.json)"),
        (["--gate", "b.json", "-o", f"{tmp_path}/b.json"], "is an input (b.json)"),
        (["--report", "r.html", "-o", f"{tmp_path}/r.json"], "--report writes"),
        (["--report", "r.html", "--summary", f"{tmp_path}/r.md"], "--report writes"),
    ):
        assert run(["parity", *files[:2], *asked]) == 2, asked
        assert words in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["b.json"]


def test_a_file_of_another_digest_is_an_error_in_both_files(
    files: tuple[str, str, str], tmp_path: Path
) -> None:
    xml, summary = tmp_path / "results.xml", tmp_path / "new" / "summary.md"
    asked = ["--expect-sha256", "0" * 64, "--junit", str(xml), "--summary", str(summary)]
    assert run(["parity", *files[:2], *asked]) == 4
    assert ElementTree.parse(xml).getroot().get("errors") == "1"
    assert "good.onnx" in summary.read_text()


def test_the_verdict_is_shown_where_a_summary_cannot_be_written(
    files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    asked = ["--count", "2", "--summary", str(tmp_path / "file" / "s.md")]
    assert run(["parity", files[0], files[2], *asked]) == 1
    shown = capsys.readouterr()
    assert shown.out.startswith("FAILED at weights")
    assert "cannot be written" in shown.err


@pytest.mark.parametrize("option", ["--summary", "--junit"])
def test_the_json_of_a_result_is_not_lost_with_a_file_beside_it(
    option: str, files: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    (tmp_path / "file").touch()
    name = tmp_path / "file" / "s.md" if option == "--summary" else tmp_path / "r.xml"
    if option == "--junit":  # a name that cannot be written is refused before any work

        def full(path: Path, *arguments: object, **options: object) -> None:
            raise TargetError(f"{path} cannot be written: No space left on device.")

        monkeypatch.setattr(build_servers, "write", full)
    asked = ["--count", "2", option, str(name), "--json"]
    assert run(["parity", files[0], files[2], *asked]) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["kind"], document["passed"]) == ("parity", False)
    assert document["error"]["type"] == "TargetError"
    assert document["error"]["message"].startswith(f"{name} cannot be written: ")
    assert document["error"]["exit_code"] == 1


def test_an_inspected_file_as_sarif(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "m.onnx")

    def results(name: str, code: int) -> list[dict[str, object]]:
        assert run(["inspect", name, "--sarif", "out.sarif"]) == code
        (found,) = json.loads(Path("out.sarif").read_text())["runs"]
        assert found["tool"]["driver"]["name"] == "trm-export"
        assert "Error" not in capsys.readouterr().err or code
        return list(found["results"])

    assert results("m.onnx", 0) == []
    data = bytearray(Path("m.onnx").read_bytes())
    Path("cut.onnx").write_bytes(data[: len(data) // 2])
    (cut,) = results("cut.onnx", 4)
    assert (cut["level"], "cut.onnx" in str(cut["message"])) == ("error", True)
    assert cut["locations"] == [{"physicalLocation": {"artifactLocation": {"uri": "cut.onnx"}}}]
