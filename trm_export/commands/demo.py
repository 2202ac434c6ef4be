"""`trm-export demo`: the whole road in one command, on a shipped checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trm_export.commands.support.options import AsJson

if TYPE_CHECKING:
    from trm_export.tasks import PuzzleSet, Task
    from trm_runtime.runner import StepRunner

BLANKS = {"sudoku9": 50}  # of the puzzles; elsewhere the task's default


def demo(
    name: Annotated[
        str,
        typer.Argument(
            metavar="[TASK]", help="Whose checkpoint: sudoku9, sudoku4, maze9 or maze11."
        ),
    ] = "sudoku9",
    count: Annotated[int, typer.Option(min=1, help="Puzzles to solve and to compare on.")] = 100,
    as_json: AsJson = False,
) -> None:
    """Export a shipped model, watch it think on ONNX Runtime, compare it with Keras."""
    from trm_export.api.frameworks import load_keras
    from trm_export.checkpoints.shipped import shipped_checkpoint
    from trm_export.commands.support.console import emit, progress, remark
    from trm_export.tasks import get_task

    task = get_task(name)
    source = shipped_checkpoint(name)
    remark(f"1. Loading {source.name} and exporting one ACT step to ONNX ...")
    load_keras()
    from trm_export.checkpoints.loading import load_model
    from trm_export.exporters.export import export, format_named
    from trm_export.exporters.probe import probe_puzzles
    from trm_export.step.keras_runner import KerasRunner
    from trm_runtime import open_runner
    from trm_runtime.parity import compare

    model = load_model(source)
    target = Path("artifacts") / f"{name}.onnx"
    made = export(model, target, probe_puzzles(model), format_named("onnx"))
    puzzles = task.puzzles("test", BLANKS.get(name), count)
    runner = open_runner(made.path)
    remark(f"2. Solving {count} unseen puzzles{_hardness(name)} on ONNX Runtime alone ...")
    written = _write(task, puzzles, target.with_name(f"{name}-puzzles.txt"))
    solved = _solve(task, runner, puzzles)
    if not as_json:
        _watch(task, runner, puzzles, solved.pop("longest"))
    remark("3. Comparing every step with Keras ...")
    with progress("Parity") as advance:
        result = compare(
            KerasRunner(model), runner, puzzles,
            progress=lambda done, total: advance(100 * done / total),
        )  # fmt: skip
    if as_json:
        solved.pop("longest")
        emit({"model": source, "export": made.path, "contract": made.sidecar,
              "puzzle_file": written, **solved, "parity": result.to_json()})  # fmt: skip
    else:
        _report(solved, result.verdict, made, written)
    if not result:
        from trm_export.errors import ParityError

        raise ParityError(result.verdict)


def _hardness(name: str) -> str:
    return f" with {BLANKS[name]} blanks" if name in BLANKS else ""


def _write(task: Task, puzzles: PuzzleSet, path: Path) -> Path:
    """The puzzles as the device's command line reads them: one a line, dots for blanks."""
    from trm_export import TOOL
    from trm_export.files import atomic_write

    signs = ["?", *(characters[:1] for characters in task.alphabet[1:])]
    lines = ["".join(signs[token] for token in row) for row in puzzles.inputs.tolist()]
    if "#" not in signs:  # where it is a cell, a file has no remarks
        lines.insert(0, f"# {TOOL} demo: one puzzle a line, row by row; ., 0 or _ is a blank")
    with atomic_write(path) as new:
        new.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _python() -> str:
    """This interpreter as one would type it here."""
    import sys

    python = Path(sys.executable)
    return str(python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python)


def _solve(task: Task, runner: StepRunner, puzzles: PuzzleSet) -> dict[str, Any]:
    import numpy as np

    from trm_runtime import solve

    solution = solve(runner, puzzles.inputs)
    exact = task.check(puzzles.inputs, solution.answers, puzzles.solutions).exact
    by_length = np.where(exact, solution.steps, 0)
    return {
        "puzzles": len(puzzles),
        "exact": int(exact.sum()),
        "mean_steps": float(solution.steps.mean()),
        "max_steps": runner.contract.max_steps,
        "longest": int(by_length.argmax()),  # the solved puzzle that took the most thinking
    }


def _watch(task: Task, runner: StepRunner, puzzles: PuzzleSet, row: int) -> None:
    """Shows one puzzle's board after every thinking step, three boards abreast."""
    from rich.columns import Columns
    from rich.console import Group
    from rich.text import Text

    from trm_export.commands.support.console import stdout
    from trm_export.commands.support.terminal_boards import board_text
    from trm_runtime import solve
    from trm_runtime.solution import StepEvent

    clues, label = puzzles.inputs[row], puzzles.solutions[row]
    boards: list[Any] = []
    before = clues

    def keep(event: StepEvent) -> None:
        nonlocal before
        answer = event.answers[0]
        wrong = int((answer != label).sum())
        state = "solved" if not wrong else f"{wrong} cells wrong"
        done = " - halts" if event.finished[0] else ""
        title = Text(f"step {int(event.steps[0])}: {state}{done}\nq_halt {event.q_halt[0]:+.1f}")
        boards.append(Group(title, board_text(task, clues, answer, before), Text("")))
        before = answer

    solve(runner, puzzles.inputs[row : row + 1], on_step=keep)
    console = stdout()
    console.print(Text("The puzzle that took the most thinking; what is new is highlighted."))
    console.print(Columns(boards, padding=(0, 2)), soft_wrap=False)


def _report(solved: dict[str, Any], verdict: str, export: Any, puzzles: Path) -> None:
    from trm_export.commands.support.console import bytes_text, show_table

    show_table(
        "Verdict",
        [
            ("solved", f"{solved['exact']} of {solved['puzzles']}, in {solved['mean_steps']:.1f} "
                       f"steps on average (of at most {solved['max_steps']})"),
            ("parity", verdict),
            ("forced error", f"{export.forced_error:.1e} relative, worst tensor of the export"),
            ("model", f"{export.path} ({bytes_text(export.bytes)})"),
            ("contract", str(export.sidecar)),
        ],
    )  # fmt: skip
    print(f"\nRun it on these puzzles:\n{_python()} -m trm_runtime {export.path} {puzzles}")
