"""A golden under right checksums that is not one: each array, each value, each size."""

from __future__ import annotations

import hashlib
import io
import json
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.fuzz.mutate_zip import DEFLATED, Member, archive, inflating, members_of
from tests.parity.fakes import toy_puzzles
from tests.runtime.fakes import FakeRunner
from trm_runtime.contract import GOLDEN_INDEX
from trm_runtime.errors import RejectedInputError
from trm_runtime.limits import MEMORY_MB
from trm_runtime.message_text import LONGEST
from trm_runtime.parity import GoldenOrigin, check, record
from trm_runtime.parity.golden_file import read_golden, write_golden

Arrays = dict[str, np.ndarray]

SUMS = "SHA256SUMS"
MOST = 40 << 20  # bytes of Python's own memory to refuse a bomb


@pytest.fixture(scope="module")
def members() -> list[Member]:
    """Those of a good recording with labels."""
    file = io.BytesIO()
    write_golden(file, record(FakeRunner(), toy_puzzles(5), about=GoldenOrigin()))
    return members_of(file.getvalue())


def sealed(path: Path, members: list[Member]) -> Path:
    """A file of these members and their checksums."""
    own = [member for member in members if member.name != SUMS]
    lines = [f"{hashlib.sha256(member.data).hexdigest()}  {member.name}\n" for member in own]
    path.write_bytes(archive([*own, Member(SUMS, "".join(lines).encode())]))
    return path


def refused(path: Path) -> str:
    with pytest.raises(RejectedInputError) as caught:
        check(read_golden(path), FakeRunner())
    assert len(str(caught.value)) <= LONGEST
    return str(caught.value)


def changed(members: list[Member], name: str, array: Any) -> list[Member]:
    """With another array in one member, whose name is that of the array."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    kept = [member for member in members if member.name != f"{name}.npy"]
    assert len(kept) == len(members) - 1
    return [Member(f"{name}.npy", file.getvalue()), *kept]


def array_of(members: list[Member], name: str) -> np.ndarray:
    data = next(member.data for member in members if member.name == f"{name}.npy")
    found: np.ndarray = np.load(io.BytesIO(data))
    return found


def test_the_good_one_is_read(members: list[Member], tmp_path: Path) -> None:
    assert check(read_golden(sealed(tmp_path / "good.npz", members)), FakeRunner())


OTHERS: dict[str, tuple[Callable[[np.ndarray], Any], str]] = {
    "short": (lambda a: np.concatenate([a, a]), r"expected \(.*\), got \("),
    "flat": (lambda a: a.reshape(-1, 1), r"expected \(.*\), got \("),
    "wide": (lambda a: a.astype(np.float64), "expected .*, got float64"),
    "objects": (lambda a: a.astype(object), "not a golden, or a damaged one; record it again"),
    "text": (lambda a: a.astype("U3"), "expected .*, got <U3"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_every_array_has_its_shape_and_dtype(
    kind: str, members: list[Member], tmp_path: Path
) -> None:
    other, words = OTHERS[kind]
    names = [member.name[:-4] for member in members if member.name.endswith(".npy")]
    assert len(names) > 20
    for name in names:
        path = sealed(tmp_path / "o.npz", changed(members, name, other(array_of(members, name))))
        with pytest.raises(RejectedInputError, match=words):
            check(read_golden(path), FakeRunner())


def test_every_array_must_be_there_except_labels(members: list[Member], tmp_path: Path) -> None:
    for member in members:
        if member.name == SUMS:
            continue
        path = sealed(tmp_path / "m.npz", [one for one in members if one is not member])
        if member.name == "chunk/00000/labels.npy":
            assert check(read_golden(path), FakeRunner()).accuracy is None
        else:
            assert "not a golden, or a damaged one; record it again" in refused(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("chunk/00000/steps", 0), ("chunk/00000/steps", 9), ("chunk/00000/steps", -(2**31))),
        *(("chunk/00000/followed", 5), ("chunk/00000/followed", -1)),
        *(("chunk/00000/cells", 6), ("chunk/00000/labels", 10**9), ("chunk/00000/labels", -2)),
        *(("chunk/00000/tokens/inputs", 6), ("chunk/00000/states/current_inputs", -1)),
    ],
)  # fmt: skip
def test_values_are_in_their_range(
    name: str, value: int, members: list[Member], tmp_path: Path
) -> None:
    array = array_of(members, name).astype(np.int32)
    array.reshape(-1)[0] = value
    message = refused(sealed(tmp_path / "v.npz", changed(members, name, array)))
    assert "expected numbers in" in message or "is not in 0..5" in message


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ({"chunks": []}, "chunks: expected numbers above 0"),
        ({"chunks": [5, 0]}, "chunks: expected numbers above 0"),
        ({"chunks": [True] * 5}, "chunks: expected numbers above 0"),
        ({"chunks": [1] * 5000}, "chunks: expected no more than there are arrays"),
        ({"chunks": [10**12]}, "(1000000000000,"),
        ({"shown": 0}, "shown: expected a number of puzzles"),
        ({"shown": 6}, "shown: expected a number of puzzles"),
        ({"provenance": 3}, "kind, task or provenance: of another type"),
        ({"control": {}}, "control: not the differences of each step"),
        (
            {"control": {"free": [{"step": 1, "cells_equal": 10**400, "tensors": {}}]}},
            "control: not",
        ),
    ],
)
def test_the_index_has_its_types(
    edit: dict[str, Any], words: str, members: list[Member], tmp_path: Path
) -> None:
    index = next(member for member in members if member.name == GOLDEN_INDEX)
    text = json.dumps({**json.loads(index.data), **edit}).encode()
    others = [member for member in members if member is not index]
    assert words in refused(sealed(tmp_path / "i.npz", [*others, Member(GOLDEN_INDEX, text)]))


@pytest.mark.parametrize("name", [SUMS, GOLDEN_INDEX, "chunk/00000/scores.npy", "more.npy"])
def test_a_member_that_expands_to_gigabytes_is_refused(
    name: str, members: list[Member], tmp_path: Path
) -> None:
    others = [member for member in members if member.name not in (name, SUMS)]
    path = sealed(tmp_path / "bomb.npz", others)
    path.write_bytes(archive([*members_of(path.read_bytes()), inflating(name, 4095)]))
    tracemalloc.start()
    try:
        assert "not a golden, or a damaged one; record it again" in refused(path)
        assert tracemalloc.get_traced_memory()[1] < MOST
    finally:
        tracemalloc.stop()


def test_other_methods_of_compression_are_refused(members: list[Member], tmp_path: Path) -> None:
    path = sealed(tmp_path / "lzma.npz", members)
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(tmp_path / "l", "w", 14) as other:
        for name in whole.namelist():
            other.writestr(name, whole.read(name))
    assert "not a golden, or a damaged one; record it again" in refused(tmp_path / "l")


def test_a_chunk_above_the_limit_is_refused(
    members: list[Member], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sealed(tmp_path / "good.npz", members)
    monkeypatch.setattr("trm_runtime.limits.Limit.bytes", 1000)
    assert f"larger than {MEMORY_MB.value} MB; set the environment variable" in refused(path)


def test_a_member_with_a_wrong_size_is_refused(members: list[Member], tmp_path: Path) -> None:
    last = members[0]
    wrong = Member(last.name, last.data, DEFLATED, size=len(last.data) + 1)
    path = tmp_path / "size.npz"
    path.write_bytes(archive([wrong, *members[1:]]))
    assert str(path) in refused(path)
