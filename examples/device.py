"""A program of your own on a device: answers boards as they come, one line each.

    python examples/device.py model.tflite < boards.txt

Needs `trm-runtime` with one engine, and no Keras. The file is opened once. A board gets at most two
seconds; an answer of which the model is not sure, because it did not halt by itself, is marked.
Ends with the exit codes of `python -m trm_runtime`, 4 if a line was refused.
"""

from __future__ import annotations

import sys
from typing import TextIO

from trm_runtime import RejectedInputError, TRMError, open_runner, solve

DEADLINE = 2.0  # seconds for a board


def main(model: str, boards: TextIO) -> int:
    """Prints a line for each board: `yes` or `no` for sure or not, the answer, and its steps.

    Returns the exit code.
    """
    runner, code = open_runner(model, threads=1), 0
    for line in boards:
        try:
            solution = solve(runner, line.strip(), deadline=DEADLINE)
        except RejectedInputError as error:  # not a board of this model; the program goes on
            print("refused:", " ".join(str(error).split()), flush=True)
            code = error.exit_code
            continue
        sure = "yes" if solution.stop_reasons[0] == "halted" else "no"
        print(sure, solution.texts[0], solution.steps[0], flush=True)
    return code


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("Usage: python examples/device.py MODEL < BOARDS", file=sys.stderr)
        sys.exit(2)
    try:
        with open(0, encoding="utf-8", errors="replace") as given:
            sys.exit(main(sys.argv[1], given))
    except TRMError as error:  # no such file, a damaged one, or no engine for it
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
