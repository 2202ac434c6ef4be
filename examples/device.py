"""A program of your own on a device: answers boards as they come, one line each.

    python examples/device.py model.tflite < boards.txt

Needs `trm-runtime` with one engine, and no Keras. The file is opened once. A line may be anything
that is a board a line for `python -m trm_runtime`, a comment too. A board gets at most two seconds;
an answer of which the model is not sure, or that changes a given cell, is marked.
Ends with the exit codes of `python -m trm_runtime`, 4 if a line was refused.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TextIO

from trm_runtime import RejectedInputError, TRMError, open_runner, solve
from trm_runtime.board_text import BoardSigns
from trm_runtime.failures import answers_code, report
from trm_runtime.puzzle_formats import board_each
from trm_runtime.puzzles import inputs_of_each

DEADLINE = 2.0  # seconds for a board


def main(model: str, boards: TextIO) -> int:
    """Prints a line for each board: `yes` or `no` for sure or not, the answer, and its steps.

    Returns the exit code.
    """
    runner, reasons, changed, refused = open_runner(model, threads=1), Counter[str](), 0, 0
    signs = BoardSigns(runner.contract.alphabet, (runner.contract.seq_len,))
    for board in board_each(enumerate(boards, start=1), signs):
        try:
            (inputs,) = inputs_of_each([board], runner.contract, "standard input")
        except RejectedInputError as error:  # not a board of this model; the program goes on
            print("refused:", " ".join(str(error).split()), flush=True)
            refused = error.exit_code
            continue
        solution = solve(runner, inputs, deadline=DEADLINE)
        wrong = solution.given_kept[0] is False
        sure = "yes" if solution.stop_reasons[0] == "halted" and not wrong else "no"
        print(sure, solution.texts[0], solution.steps[0], flush=True)
        reasons.update(solution.stop_reasons)
        changed += wrong
    return refused or answers_code(reasons, changed)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("Usage: python examples/device.py MODEL < BOARDS", file=sys.stderr)
        sys.exit(2)
    try:
        with open(0, encoding="utf-8", errors="replace") as given:
            sys.exit(main(sys.argv[1], given))
    except (TRMError, OSError, KeyboardInterrupt) as error:  # such as no file, or no reader
        sys.exit(report(error, as_json=False))
