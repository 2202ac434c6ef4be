"""`python -m trm_runtime MODEL PUZZLES`: solve puzzles on a device, print a line for each.

`python -m trm_runtime doctor` shows what this device can run, and `python -m trm_runtime check`
compares a model with its recorded reference. `python -m trm_runtime serve` is a step server.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_runtime import __version__, isolation
from trm_runtime.display import printable
from trm_runtime.errors import (
    MissingExtraError,
    NonfiniteError,
    TRMError,
    UsageError,
    exit_codes_text,
)
from trm_runtime.failures import (
    CHANGED_GIVENS,
    Parser,
    refuse_names,
    report,
    say,
    warnings_as_lines,
)
from trm_runtime.memory import return_large_blocks
from trm_runtime.message_text import counted
from trm_runtime.streams import StatusLine, open_closed_streams
from trm_runtime.trust import add_options, require
from trm_runtime.try_options import CHOOSE, SIGMA, VARY

if TYPE_CHECKING:
    from trm_runtime.solution import Solution, StepEvent


def _halt(text: str) -> str | float:
    if text in ("learned", "max_steps"):
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected learned, max_steps or a number, got {text!r}"
        ) from None


def _parser() -> Parser:
    parser = Parser(
        prog="python -m trm_runtime",
        description="Solve puzzles with an exported Tiny Recursive Model.",
        epilog="Each line of output: answer, steps, stop reason, q_halt, separated by tabs, and "
        "with --tries the number of tries, their steps and the one that gave the answer, from 0; "
        "it is written as soon as its puzzle and all before it are done. "
        "Other commands: `doctor` shows which engines are installed and what they open; "
        f"`check MODEL GOLDEN` compares a model with a recorded reference; "
        f"`serve MODEL` answers requests for steps. {exit_codes_text()}",
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="exported model, such as model.onnx")
    add(
        "puzzles",
        metavar="PUZZLES",
        help="text file of puzzles, .npz or data-set folder; - is standard input",
    )
    add("--identifiers", metavar="FILE",
        help="text file of puzzle identifiers, one a line (default: the file's, or 0)")  # fmt: skip
    add("--puzzle-table", metavar="FILE",
        help="the model's puzzle embeddings, if they are not beside it")  # fmt: skip
    add("--halt", type=_halt, default="learned", metavar="RULE",
        help="learned (default), max_steps, or a threshold for the halt logit")  # fmt: skip
    add("--max-steps", type=int, metavar="N", help="stop every puzzle after N steps")
    add("--deadline", type=float, metavar="SECONDS", help="stop all puzzles after this time")
    add("--batch-size", type=int, metavar="N", help="puzzles in one batch (default 64)")
    _add_tries(parser)
    add("--threads", type=int, metavar="N", help="threads of the engine (default: its own choice)")
    add("--submission", metavar="FILE", help="write the answers to ARC JSON as a submission")
    add_options(parser)
    add("--json", action="store_true",
        help="print one JSON object with a line for each puzzle, errors included")  # fmt: skip
    add("--version", action="version", version=f"trm-runtime {__version__}")
    return parser


def _add_tries(parser: Parser) -> None:
    add = parser.add_argument
    add("--tries", type=int, default=1, metavar="N",
        help="ask a puzzle without a sure answer again, N times at most (default 1)")  # fmt: skip
    add("--vary", default=VARY[0], metavar="WAY",
        help="how tries differ: symmetry (default), noise or both")  # fmt: skip
    add("--choose", default=CHOOSE[0], metavar="RULE",
        help="the answer among tries: score (default), first or vote")  # fmt: skip
    add("--seed", type=int, default=0, metavar="N", help="of the tries (default 0)")
    add("--sigma", type=float, default=SIGMA, metavar="S",
        help=f"deviation of the noise (default {SIGMA})")  # fmt: skip


def _doctor_parser() -> Parser:
    parser = Parser(
        prog="python -m trm_runtime doctor",
        description="Show which engines are installed, what they open, and what is missing.",
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object, errors included"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    open_closed_streams()
    return_large_blocks()
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser, run, given = _command(given)
    as_json = "--json" in given
    if sorted(given) == ["--json", "--version"]:
        print(json.dumps({"tool": "trm-runtime", "version": __version__}))
        return 0
    try:
        refuse_names(given)
        options = parser.parse_args(given)
        as_json = getattr(options, "json", False)
        if getattr(options, "isolate", False) and not isolation.inside():
            words = sys.argv[1:] if arguments is None else arguments
            return isolation.rerun([sys.executable, "-m", "trm_runtime", *words], as_json=as_json)
        with warnings_as_lines():
            code = _trusting(run, options)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        found = isolation.explained(error)
        if not isinstance(found, (TRMError, OSError, KeyboardInterrupt)):
            if not isolation.inside():
                raise
            found = isolation.failed(found)
        return report(found, as_json)
    return code


def _command(given: list[str]) -> tuple[Parser, Callable[[argparse.Namespace], int], list[str]]:
    """The parser and the function of a command line, and its arguments."""
    if given[:1] == ["doctor"]:
        return _doctor_parser(), _doctor, given[1:]
    if given[:1] == ["check"]:
        from trm_runtime import check_command

        server = any(word.partition("=")[0] == check_command.COMMAND for word in given)
        run = check_command.run_server if server else check_command.run
        return check_command.parser(server=server), run, given[1:]
    if given[:1] == ["serve"]:
        from trm_runtime import serve_command

        return serve_command.parser(), serve_command.run, given[1:]
    return _parser(), _run, given


def _trusting(run: Callable[[argparse.Namespace], int], options: argparse.Namespace) -> int:
    """The command, after what the user demands of its model."""
    if hasattr(options, "model"):
        if options.isolate:
            isolation.confine(options.isolate_memory, options.isolate_seconds)
        require(options.model, sha256=options.expect_sha256, key=options.verify_key)
    return run(options)


def _doctor(options: argparse.Namespace) -> int:
    from dataclasses import asdict

    from trm_runtime.doctor import examine, report_text

    with StatusLine() as line:
        machine = examine(tried=True, tell=line.show)
    print(json.dumps(asdict(machine)) if options.json else report_text(machine))
    return MissingExtraError.exit_code if machine.broken else 0


def _run(options: argparse.Namespace) -> int:
    from trm_runtime.answers import Stream, replace_file
    from trm_runtime.arc_json import submission
    from trm_runtime.loop import solve
    from trm_runtime.open import open_runner
    from trm_runtime.puzzles import arc_questions, read_identifiers, read_inputs
    from trm_runtime.watchdog import ended_after

    with StatusLine() as line:
        line.show(f"Opening {printable(Path(options.model).name)} ...")
        runner = open_runner(options.model, options.threads, options.puzzle_table)
    arc = arc_questions(options.puzzles, runner.contract) if options.submission else None
    if options.submission and arc is None:
        raise UsageError("--submission is for ARC JSON and a model of ARC; drop it.")
    inputs: Any = read_inputs(options.puzzles, runner)
    if options.identifiers is not None:
        inputs["puzzle_identifiers"] = read_identifiers(options.identifiers)
    stream = Stream(sys.stdout, runner.contract, inputs["inputs"], as_json=options.json)
    started = time.monotonic()
    with ended_after(options.deadline, options.model, options.json) as steps:
        progress = _Progress(len(inputs["inputs"]), steps, stream)
        solution = solve(
            runner,
            inputs,
            halt=options.halt,
            max_steps=options.max_steps,
            deadline=options.deadline,
            batch_size=options.batch_size,
            on_step=progress,
            tries=options.tries,
            vary=options.vary,
            choose=options.choose,
            seed=options.seed,
            sigma=options.sigma,
        )
    seconds = time.monotonic() - started
    progress.line.clear()
    stream.finish(solution)
    if arc is not None:
        replace_file(Path(options.submission), submission(arc.questions, solution.answers))
    sys.stdout.flush()
    say(f"{counted(len(solution), 'puzzle')} in {seconds:.2f} s: {solution.stops}")
    for note in _notes(solution, inputs):
        say(note)
    changed = solution.given_kept.count(False)
    if changed:
        verb = "changes a given cell of its" if changed == 1 else "change a given cell of their"
        say(f"{counted(changed, 'answer')} {verb} puzzle")
    if solution.nonfinite:
        error = NonfiniteError(options.model, solution.nonfinite, len(solution))
        say(f"Error: {error}")
        return error.exit_code
    return CHANGED_GIVENS if changed else 0


def _notes(solution: Solution, inputs: Mapping[str, Any]) -> Iterator[str]:
    """What a reader of the answers has to know."""
    contract = solution.contract
    identifiers = inputs.get("puzzle_identifiers")
    several = (contract.num_puzzle_identifiers or 0) > 1
    if several and (identifiers is None or not identifiers.any()):
        yield "all asked under identifier 0"
    if contract.alphabet is None:
        yield "numbers are token ids, because the model has no alphabet"


class _Progress:
    """Writes the answers that are found, and shows how many puzzles are done."""

    def __init__(
        self, total: int, after_step: Callable[[], object], stream: Callable[[StepEvent], object]
    ) -> None:
        self._total, self._done, self.line = total, 0, StatusLine()
        self._after_step, self._stream = after_step, stream

    def __call__(self, event: StepEvent) -> None:
        self._after_step()
        self.line.clear()
        self._stream(event)
        self._done += int(event.finished.sum())
        self.line.show(f"{self._done} of {self._total} puzzles")


if __name__ == "__main__":
    sys.exit(main())
