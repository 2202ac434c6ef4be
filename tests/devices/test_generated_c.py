"""Generated C on an emulated Cortex-M4 and M7, on 64-bit Arm and in WebAssembly: the answers and
steps are those of Keras, and flash and memory are what the linker's map says.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import trm_export as te
from runtimes.micro.emulated import BOARDS, Answer, Sizes, Step, build, missing, run, sizes
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.exporters.c_source.compiled import compiled_server
from trm_export.step.keras_runner import KerasRunner
from trm_export.tasks import get_task
from trm_runtime import solve
from trm_runtime.loop import STOP_REASONS
from trm_runtime.parity import check, record
from trm_runtime.servers.runner import ServerRunner

ROOT = Path(__file__).parents[2]
PUZZLES = {"sudoku4": 10, "maze9": 4, "sudoku9": 2}
LIMITS = {  # bytes of flash and of RAM, stack included
    ("sudoku4", "fp32"): Sizes(180_000, 12_000),
    ("sudoku4", "int8"): Sizes(60_000, 12_000),
    ("maze9", "fp32"): Sizes(560_000, 100_000),
    ("maze9", "int8"): Sizes(170_000, 100_000),
    ("sudoku9", "int8"): Sizes(570_000, 105_000),
}
STACK = 1_500  # bytes of the 2,048 that the linker script gives

Generated = Callable[[str, str], Path]
Solved = Callable[[str], Any]


def needs(*tools: str) -> None:
    """Skips without these programs."""
    lacking = [tool for tool in tools if shutil.which(tool) is None]
    if lacking:
        pytest.skip(f"not installed: {', '.join(lacking)}; make test-devices installs them")


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Generated:
    """The folder of a model in a precision, written when it is first asked for."""
    folder = tmp_path_factory.mktemp("generated")

    def of(name: str, precision: str) -> Path:
        path = folder / f"{name}-{precision}"
        if not path.is_dir():
            te.export_c(shipped_checkpoint(name), path, precision=precision)
        return path

    return of


@pytest.fixture(scope="session")
def solved() -> Solved:
    """The solution of Keras for the puzzles of a task."""
    known: dict[str, Any] = {}

    def of(name: str) -> Any:
        if name not in known:
            runner = KerasRunner(te.load(shipped_checkpoint(name)))
            tokens = get_task(name).puzzles("test", count=PUZZLES[name]).inputs
            known[name] = solve(runner, tokens)
        return known[name]

    return of


def lines(name: str, rows: Any) -> list[str]:
    alphabet = get_task(name).alphabet
    return ["".join(alphabet[cell][0] for cell in row) for row in rows.tolist()]


@pytest.mark.parametrize(
    ("name", "precision", "board"),
    [
        ("sudoku4", "fp32", "an386"),
        ("sudoku4", "fp32", "an500"),
        ("sudoku4", "int8", "an386"),
        ("sudoku4", "int8", "an500"),
        ("sudoku4", "int8", "an385"),
        ("maze9", "fp32", "an386"),
        ("maze9", "int8", "an500"),
        ("sudoku9", "int8", "an386"),
    ],
)
def test_a_cortex_m_gives_the_answers_and_steps_of_keras(
    name: str, precision: str, board: str, generated: Generated, solved: Solved, tmp_path: Path
) -> None:
    needs(*missing())
    firmware, expected = build(generated(name, precision), tmp_path, board), solved(name)
    reports = list(run(firmware, lines(name, expected.puzzles), board))
    steps = [report for report in reports if isinstance(report, Step)]
    answers = [report for report in reports if isinstance(report, Answer)]
    assert [answer.cells for answer in answers] == lines(name, expected.answers)
    assert [answer.steps for answer in answers] == expected.steps.tolist()
    assert [answer.reason for answer in answers] == list(expected.stop_reasons)
    assert len(steps) == sum(answer.steps for answer in answers)
    found, limit = sizes(firmware), LIMITS[name, precision]
    if board != "an385":  # without an FPU there are routines for floats in the flash
        assert found.flash < limit.flash
    assert found.ram < limit.ram


def test_instructions_are_counted_to_a_tick_of_the_boards_clock(
    generated: Generated, solved: Solved, tmp_path: Path
) -> None:
    needs(*missing())
    folder = generated("sudoku4", "int8")
    firmware = build(folder, tmp_path)
    puzzles = lines("sudoku4", solved("sudoku4").puzzles[:1])
    first, again = (
        [report.instructions for report in run(firmware, puzzles) if isinstance(report, Step)]
        for _ in range(2)
    )
    assert first == pytest.approx(again, rel=1e-5)  # a tick is 40 instructions
    macs = json.loads((folder / "memory.json").read_text())["macs"]
    assert 1 < first[0] / macs < 6


def test_what_is_no_puzzle_is_refused_and_the_next_one_is_solved(
    generated: Generated, solved: Solved, tmp_path: Path
) -> None:
    needs(*missing())
    firmware = build(generated("sudoku4", "int8"), tmp_path)
    good = lines("sudoku4", solved("sudoku4").puzzles[:1])[0]
    wrong = ["", "1", good[:-1], f"{good}1", "?" * 16, "9" * 16]
    reports = list(run(firmware, [*wrong, good], counted=False))
    assert [r.reason for r in reports if isinstance(r, Answer)] == ["refused"] * 6 + ["halted"]


def test_the_memory_known_beforehand_is_what_the_linker_places(
    generated: Generated, tmp_path: Path
) -> None:
    needs(*missing())
    for name, precision in LIMITS:
        folder = generated(name, precision)
        known = json.loads((folder / "memory.json").read_text())
        found = sizes(build(folder, tmp_path / f"{name}-{precision}"))
        variables = known["carry"] + known["outputs"] + known["scratch"]
        assert 0 <= found.ram - variables < 4_000  # the stack and the firmware's own
        assert 0 <= found.flash - known["constants"] < 12_000  # the code


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_ladder_passes_on_64_bit_arm(precision: str, generated: Generated) -> None:
    needs("aarch64-linux-gnu-gcc", "qemu-aarch64")
    folder = generated("sudoku4", precision)
    compiled_server(folder, folder / "serve64", ["aarch64-linux-gnu-gcc", "-O2", "-static"])
    golden = record(
        KerasRunner(te.load(shipped_checkpoint("sudoku4"))),
        get_task("sudoku4").puzzles("test", count=3),
    )
    with ServerRunner(f"qemu-aarch64 {folder / 'serve64'}") as runner:
        result = check(golden, runner)
    assert result, result.verdict


@pytest.mark.parametrize("board", BOARDS)
def test_another_folder_is_another_firmware_with_tries_too(
    board: str, generated: Generated, solved: Solved, tmp_path: Path
) -> None:
    needs(*missing())
    build(generated("sudoku4", "int8"), tmp_path / "b", board)
    te.export_c(shipped_checkpoint("maze9"), tmp_path / "m", precision="int8", tries=4)
    for name in ("model.c", "weights.c", "model.h", "weights.h"):
        os.utime(tmp_path / "m" / name, (0, 0))  # older than the firmware
    firmware, expected = build(tmp_path / "m", tmp_path / "b", board), solved("maze9")
    reports = run(firmware, lines("maze9", expected.puzzles[:1]), board)
    answers = [report.cells for report in reports if isinstance(report, Answer)]
    assert answers == lines("maze9", expected.answers[:1])


@pytest.mark.parametrize("name", ["sudoku4", "maze9"])
def test_webassembly_gives_the_answers_and_steps_of_keras(
    name: str, generated: Generated, solved: Solved, tmp_path: Path
) -> None:
    needs("clang", "wasm-ld", "node", "make")
    place, folder, expected = (
        ROOT / "runtimes" / "micro" / "wasm",
        generated(name, "int8"),
        solved(name),
    )
    command = ["make", "-s", "-C", place, f"MODEL={folder}", f"BUILD={tmp_path}"]
    subprocess.run(command, check=True)
    text = "\n".join(" ".join(map(str, row)) for row in expected.puzzles.tolist())
    done = subprocess.run(
        ["node", place / "solve.mjs", tmp_path / "model.wasm"],
        input=text, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = np.array([line.split(" ") for line in done.stdout.splitlines()]).astype(int)
    np.testing.assert_array_equal(found[:, 0], expected.steps)
    np.testing.assert_array_equal(found[:, 2:], expected.answers)
    assert [STOP_REASONS[reason] for reason in found[:, 1]] == list(expected.stop_reasons)
    short = subprocess.run(
        ["node", place / "solve.mjs", tmp_path / "model.wasm"],
        input=f"{text}\n1 2 x\n", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert short.returncode == 4
    assert f"Line {len(found) + 1}: expected {expected.puzzles.shape[1]} ids" in short.stderr
