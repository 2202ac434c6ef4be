"""Parts of a job on disk: used by the same job alone, and only while they are whole."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import numpy as np
import pytest

from trm_export import leftovers, own_files
from trm_export.errors import OverwriteError, TargetError, UsageError
from trm_export.parity.parts import Parts, beside, digest

ARRAYS = {"columns/row": np.arange(5), "forced/squares": np.zeros((2, 3)), "equal": np.ones(2)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return beside(tmp_path / "out.json")


def kept(folder: Path) -> Parts:
    """A job with one finished part."""
    parts = Parts(folder, {"model": "abc", "count": 3})
    parts.save("m.onnx/part-00001", ARRAYS)
    return parts


def same(found: dict[str, np.ndarray] | None) -> bool:
    return found is not None and {n: a.tolist() for n, a in found.items()} == {
        n: a.tolist() for n, a in ARRAYS.items()
    }


def test_a_part_is_found_again_by_the_same_job(folder: Path) -> None:
    assert folder.name == "out.json.parts"
    kept(folder)
    again = Parts(folder, {"count": 3, "model": "abc"})
    assert same(again.load("m.onnx/part-00001"))
    assert again.has("m.onnx/part-00001")
    assert again.load("m.onnx/part-00002") is None
    assert not again.has("m.onnx/part-00002")


@pytest.mark.parametrize("job", [{"model": "abd", "count": 3}, {"model": "abc"}, {}])
def test_parts_of_another_job_are_not_used(folder: Path, job: dict[str, object]) -> None:
    kept(folder)
    assert Parts(folder, job).load("m.onnx/part-00001") is None
    assert [path.name for path in folder.iterdir()] == ["job.json"]


def test_parts_of_another_version_are_not_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(folder)
    monkeypatch.setattr("trm_export.parity.parts.__version__", "99")
    assert Parts(folder, {"model": "abc", "count": 3}).load("m.onnx/part-00001") is None


@pytest.mark.parametrize("text", [b"", b"\xff\xfe", b"{}"])
def test_a_damaged_description_is_of_no_job(folder: Path, text: bytes) -> None:
    kept(folder)
    (folder / "job.json").write_bytes(text)
    assert Parts(folder, {"model": "abc", "count": 3}).load("m.onnx/part-00001") is None


def test_no_flipped_byte_of_a_part_is_read(folder: Path) -> None:
    parts = kept(folder)
    path = folder / "m.onnx" / "part-00001.npz"
    whole = path.read_bytes()
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        assert parts.load("m.onnx/part-00001") is None, f"byte {place}"
    path.write_bytes(whole)
    assert same(parts.load("m.onnx/part-00001"))


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_cut_part_is_not_there(folder: Path, share: float) -> None:
    parts = kept(folder)
    path = folder / "m.onnx" / "part-00001.npz"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert parts.load("m.onnx/part-00001") is None
    parts.save("m.onnx/part-00001", ARRAYS)
    assert same(parts.load("m.onnx/part-00001"))


def test_a_part_that_cannot_be_finished_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = kept(folder)

    def full(file: object, **arrays: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(TargetError, match=r"part-00002.npz cannot be written: No space left"):
        parts.save("m.onnx/part-00002", ARRAYS)
    assert [path.name for path in (folder / "m.onnx").iterdir()] == ["part-00001.npz"]


def test_a_folder_of_somebody_else_is_left_alone(folder: Path) -> None:
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(OverwriteError, match="it contains other files; move it away"):
        Parts(folder, {})
    assert (folder / "thesis.tex").read_text() == "mine"


def test_a_file_in_the_place_of_the_folder_is_left_alone(folder: Path) -> None:
    folder.write_text("mine")
    with pytest.raises(OverwriteError, match="but it is a file; move it away"):
        Parts(folder, {})
    assert folder.read_text() == "mine"
    with pytest.raises(TargetError, match="is a file, not a folder"):
        Parts(folder / "x.parts", {}).save("a", ARRAYS)


def test_a_job_killed_at_its_birth_begins_again(folder: Path) -> None:
    folder.mkdir()
    (folder / ".job.1234abcd.part.json").write_text("half")
    Parts(folder, {"a": 1})
    assert json.loads((folder / "job.json").read_text())["a"] == 1


def test_a_folder_without_a_finished_part_is_not_kept(folder: Path) -> None:
    parts = Parts(folder, {"a": 1})
    assert not [text for text in leftovers.kept() if str(folder) in text]
    assert not folder.exists()
    Parts(folder, {"a": 1})
    (folder / "job.json").unlink()  # as where the disk was full at its birth
    assert not [text for text in leftovers.kept() if str(folder) in text]
    assert not folder.exists()
    parts = Parts(folder, {"a": 1})
    parts.save("one", {"x": np.zeros(3)})
    assert [text for text in leftovers.kept() if str(folder) in text]
    assert parts.has("one")
    parts.remove()


def test_a_finished_job_leaves_nothing(folder: Path) -> None:
    kept(folder).remove()
    assert not folder.exists()
    assert own_files.is_ours(folder) is False


def test_only_one_run_has_the_parts(folder: Path) -> None:
    pytest.importorskip("fcntl")
    parts = Parts(folder, {"a": 1})
    parts.save("one", ARRAYS)
    for job in ({"a": 1}, {"a": 2}):
        with pytest.raises(UsageError, match="another run keeps its finished parts there; wait"):
            Parts(folder, job)
    assert same(parts.load("one"))
    parts.close()
    assert [path.name for path in folder.iterdir() if path.name != "one.npz"] == ["job.json"]
    again = Parts(folder, {"a": 1})
    assert same(again.load("one"))
    parts.close()  # has nothing to unlock any more
    with pytest.raises(UsageError):
        Parts(folder, {"a": 1})
    again.remove()
    assert not folder.exists()


def test_a_killed_run_leaves_no_lock(folder: Path) -> None:
    kept(folder)
    (folder / ".job.lock").touch()
    parts = Parts(folder, {"model": "abc", "count": 3})
    assert same(parts.load("m.onnx/part-00001"))
    other = folder.with_name("other.parts")
    held = Parts(other, {"a": 1})
    assert not [text for text in leftovers.kept() if str(other) in text]
    assert not other.exists()
    held.close()


def test_a_disk_without_locks_is_used_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*given: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", without)
    first, second = Parts(folder, {"a": 1}), Parts(folder, {"a": 1})
    first.save("one", ARRAYS)
    assert same(second.load("one"))
    second.remove()
    assert not folder.exists()


def test_a_digest_is_of_values_types_and_shapes() -> None:
    rows = np.arange(12, dtype=np.int32).reshape(3, 4)
    assert digest(rows, None) == digest(rows.copy())
    others = (rows.T, rows.astype(np.int64), rows.reshape(4, 3), rows[:, ::-1])
    assert len({digest(array) for array in (rows, *others)}) == 5
    assert digest(rows[:, ::2]) == digest(rows[:, ::2].copy())
