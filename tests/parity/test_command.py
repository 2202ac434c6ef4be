"""`trm-export parity` on real files: what it prints, writes and exits with."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support.app import run

pytest.importorskip("onnxruntime")


def test_a_good_file(files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]) -> None:
    model, good, _ = files
    assert run(["parity", model, good, "--count", "6"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("PASSED")
    for words in ("forced values", "Relative L2 error by step", "Accuracy on 6 puzzles", "95 %"):
        assert words in text
    assert max(map(len, text.replace(good, "").replace(model, "").splitlines())) <= 80


def test_a_bad_file_ends_with_5(
    files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    model, _, bad = files
    assert run(["parity", model, bad, "--count", "6"]) == 5
    text = capsys.readouterr().out
    assert text.startswith("FAILED at weights: the file is not the model: 1 difference")
    assert "of 8192 values differ" in " ".join(text.split())


def test_tries_are_one_more_rung(
    files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, good, bad = files
    options = ["--count", "6", "--tries", "3", "--vary", "both", "--json"]
    assert run(["parity", model, good, *options]) == 0
    last = json.loads(capsys.readouterr().out)["rungs"][-1]
    assert (last["name"], last["status"]) == ("tries", "reported")
    assert re.match(r"at most 3 tries, exact [\d.]+% and [\d.]+%, \d lost, \d won", last["summary"])
    assert run(["parity", model, bad, *options]) == 5
    last = json.loads(capsys.readouterr().out)["rungs"][-1]
    assert (last["name"], last["status"]) == ("tries", "not judged")
    golden = str(tmp_path / "golden.npz")
    assert run(["reference", model, "-o", golden, "--count", "6", "--json"]) == 0
    capsys.readouterr()
    assert run(["parity", model, good, "--golden", golden, "--tries", "3", "--json"]) == 0
    last = json.loads(capsys.readouterr().out)["rungs"][-1]
    assert re.fullmatch(r"at most 3 tries, exact [\d.]+%", last["summary"])


def test_confidence_is_one_more_rung(
    files: tuple[str, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    model, good, _ = files
    options = ["--count", "6", "--abstain", "0.5", "--json"]
    assert run(["parity", model, good, *options]) == 0
    last = json.loads(capsys.readouterr().out)["rungs"][-1]
    assert (last["name"], last["status"]) == ("confidence", "reported")
    both = r"(\d\.\d{4}) and \1"  # the exported file computes what its model does
    assert re.match(rf"not fitted, Brier score {both}, calibration error ", last["summary"])
    assert last["summary"].endswith("(0 wrong), 0 by one side alone")
    assert run(["parity", model, good, "--count", "6", "--abstain", "1"]) == 2
    assert "abstain: expected a number of 0 or more and below 1" in capsys.readouterr().err


@pytest.mark.parametrize("number", [1, 2])
def test_one_json_document_and_the_same_in_a_file(
    files: tuple[str, str, str], number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    options = ["--count", "6", "--blanks", "8", "--json", "-o", str(report)]
    code = run(["parity", files[0], files[number], *options])
    document = json.loads(capsys.readouterr().out)
    assert document == json.loads(report.read_text())
    assert (document["passed"], code) == ((True, 0) if number == 1 else (False, 5))
    assert document["puzzles"] == 6
    assert document["device"]["flash"] == Path(files[number]).stat().st_size
    assert len(document["forced"]) == 4 * 8
    assert run(["parity", files[0], files[number], *options]) == code  # replaces its own report


def test_a_file_that_is_named_twice_is_judged_once(
    files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, good, bad = files
    link, crooked = tmp_path / "link.onnx", f"{Path(good).parent}/../{Path(good).parent.name}/"
    link.symlink_to(good)
    named = [bad, good, good, f"{crooked}good.onnx", str(link), f"{crooked}bad.onnx"]
    assert run(["parity", model, *named, "--count", "6", "--json"]) == 5
    document = json.loads(capsys.readouterr().out)
    assert [file["file"] for file in document["files"]] == ["bad.onnx", "good.onnx"]
    assert run(["parity", model, str(link), good, "--count", "6", "--json"]) == 0
    assert "files" not in json.loads(capsys.readouterr().out)


def test_puzzles_of_a_file(
    files: tuple[str, str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = tmp_path / "puzzles.txt"
    lines.write_text("1234341221434321\n1.34341221434321\n")
    assert run(["parity", files[0], files[1], "--puzzles", str(lines), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["puzzles"], document["accuracy"]) == (2, None)


@pytest.mark.parametrize("options", [[], ["--puzzles", "nine.txt"], ["--task", "sudoku9"]])
def test_a_file_of_another_model(
    files: tuple[str, str, str],
    options: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("nine.txt").write_text("." * 80 + "1\n")
    nine = str(shipped_checkpoint("sudoku9"))
    assert run(["parity", nine, files[1], "--count", "2", *options]) == 5
    refused = capsys.readouterr()
    assert refused.out == ""
    sizes = "seq_len 16 instead of 81, vocab_size 6 instead of 11, hidden_size 32 instead of 128"
    said = " ".join(refused.err.split())
    assert said.startswith(f"Error: Another model: {files[1]} ({sizes}) was not exported from ")
    assert said.endswith("compare a file of another model with its own model.")
    assert run(["parity", nine, files[1], "--count", "2", "--weights", *options]) == 5
    compared = capsys.readouterr()
    text = " ".join(compared.out.split())
    assert text.startswith(f"FAILED at names: the file is of another model: {sizes}")
    assert "weights sha256: expected" in text
    assert "Try:" not in compared.err + text


@pytest.mark.parametrize(
    "words", [["parity", 0, 1, "--puzzles"], ["evaluate", 1, "--puzzles"], ["reference", 1]]
)
def test_bad_puzzles_are_reported_before_an_engine_is_loaded(
    files: tuple[str, str, str],
    words: list[str | int],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from trm_export.api import comparing_files, frameworks

    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("An engine or Keras was loaded.")

    monkeypatch.setattr("trm_runtime.open.open_driver", refuse)
    monkeypatch.setattr(frameworks, "load_keras", refuse)
    monkeypatch.setattr(comparing_files, "load_keras", refuse)
    bad = tmp_path / "bad.txt"
    bad.write_text("1234\n")
    line = [files[word] if isinstance(word, int) else word for word in words]
    assert run([*line, str(bad)]) == 4
    assert "line 1: expected 16 characters, got 4" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--blanks", "some"], "--blanks must be a number, minimal or hard"),
        (["--task", "sudoku5"], "There is no task 'sudoku5'"),
        (["--puzzles", "x.txt", "--blanks", "5"], "drop it or --puzzles"),
    ],
)
def test_wrong_options(
    files: tuple[str, str, str],
    options: list[str],
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(["parity", files[0], files[1], *options]) == 2
    assert words in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize(
    "options", [["--require-gpu"], ["--blanks", "5"], ["--no-control"], ["--count", "200"]]
)
def test_a_golden_is_not_contradicted_in_silence(
    files: tuple[str, str, str],
    options: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    golden = tmp_path / "g.npz"
    golden.write_bytes(b"")
    words = ["parity", files[0], files[1], "--golden", str(golden), *options]
    assert run(words) == 2
    assert "a golden is recorded already; leave it out" in capsys.readouterr().err


def test_a_report_goes_on_without_a_control_that_cannot_be_had(
    files: tuple[str, str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from trm_export.parity import control

    def none(model: object) -> None:
        raise control.NoControlError("TRM keeps a float32 weight: head")

    monkeypatch.setattr(control, "float64_runner", none)
    report = tmp_path / "r.html"
    words = ["parity", files[0], files[1], "--count", "6", "--report", str(report)]
    assert run(words) == 0
    why = "The noise floor was not measured: TRM keeps a float32 weight: head."
    assert why in capsys.readouterr().err.replace("\n", " ")
    assert why in report.read_text()
    assert json.loads(report.with_suffix(".json").read_text())["reference"]["control"] is None
    assert run([*words, "--control"]) == 1
    assert "drop --control, or pass --no-control." in capsys.readouterr().err.replace("\n", " ")


def test_rejected_input_leaves_no_parts(files: tuple[str, str, str], tmp_path: Path) -> None:
    golden, output = tmp_path / "g.npz", tmp_path / "o.json"
    golden.write_bytes(b"no golden")
    words = ["parity", files[0], files[1], "--golden", str(golden), "-o", str(output)]
    assert run(words) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["g.npz"]
