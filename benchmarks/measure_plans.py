"""Plans for several deadlines, and what was then measured: a table of docs/thinking.md.

    python -m benchmarks.measure_plans MODEL FILE... [--deadlines 0.05 0.2 1] [--blanks minimal]

Each plan is made on validation puzzles, and then run on test puzzles, one at a time, in this
process. Late are puzzles that took more than the deadline. Prints the table, and writes it into the
page with --page.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np

import trm_export as te
from benchmarks.measure_thinking import PAGE, between_markers
from trm_export.api.plan_result import Run
from trm_export.tasks.selection import select_puzzles
from trm_runtime import open_runner, solve
from trm_runtime.parity.counts import wilson

MARKERS = "<!-- plans -->", "<!-- end of plans -->"
HEADS = (
    "deadline", "file, threads", "threshold", "tries", "steps of a try", "exact, planned",
    "exact, measured", "ms, planned", "ms, measured", "late",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("files", nargs="*")
    parser.add_argument("--deadlines", type=float, nargs="+", default=[0.05, 0.2, 1.0])
    parser.add_argument("--blanks", default=None)
    parser.add_argument("--count", type=int, default=300, help="puzzles of a plan, and to measure")
    parser.add_argument("--page", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    rows: list[Sequence[str]] = []
    for deadline in options.deadlines:
        found = te.plan(
            options.model,
            options.files,
            deadline=deadline,
            blanks=options.blanks,
            count=options.count,
        )
        if found.run is None:
            print(found.problem)
            continue
        print(found.run.command, flush=True)
        rows.append(row(found.run, deadline, options.blanks, options.count))
    lines = [HEADS, *rows]
    text = [f"| {' | '.join(line)} |" for line in lines]
    table = "\n".join([text[0], "|---" * len(HEADS) + "|", *text[1:]])
    print(table)
    if options.page:
        between_markers(PAGE, MARKERS, table)


def row(run: Run, deadline: float, blanks: str | None, count: int) -> Sequence[str]:
    """The plan, and what its line gives on test puzzles."""
    runner = open_runner(run.file, threads=run.threads, engine=run.chosen_engine)
    puzzles = select_puzzles(runner.contract, None, None, blanks, count)
    feeds = puzzles.feeds(runner.contract.num_puzzle_identifiers)
    seconds, answers = np.zeros(len(puzzles)), np.empty_like(puzzles.inputs)
    for index in range(len(puzzles)):
        one = {name: array[index : index + 1] for name, array in feeds.items()}
        started = time.perf_counter()
        answers[index] = solve(runner, one, **run.options).answers[0]
        seconds[index] = time.perf_counter() - started
    hits = int(puzzles.exact(answers).sum())
    return (
        f"{deadline * 1e3:g} ms",
        f"{run.file.name}, {run.threads}",
        f"{run.threshold:g}",
        str(run.tries),
        str(run.max_steps),
        share(round(run.exact * run.puzzles), run.puzzles),
        share(hits, len(puzzles)),
        f"{run.mean_ms:.0f}",
        f"{seconds.mean() * 1e3:.0f}",
        f"{(seconds > deadline).mean():.1%}",
    )


def share(hits: int, n: int) -> str:
    low, high = wilson(hits, n)
    return f"{100 * hits / n:.1f} % ({100 * low:.1f} to {100 * high:.1f})"


if __name__ == "__main__":
    main()
