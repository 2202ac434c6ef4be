"""`trm-export demo`: the whole road in one command, on a shipped checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import PUZZLES, AsJson

if TYPE_CHECKING:
    from trm_export import ExportResult
    from trm_export.api.demonstration import Solved, Task

_Name = Annotated[
    str,
    typer.Argument(metavar="TASK", help="Whose checkpoint: sudoku9, sudoku4, maze9 or maze11."),
]
_Count = Annotated[
    int,
    typer.Option(
        min=1, metavar="N", help="Puzzles to solve and to compare on.", rich_help_panel=PUZZLES
    ),
]


@examples("trm-export demo", "trm-export demo maze9 --count 20")
def demo(name: _Name = "sudoku9", count: _Count = 100, as_json: AsJson = False) -> None:
    """Export a shipped model, watch it think on ONNX Runtime, compare it with Keras."""
    from trm_export.api.demonstration import Demonstration
    from trm_export.commands.support.console import emit, remark, stages
    from trm_export.errors import ParityError

    road = Demonstration(name, count)
    remark(f"1. Loading {road.source.name} and exporting one ACT step to ONNX ...")
    made = road.export()
    remark(f"2. Solving {count} unseen puzzles{road.hardness} on ONNX Runtime alone ...")
    solved = road.solve(made.path)
    if not as_json:
        _watch(road.task, solved)
    remark("3. Comparing every step with Keras ...")
    with stages() as advance:
        found = road.compare(made.path, advance)
    if as_json:
        files = {"model": road.source, "export": made.path, "contract": made.sidecar}
        emit({**files, **solved.to_json(), "parity": found.results[0].to_json()})
    else:
        _report(solved, found.results[0].verdict, made)
    if not found:
        raise ParityError(found.results[0].verdict)


def _watch(task: Task, solved: Solved) -> None:
    """Shows one puzzle's board after every step, three boards abreast."""
    from rich.columns import Columns
    from rich.console import Group
    from rich.text import Text

    from trm_export.commands.support.console import stdout
    from trm_export.commands.support.terminal_boards import board_text

    boards = [
        Group(Text(one.title), board_text(task, solved.clues, one.answer, one.before), Text(""))
        for one in solved.thoughts
    ]
    console = stdout()
    console.print(Text("The puzzle that took the most thinking; what is new is highlighted."))
    console.print(Columns(boards, padding=(0, 2)), soft_wrap=False)


def _report(solved: Solved, verdict: str, made: ExportResult) -> None:
    from trm_export.commands.support.console import bytes_text, show_table

    steps = f"{solved.mean_steps:.1f} steps on average (of at most {solved.max_steps})"
    rows = [
        ("solved", f"{solved.exact} of {solved.puzzles}, in {steps}"),
        ("parity", verdict),
        ("forced error", f"{made.forced_error:.1e} relative, worst tensor of the export"),
        ("model", f"{made.path} ({bytes_text(made.bytes)})"),
        ("contract", str(made.sidecar)),
    ]
    show_table("Verdict", rows)
    print(
        f"\nRun it on these puzzles:\n{_python()} -m trm_runtime {made.path} {solved.puzzle_file}"
    )


def _python() -> str:
    """This interpreter as one would type it here."""
    import sys
    from pathlib import Path

    python = Path(sys.executable)
    return str(python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python)
