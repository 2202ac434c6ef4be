"""Write the hard 9x9 puzzles that trm_export ships: `python benchmarks/make_hard_data.py`.

The defaults are what trm_export/tasks/data/sudoku9-hard.npz was made with; the same seed and counts
give the same bytes. It needs sudoku9.npz (make_sudoku_data.py), whose grids none of the validation
and test puzzles has, in any symmetry. About four minutes on one core.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from trm_export.tasks.bases import DATA, SPLITS, Bases, load_bases
from trm_export.tasks.hard import make_yardstick, rate, save_hard


def main() -> None:
    """Make the puzzles the options ask for and write them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=21)
    parser.add_argument("--test", type=int, default=2000)
    parser.add_argument("--validation", type=int, default=1000)
    parser.add_argument("-o", "--output", type=Path, default=DATA / "sudoku9-hard.npz")
    options = parser.parse_args()
    counts = {"test": options.test, "validation": options.validation}
    yardstick, tried = make_yardstick(counts, options.seed, every_base(), show)
    print(f"\n{sum(counts.values())} of {tried} minimal puzzles taken", file=sys.stderr)
    bases = load_bases(9, "train")
    train = rate(np.where(bases.clues, bases.solutions, 1))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    save_hard(options.output, yardstick, train, options.seed, tried)
    print(f"\n{options.output}: {options.output.stat().st_size / 1e6:.2f} MB", file=sys.stderr)


def every_base() -> Bases:
    """The bases of all splits together."""
    parts = [load_bases(9, split) for split in SPLITS]
    fields = zip(*((part.solutions, part.clues, part.minimal) for part in parts), strict=True)
    return Bases(*(np.concatenate(field) for field in fields))


def show(done: int, total: int) -> None:
    """One line of progress, written over."""
    print(f"\r{done}/{total}", end="", file=sys.stderr)


if __name__ == "__main__":
    main()
