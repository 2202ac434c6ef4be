"""What a command refuses, it refuses at once: no framework is loaded and nothing is written."""

from __future__ import annotations

import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from trm_export import api
from trm_export.checkpoints.keras_classes import is_there
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support.app import run
from trm_export.files import DOCUMENTS

Refused = Callable[..., str]

SUDOKU4 = shipped_checkpoint("sudoku4")


@pytest.fixture
def refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Refused:
    """Runs a command beside `m.keras`; gives its sentence, and fails where Keras would load."""
    shutil.copy(SUDOKU4, tmp_path / "m.keras")
    monkeypatch.chdir(tmp_path)

    for module in pkgutil.iter_modules(api.__path__):  # none keeps the function below
        importlib.import_module(f"{api.__name__}.{module.name}")

    def load_keras(**options: bool) -> None:
        pytest.fail("a framework is loaded before the refusal")

    monkeypatch.setattr("trm_export.api.frameworks.load_keras", load_keras)

    def refuse(*arguments: str, code: int = 2) -> str:
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert run(arguments) == code
        after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert after == before
        said = capsys.readouterr()
        assert said.out == ""
        assert said.err.startswith("Error: ")
        assert "Unexpected" not in said.err
        return said.err

    return refuse


@pytest.mark.parametrize("name", ["t.onnx", "t", "t.h5", "t.keras.bak", ""])
def test_a_model_is_trained_into_a_keras_file(name: str, refused: Refused) -> None:
    assert "must end in .keras" in refused("train", "sudoku4", "-o", name, "--steps", "5")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--learning-rate", "nan", "learning_rate must be finite and above 0"),
        ("--learning-rate", "inf", "learning_rate must be finite and above 0"),
        ("--learning-rate", "0", "learning_rate must be finite and above 0"),
        ("--learning-rate", "-1", "learning_rate must be finite and above 0"),
        ("--ponder-cost", "nan", "ponder_cost must be finite and 0 or more"),
        ("--ponder-cost", "-0.1", "ponder_cost must be finite and 0 or more"),
        ("--ema", "1", "ema must be 0 or more and below 1"),
        ("--ema", "nan", "ema must be 0 or more and below 1"),
        ("--steps", "0", "steps must be 1 to"),
        ("--steps", "99999999999999999999", "steps must be 1 to"),
        ("--batch-size", "-3", "batch_size must be 1 to"),
        ("--validate-every", "0", "validate_every must be 1 to"),
        ("--seed", "-1", "seed must be 0 to"),
        ("--loss", "mse", "loss must be stablemax or softmax"),
    ],
)
def test_senseless_numbers_of_a_training_run(
    option: str, value: str, said: str, refused: Refused
) -> None:
    assert said in refused("train", "sudoku4", "-o", "t.keras", option, value)


@pytest.mark.parametrize("command", ["bench", "evaluate", "parity", "tune"])
@pytest.mark.parametrize(
    ("option", "value"), [("vary", "symmetry"), ("choose", "vote"), ("seed", "0"), ("sigma", "0.2")]
)
def test_options_of_tries_need_tries(
    command: str, option: str, value: str, refused: Refused
) -> None:
    files = ["m.onnx"] * (2 if command == "parity" else 1)
    said = refused(command, *files, f"--{option}", value)
    assert f"--{option}: without effect while a puzzle has one try; give --tries 2" in said


def test_training_replaces_nothing_of_others(refused: Refused) -> None:
    Path("m.csv").write_text("my measurements")
    assert "m.csv would be replaced" in refused("train", "sudoku4", "-o", "m.keras", code=1)
    said = refused("train", "sudoku4", "--from", "m.keras", "-o", "./m.keras", "--force")
    assert "is the model itself" in said
    assert "cannot be read" in refused("train", "sudoku4", "--from", "n.keras", code=4)


@pytest.mark.parametrize("name", ["", "."])
@pytest.mark.parametrize("command", ["onnx", "tflite", "saved-model", "c", "all", "vectors"])
def test_a_folder_is_no_model(command: str, name: str, refused: Refused) -> None:
    assert "a folder; name a .keras file in it" in refused(command, name, code=4)


@pytest.mark.parametrize("force", [[], ["--force"]])
@pytest.mark.parametrize(
    ("command", "name", "said"),
    [
        ("onnx", "x.tflite", "must end in .onnx"),
        ("onnx", "x", "must end in .onnx"),
        ("tflite", "x.onnx", "must end in .tflite"),
        ("saved-model", "x.onnx", "x.onnx names a file, but a folder is written; drop .onnx."),
        ("onnx", "m.keras", "m.keras is the model itself"),
        ("tflite", "m.keras", "m.keras is the model itself"),
        ("saved-model", "m.keras", "m.keras is the model itself"),
        ("saved-model", ".", ". contains the model itself"),
        ("onnx", "link.onnx", "link.onnx is the model itself"),
        ("onnx", "other.onnx", "other.keras must end in .onnx"),
    ],
)
def test_an_export_goes_where_its_kind_belongs(
    command: str, name: str, said: str, force: list[str], refused: Refused
) -> None:
    shutil.copy("m.keras", "other.keras")
    Path("link.onnx").symlink_to("m.keras")
    Path("other.onnx").symlink_to("other.keras")
    assert said in refused(command, "m.keras", "-o", name, *force)


