"""Files that others wrote: each is answered, or refused in one message with exit code 4."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.runtime.fakes import FakeRunner, assert_solved, make_contract, make_puzzles
from tests.runtime.graphs import build, write
from tests.runtime.tf_graphs import write_saved_model, write_tflite
from trm_runtime import CarrySpec, HaltRule, StepContract, solve
from trm_runtime.__main__ import main
from trm_runtime.block import BlockRunner
from trm_runtime.cores import check_threads
from trm_runtime.errors import RejectedInputError, UsageError
from trm_runtime.file_kinds import KINDS
from trm_runtime.limits import ALL, CALLS, FILE_MB, THREADS
from trm_runtime.message_text import LONGEST
from trm_runtime.npy import mapped_array
from trm_runtime.open import open_driver
from trm_runtime.parity.gates import read_gates
from trm_runtime.parity.golden_file import read_golden
from trm_runtime.puzzle_table import open_table
from trm_runtime.puzzles import read_identifiers, read_puzzles
from trm_runtime.regular_file import open_regular, read_regular

DOCUMENT = Path(__file__).parents[2] / "docs" / "untrusted-files.md"
ZERO = Path("/dev/zero")

READERS: dict[str, Callable[[Path], Any]] = {
    "model.onnx": open_driver,
    "model.tflite": open_driver,
    "golden.npz": read_golden,
    "puzzles.txt": lambda path: read_puzzles(path, make_contract()),
    "puzzles.npz": lambda path: read_puzzles(path, make_contract()),
    "identifiers.txt": read_identifiers,
    "gates.json": read_gates,
    "table.npy": lambda path: open_table(path, make_contract()),
}


@pytest.mark.parametrize("name", READERS)
def test_a_fifo_is_refused_at_once(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    os.mkfifo(path)
    with pytest.raises(RejectedInputError, match="expected a regular file, got a FIFO; write it"):
        READERS[name](path)


@pytest.mark.parametrize("name", READERS)
@pytest.mark.skipif(not ZERO.exists(), reason="there is no /dev/zero")
def test_a_device_is_refused_at_once(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.symlink_to(ZERO)
    with pytest.raises(RejectedInputError, match="expected a regular file, got a device"):
        READERS[name](path)


def test_a_file_above_the_limit_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "large.json"
    path.touch()
    os.truncate(path, (1 << 20) + 1)  # without a byte on the disk
    monkeypatch.setenv(FILE_MB.variable, "1")
    with pytest.raises(RejectedInputError, match="larger than 1 MB; set the environment variable"):
        read_regular(path)
    monkeypatch.setenv(FILE_MB.variable, "2")
    assert len(read_regular(path)) == (1 << 20) + 1
    with pytest.raises(IsADirectoryError):
        open_regular(tmp_path)


@pytest.mark.parametrize("text", ["", "0", "-1", "1.5", "many", "9" * 99])
def test_a_limit_is_an_integer(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CALLS.variable, text)
    if not text:
        assert CALLS.value == CALLS.default
        return
    with pytest.raises(UsageError, match=f"{CALLS.variable}: expected an integer above 0"):
        _ = CALLS.value


def test_the_document_has_every_limit() -> None:
    rows = re.findall(r"^\| `(TRM_\w+)` \| (\d+) \|", DOCUMENT.read_text(), re.MULTILINE)
    assert rows == [(limit.variable, str(limit.default)) for limit in ALL]


@pytest.mark.parametrize("threads", [0, 257, 100_000, 99_999_999_999])
def test_too_many_threads_are_a_wrong_argument(
    threads: int, toy_onnx: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(toy_onnx), "none.txt", "--threads", str(threads)]) == 2
    assert f"got {threads}" in capsys.readouterr().err


def test_the_limit_of_threads_can_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(THREADS.variable, "300")
    check_threads(300)


def huge_state() -> StepContract:
    contract = make_contract()
    state = CarrySpec("z_X", "z_X_next", "float32", (None, 10**9), 0.0)
    return replace(contract, carry=(*contract.carry, state))


@pytest.mark.parametrize(
    "contract", [make_contract(batch=10**7), make_contract(batch=10**9), huge_state()]
)
def test_declared_arrays_are_refused_before_they_are_allocated(contract: StepContract) -> None:
    with pytest.raises(RejectedInputError, match=r"declares [\d,]+ MB of arrays for a batch of"):
        solve(FakeRunner(contract), make_puzzles(2))


def test_declared_steps_are_refused_but_can_be_chosen() -> None:
    runner = FakeRunner(make_contract(max_steps=10**9))
    with pytest.raises(RejectedInputError, match=r"1,000,000,000 calls .* a smaller max_steps, or"):
        solve(runner, make_puzzles(3))
    puzzles = make_puzzles(3)
    assert_solved(solve(runner, puzzles, max_steps=8), puzzles, puzzles[:, 0])


def test_declared_passes_are_refused() -> None:
    passes = CarrySpec("passes", "passes_next", "int32", (None,), 0)
    contract = make_contract()
    block = replace(
        contract, granularity="block", passes=10**9, carry=(*contract.carry, passes)
    )  # fmt: skip
    with pytest.raises(RejectedInputError, match="8,000,000,000 calls of its graph"):
        BlockRunner(FakeRunner(block))


def test_a_threshold_beyond_float32_never_halts() -> None:
    puzzles = make_puzzles(3)
    solution = solve(FakeRunner(make_contract(halt=HaltRule("q_halt", 1e300))), puzzles)
    assert solution.stop_reasons == ("max_steps",) * 3


def test_no_memory_is_a_sentence(
    toy_onnx: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("trm_runtime.loop.solve", full)
    puzzles = tmp_path / "p.txt"
    puzzles.write_text("1234\n")
    assert main([str(toy_onnx), str(puzzles)]) == 1
    assert capsys.readouterr().err.startswith("Error: There is not enough memory for this; use")


def write_endless(path: Path) -> Path:
    """The toy step in ONNX, but its logits go through a Loop that never ends."""
    model = build()
    graph = model.graph
    described = helper.make_tensor_value_info
    inputs = [
        described("count", TensorProto.INT64, []),
        described("go_on", TensorProto.BOOL, []),
        described("value", TensorProto.FLOAT, None),
    ]
    outputs = [described("on", TensorProto.BOOL, []), described("v", TensorProto.FLOAT, None)]
    nodes = [
        helper.make_node("Identity", ["go_on"], ["on"]),
        helper.make_node("Identity", ["value"], ["v"]),
    ]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    graph.initializer.append(numpy_helper.from_array(np.array(True), "true"))
    last = next(node for node in graph.node if "logits" in node.output)
    last.output[:] = ["first_logits"]
    graph.node.append(helper.make_node("Loop", ["", "true", "first_logits"], ["logits"], body=body))
    return write(path, model)


ENDLESS: dict[str, Callable[[Path], Path]] = {
    "endless.onnx": write_endless,
    "endless.tflite": lambda path: write_tflite(path, endless=True),
    "endless": lambda path: write_saved_model(path, endless=True),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_a_deadline_ends_a_graph_that_loops_for_ever(name: str, tmp_path: Path) -> None:
    model, puzzles = ENDLESS[name](tmp_path / name), tmp_path / "p.txt"
    puzzles.write_text("1234\n")
    words = [sys.executable, "-m", "trm_runtime", str(model), str(puzzles), "--deadline", "0.2"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout) == (4, "")
    assert done.stderr == (
        f"Error: {model}: a call of its graph has not ended 1.5 s after the deadline of 0.2 s; use "
        "a longer deadline, or do not use this file.\n"
    )


def test_a_step_may_take_longer_than_the_grace_if_those_before_it_did() -> None:
    code = """if True:
        import time, trm_runtime.watchdog as watchdog
        watchdog.GRACE = 0.1
        with watchdog.ended_after(1.5, "slow.onnx", False) as steps:
            time.sleep(1)
            steps()
            time.sleep(1)
            print("the step that ran at the deadline has ended", flush=True)
            steps()
            time.sleep(60)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (
        4, "the step that ran at the deadline has ended",
    )  # fmt: skip
    assert "of its graph has not ended 2 s after the deadline of 1.5 s; " in done.stderr


