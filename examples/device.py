"""A program of your own on a device: answers boards as they come, one line each.

    python examples/device.py model.tflite < boards.txt

Needs `trm-runtime` with one engine, and no Keras. The file is opened once. A board gets at most two
seconds; an answer of which the model is not sure, because it did not halt by itself, is marked.
"""

from __future__ import annotations

import sys
from typing import TextIO

from trm_runtime import RejectedInputError, open_runner, solve

DEADLINE = 2.0  # seconds for a board


def main(model: str, boards: TextIO) -> None:
    """Prints a line for each board: `yes` or `no` for sure or not, the answer, and its steps."""
    runner = open_runner(model, threads=1)
    for line in boards:
        try:
            solution = solve(runner, line.strip(), deadline=DEADLINE)
        except RejectedInputError as error:  # not a board of this model; the program goes on
            print("refused:", " ".join(str(error).split()), flush=True)
            continue
        sure = "yes" if solution.stop_reasons[0] == "halted" else "no"
        print(sure, solution.texts[0], solution.steps[0], flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.stdin)
