"""Write the 9x9 Sudoku bases that trm_export ships: `python benchmarks/make_sudoku_data.py`.

The defaults are what trm_export/tasks/data/sudoku9.npz was made with; the same seed and counts
give the same bytes. About six minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from trm_export.tasks.bases import DATA, make_bases, save_bases


def main() -> None:
    """Make the bases the options ask for and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=9)
    parser.add_argument("--test", type=int, default=2500)
    parser.add_argument("--validation", type=int, default=1000)
    parser.add_argument("--train", type=int, default=60000)
    parser.add_argument("-o", "--output", type=Path, default=DATA / "sudoku9.npz")
    options = parser.parse_args()
    # test first: its bases stay the same whatever number of training bases follows
    counts = {name: getattr(options, name) for name in ("test", "validation", "train")}
    began = time.monotonic()

    def show(done: int, total: int) -> None:
        print(f"\r{done}/{total} bases, {time.monotonic() - began:.0f} s", end="", file=sys.stderr)

    bases = make_bases(9, counts, options.seed, show)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    save_bases(options.output, bases, options.seed)
    print(f"\n{options.output}: {options.output.stat().st_size / 1e6:.2f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
