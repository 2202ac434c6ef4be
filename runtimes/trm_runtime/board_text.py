"""The cells of a board in a text, without what people write between them.

Knows the alphabet and the sizes of boards; knows no file format.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from trm_runtime.alphabet import Alphabet, id_of

INTEGER = re.compile(r"-?[0-9]{1,9}")

_SEPARATORS = ",;:\t|"
_LONG = 40  # digits, which are more than any other number in a file has
_FRAMES = "|!─│┌┐└┘├┤┬┴┼━┃┏┓┗┛┣┫┳┻╋═║╔╗╚╝╠╣╦╩╬╟╢╤╧╪╫┠┨┯┷┿╂"
_BETWEEN = f" \t\r\n,;:=[](){{}}\"'{_FRAMES}"  # cells
_RULES = f" \t+-=*:{_FRAMES}"  # a line of these alone is between rows


@dataclass(frozen=True)
class BoardSigns:
    """How a board may be written.

    alphabet: the characters of each token id; without one a board is token ids. sizes: the cells of
    a board; the first board that fits one selects it. arc: whether it is a board of ARC.
    """

    alphabet: Alphabet
    sizes: Sequence[int]
    arc: bool = False

    @cached_property
    def ids(self) -> dict[str, int]:
        """The token id of each character."""
        return id_of(self.alphabet)

    @cached_property
    def _known(self) -> str:
        return "".join(self.ids)

    @property
    def spaced(self) -> bool:
        """Whether a space is a cell, and no separator."""
        return " " in self.ids

    @cached_property
    def numbers_are_ids(self) -> bool:
        """Whether numbers are token ids: only if no digit is a cell."""
        return not any(sign.isdigit() for sign in self.ids)

    def is_comment(self, line: str) -> bool:
        """Whether a line starts with a # that is no cell."""
        return "#" not in self.ids and line.lstrip()[:1] == "#"

    def is_rule(self, line: str) -> bool:
        """Whether a line is only drawn, between the rows of a board."""
        return bool(line) and all(sign in _RULES and sign not in self.ids for sign in line)

    def fits(self, text: str, size: int) -> bool:
        """Whether a text has as many cells, most of them known."""
        if not self.ids:
            return len(text.split()) == size and self._numbers(text) is not None
        if len(text) != size or not text.strip(self._known):
            return len(text) == size
        return 2 * sum(sign in self.ids for sign in text) >= size

    def looks_like(self, text: str, size: int) -> bool:
        """Whether a text could be a board of this size with some cells too few or too many."""
        known = sum(sign in self.ids for sign in text)
        return len(text) * 2 >= size and known * 4 >= len(text) * 3

    def compact(self, text: str, size: int) -> str:
        """The cells of a text, `size` characters if they are so many; else the text itself.

        Of a model without an alphabet they are token ids with a space between.
        """
        plain = text if self.spaced else text.strip()
        bare = itertools.chain([plain], self._bare(text, size))  # mostly the first is enough
        return next((cells for cells in bare if self.fits(cells, size)), plain)

    def size_of(self, text: str) -> int | None:
        """The first of the sizes that a text fits."""
        return next((n for n in self.sizes if self.fits(self.compact(text, n), n)), None)

    def split(self, line: str, size: int) -> list[str]:
        """The boards in a line, which has a puzzle and perhaps its solution; the first two.

        Other fields, such as a number or a rating, are left out. A line without a board gives its
        first field, to be refused.
        """
        whole = self.compact(line, size)
        if self.fits(whole, size):
            return [whole]
        fields = self._fields(line, _SEPARATORS if self.spaced else _SEPARATORS + " ")
        single = bool(self.ids) and all(self._is_cell(field) for field in fields)
        numbers = self._numbers(line) is not None and len(fields) > 1
        if numbers and not (single or self.numbers_are_ids) and len(fields) % size == 0:
            return [whole]
        if single and len(fields) in (size, 2 * size):
            return ["".join(fields[:size]), *(["".join(fields[size:])] if fields[size:] else [])]
        for parts in (fields, *(self._fields(line, sign) for sign in "\t;:|,")):
            cells = [self.compact(part, size) for part in parts]
            boards = [
                c for c in cells if self.fits(c, size) or (self.ids and self.looks_like(c, size))
            ]
            if boards:
                return boards[:2]
        if numbers and self.numbers_are_ids:
            return [whole]
        return ["".join(fields)] if single else fields[:2] or [whole]

    def wrong_length(self, cells: str, size: int) -> str:
        """What is wrong with the number of characters of a board."""
        numbers = self._numbers(cells)
        if numbers is not None and len(numbers) == size:
            return (
                f"got the number {max(numbers, key=abs)}, but a cell is one character; token ids "
                "are not read from text where digits are cells, so give them in an .npz"
            )
        lost = cells.isdigit() and _LONG <= len(cells) < size
        hint = "; a spreadsheet drops the zeros in front of a number" if lost else ""
        return f"expected {size} characters, got {len(cells)}{hint}"

    def text_of(self, value: Any) -> str:
        """A board in JSON: a text, or cells in (nested) lists, where null is a blank."""
        if not isinstance(value, list):
            return str(value)
        cells = list(_flat(value))
        blank = self._blank or (" " if self.spaced else "0")
        words = [blank if cell is None or cell == "" else str(cell) for cell in cells]
        return ("" if self.ids and not self.numbers_are_ids else " ").join(words)

    def is_board(self, value: Any) -> bool:
        """Whether a JSON value has the cells of one board; a longer one is not read to its end."""
        most = max(self.sizes)
        cells = list(itertools.islice(_flat(value), most + 1))
        one = len(cells) <= most and not any(isinstance(cell, dict) for cell in cells)
        return one and self.size_of(self.text_of(value)) is not None

    def _is_cell(self, field: str) -> bool:
        return len(field) == 1 and (field in self.ids or not self.numbers_are_ids)

    def _fields(self, line: str, separators: str) -> list[str]:
        split = "".join(sign for sign in separators if sign not in self.ids)
        fields = re.split(f"[{re.escape(split)}]", line) if split else [line]
        bare = [field.strip('"') if self.spaced else field.strip(' "') for field in fields]
        return [field for field in bare if field]

    def _bare(self, text: str, size: int) -> Iterator[str]:
        """Texts with less between the cells, from the most cautious on."""
        if self.numbers_are_ids:
            numbers = self._numbers(text)
            if numbers is not None and len(numbers) == size:
                yield self._named(numbers)
        if not self.ids:
            return
        if self.spaced:
            yield _trimmed(re.sub(r"[\r\n\"]", "", text), size)
            return
        rows = (row for row in text.splitlines() if not self.is_rule(row))
        yield "".join(c for row in rows for c in row if c in self.ids or c not in _BETWEEN)
        if self._blank:
            yield from self._with_empty_cells(text, size)

    @cached_property
    def _blank(self) -> str:
        """A character that is read as a blank; empty without one."""
        return next((sign for sign in ".0_" if sign in self.ids), "")

    def _with_empty_cells(self, text: str, size: int) -> Iterator[str]:
        """A board whose blanks are empty fields, as in a spreadsheet, or spaces."""
        for separator in ",;\t":
            fields = [field.strip(' "') for field in text.split(separator)]
            if len(fields) == size and all(len(field) < 2 for field in fields):
                yield "".join(field or self._blank for field in fields)
        if len(text) == size and not text.strip(self._known + " "):
            yield text.replace(" ", self._blank)

    def _numbers(self, text: str) -> list[int] | None:
        words = re.sub(r"[,;\[\]\s]+", " ", text).split()
        return [int(w) for w in words] if all(map(INTEGER.fullmatch, words)) else None

    def _named(self, numbers: list[int]) -> str:
        """Token ids by their characters; without these, or for padding, as numbers."""
        entries = self.alphabet or ()
        if all(0 <= n < len(entries) and entries[n] for n in numbers):
            return "".join(entries[n][0] for n in numbers)
        return " ".join(map(str, numbers))


def _flat(value: Any) -> Iterator[Any]:
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, list):
            yield from _flat(item)
        else:
            yield item


def _trimmed(text: str, size: int) -> str:
    """Without spaces at its ends, as long as it has too many cells."""
    while len(text) > size and text[0] == " ":
        text = text[1:]
    while len(text) > size and text[-1] == " ":
        text = text[:-1]
    return text
