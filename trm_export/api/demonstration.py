"""The demo on a shipped checkpoint: export, solve as on a device, compare with Keras."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, final

from trm_export.api.arguments import ARTIFACTS, Progress, ignore
from trm_export.api.comparing import compare
from trm_export.api.comparison import Comparison
from trm_export.api.exporting import export
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.files import atomic_write
from trm_export.tasks import PuzzleSet, Task, get_task
from trm_export.version import TOOL
from trm_runtime import StepRunner, open_runner, solve
from trm_runtime.json_values import json_object
from trm_runtime.message_text import counted
from trm_runtime.solution import StepEvent

if TYPE_CHECKING:
    from trm_export.exporters.export_result import ExportResult

__all__ = ["Demonstration", "Solved", "StepBoard", "Task"]

BLANKS = {"sudoku9": 50}  # of the puzzles; elsewhere the task's default


@dataclass(frozen=True)
class StepBoard:
    """One puzzle after one step.

    Attributes:
        title: step, mistakes and halting score in words.
        answer, before: (S,) int32 tokens, now and a step ago.
    """

    title: str
    answer: Any
    before: Any


@dataclass(frozen=True)
class Solved:
    """Unseen puzzles, solved with the engine of the device only."""

    puzzle_file: Path
    puzzles: int
    exact: int
    mean_steps: float
    max_steps: int
    clues: Any  # (S,) int32 tokens of the solved puzzle that took the most steps
    solution: Any  # (S,) int32 tokens of it
    step_boards: tuple[StepBoard, ...]  # of that puzzle

    def to_json(self) -> dict[str, Any]:
        """The figures, without the boards."""
        left_out = ("clues", "solution", "step_boards")
        return json_object({k: value for k, value in vars(self).items() if k not in left_out})


@final
class Demonstration:
    """The three parts of the demo, to be called one after the other.

    Attributes:
        task: the task of the puzzles.
        source: the shipped checkpoint.
    """

    def __init__(self, name: str, count: int) -> None:
        self.source = shipped_checkpoint(name)
        self.task: Task = get_task(name)
        self._name, self._count = name, count

    @property
    def hardness(self) -> str:
        """The difficulty of the puzzles, in words; empty for the task's default."""
        return f" with {BLANKS[self._name]} blanks" if self._name in BLANKS else ""

    def export(self, progress: Progress = ignore) -> ExportResult:
        """One ACT step of the model in ONNX."""
        return export(self.source, ARTIFACTS / f"{self._name}.onnx", progress=progress)

    def solve(self, path: Path, progress: Progress = ignore) -> Solved:
        """The puzzles, solved with the exported file; they are written beside it as text."""
        puzzles = self._puzzles()
        runner = open_runner(path)
        done = 0

        def count_up(event: StepEvent) -> None:
            nonlocal done
            done += int(event.finished.sum())
            progress(done / len(puzzles), "Solving")

        solution = solve(runner, puzzles.inputs, on_step=count_up)
        exact = self.task.check(puzzles.inputs, solution.answers, puzzles.solutions).exact
        row = int((exact * solution.steps).argmax())
        return Solved(
            puzzle_file=_written(self.task, puzzles, path.with_name(f"{self._name}-puzzles.txt")),
            puzzles=len(puzzles),
            exact=int(exact.sum()),
            mean_steps=float(solution.steps.mean()),
            max_steps=runner.contract.max_steps,
            clues=puzzles.inputs[row],
            solution=puzzles.solutions[row],
            step_boards=_step_boards(runner, puzzles, row),
        )

    def compare(self, path: Path, progress: Progress = ignore) -> Comparison:
        """Every step of the file against Keras on the same puzzles."""
        puzzles = self._puzzles()
        return compare(self.source, path, puzzles=puzzles, count=len(puzzles), progress=progress)

    def _puzzles(self) -> PuzzleSet:
        return self.task.puzzles("test", BLANKS.get(self._name), self._count)


def _written(task: Task, puzzles: PuzzleSet, path: Path) -> Path:
    """The puzzles as the device's command line reads them: one a line, dots for blanks."""
    signs = ["?", *(characters[:1] for characters in task.alphabet[1:])]
    lines = ["".join(signs[token] for token in row) for row in puzzles.inputs.tolist()]
    if "#" not in signs:  # if it is a cell, a file has no comments
        lines.insert(0, f"# {TOOL} demo: one puzzle a line, row by row; ., 0 or _ is a blank")
    with atomic_write(path) as new:
        new.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _step_boards(runner: StepRunner, puzzles: PuzzleSet, row: int) -> tuple[StepBoard, ...]:
    """The answer to one puzzle after every step."""
    found: list[StepBoard] = []

    def keep(event: StepEvent) -> None:
        answer = event.answers[0]
        wrong = int((answer != puzzles.solutions[row]).sum())
        state = "solved" if not wrong else f"{counted(wrong, 'cell')} wrong"
        done = " - halts" if event.finished[0] else ""
        title = f"step {int(event.steps[0])}: {state}{done}\nq_halt {event.q_halt[0]:+.1f}"
        found.append(StepBoard(title, answer, found[-1].answer if found else puzzles.inputs[row]))

    solve(runner, puzzles.inputs[row : row + 1], on_step=keep)
    return tuple(found)
