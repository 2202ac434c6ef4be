"""Firmware of a folder of `trm-export c` on an emulated board: built, measured, fed, shown.

    python runtimes/micro/emulated.py artifacts/sudoku9-int8_c ...8..2.4....

Needs make, arm-none-eabi-gcc with newlib, and qemu-system-arm (Debian: gcc-arm-none-eabi,
libnewlib-arm-none-eabi, qemu-system-arm). Standard library only.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

HERE = Path(__file__).parent
TOOLS = ("make", "arm-none-eabi-gcc", "qemu-system-arm")
BOARDS = {"an385": "Cortex-M3", "an386": "Cortex-M4", "an500": "Cortex-M7"}
INSTRUCTIONS = 40  # of a tick: see mps2.c
_SECTION = re.compile(r"^(\.[\w.]+)\s+0x[0-9a-f]+\s+0x([0-9a-f]+)", re.MULTILINE)


def missing() -> list[str]:
    """The tools that this machine does not have."""
    return [tool for tool in TOOLS if shutil.which(tool) is None]


@dataclass(frozen=True)
class Sizes:
    """What the linker's map says, in bytes."""

    flash: int  # code, constants and the start values of variables
    ram: int  # variables and the stack


@dataclass(frozen=True)
class Step:
    """One step of a puzzle, as the firmware reports it."""

    number: int
    instructions: int  # not cycles
    cells: str


@dataclass(frozen=True)
class Answer:
    """The end of a puzzle; `refused` for a line that is no puzzle of the model."""

    steps: int
    reason: str
    cells: str


def build(model: Path, folder: Path, board: str = "an386") -> Path:
    """The firmware of a model, compiled with warnings as errors."""
    command = ["make", "-s", "-C", HERE, f"MODEL={model.resolve()}", f"BOARD={board}"]
    command += [f"BUILD={folder.resolve()}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode or "warning" in done.stderr:
        sys.exit(f"The firmware cannot be built: {done.stderr.strip()}")
    return folder / "firmware.elf"


def sizes(firmware: Path) -> Sizes:
    """From the map beside it."""
    found: dict[str, int] = {}
    text = firmware.with_suffix(".map").read_text(encoding="utf-8")
    for name, size in _SECTION.findall(text.partition("Linker script and memory map")[2]):
        found[name] = int(size, 16)
    flash = sum(found.get(name, 0) for name in (".text", ".ARM.exidx", ".data"))
    return Sizes(flash, sum(found.get(name, 0) for name in (".data", ".bss", ".stack")))


def run(
    firmware: Path, puzzles: Sequence[str], board: str = "an386", *, counted: bool = True
) -> Iterator[Step | Answer]:
    """Feeds puzzles over the UART and yields what comes back, as it comes.

    Instructions are only right if `counted`, which slows the emulator down.
    """
    command = ["qemu-system-arm", "-machine", f"mps2-{board}", "-display", "none", "-monitor",
               "none", "-serial", "stdio", "-semihosting-config", "enable=on,target=native",
               *(["-icount", "shift=0"] if counted else []), "-kernel", str(firmware)]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(f"{line}\n" for line in puzzles) + "\4")
        process.stdin.flush()
        for line in process.stdout:
            report = _report(line.rstrip("\n"))
            if report is not None:
                yield report


def _report(line: str) -> Step | Answer | None:
    kind, *words = line.split(" ")
    if kind == "step":
        number, _, ticks, cells = words
        return Step(int(number), int(ticks) * INSTRUCTIONS, cells)
    if kind == "answer":
        return Answer(int(words[0]), words[1], words[2])
    return Answer(0, "refused", "") if kind == "refused" else None


def _board(cells: str) -> str:
    side = isqrt(len(cells))
    return "\n".join(" ".join(cells[i : i + side]) for i in range(0, len(cells), side))


def main(arguments: Sequence[str]) -> None:
    """Solves one puzzle on a Cortex-M4 and shows every board."""
    if missing():
        sys.exit(f"Not found: {', '.join(missing())}. See the first lines of this file.")
    model, puzzle = Path(arguments[0]), arguments[1]
    with tempfile.TemporaryDirectory() as folder:
        firmware = build(model, Path(folder))
        size = sizes(firmware)
        print(f"{BOARDS['an386']}: flash {size.flash:,} bytes, RAM {size.ram:,} bytes\n")
        print(f"{_board(puzzle)}\n")
        for report in run(firmware, [puzzle], counted=False):
            if isinstance(report, Step):
                print(f"step {report.number}\n{_board(report.cells)}\n", flush=True)
            else:
                print(f"{report.reason} after {report.steps} step{'s' * (report.steps != 1)}")


if __name__ == "__main__":
    main(sys.argv[1:])
