"""Does a driver keep memory, or change its answers, over very many steps and in threads?

    python benchmarks/soak.py MODEL PUZZLES [--steps 100000] [--rows 8] [--threads 8] [--limit 16]

The memory in use is sampled over the steps; `bytes a step` is its slope over their second half,
with its standard error. Afterwards the same is done with a leak of twice the limit a step, which
must be seen. Then as many Python threads solve the puzzles, each with a runner of its own; their
answers and halting scores must have the bytes of the first ones. Exits with 1 if one of the three
fails. Needs glibc 2.33.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.runtime.soaking import Leaking, soak
from trm_runtime import open_runner, read_puzzles, solve


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("puzzles", type=Path)
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--threads", type=int, default=8)
    parser.add_argument("--limit", type=float, default=16, help="bytes a step")
    options = parser.parse_args()
    runner = open_runner(options.model, threads=1)
    puzzles = read_puzzles(options.puzzles, runner.contract)[: options.rows]
    first = solve(runner, puzzles)
    wanted = first.answers.tobytes(), first.q_halt.tobytes()
    flat = soak(runner, puzzles, options.steps)
    control = soak(Leaking(runner, int(2 * options.limit)), puzzles, options.steps)

    def same(_: int) -> bool:
        found = solve(open_runner(options.model, threads=1), puzzles)
        return (found.answers.tobytes(), found.q_halt.tobytes()) == wanted

    with ThreadPoolExecutor(options.threads) as pool:
        equal = sum(pool.map(same, range(options.threads)))
    print("| model | steps | bytes a step | with a leak | equal threads |\n|---|---|---|---|---|")
    print(
        f"| {options.model.name} | {flat.steps:,} | {flat.bytes_a_step:.2f} ± {flat.error:.2f} "
        f"| {control.bytes_a_step:.2f} ± {control.error:.2f} | {equal} of {options.threads} |"
    )
    sound = flat.within(options.limit) and not control.within(options.limit)
    return 0 if sound and equal == options.threads else 1


if __name__ == "__main__":
    sys.exit(main())
