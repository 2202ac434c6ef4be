"""Functions for the text of messages. Standard library only."""

from __future__ import annotations

import reprlib
import shlex
import shutil
import textwrap
from collections.abc import Sequence

MAX_LISTED = 5
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 60
LONGEST = 499  # characters of the message of a refused file
_LONGEST_HEAD = 300  # of its summary, if problems follow
_LONGEST_LINE = 400  # of a problem
_MOST_PROBLEMS = 100


def first_few(problems: Sequence[str], limit: int = MAX_LISTED) -> list[str]:
    """The first `limit` problems and, if there are more, their number."""
    more = len(problems) - limit
    return [*problems[:limit], *([f"... and {more} more"] if more > 0 else [])]


def first_line(error: BaseException | str) -> str:
    """The first line of an exception or a text, without full stop; its type if it is empty."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
    return printable(line)


def printable(text: str) -> str:
    """The text with escapes for all that a terminal would act on, or that has no encoding."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def clipped(text: str, longest: int) -> str:
    """The text, or its start and its end if it is longer."""
    if len(text) <= longest:
        return text
    half = (longest - 5) // 2
    return f"{text[:half]} ... {text[len(text) - half :]}"


def fitted(summary: str, problems: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Both in printable characters, none of them long: they may quote an untrusted file."""
    lines = [clipped(printable(line), _LONGEST_LINE) for line in problems[:_MOST_PROBLEMS]]
    lines += first_few(problems, _MOST_PROBLEMS)[_MOST_PROBLEMS:]
    return clipped(printable(summary), _LONGEST_HEAD if lines else LONGEST), tuple(lines)


def listing(summary: str, problems: Sequence[str], total: int) -> str:
    """A summary and the first of `total` problems, at most LONGEST characters together."""
    text = summary
    for number, line in enumerate(problems):
        left = total - number
        more = f"\n  - ... and {left} more" if left > 1 else ""
        space = LONGEST - len(text) - len(more) - len("\n  - ")
        if number and len(line) > space:
            return f"{text}\n  - ... and {left} more"
        text = f"{text}\n  - {clipped(line, space)}"
    left = total - len(problems)
    return f"{text}\n  - ... and {left} more" if problems and left > 0 else text


def argument(path: object) -> str:
    """A path in a command line, where a leading dash would begin an option."""
    text = str(path)
    return f"./{text}" if text.startswith("-") else text


def quoted(path: object) -> str:
    """A path in a command line of a shell."""
    return shlex.quote(argument(path))


def counted(count: int, noun: str) -> str:
    """`1 puzzle`, `2 puzzles`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def rows_text(count: int, kind: str) -> str:
    """How many rows of that kind: `2000 puzzles`, `1 puzzle`, `2 puzzles, all of one`."""
    noun, comma, rest = kind.partition(",")
    return f"{counted(count, 'puzzle')}{comma}{rest}" if noun == "puzzles" else f"{count} {kind}"


def shown(value: object) -> str:
    """A value of an untrusted file for a message: at most some hundred characters of its repr.

    Its full repr may be larger than the memory, where the value has one part many times.
    """
    try:
        return _SHORT.repr(value)
    except ValueError:  # Python writes no integer of more than 4,300 digits
        return "an integer of many digits"


def wrapped(text: str, indent: int = 0) -> list[str]:
    """The text in lines as wide as the terminal, broken between words, all but the first indented.

    Of 80 characters where standard output is none.
    """
    columns = shutil.get_terminal_size().columns
    return textwrap.wrap(
        text, columns, subsequent_indent=" " * indent, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip
