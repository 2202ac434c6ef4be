"""`python -m tests.fuzz --minutes 5`: try every reader on changed inputs, and print a table.

Each reader gets the same time, in a process of its own. Exits with 1 if a reader gave a traceback,
hung, took more than 500 MB or refused in a wrong way; such inputs are in `tests/fuzz/failures`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")

from tests.fuzz.fuzzing import Row, Run
from tests.fuzz.outcomes import OUTCOMES
from tests.fuzz.reader import all_readers

HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _options(arguments)
    if options.row:
        print(json.dumps(asdict(_row(options, options.reader[0], options.seconds))))
        return 0
    chosen = [
        name
        for name, reader in all_readers().items()
        if (not options.reader or name in options.reader)
        and options.kind in ("all", "native" if reader.native else "python")
    ]
    seconds = 60 * options.minutes * options.jobs / max(len(chosen), 1)
    if options.jobs == 1:
        rows = [_row(options, name, seconds) for name in chosen]
    else:
        with ThreadPoolExecutor(options.jobs) as pool:
            rows = list(pool.map(lambda name: _process(options, name, seconds), chosen))
    print(table(rows))
    return 1 if any(row.faults for row in rows) else 0


def table(rows: list[Row]) -> str:
    """Reader x mutants x outcomes, with the sums of each kind of reader."""
    heads = ("reader", "mutants", *OUTCOMES, "per CPU second")
    lines = [_cells(row) for row in rows]
    for native in (False, True):
        some = [row for row in rows if row.native is native]
        if len(some) > 1:
            lines.append(_cells(_sum(some, native)))
    widths = [max(len(line[i]) for line in (heads, *lines)) for i in range(len(heads))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in (heads, *lines)
    )


def _cells(row: Row) -> tuple[str, ...]:
    counts = [f"{count:,}" for count in row.counts.values()]
    return (row.reader, f"{row.mutants:,}", *counts, f"{row.mutants / max(row.seconds, 1e-9):,.0f}")


def _sum(rows: list[Row], native: bool) -> Row:
    total = Row("all native" if native else "all in Python", native)
    total.seconds = sum(row.seconds for row in rows)
    total.counts = {name: sum(row.counts[name] for row in rows) for name in OUTCOMES}
    return total


def _row(options: argparse.Namespace, name: str, seconds: float) -> Row:
    run = Run(all_readers()[name], options.seed, seconds, options.mutants, options.failures)
    return run.row(options.first)


def _process(options: argparse.Namespace, name: str, seconds: float) -> Row:
    words = ["--row", "--reader", name, "--seconds", str(seconds), "--seed", str(options.seed)]
    words += ["--first", str(options.first), "--failures", str(options.failures)]
    words += [] if options.mutants is None else ["--mutants", str(options.mutants)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", *words], stdout=subprocess.PIPE, text=True, check=True
    )
    return Row(**json.loads(done.stdout.splitlines()[-1]))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    add = parser.add_argument
    add("--minutes", type=float, default=1.0, help="of the whole run (default 1)")
    add(
        "--reader",
        action="append",
        default=[],
        choices=list(all_readers()),
        help="only this one; may be given again",
    )
    add("--kind", choices=("all", "python", "native"), default="all", help="of the readers")
    add("--mutants", type=int, help="of each reader, at most")
    add("--seed", type=int, default=0, help="another one gives other inputs")
    add("--first", type=int, default=0, help="number of the first input")
    add("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    add("--failures", type=Path, default=HERE / "failures", help="folder for what fails")
    add("--row", action="store_true", help=argparse.SUPPRESS)
    add("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
