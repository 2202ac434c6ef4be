"""Fail, and kill at, every system call of everything that is written; print old, new and lost.

    python benchmarks/inject_faults.py [--folder FOLDER]

Each error (ENOSPC, EIO, EACCES) and SIGKILL comes once at each write, fsync, rename, open, mkdir
and unlink below the folder, each time in a process of its own. Needs Linux and a C compiler.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.faults import injector

COLUMNS = ("places", "old", "new", "mixed", "aside", "unmended", "lost")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        rows = injector.sweep(Path(folder), "--every")
    tallies: dict[tuple[str, str], Counter[str]] = {}
    for row in rows:
        for key in ((row["writer"], row["fault"]), ("all", row["fault"]), ("all", "all")):
            tallies.setdefault(key, Counter()).update({name: row[name] for name in COLUMNS})
    print("| writer | fault | " + " | ".join(COLUMNS) + " |")
    print("|---|---|" + "---|" * len(COLUMNS))
    for key in sorted(tallies, key=lambda key: ("all" in key, key)):
        print("|", " | ".join([*key, *(str(tallies[key][name]) for name in COLUMNS)]), "|")
    sys.exit(tallies["all", "all"]["lost"] > 0)


if __name__ == "__main__":
    main()