@pytest.mark.parametrize("command", ["onnx", "tflite", "saved-model"])
@pytest.mark.parametrize("rows", ["0", "99999999999999999999"])
def test_rows_that_no_file_can_have(command: str, rows: str, refused: Refused) -> None:
    said = refused(command, "m.keras", "--batch", rows)
    assert f"batch must be 1 to 2,147,483,647, or free, got {rows}" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["train", "m.keras", "--steps", "1e6"], "'--steps': it must be a valid integer (see"),
        (["reference", "m.keras", "--count", "0"], "it must be greater than or equal to 1 (see"),
        (
            ["onnx", "m.keras", "--batch", "many"],
            "batch must be 1 to 2,147,483,647, or free, got 'many'",
        ),
        (["onnx", "m.keras", "--batch", "-1"], "batch must be 1 to 2,147,483,647, or free, got -1"),
        (["onnx", "m.keras", "--precision", "fp8"], "'fp8' is not one of 'fp32', 'fp16', 'int8'"),
        (["onnx", "m.keras", "--recursion", "sideways"], "is not one of 'unrolled', 'rolled'"),
        (["tflite", "m.keras", "--target", "phone"], "is not one of 'litert', 'tflite-runtime'"),
        (["all", "m.keras", "--granularity", "cell"], "is not one of 'step', 'loop', 'block'"),
        (["parity", "m.keras", "m.onnx", "-o", "m.keras"], "m.keras must end in .json"),
        (["bench", "m.keras", "-o", "m.keras"], "m.keras must end in .json"),
        (
            ["parity", "m.keras", "m.onnx", "--blanks", "some"],
            "--blanks must be a number, minimal or hard",
        ),
        (["parity", "m.keras", "m.onnx", "--task", "sudoku5"], "There is no task 'sudoku5'"),
        (["demo", "maze30"], "no shipped checkpoint 'maze30'; choose from maze11, maze9, sudoku4"),
        (["export", "m.keras"], "choose from onnx, tflite, saved-model, c and all"),
    ],
)
def test_words_that_mean_nothing(arguments: list[str], said: str, refused: Refused) -> None:
    assert said in refused(*arguments)


@pytest.mark.parametrize("command", ["onnx", "tflite", "saved-model", "all", "bench"])
def test_a_model_that_is_none(command: str, refused: Refused) -> None:
    Path("text.keras").write_text("not a model")
    assert "missing.keras: cannot be read" in refused(command, "missing.keras", code=4)
    assert "text.keras: not a .keras file" in refused(command, "text.keras", code=4)


@pytest.mark.parametrize("name", ["m.onnx", "m.tflite", "g.npz"])
def test_another_file_of_ours_in_the_place_of_a_model(name: str, refused: Refused) -> None:
    with zipfile.ZipFile(name, "w") as archive:  # a .tflite file ends in one, an .npz file is one
        archive.writestr("golden.json", "{}")
    for content in (Path(name).read_bytes(), b"no archive"):
        Path(name).write_bytes(content)
        said = f"{name}: an {Path(name).suffix} file, expected a .keras file; the model that it was"
        said = said.replace("an .tflite", "a .tflite")
        for words in (["onnx", name], ["vectors", name], ["parity", name, "m.keras"]):
            assert said in refused(*words, code=4)


@pytest.mark.parametrize("command", ["onnx", "tflite", "saved-model", "all", "bench", "parity"])
def test_a_trusted_module_that_is_not_there(command: str, refused: Refused) -> None:
    words = [command, "m.keras", *(["m.onnx"] if command == "parity" else [])]
    for module in ("nosuch", "keras.nosuch", "json.tool.deeper", "", "./m.py", "__main__.m"):
        said = refused(*words, "--trust-module", "json", "--trust-module", module)
        assert f"--trust-module: there is no module {module!r}; install its package" in said


def test_inspect_needs_no_module(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(SUDOKU4), "--trust-module", "nosuch"]) == 0


def test_a_document_of_an_export_is_no_contract(refused: Refused) -> None:
    for ending in DOCUMENTS:
        Path(f"m.onnx{ending}").write_text("{}")
        said = refused("inspect", f"m.onnx{ending}", code=4)
        assert f"m.onnx{ending}: holds no step contract; inspect m.onnx, which it is of" in said


def test_a_module_is_found_unimported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "theirs" / "inner").mkdir(parents=True)
    (tmp_path / "theirs" / "__init__.py").write_text("raise SystemExit")
    (tmp_path / "theirs" / "inner" / "model.py").write_text("raise SystemExit")
    monkeypatch.syspath_prepend(tmp_path)
    assert is_there("theirs.inner.model")
    assert not is_there("theirs.outer")


def test_a_keras_file_is_not_imported(refused: Refused) -> None:
    said = refused("import", "m.keras", code=4)
    assert (
        "m.keras: already a Keras file, so there is nothing to import; pass it to trm-export"
        in said
    )


def test_puzzles_that_are_not_there(refused: Refused) -> None:
    said = refused("parity", "m.keras", "m.onnx", "--puzzles", "none.txt", code=4)
    assert "none.txt: no such file or folder of puzzles" in said


def test_nothing_to_resume(refused: Refused) -> None:
    assert "no run to resume" in refused("train", "sudoku4", "--resume", "-o", "none.keras")


def test_a_saved_model_offers_what_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["saved-model", "--help"]) == 0
    assert "int8" not in capsys.readouterr().out


def test_the_module_is_the_command() -> None:
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-m", "trm_export", "onnx", "missing.keras"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 4
    assert done.stderr.startswith("Error: missing.keras: cannot be read")
