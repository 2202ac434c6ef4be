"""Checkpoints as people have them: wrapped, shared, in a folder, or not there at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.importing.golden import GOLDEN, checkpoint
from trm_export.checkpoints.torch_names import require_reader
from trm_export.commands.support.app import run
from trm_export.errors import CheckpointError, MissingExtraError, RejectedInputError, UsageError
from trm_export.importing import import_checkpoint
from trm_export.step.saved_weights import weights_sha256

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:0123\nsize 536870912\n"
PAGE = "<!DOCTYPE html><html><head><title>Sign in</title></head></html>"


@pytest.fixture(scope="module")
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The run folder of the golden `rope`, without its checkpoint."""
    shutil.copytree(GOLDEN / "rope", tmp_path / "rope", ignore=shutil.ignore_patterns("*.safe*"))
    return tmp_path / "rope"


def tensors(torch: Any) -> dict[str, Any]:
    """The tensors of the golden, names beginning with `inner.`."""
    from safetensors.numpy import load_file

    stored = load_file(checkpoint("rope"))
    return {name.removeprefix("model."): torch.tensor(x) for name, x in stored.items()}


def changed(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "all_config.yaml"
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config))


WRAPPED: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "module": lambda t: {f"module.{n}": x for n, x in t.items()},
    "compiled module": lambda t: {f"_orig_mod.module.model.{n}": x for n, x in t.items()},
    "module of compiled": lambda t: {f"module._orig_mod.{n}": x for n, x in t.items()},
    "own name": lambda t: {f"net.{n}": x for n, x in t.items()},
    "average": lambda t: {f"ema_model.{n}": x for n, x in t.items()},
    "network alone": lambda t: {n.removeprefix("inner."): x for n, x in t.items()},
    "model": lambda t: {"model": t, "optimizer": {"state": {}, "step": 3}, "epoch": 7},
    "state_dict": lambda t: {"state_dict": {f"model.{n}": x for n, x in t.items()}, "epoch": 1},
    "model_state_dict": lambda t: {"model_state_dict": t, "loss": 0.5},
    "deeper": lambda t: {"checkpoint": {"model": {f"module.{n}": x for n, x in t.items()}}},
}


@pytest.mark.parametrize("name", WRAPPED)
def test_wrappers_are_opened(folder: Path, torch: Any, name: str) -> None:
    torch.save(WRAPPED[name](tensors(torch)), folder / "step_10")
    model, _ = import_checkpoint(folder / "step_10")
    golden, _ = import_checkpoint(checkpoint("rope"))
    assert weights_sha256(model) == weights_sha256(golden)


@pytest.mark.parametrize("nested", [True, False])
def test_several_models_are_named(folder: Path, torch: Any, nested: bool) -> None:
    own = tensors(torch)
    kinds = ("model", "ema_model")
    flat = {f"{kind}.{name}": x for kind in kinds for name, x in own.items()}
    torch.save(dict.fromkeys(kinds, own) if nested else flat, folder / "step_10")
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(folder / "step_10")
    assert "has the weights of several models, under" in str(caught.value)
    assert "ema_model" in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("width", [64, 256])
def test_tied_weights_and_expanded_tables(tmp_path: Path, torch: Any, width: int) -> None:
    from tests.importing.official import Official
    from tests.importing.variants import VARIANTS

    arch = {**VARIANTS["rope"].arch, "hidden_size": width, "puzzle_emb_ndim": width}
    arch |= {"puzzle_emb_len": 0}
    sizes = {"vocab_size": 3000, "seq_len": 9, "num_puzzle_identifiers": 2000}
    state = dict(Official(arch, sizes, 0).state_dict())
    head = next(name for name in state if name.endswith("lm_head.weight"))
    tied = next(name for name in state if name.endswith("embed_tokens.embedding_weight"))
    state[head] = state[tied]
    table = next(name for name in state if name.endswith("puzzle_emb.weights"))
    state[table] = state[table][:1].clone().expand(2000, width)
    torch.save(state, tmp_path / "step_1")
    (tmp_path / "all_config.yaml").write_text(yaml.safe_dump({"arch": arch}))
    (tmp_path / "dataset.json").write_text(json.dumps(sizes))
    model, _ = import_checkpoint(tmp_path / "step_1")
    assert np.array_equal(np.asarray(model.inner.lm_head.kernel).T, state[tied].numpy())
    assert np.array_equal(np.asarray(model.inner.puzzle_emb.embeddings), state[table].numpy())


def test_set_wins_over_what_it_replaces(folder: Path) -> None:
    width = yaml.safe_load((folder / "all_config.yaml").read_text())["arch"]["puzzle_emb_ndim"]
    shutil.copy(checkpoint("rope"), folder / "m.safetensors")
    changed(folder, lambda config: config["arch"].update(puzzle_emb_ndim="${.nowhere}"))
    with pytest.raises(CheckpointError, match=r"puzzle_emb_ndim: expected an integer, got"):
        import_checkpoint(folder / "m.safetensors")
    model, _ = import_checkpoint(folder / "m.safetensors", given=[f"puzzle_emb_ndim={width}"])
    assert model.config.puzzle_emb_ndim == width


