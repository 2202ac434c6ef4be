"""`trm-export demo`: export, solve and compare in one command, with a shipped checkpoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import PUZZLES, AsJson

if TYPE_CHECKING:
    from rich.text import Text

    from trm_export import ExportResult
    from trm_export.api.demonstration import Solved, StepBoard, Task

_Name = Annotated[
    str,
    typer.Argument(
        metavar="TASK", help="The task of the checkpoint: sudoku9, sudoku4, maze9 or maze11."
    ),
]
_Count = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="Number of puzzles to solve and to compare on.",
        rich_help_panel=PUZZLES,
    ),
]


@examples("trm-export demo", "trm-export demo maze9 --count 20")
def demo(name: _Name = "sudoku9", count: _Count = 100, as_json: AsJson = False) -> None:
    """Export a shipped model, show its steps on ONNX Runtime, compare it with Keras."""
    from trm_export.api.demonstration import Demonstration
    from trm_export.commands.support.console import emit, progress, remark
    from trm_export.errors import ParityError
    from trm_runtime.message_text import counted

    demonstration = Demonstration(name, count)
    remark(f"1. Loading {demonstration.source.name} and exporting one ACT step to ONNX ...")
    with progress() as advance:
        exported = demonstration.export(advance)
    puzzles = counted(count, "unseen puzzle")
    remark(f"2. Solving {puzzles}{demonstration.hardness} on ONNX Runtime only ...")
    with progress("Solving") as advance:
        solved = demonstration.solve(exported.path, advance)
    if not as_json:
        _show_steps(demonstration.task, solved)
    remark("3. Comparing every step with Keras ...")
    with progress("Comparing") as advance:
        comparison = demonstration.compare(exported.path, advance)
    result = comparison.results[0]
    if as_json:
        files = {
            "model": demonstration.source,
            "export": exported.path,
            "contract": exported.sidecar,
        }
        emit({**files, **solved.to_json(), "parity": result.to_json()})
    else:
        _report(solved, result.verdict, exported)
    if not comparison:
        raise typer.Exit(ParityError.exit_code)


def _show_steps(task: Task, solved: Solved) -> None:
    """Shows one puzzle's board after every step, several boards in a line."""
    from rich.columns import Columns
    from rich.console import Group
    from rich.text import Text

    from trm_export.commands.support.console import stdout
    from trm_export.commands.support.terminal_boards import board_text

    def board(one: StepBoard) -> Text:
        return board_text(task, solved.clues, one.answer, one.before, solved.solution)

    boards = [Group(Text(one.title), board(one), Text("")) for one in solved.step_boards]
    console = stdout()
    said = "The solved puzzle that took the most steps; changed cells are green, wrong ones red."
    console.print(Text(said))
    console.print(Columns(boards, padding=(0, 2)), soft_wrap=False)


def _report(solved: Solved, verdict: str, exported: ExportResult) -> None:
    from trm_export.commands.support.console import bytes_text, show_table

    steps = f"{solved.mean_steps:.1f} steps on average (of at most {solved.max_steps})"
    rows = [
        ("solved", f"{solved.exact} of {solved.puzzles}, in {steps}"),
        ("parity", verdict),
        ("forced error", f"{exported.forced_error:.1e} relative L2, largest of all tensors"),
        ("model", f"{exported.path} ({bytes_text(exported.bytes)})"),
        ("contract", str(exported.sidecar)),
    ]
    show_table("Verdict", rows)
    print(
        "\nRun it on these puzzles:\n"
        f"{_python()} -m trm_runtime {exported.path} {solved.puzzle_file}"
    )


def _python() -> str:
    """The path of this interpreter, relative if possible."""
    import sys
    from pathlib import Path

    python = Path(sys.executable)
    return str(python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python)
