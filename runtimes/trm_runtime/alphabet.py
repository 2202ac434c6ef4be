"""The meaning of the token ids of a contract: its alphabet, for reading and for printing.

Entry `[id]` of an alphabet has the characters that are read as that id; the first one is printed. A
dot, an underscore or a space is a blank cell; all others are given. If the entry of id 0 is empty,
id 0 is padding, and no cell of a puzzle has it. Knows numpy; knows no task.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any, Optional

import numpy as np

Array = np.ndarray[Any, Any]
Alphabet = Optional[Sequence[str]]  # None if it is not known

BLANKS = frozenset("._ ")  # an id that is read from any of these is an open cell
UNPRINTABLE = "?"  # for an id without a character, such as padding
PAD = 0


def id_of(alphabet: Alphabet) -> dict[str, int]:
    """The id that each character is read as."""
    return {sign: i for i, entry in enumerate(alphabet or ()) for sign in entry}


def text_of(ids: Iterable[int], alphabet: Sequence[str]) -> str:
    """The characters of ids, one for each."""
    return "".join(alphabet[value][:1] or UNPRINTABLE for value in ids)


def open_cells(alphabet: Alphabet, tokens: Array) -> Array | None:
    """Bool, as ids (N, S): the cells to be filled in; None if the alphabet has no blanks."""
    blanks = [i for i, entry in enumerate(alphabet or ()) if BLANKS.intersection(entry)]
    return np.isin(tokens, blanks) if blanks else None


def pads(alphabet: Alphabet) -> bool:
    """Whether id 0 is known to be padding."""
    return alphabet is not None and not alphabet[PAD]


def padded_cells(alphabet: Alphabet, tokens: Array) -> Array:
    """Bool, as ids (N, S): wrong padding, which is before a cell, or in a row of padding only.

    Padding after the last cell is allowed. All False without an alphabet, or if id 0 has a
    character.
    """
    if not pads(alphabet):
        return np.zeros(tokens.shape, dtype=bool)
    cells = tokens != PAD
    inside = np.logical_or.accumulate(cells[:, ::-1], axis=1)[:, ::-1]
    wrong: Array = ~cells & (inside | ~cells.any(axis=1, keepdims=True))
    return wrong


def meanings(alphabet: Sequence[str]) -> str:
    """The meaning of the ids: `0 is padding, 1 is a blank, 2 to 10 are 1 to 9`."""
    names = [_name(i, entry) for i, entry in enumerate(alphabet)]
    runs = groupby(enumerate(names), lambda pair: _run_key(*pair))
    return ", ".join(_run([i for i, _ in run], names) for _, run in runs)


def _name(i: int, entry: str) -> str:
    if BLANKS.intersection(entry):
        return "a blank"
    return entry[:1] or ("padding" if i == PAD else "nothing")


def _run_key(i: int, name: str) -> tuple[str, int]:
    """The same key for consecutive ids whose characters are consecutive too."""
    return ("", ord(name) - i) if len(name) == 1 else (name, i)


def _run(ids: Sequence[int], names: Sequence[str]) -> str:
    first, last = ids[0], ids[-1]
    if first == last:
        return f"{first} is {names[first]}"
    return f"{first} to {last} are {names[first]} to {names[last]}"
