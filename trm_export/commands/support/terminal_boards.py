"""Boards in a terminal, in the colours of their task."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.text import Text

    from trm_export.api.evaluating import Boards


def show_boards(task: Boards, boards: Iterable[tuple[Any, Any, str]]) -> None:
    """Print puzzles with their answers, each (input, answer, title), to stdout."""
    from rich.text import Text

    from trm_export.commands.support.console import stdout

    for inputs, answer, title in boards:
        stdout().print(Text(f"\n{title}"))
        stdout().print(board_text(task, inputs, answer, inputs), soft_wrap=False)


def board_text(
    task: Boards, inputs: Any, answer: Any = None, before: Any = None, solution: Any = None
) -> Text:
    """One board, given cells bold, those that differ from `before` green, from `solution` red.

    All are (S,) tokens. A board with colours of its own is shown in those.
    """
    from rich.text import Text

    text, open_cells = Text(), task.blank_cells(inputs)
    for piece in task.draw(inputs, answer):
        if piece.cell is None:
            style = "dim"
        elif piece.colour is not None:
            style = f"on {piece.colour}"
        elif not open_cells[piece.cell]:
            style = "bold"
        else:
            new = before is not None and answer[piece.cell] != before[piece.cell]
            wrong = solution is not None and answer[piece.cell] != solution[piece.cell]
            style = "red" if wrong else "green" if new else ""
        text.append(piece.text, style=style)
    return text
