"""`python -m trm_runtime MODEL PUZZLES`: solve puzzles, print a line for each."""

from __future__ import annotations

import argparse
import difflib
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_runtime import __version__
from trm_runtime.display import printable
from trm_runtime.errors import NonfiniteError, UsageError, exit_codes_text
from trm_runtime.failures import Parser, add_engine_options, answers_code, say
from trm_runtime.message_text import counted
from trm_runtime.streams import StatusLine, has_no_reader
from trm_runtime.trust import add_options, require_options
from trm_runtime.try_options import HALT, SIGMA, tries_asked

if TYPE_CHECKING:
    from trm_runtime.answers import Stream
    from trm_runtime.arc_json import ArcQuestions
    from trm_runtime.contract import StepContract
    from trm_runtime.runner import StepRunner
    from trm_runtime.solution import Solution, StepEvent


_OTHERS = ("doctor", "check", "serve")  # commands
HOST_COMMANDS = (
    "demo", "train", "import", "export", "onnx", "tflite", "saved-model", "c", "all", "parity",
    "reference", "vectors", "report", "tune", "plan", "bench", "profile", "evaluate", "inspect",
    "sign", "verify",
)  # fmt: skip
"""Commands of `trm-export`, and what some call `trm-export onnx`."""


def _halt(text: str) -> str | float:
    if text in HALT:
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"expected {', '.join(HALT)} or a number, got {text!r}"
        ) from None


def _model(text: str) -> str:
    if text == "solve" and not Path(text).exists():
        raise UsageError(
            "solve: there is no such file; solving needs no word: "
            "`python -m trm_runtime MODEL PUZZLES`."
        )
    if text in HOST_COMMANDS and not Path(text).exists():
        name = "onnx" if text == "export" else text
        raise UsageError(
            f"{text}: there is no such file; it is a command of the host: `trm-export {name}`."
        )
    near = difflib.get_close_matches(text, _OTHERS, n=1)
    if near and Path(text).name == text and not Path(text).exists():
        raise UsageError(
            f"{text}: there is no such file; the command is `python -m trm_runtime {near[0]}`."
        )
    return text


def parser() -> Parser:
    """The options of the command."""
    command = Parser(
        prog="python -m trm_runtime",
        description="Solve puzzles with an exported Tiny Recursive Model.",
        epilog="Each line of output: answer, steps, stop reason, q_halt, separated by tabs, and "
        "with --tries the number of tries, their steps and the one that gave the answer, from 0, "
        "with --abstain the confidence; "
        "it is written as soon as its puzzle and all before it are done. "
        "Other commands: `doctor` shows which engines are installed and what they open; "
        f"`check MODEL GOLDEN` compares a model with a recorded reference; "
        f"`serve MODEL` answers requests for steps. {exit_codes_text()}",
    )
    add = command.add_argument
    add("model", type=_model, metavar="MODEL", help="exported model, such as model.onnx")
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
        help="learned (default), max_steps, settled, both, or a threshold for the halt "
        "logit")  # fmt: skip
    add("--settled", type=float, metavar="X",
        help="threshold of how far states move in a step (default: the file's)")  # fmt: skip
    add("--abstain", type=float, metavar="P",
        help="answer unknown where an answer is right with a probability below P")  # fmt: skip
    add("--max-steps", type=int, metavar="N", help="stop every puzzle after N steps")
    add("--deadline", type=float, metavar="SECONDS", help="stop all puzzles after this time")
    add("--deadline-each", type=float, metavar="SECONDS",
        help="stop a puzzle this long after it was begun")  # fmt: skip
    add("--batch-size", type=int, metavar="N", help="puzzles in one batch (default 64)")
    _add_tries(command)
    add_engine_options(command)
    add("--submission", metavar="FILE", help="write the answers to ARC JSON as a submission")
    add_options(command)
    add("--json", action="store_true",
        help="print one JSON object with a line for each puzzle, errors included")  # fmt: skip
    add("--version", action="version", version=f"trm-runtime {__version__}")
    return command


