"""Puzzles on standard input as they arrive: a line is there to be solved before the next one is.

Only for a board a line from a pipe or a terminal. The lines that have arrived together are a group.
Everything else, such as a redirected file, a grid or JSON, is read to its end and is one group.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from trm_runtime.board_text import BoardSigns
from trm_runtime.contract import StepContract
from trm_runtime.errors import RejectedInputError, reading
from trm_runtime.puzzle_formats import board_each, is_board
from trm_runtime.puzzle_source import LONGEST, numbered_lines
from trm_runtime.puzzles import inputs_in, inputs_of_each

Array = np.ndarray[Any, Any]

_NAME = "standard input"
_CHUNK = 1 << 20  # bytes, at most, of a group
_ENDS = re.compile("\r\n|\r|\n")


def inputs_arriving(contract: StepContract) -> Iterator[dict[str, Array]]:
    """The inputs of a model from standard input, a group as soon as it has arrived.

    Raises RejectedInputError as `read_inputs` does, but for a bad line of a later group only after
    the groups before it.
    """
    signs, begun = BoardSigns(contract.alphabet, (contract.seq_len,)), b""
    if _waits_for_a_writer():
        begun, line = _beginning(signs)
        if is_board(line, signs):
            yield from _groups(begun, signs, contract)
            return
    yield inputs_in(numbered_lines("-", _NAME, begun), contract, _NAME)


def _waits_for_a_writer() -> bool:
    try:
        return not stat.S_ISREG(os.fstat(sys.stdin.fileno()).st_mode)
    except (OSError, ValueError, AttributeError):  # a closed one, or none of the system's
        return False


def _beginning(signs: BoardSigns) -> tuple[bytes, str]:
    """What has arrived when the first line is complete, and that line, without comments."""
    data = b""
    while len(data) <= LONGEST and (chunk := _arrived()):
        data += chunk
        for line in data[: data.rfind(b"\n") + 1].split(b"\n"):
            text = line.decode("utf-8-sig", "replace").rstrip("\r")
            if text.strip() and not signs.is_comment(text):
                return data, text
    return data, ""


def _groups(data: bytes, signs: BoardSigns, contract: StepContract) -> Iterator[dict[str, Array]]:
    number, more = 0, True
    while more or data:
        end = data.rfind(b"\n") + 1 if more else len(data)
        text, data = data[:end].decode("utf-8-sig", "replace"), data[end:]
        lines = _ENDS.split(text[:-1] if text.endswith("\n") else text) if text else []
        boards = list(board_each(enumerate(lines, start=number + 1), signs))
        number += len(lines)
        yield from inputs_of_each(boards, contract, _NAME)
        if len(data) > LONGEST:
            raise RejectedInputError(
                f"{_NAME} line {number + 1}: more than {LONGEST} characters, expected one puzzle a "
                "line."
            )
        if more:
            chunk = _arrived()
            data, more = data + chunk, bool(chunk)


def _arrived() -> bytes:
    """What is there, or what comes next; empty at the end."""
    source: Any = sys.stdin.buffer
    with reading(_NAME):
        return bytes(source.read1(_CHUNK))
