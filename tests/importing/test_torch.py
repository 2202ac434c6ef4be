"""PyTorch's own files: what the official code saves is read, every other pickle is refused."""

from __future__ import annotations

import pickle
import shutil
import sys
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.importing.golden import GOLDEN, checkpoint
from trm_export.errors import CheckpointError


@pytest.fixture
def torch() -> Any:
    return pytest.importorskip("torch", reason="PyTorch is not installed")


def folder(tmp_path: Path, name: str = "rope") -> Path:
    """A run's folder without its checkpoint; where that goes."""
    ignored = shutil.ignore_patterns("*.safetensors", "*.npz")
    shutil.copytree(GOLDEN / name, tmp_path / name, ignore=ignored)
    return tmp_path / name / "step_10"


def refusal(path: Path) -> str:
    from trm_export.importing import import_checkpoint

    with pytest.raises(CheckpointError) as caught:
        import_checkpoint(path)
    return str(caught.value)


@pytest.mark.parametrize("prefix", ["", "_orig_mod."])
@pytest.mark.parametrize("half", [False, True], ids=["float32", "bfloat16"])
def test_a_saved_state_dict_is_the_same_model(
    tmp_path: Path, torch: Any, prefix: str, half: bool
) -> None:
    from tests.importing.official import Official, save
    from tests.importing.variants import VARIANTS
    from trm_export.importing import import_checkpoint
    from trm_export.step.saved_weights import weights_sha256

    path, variant = folder(tmp_path), VARIANTS["rope"]
    save(Official(variant.arch, variant.sizes, list(VARIANTS).index("rope")), path, prefix, half)
    model, report = import_checkpoint(path)
    assert report.kind == "torch"
    assert report.prefixes == (prefix + "model.",)
    assert report.dtypes == {"bfloat16" if half else "float32": 11}
    golden, _ = import_checkpoint(checkpoint("rope"))  # its values fit bfloat16 exactly
    assert weights_sha256(model) == weights_sha256(golden)


class Evil:
    """Creates a file when unpickled by whoever trusts it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_pickles_do_not_run(tmp_path: Path, torch: Any) -> None:
    path, mark = folder(tmp_path), tmp_path / "was_here"
    torch.save({"inner.lm_head.weight": Evil(mark)}, path)
    message = refusal(path)
    assert "not a PyTorch file of plain tensors: it refers to getattr; save" in message
    assert message.endswith("save the state_dict() of the model alone.")
    assert not mark.exists()


@pytest.mark.parametrize("data", [b"", b"\x80", b"PK\x03\x04rubbish", b"text"], ids=str)
def test_damaged(tmp_path: Path, torch: Any, data: bytes) -> None:
    path = folder(tmp_path)
    path.write_bytes(data)
    wanted = "expected what the official code saves (step_<N> or .pt), or the same tensors as "
    said = f"{path}: not a PyTorch file of plain tensors, or a damaged one; {wanted}.safetensors."
    assert refusal(path) == said


def test_every_flipped_bit_is_found(tmp_path: Path, torch: Any) -> None:
    from trm_export.importing.torch_file import read

    path, rng = tmp_path / "step_1", np.random.default_rng(0)
    tensors = {"a": torch.arange(600.0).reshape(20, 30), "b": torch.ones(7).bfloat16()}
    torch.save(tensors, path)
    sound, good = read(path), path.read_bytes()
    refused = 0
    for place in rng.choice(len(good) * 8, 200, replace=False):
        data = bytearray(good)
        data[place // 8] ^= 1 << place % 8
        path.write_bytes(data)
        try:
            found = read(path)
        except CheckpointError:
            refused += 1
        else:  # in what PyTorch does not read, such as a date
            assert {name: array.tobytes() for name, array in found.items()} == {
                name: array.tobytes() for name, array in sound.items()
            }
    assert refused > 150


def test_a_compressed_file_is_refused(tmp_path: Path, torch: Any) -> None:
    path = folder(tmp_path)
    torch.save({"a": torch.ones(3)}, path)
    with zipfile.ZipFile(path) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(name, data)
    assert "not a PyTorch file of plain tensors" in refusal(path)


def test_views_and_nested_tensors_are_refused(tmp_path: Path, torch: Any) -> None:
    path, x = folder(tmp_path), torch.ones(3, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        nested = torch.nested.nested_tensor([x, x[:2]])
    torch.save({"b": nested}, path)
    by_name = "torch._utils._rebuild_nested_tensor"
    if by_name not in torch._weights_only_unpickler._get_allowed_globals():  # of PyTorch 2.15
        assert f"it refers to {by_name}" in refusal(path)
        nested = x.to_sparse()
    torch.save({"a": torch._neg_view(x), "b": nested, 3: x}, path)
    assert "3: not a name" in refusal(path)
    torch.save({"a": torch._neg_view(x), "b": nested}, path)
    assert "a: a view with another sign" in refusal(path)
    assert "b: not a dense tensor" in refusal(path)


def test_a_newer_pickle_is_refused_without_a_warning(
    tmp_path: Path, torch: Any, recwarn: pytest.WarningsRecorder
) -> None:
    path = folder(tmp_path)
    path.write_bytes(pickle.dumps({"a": 1}, protocol=4))
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert "a damaged one; expected what the official code saves" in refusal(path)
    assert [str(warning.message) for warning in recwarn] == []


def test_entries_that_are_no_weights_are_listed(tmp_path: Path, torch: Any) -> None:
    path = folder(tmp_path)
    huge = torch.zeros(1).expand(1 << 20, 1 << 20)
    many = {f"m{i}": huge[:30, :30] for i in range(9)}
    torch.save({"step": 3, "ids": torch.zeros(2, dtype=torch.int64), "huge": huge, **many}, path)
    message = refusal(path)
    assert "step: a int, not a tensor" in message
    assert "ids: dtype int64, expected float32" in message
    assert "huge: declares 1,099,511,627,776 values, more than the file contains" in message
    torch.save([torch.zeros(2)], path)
    assert "expected a state_dict, a dictionary of tensors, got list" in refusal(path)


def test_a_missing_pytorch_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from trm_export.commands.support.app import run

    path = folder(tmp_path)
    path.write_bytes(b"whatever")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert run(["import", str(path), "-o", str(tmp_path / "m.keras")]) == 3
    assert 'install it with `pip install "trm-export[torch]"`.' in capsys.readouterr().err
    target = tmp_path / "n.keras"
    assert run(["import", str(checkpoint("rope")), "-o", str(target)]) == 0
    assert np.frombuffer(target.read_bytes()[:2], "S2")[0] == b"PK"
