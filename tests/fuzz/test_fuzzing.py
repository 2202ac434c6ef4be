"""The fuzzer counts what it is for: planted faults of every kind, in a reader made for them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fuzz import __main__ as command
from tests.fuzz import outcomes
from tests.fuzz.child import Child
from tests.fuzz.fuzzing import Row, Run
from tests.fuzz.outcomes import OUTCOMES, mutant
from tests.fuzz.reader import Reader, all_readers, one_file
from trm_runtime.errors import RejectedInputError, UsageError

MUTANTS = 4
GOOD = b"good"


def _refuse(folder: Path) -> Any:
    raise RejectedInputError(f"{folder.name}: damaged.")


def _misnamed(folder: Path) -> Any:
    raise UsageError("It is not an argument that is wrong.")


def _traceback(folder: Path) -> Any:
    return {}["key"]


def _memory(folder: Path) -> Any:
    return len(bytearray(600 << 20))


def _crash(folder: Path) -> Any:
    os.kill(os.getpid(), signal.SIGKILL)


def _hang(folder: Path) -> Any:
    time.sleep(60)


CALLS: dict[str, Callable[[Path], Any]] = {
    "refused": _refuse,
    "same": lambda folder: 1,
    "other": lambda folder: time.monotonic_ns(),
    "message": _misnamed,
    "traceback": _traceback,
    "memory": _memory,
    "crash": _crash,
    "hang": _hang,
}


def _reader(name: str, call: Callable[[Path], Any]) -> Reader:
    """One that reads its good input, and has the fault for all others."""

    def read(folder: Path) -> Any:
        return 1 if (folder / "file").read_bytes() == GOOD else call(folder)

    return Reader(name, lambda: [{"file": GOOD}], one_file(lambda rng, data: data + b"!"), read)


def _row(folder: Path, call: Callable[[Path], Any], most: int = MUTANTS) -> Row:
    return Run(_reader("planted", call), 0, 60.0, most, folder).row()


@pytest.mark.parametrize("outcome", [name for name in CALLS if name != "hang"])
def test_every_outcome_is_counted(outcome: str, tmp_path: Path) -> None:
    row = _row(tmp_path, CALLS[outcome])
    assert row.counts == {**dict.fromkeys(OUTCOMES, 0), outcome: MUTANTS}
    assert (row.faults > 0) is (outcome not in ("refused", "same", "other"))
    kept = [folder for folder in tmp_path.iterdir() if (folder / "reason.txt").is_file()]
    assert len(kept) == row.faults


def planted() -> dict[str, Reader]:
    """Every reader with a fault."""
    return {name: _reader(name, call) for name, call in CALLS.items()}


def test_a_child_of_the_tests_is_replaced_after_its_end(tmp_path: Path) -> None:
    child = Child(tmp_path, planted)
    for outcome in ("crash", "refused", "traceback", "message", "memory", "same"):
        assert child.judged(outcome, 0, {"file": b"bad"})[0] == outcome
    child.end()


def test_a_hang_is_ended_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "SECONDS", 0.05)
    assert _row(tmp_path, _hang, 3).counts == {**dict.fromkeys(OUTCOMES, 0), "hang": 3}


def test_an_input_is_the_same_at_every_run() -> None:
    for reader in all_readers().values():
        if not reader.native:
            assert mutant(reader, 1, 5) == mutant(reader, 1, 5)


def test_a_fault_fails_the_command_and_is_in_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "all_readers", planted)
    words = ["--jobs", "1", "--mutants", "2", "--failures", str(tmp_path), "--reader"]
    assert command.main([*words, "refused"]) == 0
    assert command.main([*words, "traceback"]) == 1
    assert capsys.readouterr().out.splitlines()[-1].split()[:6] == [
        "traceback",
        "2",
        "0",
        "0",
        "0",
        "2",
    ]


def test_a_good_input_that_is_refused_stops_the_run(tmp_path: Path) -> None:
    reader = replace(_reader("planted", _refuse), call=_refuse)
    with pytest.raises(RuntimeError, match="planted: a good input is not read"):
        Run(reader, 0, 60.0, 1, tmp_path).row()
