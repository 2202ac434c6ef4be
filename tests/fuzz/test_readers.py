"""A short run of the fuzzer for every reader: no traceback, no hang, no memory, no bad message.

Hypothesis draws the changes, the same at every run, and shrinks an input that fails.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir

from tests.fuzz.child import Child
from tests.fuzz.outcomes import FAULTS, changed, write
from tests.fuzz.reader import Files, Reader, all_readers, one_file

set_hypothesis_home_dir(Path(tempfile.gettempdir(), "hypothesis"))  # not in the tree
MUTANTS = 60  # of each reader
READERS = all_readers()
SETTINGS = settings(
    max_examples=MUTANTS, derandomize=True, database=None, deadline=None,
    phases=(Phase.generate, Phase.shrink), suppress_health_check=list(HealthCheck),
)  # fmt: skip


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Child]:
    """One process for all readers."""
    child = Child(tmp_path_factory.mktemp("inputs"))
    yield child
    child.end()


@pytest.mark.parametrize("name", READERS)
def test_no_input_surprises_a_reader(name: str, child: Child, tmp_path: Path) -> None:
    surprises(READERS[name], child, tmp_path)


def surprises(reader: Reader, child: Child | Fragile, kept: Path) -> None:
    """Fails with the smallest input that is a fault, which is then in the folder `kept`."""
    faults = FAULTS if reader.native else (*FAULTS, "crash")
    present: set[str] = set()

    @SETTINGS
    @given(st.randoms(use_true_random=False))
    def holds(rng: Random) -> None:
        chosen, files = changed(reader, rng)
        outcome, reason = child.judged(reader.name, chosen, files)
        if outcome in faults:
            write(kept, files, present)
        assert outcome not in faults, f"{outcome} with the input in {kept}: {reason}"

    holds()


class Fragile:
    """Gives a traceback for inputs of 17 bytes or more that have an x."""

    def judged(self, reader: str, chosen: int, files: Files) -> tuple[str, str]:
        data = files["file"]
        return ("traceback", "planted") if len(data) > 16 and b"x" in data else ("refused", "")


def test_an_input_that_fails_is_made_small_and_kept(tmp_path: Path) -> None:
    def changed_letters(rng: Random, data: bytes) -> bytes:
        return bytes(rng.choice(b"axyz") for _ in range(rng.randint(0, 200)))

    reader = Reader("planted", lambda: [{"file": b""}], one_file(changed_letters), len)
    with pytest.raises(AssertionError, match=r"traceback with the input in .*: planted"):
        surprises(reader, Fragile(), tmp_path)
    assert sorted((tmp_path / "file").read_bytes()) == sorted(b"a" * 16 + b"x")
