"""Goldens as files: the same bytes twice, the same result as without a file, no damage read."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parity.fakes import AlteredRunner, Tensors, toy_puzzles
from tests.runtime.fakes import FakeRunner
from trm_runtime.__main__ import main
from trm_runtime.contract import GOLDEN_INDEX
from trm_runtime.errors import RejectedInputError, UsageError
from trm_runtime.json_values import plain
from trm_runtime.parity import Golden, GoldenOrigin, ParityResult, check, compare, record, recorder
from trm_runtime.parity.golden_file import (
    SCHEMA_VERSION,
    chunk_arrays,
    read_golden,
    refilled_arrays,
    write_golden,
)

PUZZLES = 11
ABOUT = GoldenOrigin("toys", "toy", {"made_by": "tests"}, None)


def written(golden: Golden) -> bytes:
    file = io.BytesIO()
    write_golden(file, golden)
    return file.getvalue()


def stored(golden: Golden, folder: Path) -> Path:
    path = folder / "toy.npz"
    path.write_bytes(written(golden))
    return path


def content(golden: Golden) -> dict[str, Any]:
    """Everything in a golden that a comparison can see, as bytes and plain values."""
    arrays = {f"refilled/{name}": a for name, a in refilled_arrays(golden.refilled).items()}
    for number, chunk in enumerate(golden.chunks):
        found = {**chunk_arrays(chunk), "first": np.array(chunk.first)}
        arrays.update({f"{number}/{name}": array for name, array in found.items()})
    known = {name: (str(a.dtype), a.shape, a.tobytes()) for name, a in arrays.items()}
    head = (golden.contract.to_json(), golden.about, golden.sizes, golden.refilled.puzzles)
    return {**known, "head": head}


@pytest.fixture
def golden(monkeypatch: pytest.MonkeyPatch) -> Golden:
    """Eleven toys in chunks of four."""
    monkeypatch.setattr(recorder, "CHUNK", 4)
    return record(FakeRunner(), toy_puzzles(PUZZLES, unsettled=(3,)), about=ABOUT)


def shifted(before: Tensors, after: Tensors) -> None:
    """Puzzles that begin with 2 get another answer in their last cell."""
    rows = after["current_inputs"][:, 0] == 2
    after["logits"][rows, -1] = np.roll(after["logits"][rows, -1], 1, axis=-1)


def as_json(result: ParityResult) -> str:
    return json.dumps(plain(result.to_json()), allow_nan=False)


def test_what_is_written_is_read(golden: Golden, tmp_path: Path) -> None:
    found = read_golden(stored(golden, tmp_path))
    assert content(found) == content(golden)
    assert [len(chunk) for chunk in found.chunks] == [4, 4, 3]
    assert (found.puzzles, found.followed, len(found)) == (PUZZLES, PUZZLES, PUZZLES)
    assert found.chunks[-1].first == 8


def test_the_same_recording_gives_the_same_bytes(golden: Golden, tmp_path: Path) -> None:
    assert written(golden) == written(golden)
    assert written(read_golden(stored(golden, tmp_path))) == written(golden)


def test_numpy_opens_a_golden(golden: Golden, tmp_path: Path) -> None:
    with np.load(stored(golden, tmp_path), allow_pickle=False) as found:
        np.testing.assert_array_equal(found["chunk/00001/steps"], golden.chunks[1].steps)
        assert found["chunk/00000/states/z_H"].dtype == np.float32


@pytest.mark.parametrize("batch_size", [3, 64])
@pytest.mark.parametrize("labels", [True, False])
def test_a_golden_on_disk_says_what_a_direct_comparison_says(
    batch_size: int, labels: bool, tmp_path: Path
) -> None:
    puzzles = toy_puzzles(PUZZLES, unsettled=(3,))
    puzzles = puzzles if labels else replace(puzzles, labels=None)
    golden = record(FakeRunner(), puzzles, batch_size=batch_size)
    candidate = AlteredRunner(shifted)
    direct = compare(FakeRunner(), candidate, puzzles, batch_size=batch_size)
    found = check(read_golden(stored(golden, tmp_path)), candidate, batch_size=batch_size)
    assert as_json(found) == as_json(direct)


@pytest.mark.parametrize("size", [1, 4, 7])
def test_the_size_of_a_chunk_makes_no_difference(
    size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    puzzles, candidate = toy_puzzles(PUZZLES, unsettled=(3,)), AlteredRunner(shifted)
    one = record(FakeRunner(), puzzles)
    whole = check(one, candidate)
    monkeypatch.setattr(recorder, "CHUNK", size)
    cut = replace(record(FakeRunner(), puzzles), refilled=one.refilled)
    assert len(cut.chunks) > 1
    assert as_json(check(read_golden(stored(cut, tmp_path)), candidate)) == as_json(whole)


def read_or_refused(path: Path) -> Golden | RejectedInputError:
    try:
        return read_golden(path)
    except RejectedInputError as error:
        return error


def test_a_flipped_byte_is_refused_or_changes_nothing(golden: Golden, tmp_path: Path) -> None:
    """A few bytes of a zip file mean nothing, such as dates; no other flip may be read."""
    whole, wanted = written(golden), content(golden)
    path, harmless = tmp_path / "flipped.npz", 0
    places = {*range(0, len(whole), 211), *range(len(whole) - 60, len(whole)), *range(60)}
    for place in sorted(places):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        found = read_or_refused(path)
        if isinstance(found, RejectedInputError):
            assert str(path) in str(found)
            assert "\n" not in str(found)
        else:
            assert content(found) == wanted, f"byte {place}"
            harmless += 1
    assert harmless < len(places) / 4


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_cut_file_is_refused(golden: Golden, tmp_path: Path, share: float) -> None:
    path, whole = tmp_path / "cut.npz", written(golden)
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(RejectedInputError, match="not a golden, or a damaged one; record it"):
        read_golden(path)


def rewritten(golden: Golden, path: Path, change: Any) -> None:
    """The golden with another index, under right checksums."""
    with zipfile.ZipFile(io.BytesIO(written(golden))) as archive:
        members = {name: archive.read(name) for name in archive.namelist()[:-1]}
    index = json.loads(members[GOLDEN_INDEX])
    change(index)
    members[GOLDEN_INDEX] = json.dumps(index).encode()
    sums = [f"{hashlib.sha256(data).hexdigest()}  {name}\n" for name, data in members.items()]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**members, "SHA256SUMS": "".join(sums).encode()}.items():
            archive.writestr(name, data)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda index: index.update(schema_version=SCHEMA_VERSION + 1), "of schema 2, but this"),
        (lambda index: index.update(format="another"), "not a golden, or a damaged one; record it"),
        (
            lambda index: index.update(chunks=[4, 4, 3, 1]),
            "not a golden, or a damaged one; record it",
        ),
        (lambda index: index.update(chunks="many"), "not a golden, or a damaged one; record it"),
        (lambda index: index.pop("shown"), "not a golden, or a damaged one; record it"),
        (lambda index: index.pop("contract"), "its contract"),
    ],
)
def test_another_index_is_refused(golden: Golden, tmp_path: Path, change: Any, words: str) -> None:
    path = tmp_path / "other.npz"
    rewritten(golden, path, change)
    with pytest.raises(RejectedInputError, match=words):
        read_golden(path)


def test_members_that_nobody_wrote_are_refused(golden: Golden, tmp_path: Path) -> None:
    path = stored(golden, tmp_path)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.npy", b"")
    with pytest.raises(RejectedInputError, match="not a golden, or a damaged one; record it"):
        read_golden(path)


def foreign(path: Path) -> None:
    np.savez(path, puzzles=np.zeros((2, 4), np.int32))


@pytest.mark.parametrize("kind", ["cut", "flipped", "foreign", "text", "missing"])
def test_the_device_command_ends_with_4_and_one_sentence(
    kind: str, golden: Golden, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, whole = tmp_path / "golden.npz", written(golden)
    if kind == "cut":
        path.write_bytes(whole[: len(whole) // 2])
    elif kind == "flipped":
        at = whole.index(b"chunk/00001/scores.npy") + 200
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    elif kind == "foreign":
        foreign(path)
    elif kind == "text":
        path.write_text("no zip at all\n")
    assert main(["check", "model.onnx", str(path)]) == 4
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert str(path) in said.err
    assert "Traceback" not in said.err


def test_a_batch_of_no_rows_is_refused() -> None:
    with pytest.raises(UsageError, match="expected 1 or more, got 0"):
        record(FakeRunner(), toy_puzzles(2), batch_size=0)


def test_tiny_states_do_not_mean_that_every_puzzle_is_followed() -> None:
    chosen = recorder.plan(FakeRunner().contract, 100_000)
    assert len(chosen.followed) == recorder.MOST_FOLLOWED
    assert (chosen.followed[0], chosen.followed[-1]) == (0, 99_999)
    assert sum(len(chosen.followed_in(span)) for span in chosen.spans) == recorder.MOST_FOLLOWED
    steps = FakeRunner().contract.max_steps
    parts = [chosen.chunk_work(span, steps) for span in chosen.spans]
    assert sum(parts) + steps * chosen.refilled == chosen.work(steps)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("m.onnx", "an .onnx file"), ("m.tflite", "a .tflite file"), ("m.keras", "a Keras model")],
)
def test_a_model_in_the_place_of_a_golden(tmp_path: Path, name: str, kind: str) -> None:
    with zipfile.ZipFile(tmp_path / name, "w") as archive:  # a .tflite file ends in one
        archive.writestr("trm_contract.json", "{}")
    for content in ((tmp_path / name).read_bytes(), b"no archive"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(
            RejectedInputError, match=f"{kind}, not a golden; the model comes first"
        ):
            read_golden(tmp_path / name)