def test_a_flipped_bit_in_the_framing_of_the_contract_is_refused(toy_onnx: Path) -> None:
    """Every bit around the metadata entry: refused with a message, or not the file of the bit."""
    whole = toy_onnx.read_bytes()
    start = whole.index(b"trm_contract") - 8
    for place in range(8 * start, 8 * (start + 32)):
        data = bytearray(whole)
        data[place // 8] ^= 1 << place % 8
        toy_onnx.write_bytes(data)
        with pytest.raises(RejectedInputError) as caught:
            KINDS["onnx"].read_contract(toy_onnx)
        assert len(str(caught.value)) <= LONGEST


@pytest.mark.parametrize("summary", ["short", "long " * 200, "\x1b[2J\ud800" * 200])
@pytest.mark.parametrize("problem", ["short", "long " * 200, "a\nb\0\ud800" * 200])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 2000])
def test_a_refusal_is_short_and_printable(summary: str, problem: str, count: int) -> None:
    error = RejectedInputError(summary, [problem] * count)
    assert len(str(error)) <= LONGEST
    assert str(error).replace("\n", "").isprintable()
    assert len(error.problems) <= 101
    listed = str(error).splitlines()[1:]
    more = re.fullmatch(r"  - \.\.\. and (\d+) more", listed[-1]) if listed else None
    assert len(listed) + (int(more[1]) - 1 if more else 0) == count


@pytest.mark.parametrize("descr", ["|S0", "<U0", "|V0", "|O", "<i4"])
def test_an_array_that_numpy_cannot_map_is_refused(descr: str, tmp_path: Path) -> None:
    """numpy divides by the size of an element, and dies of it."""
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': (-1,), }}".encode()
    path = tmp_path / "array.npy"
    path.write_bytes(b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head + bytes(64))
    with pytest.raises(ValueError, match=r"dtype of numbers or text|declares the shape"):
        mapped_array(path)


def test_a_file_of_bad_lines_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "bad.txt"
    path.write_text("x\n" * 5000)
    for read in (lambda path: read_puzzles(path, make_contract()), read_identifiers):
        with pytest.raises(RejectedInputError, match="at least 1000 bad lines"):
            read(path)
    path.write_text("x\n" * 999)
    with pytest.raises(RejectedInputError, match=r"bad.txt: 999 bad lines"):
        read_puzzles(path, make_contract())