def _add_tries(command: Parser) -> None:
    add = command.add_argument
    add("--tries", type=int, default=1, metavar="N",
        help="ask a puzzle without a sure answer again, N times at most (default 1)")  # fmt: skip
    add("--vary", metavar="WAY",
        help="how tries differ: symmetry (default), noise or both")  # fmt: skip
    add("--choose", metavar="RULE",
        help="the answer among tries: score (default), first or vote")  # fmt: skip
    add("--seed", type=int, metavar="N", help="of the tries (default 0)")
    add("--sigma", type=float, metavar="S",
        help=f"deviation of the noise (default {SIGMA})")  # fmt: skip


def _tries(options: argparse.Namespace) -> dict[str, Any]:
    given = {name: getattr(options, name) for name in ("vary", "choose", "seed", "sigma")}
    return tries_asked(options.tries, **given)


def run(options: argparse.Namespace) -> int:
    """Solve the puzzles, and write each answer as soon as it is found; returns the exit code."""
    from trm_runtime.answers import Stream, replace_file
    from trm_runtime.arc_submission import refuse_target, submission
    from trm_runtime.cores import check_threads
    from trm_runtime.open import open_runner, runner_contract
    from trm_runtime.puzzles import arc_questions, can_have_arc

    require_options(options)
    if options.puzzles == options.identifiers == "-":
        raise UsageError(
            "Standard input cannot be both PUZZLES and --identifiers; give a file for one of them."
        )
    check_threads(options.threads)
    _tries(options)
    if options.settled is not None and options.halt not in ("settled", "both"):
        raise UsageError("--settled: without effect; give --halt settled or both as well.")
    contract = runner_contract(Path(options.model), options.engine)
    no_arc = UsageError(
        "--submission is for ARC JSON (problems with the lists train and test) from a file, and a "
        "model of ARC; drop it, or give such a file."
    )
    wanted = options.submission is not None
    if wanted and not can_have_arc(options.puzzles, contract):
        raise no_arc
    arc = arc_questions(options.puzzles, contract) if wanted else None
    if wanted:
        refuse_target(Path(options.submission))
    groups = _groups(options, contract, arc)
    if wanted and arc is None:  # what is wrong with the file has been told before
        raise no_arc
    with StatusLine() as line:
        line.show(f"Opening {printable(Path(options.model).name)} ...")
        runner = open_runner(
            options.model, options.threads, options.puzzle_table, engine=options.engine
        )
    found, stream = _Found(), None
    for inputs in groups:
        if stream is None:
            stream = Stream(sys.stdout, runner.contract, inputs["inputs"], as_json=options.json)
        stream.go_on_with(inputs["inputs"])
        solution = _solve(runner, inputs, options, found, stream)
        stream.finish(solution)
        if arc is not None:
            replace_file(Path(options.submission), submission(arc.questions, solution.answers))
        asked = inputs.get("puzzle_identifiers")
        found.identified = found.identified or bool(asked is not None and asked.any())
        if has_no_reader():
            break
    if stream is not None:
        stream.end()
    sys.stdout.flush()
    return _verdict(found, runner, options.model)


@dataclass
class _Found:
    """What is known of all puzzles so far; not their answers, because a pipe may have no end."""

    puzzles: int = 0  # that have arrived
    done: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    steps: int = 0  # of all tries
    tries: int | None = None  # None without several
    changed: int = 0  # answers that change a given cell
    unknown: int = 0  # answers that are withheld
    identified: bool = False  # whether a puzzle has another identifier than 0
    seconds: float = 0.0  # of the loop, without waiting for puzzles

    def add(self, solution: Solution, seconds: float) -> None:
        self.reasons.update(solution.stop_reasons)
        self.steps += int(solution.all_steps.sum())
        if solution.tries is not None:
            self.tries = (self.tries or 0) + int(solution.tries.sum())
        self.changed += sum(
            kept is False and reason != "cancelled"
            for kept, reason in zip(solution.given_kept, solution.stop_reasons)
        )
        self.unknown += 0 if solution.unknown is None else int(solution.unknown.sum())
        self.seconds += seconds


