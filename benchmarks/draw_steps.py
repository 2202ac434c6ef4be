"""Draw how a shipped Sudoku model fills a board in, step by step, as an SVG.

    python benchmarks/draw_steps.py docs/images/sudoku9-steps.svg

The puzzle is the first of 200 test puzzles with 50 blanks that the exported model solves in exactly
`STEPS` steps. Grey: given; blue: right; red: wrong; bold: changed by this step.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import trm_export as te
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.tasks import get_task
from trm_runtime import open_runner, solve
from trm_runtime.judging import exact
from trm_runtime.solution import StepEvent

STEPS, BLANKS, COUNT = 4, 50, 200
SIZE, BOX, CELL, GAP, HEAD = 9, 3, 22, 26, 30  # cells a side, cells a box, then pixels
GIVEN, RIGHT, WRONG, LINE = "#6b7280", "#1d4ed8", "#dc2626", "#9ca3af"


def boards_of_a_puzzle() -> tuple[list[tuple[str, Any]], Any, Any]:
    """(title, tokens) of the puzzle and of each step, its clues and its solution, (S,) int32."""
    puzzles = get_task("sudoku9").puzzles("test", BLANKS, COUNT)
    with tempfile.TemporaryDirectory() as folder:
        path = te.export(shipped_checkpoint("sudoku9"), Path(folder, "m.onnx")).path
        runner = open_runner(path)
    found = solve(runner, puzzles.inputs)
    right = exact(found.answers, puzzles.targets) & (found.steps == STEPS)
    row = int(right.argmax())
    if not right[row]:
        raise SystemExit(f"No puzzle is solved in {STEPS} steps.")
    clues, solution = puzzles.inputs[row], puzzles.solutions[row]
    boards = [("the puzzle", clues)]

    def keep(event: StepEvent) -> None:
        wrong = int((event.answers[0] != solution).sum())
        state = f"{wrong} wrong" if wrong else "solved, halts" if event.finished[0] else "solved"
        boards.append((f"step {event.steps[0]}: {state}", event.answers[0]))

    solve(runner, clues[None], on_step=keep)
    return boards, clues, solution


def svg(boards: list[tuple[str, Any]], clues: Any, solution: Any) -> str:
    """The boards beside each other."""
    side = SIZE * CELL
    width, height = len(boards) * (side + GAP) + GAP, HEAD + side + GAP // 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="Helvetica, Arial, sans-serif" '
        'text-anchor="middle">',
        f"<title>{', '.join(title for title, _ in boards)}</title>",
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    before = clues
    for index, (title, tokens) in enumerate(boards):
        left = GAP + index * (side + GAP)
        parts += [f'<g transform="translate({left} {HEAD})">', _frame()]
        parts.append(f'<text x="{side / 2}" y="-9" font-size="14" fill="#111827">{title}</text>')
        parts += _digits(tokens, before, clues, solution)
        parts.append("</g>")
        before = tokens
    return "\n".join([*parts, "</svg>\n"])


def _frame() -> str:
    """The lines of a board; those of the boxes are thicker."""
    side = SIZE * CELL
    lines = {True: "", False: ""}
    for at in range(SIZE + 1):
        lines[at % BOX == 0] += f"M0 {at * CELL}H{side}M{at * CELL} 0V{side}"
    return (
        f'<path d="{lines[False]}" stroke="{LINE}" stroke-width=".5"/>'
        f'<path d="{lines[True]}" stroke="#374151" stroke-width="1.5"/>'
    )


def _digits(tokens: Any, before: Any, clues: Any, solution: Any) -> list[str]:
    found = []
    for cell, token in enumerate(tokens.tolist()):
        if token < 2:  # a blank; 2 is the digit 1
            continue
        colour = GIVEN if clues[cell] == token else RIGHT if solution[cell] == token else WRONG
        bold = ' font-weight="bold"' if token != before[cell] else ""
        x, y = (cell % SIZE + 0.5) * CELL, (cell // SIZE + 0.73) * CELL
        found.append(
            f'<text x="{x:g}" y="{y:g}" font-size="14" fill="{colour}"{bold}>{token - 1}</text>'
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(svg(*boards_of_a_puzzle()), encoding="utf-8")


if __name__ == "__main__":
    main()
