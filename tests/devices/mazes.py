"""Mazes as texts, where a space is a cell, for readers that must agree with `trm_runtime`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from random import Random

from tests.runtime.fakes import make_contract
from trm_runtime.errors import TRMError
from trm_runtime.puzzles import read_puzzles

CONTRACT = make_contract(seq=9, alphabet=("", "#", "._ ", "S", "G", "o"))
MAZE = "#S o# .#G"  # of 3 x 3 cells
MAZES = {
    "a line": f"{MAZE}\n",
    "lines that begin and end with spaces": f"  S o# .#\n   {MAZE}  \n",
    "a line of spaces at both ends for the most part": f"   G#S   \n{MAZE}\n",
    "a maze and its solution": f"{MAZE},#SoooooG#\n",
    "a maze that is cut and its solution": f"{MAZE[:8]},#SoooooG#\n",
    "a number, a maze and its solution": f"1\t{MAZE}\t#SoooooG#\t2\n",
    "quotes": f'"{MAZE}";"#SoooooG#"\n',
    "the cells apart": f"{','.join(MAZE)}\n",
    "rows": "#S \no# \n.#G\n",
    "rows that end with CR": "#S \r\no# \r\n.#G\r\n",
    "rows of two mazes": "#S \no# \n   \n   \nG  \nS##\n###\n",
    "rows of two mazes, apart": "#S \no# \n.#G\n\n#S \no# \n.#G\n",
    "rows in a frame": "+---+\n#S \no# \n+---+\n.#G\n+---+\n",
    "rows with spaces around": "  #S#\n  o # \n   #G\n",
    "rows that are cut": "#S\no#\n.#G\n",
    "a row of spaces first": "   \n#S \no#G\n",
    "spaces alone": "         \n",
    "an empty line between rows": "#S \n\no# \n.#G\n",
    "an empty line in the place of a row": "#S \n\n.#G\n   \n",
    "a row too short, of spaces": "#S \n  \n.#G\n   \n",
    "a tab in a row": "#S \n\to# \n.#G\n",
    "a tab in a line": f"\t{MAZE[:8]}x\n",
    "a wall of another sign in a line": f"{MAZE[:4]}-{MAZE[4:]}\n",
    "a row missing": "#S \no# \n\n#S \no# \n.#G\n",
    "a row too many": "#S \no# \n.#G\n###\n",
    "a row among lines": f"{MAZE}\n#S \n{MAZE}\n",
    "a line among rows": f"#S \no# \n.#G\n{MAZE}\n",
    "a remark above a line": f"# a remark\n{MAZE}\n",
    "remarks above rows": "# one: 1\n#S \no# \n.#G\n\n# number two\n#S \no# \n.#G\n",
    "a remark below a line": f"{MAZE}\n# a remark\n",
    "a remark between rows": "#S \n# a remark\no# \n.#G\n",
    "a wrong cell": f"x{MAZE[1:]}\n",
    "too many cells": f"{MAZE}#\n",
}


def drawings(count: int, seed: int) -> Iterator[str]:
    """Random texts of mazes, most of them with something wrong."""
    rng = Random(seed)
    for _ in range(count):
        lines = [line for _ in range(rng.choice((1, 1, 2, 3))) for line in _maze(rng)]
        for _ in range(rng.choice((0, 0, 1, 1, 2))):
            at = rng.randrange(len(lines))
            lines[at : at + 1] = rng.choice(_CHANGES)(lines[at]) or [" "]
        end = rng.choice(("\n", "\n", "\r\n"))
        yield end.join(lines) + rng.choice(("", end))


_CHANGES = (
    lambda line: [line[:-1]],
    lambda line: [f"{line}#"],
    lambda line: [line.strip()],
    lambda line: [f"  {line}"],
    lambda line: [f"{line}  "],
    lambda line: ["", line],
    lambda line: [line.replace("#", "x", 1)],
    lambda line: [line.replace("#", "-", 1)],
    lambda line: [f"\t{line}"],
    lambda line: [],
    lambda line: ["   ", line],
    lambda line: [f"1,{line}"],
    lambda line: [f"{line},{line}"],
)


def _maze(rng: Random) -> list[str]:
    """A line, or rows of which one may be missing or too long."""
    width, height = rng.choice(((9, 1), (9, 1), (3, 3), (3, 3), (3, 3), (3, 2), (4, 3), (2, 3)))
    rows = ["".join(rng.choices("##   .oSG", k=width)) for _ in range(height)]
    return [*rows, *rng.choice(([], [], [], [""], ["   "]))]


def wanted(text: str, folder: Path) -> list[int] | None:
    """The cells of all mazes as `trm_runtime` reads them; None for a text that it refuses."""
    path = folder / "maze.txt"
    path.write_bytes(text.encode())
    try:
        return [int(cell) for cell in read_puzzles(path, CONTRACT).reshape(-1)]
    except TRMError:
        return None