def _groups(
    options: argparse.Namespace, contract: StepContract, arc: ArcQuestions | None
) -> Iterable[Any]:
    """The inputs that are there to be solved together, in turn; those of a file are read now."""
    from trm_runtime.arriving import inputs_arriving
    from trm_runtime.puzzles import inputs_of_arc, read_identifiers, read_inputs

    if options.puzzles == "-" and options.identifiers is None:
        return inputs_arriving(contract)
    inputs: Any = (
        read_inputs(options.puzzles, contract) if arc is None else inputs_of_arc(arc, contract)
    )
    if options.identifiers is not None:
        inputs["puzzle_identifiers"] = read_identifiers(options.identifiers)
    return [inputs]


def _solve(
    runner: StepRunner, inputs: Any, options: argparse.Namespace, found: _Found, stream: Stream
) -> Solution:
    from trm_runtime.loop import solve
    from trm_runtime.watchdog import ended_after

    left = options.deadline
    if left is not None and found.seconds:
        left = max(0.0, left - found.seconds)
    found.puzzles += len(inputs["inputs"])
    started = time.monotonic()
    with ended_after(left, options.model, options.json) as steps:
        progress = _Progress(found, steps, stream, unread=options.submission is not None)
        solution = solve(
            runner,
            inputs,
            halt=options.halt,
            settled=options.settled,
            abstain=options.abstain,
            max_steps=options.max_steps,
            deadline=left,
            deadline_each=options.deadline_each,
            batch_size=options.batch_size,
            on_step=progress,
            **_tries(options),
        )
    progress.line.clear()
    found.add(solution, time.monotonic() - started)
    return solution


def _verdict(found: _Found, runner: StepRunner, model: str) -> int:
    """The exit code of the answers, after a summary and what a reader of them has to know.

    Without a reader, which cancels puzzles, it is 6 or 0, and only 6 has a summary.
    """
    if found.reasons["cancelled"] and not found.reasons["nonfinite"]:
        return 0
    from trm_runtime.solution import stops_text

    stops = stops_text(found.reasons, found.steps, found.tries)
    say(f"{counted(found.puzzles, 'puzzle')} in {found.seconds:.2f} s: {stops}")
    if (runner.contract.num_puzzle_identifiers or 0) > 1 and not found.identified:
        say("all asked under identifier 0")
    if runner.contract.alphabet is None:
        say("numbers are token ids, because the model has no alphabet")
    if found.unknown:
        say(f"{counted(found.unknown, 'answer')} unknown: less confident than --abstain")
    if found.changed:
        one = found.changed == 1
        verb = "changes a given cell of its" if one else "change a given cell of their"
        say(f"{counted(found.changed, 'answer')} {verb} puzzle")
    if late := found.reasons["deadline"]:
        say(f"the deadline ended {counted(late, 'puzzle')}; a longer one gives complete answers")
    if bad := found.reasons["nonfinite"]:
        say(f"Error: {NonfiniteError(model, bad, found.puzzles)}")
    return answers_code(found.reasons, found.changed)


class _Progress:
    """Writes the answers that are found, and shows how many puzzles are done.

    Cancels the others once the answers have no reader, unless they are wanted `unread`.
    """

    def __init__(
        self,
        found: _Found,
        after_step: Callable[[], object],
        stream: Callable[[StepEvent], object],
        *,
        unread: bool,
    ) -> None:
        self._found, self.line = found, StatusLine()
        self._after_step, self._stream, self._unread = after_step, stream, unread

    def __call__(self, event: StepEvent) -> bool:
        self._after_step()
        self.line.clear()
        self._stream(event)
        self._found.done += int(event.finished.sum())
        self.line.show(f"{self._found.done} of {counted(self._found.puzzles, 'puzzle')}")
        return self._unread or not has_no_reader()
