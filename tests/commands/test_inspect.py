"""`trm-export inspect`: every kind of file, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import trm_export as te
from tests.runtime.fakes import make_contract
from tests.runtime.graphs import build, rename_input, write
from tests.runtime.tf_graphs import write_tflite
from trm_export.commands.support.app import run
from trm_runtime.confidence import Confidence
from trm_runtime.drivers.saved_model_folder import seal

SMALL = Path(__file__).parents[2] / "artifacts" / "sudoku4.keras"


def assert_told(err: str, path: Path, code: int) -> None:
    """A file that is shown and ends with 4 has the reason on stderr."""
    assert err == "" or (code == 4 and err.startswith(f"Error: {path} is damaged or differs from"))


def as_json(path: Path, capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Any]:
    assert run(["inspect", str(path), "--json"]) == code
    captured = capsys.readouterr()
    assert_told(captured.err, path, code)
    return json.loads(captured.out)


def as_text(path: Path, capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    assert run(["inspect", str(path)]) == code
    captured = capsys.readouterr()
    assert_told(captured.err, path, code)
    assert max(map(len, captured.out.splitlines())) <= 80
    return captured.out


def with_sidecar(path: Path, **changes: Any) -> Path:
    path.with_name(path.name + ".json").write_text(make_contract(**changes).to_json())
    return path


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (None, "confidence none"),
        (Confidence(-1.0, 0.5, 0.0, 2.0, 400, 8),
         "confidence by score, agreement, fitted on 400 puzzles, at most 8 tries"),
        (Confidence(3.0, 0.0, 0.0, 0.0, 24, 1), "confidence by a constant, fitted on 24 puzzles"),
    ],
)  # fmt: skip
def test_the_confidence_of_a_file_is_shown(
    rule: Confidence | None, words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "toy.onnx", build(make_contract(confidence=rule)))
    assert f" {words} puzzle table" in " ".join(as_text(path, capsys).split())


def test_keras(tiny_keras: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = as_json(tiny_keras, capsys)
    assert found["kind"] == "keras"
    assert found["config"]["seq_len"] == 16
    assert found["tensors"][0].keys() == {"path", "dtype", "shape"}
    shown = as_text(tiny_keras, capsys)
    assert found["sha256"] in shown
    assert found["weights_sha256"] in shown
    assert f"{found['parameters']:,} in {len(found['tensors'])} tensors" in shown
    assert f"Keras {found['keras_version']}" in shown


def test_onnx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = with_sidecar(write(tmp_path / "toy.onnx"))
    found = as_json(path, capsys)
    assert found["kind"] == "onnx"
    assert (found["ir_version"], found["opsets"]) == (8, {"": 17})
    assert found["oldest_onnxruntime"] == "1.14"
    assert found["contract"] == json.loads(make_contract().to_json())
    assert (found["contract_problems"], found["sidecar"]) == ([], "same")
    assert found["nodes"]["Add"] == 6
    assert found["weight_bytes"]["int64"] == 48
    shown = as_text(path, capsys)
    for words in ("fits the graph; the same beside", "onnxruntime 1.14 or later", "z_L", "(batch,"):
        assert words in shown


def test_a_sidecar_that_differs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = with_sidecar(write(tmp_path / "toy.onnx"), model_name="another")
    assert as_json(path, capsys)["sidecar"] == "differs"
    assert "the one beside the file differs: model_name" in as_text(path, capsys)
    path.with_name("toy.onnx.json").write_text("{")
    assert "not valid JSON" in as_json(path, capsys)["sidecar"]


def test_a_graph_that_its_contract_does_not_fit(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build()
    rename_input(model.graph, "z_H", "z_X")
    path = write(tmp_path / "toy.onnx", model)
    found = as_json(path, capsys, 4)
    assert len(found["contract_problems"]) == 2
    assert "does not fit this graph" in as_text(path, capsys, 4)


def test_a_damaged_export_is_shown_and_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "toy.onnx")
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"toy"', b'"t\xcfy"'))
    found = as_json(path, capsys, 4)
    assert "is not UTF-8 text" in found["contract_problems"][0]
    assert "does not match its checksum" in found["checksum_problem"]
    shown = as_text(path, capsys, 4)
    assert "cannot be read:" in shown
    assert "\\x" not in shown
    path.write_bytes(build().SerializeToString())
    assert "has no checksum" in as_json(path, capsys, 4)["checksum_problem"]


def test_any_flipped_bit_is_shown_or_not_but_always_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, rng = write(tmp_path / "toy.onnx"), np.random.default_rng(3)
    data = path.read_bytes()
    for place in rng.integers(len(data) - 120, size=40).tolist():
        flipped = data[place] ^ 1 << int(rng.integers(8))
        path.write_bytes(data[:place] + bytes([flipped]) + data[place + 1 :])
        code = run(["inspect", str(path)])
        captured = capsys.readouterr()
        assert "a bug" not in captured.err
        assert "b'" not in captured.out
        assert code == 4 or "no driver runs it" in captured.out  # the key of the contract


def test_somebody_elses_onnx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build()
    del model.metadata_props[:]
    model.ir_version = 11
    found = as_json(write(tmp_path / "other.onnx", model), capsys)
    assert found["contract"] is None
    assert found["oldest_onnxruntime"] is None
    shown = as_text(tmp_path / "other.onnx", capsys)
    assert "no driver runs it" in shown
    assert "newer than 1.20" in shown


def test_an_export_without_its_tail_is_no_other_tools_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = with_sidecar(write_tflite(tmp_path / "toy.tflite"))
    assert as_json(path, capsys)["sidecar"] == "same"
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"PK\x03\x04")])
    (problem,) = as_json(path, capsys, 4)["contract_problems"]
    words = "truncated or changed: it has no contract, but toy.tflite.json lies beside it; copy it"
    assert problem.startswith(words)
    assert "no driver runs it" not in as_text(path, capsys, 4)
    path.with_name("toy.tflite.json").write_text('{"labels": ["a"]}')
    assert "no driver runs it" in as_text(path, capsys)
    path.with_name("toy.tflite.json").unlink()
    assert "no driver runs it" in as_text(path, capsys)
    path.write_bytes(data[:-4])
    assert (
        "cannot be read, but the name of one is inside"
        in as_json(path, capsys, 4)["contract_problems"][0]
    )


def test_an_onnx_export_that_lost_its_contract(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build()
    del model.metadata_props[:]
    path = with_sidecar(write(tmp_path / "toy.onnx", model))
    assert (
        "it has no contract, but toy.onnx.json lies beside it"
        in as_json(path, capsys, 4)["contract_problems"][0]
    )


def test_a_damaged_tflite_file_is_refused_in_our_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, rng = write_tflite(tmp_path / "toy.tflite"), np.random.default_rng(3)
    data = path.read_bytes()
    cut = [data[:size] for size in (9, 60, len(data) // 3, len(data) // 2, len(data) - 30)]
    places = rng.integers(8, data.index(b"PK\x03\x04"), size=60).tolist()
    flipped = [data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :] for at in places]
    for damaged in (*cut, *flipped):
        path.write_bytes(damaged)
        assert run(["inspect", str(path)]) == 4
        captured = capsys.readouterr()
        if not captured.out:
            assert captured.err == (
                f"Error: {path}: a damaged TFLite file: truncated or changed; copy it again, or "
                "export it again.\n"
            )
        else:
            assert "- " in captured.out


def test_bodies_of_loops_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = build()
    inner = numpy_helper.from_array(np.zeros((3, 5), np.float16), "inner")
    body = helper.make_graph(
        [helper.make_node("Identity", ["inner"], ["out"])], "b", [], [], [inner]
    )
    model.graph.node.append(
        helper.make_node("If", ["q"], ["r"], then_branch=body, else_branch=body)
    )
    found = as_json(write(tmp_path / "loop.onnx", model), capsys)
    assert found["nodes"]["Identity"] == 2
    assert found["weight_bytes"]["float16"] == 60


def test_tensors_in_other_files_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = build()
    tensor = numpy_helper.from_array(np.zeros(300, np.float32), "far_away")
    model.graph.initializer.append(tensor)
    path = tmp_path / "split.onnx"
    onnx.save(model, path, save_as_external_data=True, size_threshold=1000)
    assert as_json(path, capsys, 4)["external_tensors"] == ["far_away"]
    assert "tensors kept in other files: far_away" in as_text(path, capsys, 4)


def test_contract(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "toy.onnx.json"
    path.write_text(make_contract().to_json())
    found = as_json(path, capsys)
    assert found["kind"] == "contract"
    assert found["contract"]["max_steps"] == 8
    shown = as_text(path, capsys)
    assert "q_halt > 0, or step 8" in shown
    assert "current_inputs" in shown


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.onnx", b"not protobuf at all", "not an ONNX file"),
        ("a.onnx", b"", "not an ONNX file"),
        ("a.tflite", b"", "not a TFLite file"),
        ("a.tflite", b"\x1c\0\0\0TFL3" + bytes(64), "a damaged TFLite file"),
        ("a.json", b"{", "not valid JSON"),
        ("a.json", b"\xff", "not UTF-8"),
        ("b.json", b'{"tool": "trm-export 1", "kind": "bench"}',
         "b.json: holds no step contract, but a result of trm-export; inspect an exported file."),
        ("b.json", b'{"tool": "another"}', "schema_version: expected 1 or 2, got None"),
        ("a.keras", b"", "not a .keras file"),
        ("a.h5", b"", ".tflite or .json file or a SavedModel folder, got .h5"),
        ("a", b"", "got no suffix"),
        ("none.onnx", None, "No such file"),
        ("none", None, "none: there is no such file or folder."),
        ("none.h5", None, "none.h5: there is no such file or folder."),
        ("none.json", None, "No such file"),
    ],
)  # fmt: skip
def test_refusals(
    tmp_path: Path,
    name: str,
    content: bytes | None,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    assert run(["inspect", str(path)]) == 4
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err


@pytest.mark.parametrize("suffix", [".onnx", ".tflite"])
def test_what_is_wrong_is_said_once(
    tmp_path: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The name of the file, and one full stop."""
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    path = te.export(SMALL, tmp_path / f"bad{suffix}").path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)
    capsys.readouterr()
    assert run(["inspect", str(path)]) == 4
    told = capsys.readouterr().err
    assert f"bad{suffix} is damaged or differs from its contract: does not match its" in told
    assert told.endswith(" gives it a new checksum).\n")


def test_a_folder_of_anything_is_no_damaged_export(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    assert run(["inspect", str(tmp_path)]) == 4
    assert "a folder without saved_model.pb is not a model" in capsys.readouterr().err


def test_other_exports_show_their_contract(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trm_export.artifacts.inspection import inspect_file

    contract = make_contract()
    folder = tmp_path / "m_saved_model"
    (folder / "assets.extra").mkdir(parents=True)
    (folder / "assets.extra" / "trm_contract.json").write_text(contract.to_json())
    info = inspect_file(folder).to_json()
    assert (info["kind"], info["sidecar"]) == ("saved-model", "missing")
    assert info["contract"]["max_steps"] == contract.max_steps
    assert "damaged:" in as_text(folder, capsys, 4)
    seal(folder)
    assert "fit" in as_text(folder, capsys)
    (folder / "saved_model.pb").touch()
    assert as_json(folder, capsys, 4)["checksum_problems"] == [
        "saved_model.pb: not a file of this export"
    ]
