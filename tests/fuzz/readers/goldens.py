"""The golden: an archive of arrays with an index and checksums; read, and compared with."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz import mutate_npy
from tests.fuzz.mutate_bytes import damaged
from tests.fuzz.mutate_json import changed_text
from tests.fuzz.mutate_zip import Member, archive, edited, members_of
from tests.fuzz.reader import Files, Reader, one_file
from tests.runtime.fakes import FakeRunner, make_contract, make_puzzles
from trm_runtime.contract import GOLDEN_INDEX
from trm_runtime.parity import GoldenOrigin, check, compare, record
from trm_runtime.parity.golden_file import read_golden, write_golden

_NAME, _SUMS = "golden.npz", "SHA256SUMS"


@dataclass(frozen=True)
class _Puzzles:
    inputs: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any] | None


@functools.cache
def _seeds() -> Sequence[Files]:
    """A recording with labels and a control, and one without."""
    contract, puzzles = make_contract(max_steps=8), make_puzzles(5)
    steps = compare(FakeRunner(contract), FakeRunner(contract), _Puzzles(puzzles, None)).to_json()
    found = []
    for labels, control in ((puzzles, {"free": steps["free"]}), (None, None)):
        about = GoldenOrigin(provenance={"tool": "tests"}, control=control)
        golden = record(FakeRunner(contract), _Puzzles(puzzles[:3], labels), about=about)
        file = io.BytesIO()
        write_golden(file, golden)
        found.append({_NAME: file.getvalue()})
    return found


def _mutate(rng: Random, data: bytes) -> bytes:
    """Damage of the file, or other members, mostly under right checksums."""
    if rng.random() < 0.2:
        return damaged(rng, data)
    members = [member for member in members_of(data) if member.name != _SUMS]
    members = edited(rng, members, _inside)
    return archive([*members, _sums(rng, members)])


def _inside(rng: Random, member: Member) -> bytes:
    if member.name == GOLDEN_INDEX:
        return changed_text(rng, member.data)
    return mutate_npy.changed(rng, member.data) if member.data else b""


def _sums(rng: Random, members: Sequence[Member]) -> Member:
    lines = [f"{hashlib.sha256(member.data).hexdigest()}  {member.name}\n" for member in members]
    text = "".join(lines).encode("utf-8", "surrogatepass")
    return Member(_SUMS, damaged(rng, text) if rng.random() < 0.1 else text)


def _read(folder: Path) -> Any:
    """Every array of it."""
    golden = read_golden(folder / _NAME)
    chunks = [_plain(chunk) for chunk in golden.chunks]
    return golden.contract.to_json(), _plain(golden.refilled), chunks, repr(golden.about)


def _plain(value: Any) -> Any:
    facts = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return repr(sorted((name, _bytes(one)) for name, one in facts.items()))


def _bytes(value: Any) -> Any:
    if isinstance(value, dict):
        return sorted((name, array.shape, array.tobytes()) for name, array in value.items())
    return value.tobytes() if isinstance(value, np.ndarray) else value


def _check(folder: Path) -> Any:
    golden = read_golden(folder / _NAME)
    result = check(golden, FakeRunner(make_contract(max_steps=8)))
    return result.verdict, result.to_json()["rungs"]


READERS = (
    Reader("golden", _seeds, one_file(_mutate), _read),
    Reader("golden, check", _seeds, one_file(_mutate), _check),
)
