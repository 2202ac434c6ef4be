"""The commands that messages end with: what to type next, and what may help."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import trm_export as te
from tests.runtime.fakes import make_contract
from trm_export.artifacts.contract_rewrite import embedded_contract
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support import cures
from trm_export.commands.support.app import app, run
from trm_export.commands.support.command_line import command
from trm_export.commands.support.options import ModelOptions
from trm_export.errors import OverwriteError, ParityError
from trm_export.files import MEASURED, sidecar
from trm_runtime.parity import Rung
from trm_runtime.parity.counts import mcnemar


def is_a_command(line: str) -> bool:
    """Whether the application accepts the words; nothing is run."""
    import typer

    tool, name, *words = shlex.split(line)
    found: Any = typer.main.get_command(app)
    parsed = found.get_command(None, name).make_context(name, words)
    return tool == "trm-export" and parsed is not None


def test_a_name_with_a_leading_dash_is_no_option() -> None:
    line = command("parity", Path("-m.keras"), "-m.onnx", Path("a/-b.onnx"))
    assert line == "trm-export parity ./-m.keras ./-m.onnx a/-b.onnx"
    assert is_a_command(line)


def test_a_command_has_the_options_that_are_not_usual() -> None:
    given = {"precision": "fp32", "auto_keep": 40.0, "keep": ("a", "*b"), "batch": 1}
    line = command("onnx", Path("my model.keras"), **given, output="m.onnx", integer_io=False)
    words = "--auto-keep 40 --keep a --keep '*b' --batch 1 -o m.onnx"
    assert line == f"trm-export onnx 'my model.keras' {words}"
    assert is_a_command(line)


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (0.0, "0"), (5.3419123, "5.3419123"), (-6.0, "-6"), (1.0, "1")]
)
def test_a_number_in_a_command_is_the_one_that_was_given(number: float, text: str) -> None:
    line = command("parity", "m.keras", halt_threshold=number)
    assert line == f"trm-export parity m.keras --halt-threshold {text}"
    assert is_a_command(f"{line} m.onnx")


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"format": "tflite", "precision": "int8-static"},
         "--precision int8-static --auto-keep 40"),
        ({"format": "onnx", "precision": "int8", "keep": ("lm_head",)},
         "--precision int8 --keep lm_head --auto-keep 40"),
        ({"format": "onnx", "precision": "int4"}, "--precision int4 --auto-keep 40"),
        ({"format": "onnx", "precision": "fp16", "output": "m.onnx"}, "-o m.onnx"),
        ({"format": "tflite", "precision": "fp32", "target": "tflite-runtime"}, ""),
        ({"format": "onnx", "precision": "fp32", "output": "v3/x.onnx"}, "-o v3/x_saved_model"),
        ({"format": "onnx", "precision": "int8", "trust_module": ["mine"], "seq_len": 9},
         "--precision int8 --trust-module mine --seq-len 9 --auto-keep 40"),
    ],
)  # fmt: skip
def test_the_cure_of_an_export(choices: dict[str, Any], words: str) -> None:
    line = cures.cure_of_export("m.keras", choices)
    assert line is not None
    kind = "saved-model" if choices["precision"] == "fp32" else choices["format"]
    assert line == f"trm-export {kind} m.keras {words}".rstrip()
    assert is_a_command(line)


def test_a_float_saved_model_has_no_cure() -> None:
    assert cures.cure_of_export("m", {"format": "saved-model", "precision": "fp32"}) is None


@pytest.mark.parametrize(
    ("needed", "words"),
    [
        (41.0, "--precision int8 --auto-keep 50"),
        (49.5, "--precision int8 --auto-keep 60"),
        (130.0, "--precision fp16"),
        (None, "--precision fp16"),
    ],
)
def test_a_search_that_found_nothing_names_another_budget(needed: float | None, words: str) -> None:
    choices = {"format": "onnx", "precision": "int8", "auto_keep": 40.0, "auto_keep_count": 64}
    line = cures.cure_of_export("m.keras", choices, SimpleNamespace(needed=needed))  # type: ignore[arg-type]
    assert line == f"trm-export onnx m.keras {words}"


def test_int8_is_the_cure_of_int4_that_no_kept_layers_help() -> None:
    choices = {"format": "onnx", "precision": "int4", "auto_keep": 40.0}
    line = cures.cure_of_export("m.keras", choices, SimpleNamespace(needed=None))  # type: ignore[arg-type]
    assert line == "trm-export onnx m.keras --precision int8"


def test_a_search_knows_what_the_next_layer_needs() -> None:
    from trm_export.exporters.keep_search import KeepSearch, LayerImpact, Stage

    ranking = tuple(LayerImpact(name, 0.9, 0.1, 300) for name in ("a", "b"))
    stages = (Stage((), 1000, 0.9, None, False, "FAILED."),
              Stage(("a",), 1290, 0.9, None, False, "FAILED."))  # fmt: skip
    search = KeepSearch(40, stages, ranking)
    assert search.needed == pytest.approx(59)
    assert search.verdict.endswith("than a: FAILED. The next layer needs 59 % more bytes.")
    whole = KeepSearch(80, (*stages, Stage(("a", "b"), 1580, 0.9, None, False, "FAILED.")), ranking)
    assert whole.needed is None
    assert whole.verdict.endswith("FAILED. No layer is left.")


@pytest.mark.parametrize(
    ("precision", "rung", "same", "words"),
    [
        ("int8", "forced values", True, "onnx m.keras --precision int8 -o {0} --auto-keep 40"),
        ("int8", "task accuracy", True,
         "onnx m.keras --precision int8 -o {0} --auto-keep 40 --auto-keep-count 200"),
        ("int8", "weights", False, "onnx m.keras --precision int8 -o {0}"),
        ("fp16", "forced values", True, "onnx m.keras"),
        ("fp16", "free drift", True, "onnx m.keras"),
        ("fp32", "answers", True, "parity m.keras {0} --explain"),
        ("int8", "engine", True, "parity m.keras {0} --explain"),
        ("fp32", "weights", True, "onnx m.keras -o {0}"),
    ],
)  # fmt: skip
def test_the_cure_of_a_comparison(
    precision: str, rung: str, same: bool, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trm_export.api import again

    contract, path = make_contract(precision=precision, batch=None), Path("no such folder/f.onnx")
    monkeypatch.setattr(again, "embedded_contract", lambda path: contract)
    monkeypatch.setattr(again, "inspect_file", lambda path: None)
    result = SimpleNamespace(
        broken=SimpleNamespace(name=rung, needed=None),
        same_weights=same,
        of_other_model=False,
        puzzles=200,
    )
    file: Any = SimpleNamespace(path=path, contract=contract, result=result)
    line = cures.cure_of_parity(Path("m.keras"), file, ModelOptions(), explained=False)
    assert line is not None
    own = {"gate": Path("g.json"), "golden": Path("g.npz")}
    other = cures.cure_of_parity(Path("m.keras"), file, ModelOptions(), explained=False, **own)
    if "--explain" in words:
        assert other == line.replace("--explain", "--explain --golden g.npz --gate g.json")
    else:  # an export is judged by the gates of its precision, not by these
        assert other is None or rung == "weights"
    wanted = words.format(f"'{path}'").split()
    assert sorted(shlex.split(line)) == sorted(shlex.split(" ".join(["trm-export", *wanted])))
    assert is_a_command(line)


@pytest.mark.parametrize(("lost", "won", "helps"), [(4, 3, False), (20, 0, True)])
def test_where_chance_may_decide_no_other_export_is_proposed(
    lost: int, won: int, helps: bool, tiny_keras: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    te.export(tiny_keras, path, precision="fp16")
    broken = Rung("task accuracy", "failed", "", ("whatever it says",), needed=200)
    result = SimpleNamespace(
        broken=broken, same_weights=True, of_other_model=False, puzzles=60,
        accuracy=SimpleNamespace(p_value=mcnemar(lost, won)),
    )  # fmt: skip
    file: Any = SimpleNamespace(path=path, contract=embedded_contract(path), result=result)
    line = cures.cure_of_parity(tiny_keras, file, ModelOptions(), explained=False)
    assert (line is not None) == helps


def test_a_file_of_which_something_was_changed_is_replaced_by_force(
    tiny_keras: Path, tmp_path: Path
) -> None:
    path = tmp_path / "m.onnx"
    te.export(tiny_keras, path)
    again = f"trm-export onnx {tiny_keras} -o {path}"
    assert cures.export_again(tiny_keras, path, ModelOptions()) == again
    sidecar(path, MEASURED).write_text("{")
    with pytest.raises(OverwriteError):
        te.export(tiny_keras, path)
    assert cures.export_again(tiny_keras, path, ModelOptions()) == f"{again} --force"


def test_an_export_that_fails_ends_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ParityError("The file was not written: FAILED at forced values: z_H.")

    monkeypatch.setattr(te, "export", fail)
    line = ["tflite", "m.keras", "--precision", "int8-static", "-o", "m.tflite"]
    assert run(line) == 5
    cure = "Try: trm-export tflite m.keras --precision int8-static --auto-keep 40 -o m.tflite"
    assert capsys.readouterr().err.splitlines()[-1] == cure
    assert run([*line, "--json"]) == 5
    assert json.loads(capsys.readouterr().out)["error"]["notes"] == [cure]


def test_other_weights_are_found_before_keras_is_loaded(
    tiny_keras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    from trm_export.api import comparing_files, frameworks
    from trm_export.api.model_source import ModelSource
    from trm_export.artifacts.contract_rewrite import embedded_contract

    file = tmp_path / "m.onnx"
    te.export(tiny_keras, file, precision="fp16")
    other = te.load(tiny_keras)
    other.trainable_variables[0].assign(other.trainable_variables[0] * 1.001)
    other.save(tmp_path / "o.keras")

    def refuse(**options: object) -> None:
        raise AssertionError("Keras was loaded.")

    capsys.readouterr()
    monkeypatch.setattr(frameworks, "load_keras", refuse)
    monkeypatch.setattr(comparing_files, "load_keras", refuse)
    again = ["--precision", "fp16", "-o", str(file)]
    model, own = str(tmp_path / "o.keras"), embedded_contract(file).made_by.weights_sha256
    assert run(["parity", model, str(file)]) == 5
    *said, cure = capsys.readouterr().err.splitlines()
    assert " ".join(said).startswith(
        f"Error: Made from other weights: {file} was not exported from o.keras"
    )
    assert sorted(shlex.split(cure)[1:]) == sorted(["trm-export", "onnx", model, *again])
    assert "--weights" in " ".join(said)
    nine, ours = str(shipped_checkpoint("sudoku9")), file.read_bytes()
    assert run(["parity", nine, str(file)]) == 5
    refused = " ".join(capsys.readouterr().err.split())
    assert refused.startswith(f"Error: Another model: {file} (seq_len ")
    assert "Try:" not in refused
    assert file.read_bytes() == ours
    assert ModelSource(tiny_keras).has_weights(own)