@pytest.mark.parametrize("reference", ["${.width}", "${arch.width}", "${.other}", "${global}"])
def test_references_are_resolved(folder: Path, reference: str) -> None:
    shutil.copy(checkpoint("rope"), folder / "m.safetensors")

    def refer(config: dict[str, Any]) -> None:
        own = config["arch"]["puzzle_emb_ndim"]
        config["arch"] |= {"puzzle_emb_ndim": reference, "width": own, "other": "${.width}"}
        config["global"] = own

    changed(folder, refer)
    model, _ = import_checkpoint(folder / "m.safetensors")
    golden, _ = import_checkpoint(checkpoint("rope"))
    assert model.config == golden.config


@pytest.mark.parametrize("name", ["all_config.yaml", "config.yaml"])
@pytest.mark.parametrize("nested", [True, False])
def test_other_layouts_of_the_configuration(folder: Path, name: str, nested: bool) -> None:
    shutil.copy(checkpoint("rope"), folder / "m.safetensors")
    config = yaml.safe_load((folder / "all_config.yaml").read_text())
    (folder / "all_config.yaml").unlink()
    text = yaml.safe_dump(config if nested else config["arch"])
    (folder / name).write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    sizes = (folder / "dataset.json").read_text()
    (folder / "dataset.json").write_text("\ufeff" + sizes)
    model, report = import_checkpoint(folder / "m.safetensors")
    golden, _ = import_checkpoint(checkpoint("rope"))
    assert model.config == golden.config
    assert report.config_file == str(folder / name)
    assert {one.source for one in report.settings if one.name == "h_cycles"} == {name}
    assert name in report.weights or not nested


def test_a_configuration_without_the_architecture_is_named(folder: Path) -> None:
    shutil.copy(checkpoint("rope"), folder / "m.safetensors")
    (folder / "all_config.yaml").write_text("lr: 0.1\n")
    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(folder / "m.safetensors")
    assert "all_config.yaml: found, but it has no section `arch`" in str(caught.value)


def test_the_one_checkpoint_of_a_folder(folder: Path) -> None:
    with pytest.raises(CheckpointError, match="it has none"):
        import_checkpoint(folder)
    shutil.copy(checkpoint("rope"), folder / "m.safetensors")
    _, report = import_checkpoint(folder)
    assert report.checkpoint == str(folder / "m.safetensors")
    shutil.copy(checkpoint("rope"), folder / "n.safetensors")
    with pytest.raises(CheckpointError, match=r"found: m\.safetensors, n\.safetensors"):
        import_checkpoint(folder)


@pytest.mark.parametrize("name", ["step_10", "m.safetensors", "m.pt"])
@pytest.mark.parametrize(
    ("text", "complaint"),
    [(POINTER, "a Git LFS pointer, not the file; fetch it with `git lfs pull`."),
     (PAGE, "an HTML page, not the file")],
)  # fmt: skip
def test_what_stands_for_a_checkpoint(folder: Path, name: str, text: str, complaint: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(RejectedInputError) as caught:
        import_checkpoint(folder / name)
    assert str(caught.value).startswith(f"{folder / name}: {complaint}")


@pytest.mark.parametrize("name", ["m.keras", "m.onnx", "m.tflite"])
def test_a_pointer_is_called_that_by_every_reader(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_text(POINTER)
    command = "onnx" if name.endswith("keras") else "evaluate"
    assert run([command, str(tmp_path / name)]) == 4
    assert "a Git LFS pointer" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("command", ["onnx", "evaluate", "tune"])
@pytest.mark.parametrize("name", ["step_1000", "m.pt", "m.safetensors"])
def test_a_checkpoint_is_no_model_yet(
    tmp_path: Path, command: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(checkpoint("rope"), tmp_path / name)
    assert run([command, str(tmp_path / name)]) == 4
    said = " ".join(capsys.readouterr().err.split())
    assert "a PyTorch checkpoint" in said
    assert "trm-export import" in said


def test_missing_torch_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "step_1").write_bytes(b"PK\x03\x04")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r'pip install "trm-export\[torch\]"'):
        require_reader(tmp_path / "step_1")
    shutil.copy(checkpoint("rope"), tmp_path / "m.safetensors")
    require_reader(tmp_path / "m.safetensors")


@pytest.mark.parametrize("kind", ["reset", "mean"])
def test_a_puzzle_table_for_another_data_set(folder: Path, tmp_path: Path, kind: str) -> None:
    golden, _ = import_checkpoint(checkpoint("rope"))
    old = np.asarray(golden.inner.puzzle_emb.embeddings)
    sizes = json.loads((folder / "dataset.json").read_text())
    (tmp_path / "dataset.json").write_text(json.dumps({**sizes, "num_puzzle_identifiers": 12}))
    for options in (
        {"dataset": tmp_path / "dataset.json"}, {"given": ["num_puzzle_identifiers=12"]}
    ):  # fmt: skip
        model, _ = import_checkpoint(checkpoint("rope"), puzzle_table=kind, **options)
        new = np.asarray(model.inner.puzzle_emb.embeddings)
        assert new.shape == (12, old.shape[1])
        wanted = old.mean(axis=0) if kind == "mean" else np.zeros(old.shape[1])
        assert np.allclose(new, wanted, atol=1e-6)
    with pytest.raises(CheckpointError, match="num_puzzle_identifiers"):
        import_checkpoint(checkpoint("rope"), dataset=tmp_path / "dataset.json")


def test_a_new_puzzle_table_needs_an_old_one() -> None:
    with pytest.raises(UsageError, match="is for a checkpoint with puzzle embeddings"):
        import_checkpoint(checkpoint("rope_plain"), puzzle_table="reset")
