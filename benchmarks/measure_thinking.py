"""The tables of docs/thinking.md: what more tries solve, and what they cost.

    python benchmarks/measure_thinking.py [--count 300] [--only sudoku9] [--levels minimal hard]

Exports each shipped checkpoint to ONNX in fp32 and int8, and runs it on test puzzles. Every result
is saved at once in --state; a second run does what the first did not, and measures again what
was measured with other weights, or with another --count. The tables between the markers of the
page are then written from all results. `ms` is a median step of one puzzle on this machine, times
the steps.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import trm_export as te
from trm_export.api.speed import this_machine
from trm_export.artifacts.file_measures import step_cost
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.files import atomic_write, sha256_file
from trm_export.halting.trying import Outcome, outcomes, run_tries
from trm_export.tasks.selection import select_puzzles
from trm_runtime import open_runner
from trm_runtime.cores import available_cores
from trm_runtime.measure import load_engine
from trm_runtime.parity.counts import wilson
from trm_runtime.try_options import CHOOSE, SIGMA, VARY

PAGE = Path(__file__).resolve().parent.parent / "docs" / "thinking.md"
MARKERS = "<!-- measured -->", "<!-- end of measured -->"
TRIES = (1, 2, 4, 8, 16)
PRECISIONS = ("fp32", "int8")
LEVELS: dict[str, tuple[str | None, ...]] = {
    "sudoku9": ("45", "50", "55", "minimal", "hard"),
    "maze9": (None,),
    "maze11": (None,),
    "sudoku4": (None,),  # only with --only: it solves everything at once
}
SEED = 0

Result = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=tuple(LEVELS), nargs="+", help="models to measure")
    parser.add_argument("--levels", nargs="+", help="of these, blanks such as 50 or hard")
    parser.add_argument("--count", type=int, default=300, help="puzzles of a level")
    parser.add_argument("--state", type=Path, default=Path("build/thinking.json"))
    parser.add_argument("--page", type=Path, default=PAGE)
    options = parser.parse_args()
    state = State(options.state)
    for name in options.only or [name for name in LEVELS if name != "sudoku4"]:
        measure(name, options.levels, options.count, state)
    write_page(options.page, state.results)


class State:
    """The results so far, in a file."""

    def __init__(self, file: Path) -> None:
        self._file, self.folder = file, file.parent
        self.folder.mkdir(parents=True, exist_ok=True)
        self.results: list[Result] = json.loads(file.read_text()) if file.exists() else []

    def has(self, key: Result) -> bool:
        """Whether there is a result with all of these fields."""
        return any(key.items() <= result.items() for result in self.results)

    def add(self, result: Result) -> None:
        """Saves a result, in the place of an older one of the same file and level."""
        same = ("model", "level", "precision")
        key = [result[field] for field in same]
        self.results = [one for one in self.results if [one[field] for field in same] != key]
        self.results.append(result)
        with atomic_write(self._file, force=True) as new:
            new.write_text(json.dumps(self.results, indent=1) + "\n")


def measure(name: str, only: Sequence[str] | None, count: int, state: State) -> None:
    """Every level and precision of a checkpoint that is not in the state."""
    checkpoint = shipped_checkpoint(name)
    weights = sha256_file(checkpoint)
    for precision in PRECISIONS:
        file = state.folder / f"{name}-{weights[:12]}-{precision}.onnx"
        cost: Result = {}
        for level in (one for one in LEVELS[name] if not only or one in only):
            key: Result = {"model": name, "level": level, "precision": precision}
            key |= {"weights": weights, "asked": count}
            if state.has(key):
                continue
            started = time.monotonic()
            if not file.exists():
                te.export(checkpoint, file, precision=precision)
            cost = cost or cost_of(file)
            state.add({**key, **cost, **this_machine(), **level_of(file, level, count)})
            seconds = time.monotonic() - started
            print(f"{name} {precision} {level or 'default'}: {seconds:.0f} s", flush=True)


def cost_of(file: Path) -> Result:
    """Milliseconds of a step of one puzzle, and the engine, in a process of its own."""
    contract = open_runner(file).contract
    feeds = select_puzzles(contract, None, None, None, 1).feeds(contract.num_puzzle_identifiers)
    return {
        "step_ms": step_cost(file, feeds, available_cores(), None).step_ms,
        "engine": load_engine(file),
    }


def level_of(file: Path, level: str | None, count: int) -> Result:
    """The puzzles of one level, with every number of tries."""
    runner = open_runner(file)
    threshold = runner.contract.halt.threshold
    puzzles = select_puzzles(runner.contract, None, None, level, count)
    again = {"tries": TRIES[-1], "vary": VARY[0], "choose": CHOOSE[0], "seed": SEED, "sigma": SIGMA}
    traces = run_tries(runner, puzzles, again, threshold, all_steps=False)
    found = list(outcomes(traces, threshold))
    tries = [as_json(found[number - 1]) for number in TRIES]
    return {"n": len(puzzles), "threshold": threshold, "tries": tries}


def as_json(found: Outcome) -> Result:
    return {
        "right": int(found.right.sum()),
        "missed": found.missed,
        "mean_steps": float(found.steps.mean()),
    }


def write_page(page: Path, results: Sequence[Result]) -> None:
    """Writes the tables into the page."""
    between_markers(page, MARKERS, "\n\n".join(lines_of(in_order(results))))


def between_markers(page: Path, markers: tuple[str, str], text: str) -> None:
    """Replaces what is between the markers in a page."""
    before, _, rest = page.read_text().partition(markers[0])
    after = rest.partition(markers[1])[2]
    with atomic_write(page, force=True) as new:
        new.write_text(f"{before}{markers[0]}\n{text}\n{markers[1]}{after}")


def in_order(results: Sequence[Result]) -> list[Result]:
    """As in LEVELS, both precisions of a level together."""

    def place(result: Result) -> tuple[int, int, int]:
        name, level = result["model"], result["level"]
        precision = PRECISIONS.index(result["precision"])
        return list(LEVELS).index(name), LEVELS[name].index(level), precision

    return sorted(results, key=place)


def lines_of(results: Sequence[Result]) -> Iterator[str]:
    """The tables, each with its title."""
    yield "Puzzles answered exactly, in percent, with the 95 % interval:"
    yield table(results, ("n",), lambda one: [str(one["n"])], exact)
    yield "Mean steps of a puzzle, of all its tries together / milliseconds:"
    yield table(results, ("ms a step",), lambda one: [f"{one['step_ms']:.1f}"], steps)
    yield "Selection errors, puzzles with a right try of which another was chosen:"
    yield table(results, ("n",), lambda one: [str(one["n"])], lambda _, tries: str(tries["missed"]))
    engines = ", ".join(dict.fromkeys(one["engine"] for one in results))
    machines = "; ".join(dict.fromkeys(f"{one['machine']}, {one['date']}" for one in results))
    yield f"Measured with {engines} ({machines})."


def table(
    results: Sequence[Result],
    heads: Sequence[str],
    first: Callable[[Result], Sequence[str]],
    cell: Callable[[Result, Result], str],
) -> str:
    """A row a model, level and precision; a column a number of tries."""
    titles = ["model", "puzzles", "precision", *heads, *(f"{n} tries" for n in TRIES)]
    titles[titles.index("1 tries")] = "1 try"
    rows = [titles]
    for one in results:
        names = [one["model"], level_text(one["level"]), one["precision"]]
        rows.append([*names, *first(one), *(cell(one, tries) for tries in one["tries"])])
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|---" * len(titles) + "|", *lines[1:]])


def level_text(level: str | None) -> str:
    return "all levels" if level is None else f"{level} blanks" if level.isdecimal() else level


def exact(one: Result, tries: Result) -> str:
    low, high = wilson(tries["right"], one["n"])
    return f"{100 * tries['right'] / one['n']:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def steps(one: Result, tries: Result) -> str:
    ms = tries["mean_steps"] * one["step_ms"]
    return f"{tries['mean_steps']:.1f} / {ms:.{int(ms < 10)}f}"


if __name__ == "__main__":
    main()
