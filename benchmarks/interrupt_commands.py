"""Interrupt every command that takes longer than a second, at random moments; print the worst.

    python benchmarks/interrupt_commands.py [--count 200] [--seed 0] [--only NAME ...]

Each command runs undisturbed once; then the signal comes at a moment of that time: SIGINT to all
of its processes as from a terminal, SIGINT or SIGTERM to the first alone, in turn. `seconds` count
from the signal until no process is left. Linux only.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults.interrupting import SAID, Interrupt, begun, commands, interrupted

WAYS = ((signal.SIGINT, True), (signal.SIGINT, False), (signal.SIGTERM, False))


def clean(found: Interrupt, number: int) -> bool:
    """Whether it ended as it should: its reason and its code, or before the signal came."""
    code, said = SAID[signal.Signals(number)]
    return found.finished or (found.code == code and said.rstrip(".\n") in found.error)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # `&` in a script ignores it
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        every = commands(folder)
        chosen = options.only or list(every)
        length: dict[str, float] = {}
        for one in every:
            if one in chosen or one in ("onnx", "tflite"):
                began = time.monotonic()
                begun(every[one], folder / "scratch").communicate()
                length[one] = time.monotonic() - began
        results: dict[str, list[Interrupt]] = {one: [] for one in chosen}
        for turn in range(options.count):
            one = chosen[turn % len(chosen)]
            number, group = WAYS[turn // len(chosen) % len(WAYS)]
            scratch = folder / f"scratch-{turn}"
            delay = chance.uniform(0.2, length[one])
            found = interrupted(every[one], scratch, delay, number, group=group)
            results[one].append(found)
            shutil.rmtree(scratch)
            if not clean(found, number) or found.left or "Traceback" in found.error:
                print(f"{one} after {delay:.2f} s: {found}", file=sys.stderr)
    show(results, length)


def show(results: dict[str, list[Interrupt]], length: dict[str, float]) -> None:
    print("| command | takes s | interrupts | finished before | worst s | killed hard | left |")
    print("|---|---|---|---|---|---|---|")
    for one, found in {**results, "together": [f for r in results.values() for f in r]}.items():
        cells = (
            one,
            f"{length[one]:.1f}" if one in length else "",
            len(found),
            sum(each.finished for each in found),
            f"{max((each.seconds for each in found if not each.finished), default=0):.2f}",
            sum(each.code in (None, -signal.SIGKILL) for each in found),
            sum(bool(each.left) for each in found),
        )
        print("|", " | ".join(map(str, cells)), "|")


if __name__ == "__main__":
    main()
