"""`python -m trm_runtime check MODEL GOLDEN`: parity on the device, without Keras.

`check --command COMMAND GOLDEN` compares a driver in any language, which is a step server.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shlex
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from trm_runtime.display import printable
from trm_runtime.errors import ParityError, UsageError, exit_codes_text
from trm_runtime.failures import Parser, add_engine_options, say
from trm_runtime.message_text import argument, clipped, counted, wrapped
from trm_runtime.streams import StatusLine
from trm_runtime.trust import add_options, require_options

if TYPE_CHECKING:
    from trm_runtime.contract import StepContract
    from trm_runtime.parity import Gates, Golden, ParityResult
    from trm_runtime.parity.file_golden import EngineHop
    from trm_runtime.runner import StepRunner

_LISTED = 10
COMMAND = "--command"
HELP_COMMAND = "a step server: the program that serves the model and its arguments, without a shell"
TIMEOUT = 300.0  # seconds
HELP_TIMEOUT = f"end a step server that has not answered in this time (default {TIMEOUT:g})"


def parser(*, server: bool = False) -> Parser:
    """The options of the command: for a file or, with --command, for a step server."""
    command = Parser(
        prog="python -m trm_runtime check",
        description="Compare an exported model with a recorded reference, step by step. With "
        "--command COMMAND in the place of MODEL, a driver in any language (docs/contract.md).",
        epilog=exit_codes_text(),
    )
    add = command.add_argument
    if server:
        add(COMMAND, metavar="COMMAND", required=True, help=HELP_COMMAND)
        add("--timeout", type=float, metavar="SECONDS", default=TIMEOUT, help=HELP_TIMEOUT)
    else:
        add("model", metavar="MODEL", help="exported model, such as model.tflite")
        add(COMMAND, metavar="COMMAND", help=f"in the place of MODEL: {HELP_COMMAND}")
        add("--timeout", type=float, metavar="SECONDS", help=f"with {COMMAND}: {HELP_TIMEOUT}")
        add_engine_options(command)
        add_options(command)
    add("golden", metavar="GOLDEN", help="recording of `trm-export reference`, an .npz file")
    add("--puzzle-table", metavar="FILE",
        help="the model's puzzle embeddings, if they are not beside it")  # fmt: skip
    add("--gate", metavar="FILE", help="gates of your own, a JSON file (default: by precision)")
    add("--batch-size", type=int, metavar="N", default=64, help="rows a step (default 64)")
    add("--json", action="store_true", help="print one JSON object, errors included")
    return command


def run(options: argparse.Namespace) -> int:
    """Compare a file and print; returns the exit code."""
    from trm_runtime.cores import check_threads
    from trm_runtime.open import open_runner, runner_contract
    from trm_runtime.parity.file_golden import engine_hop
    from trm_runtime.parity.golden_file import read_golden

    require_options(options)
    if options.timeout is not None:
        raise UsageError(f"--timeout is for {COMMAND}; drop it.")
    check_threads(options.threads)
    with StatusLine() as status:
        status.show(f"Opening {printable(Path(options.model).name)} ...")
        own, golden = _own_gates(options), read_golden(options.golden)
        hop = engine_hop(golden, Path(options.model), options.threads, options.engine)
        gates = own or (None if hop is None else hop.gates)
        result = _refused(golden, runner_contract(Path(options.model), options.engine), gates)
        if result is None:
            runner = open_runner(
                options.model, options.threads, options.puzzle_table, engine=options.engine
            )
    if result is None:
        result = _compared(options, golden, runner, gates)
    return _shown(options, golden, result, hop)


def run_server(options: argparse.Namespace) -> int:
    """Compare a step server and print; returns the exit code."""
    from trm_runtime.parity.file_golden import other_engine
    from trm_runtime.parity.golden_file import read_golden
    from trm_runtime.parity.own_loop import with_own_loop
    from trm_runtime.servers.group import end_all
    from trm_runtime.servers.runner import ServerRunner
    from trm_runtime.watchdog import ended_by_signals

    own, golden = _own_gates(options), read_golden(options.golden)
    with ended_by_signals(end_all, options.json), ExitStack() as stack:
        with StatusLine() as status:
            name, limit = clipped(printable(options.command), 40), options.timeout
            status.show(f"Waiting for the first message of {name} (at most {limit:g} s) ...")
            opened = ServerRunner(options.command, options.timeout, options.puzzle_table)
            server = stack.enter_context(opened)
        hop = other_engine(golden, server.engine, server.whole.contract.precision)
        gates = own or (None if hop is None else hop.gates)
        result = _refused(golden, server.whole.contract, gates)
        if result is None:
            result = _compared(options, golden, server.whole, gates)
        with StatusLine() as status:
            status.show("Comparing the driver's own loop ...")
            result = with_own_loop(result, golden, server)
    return _shown(options, golden, result, hop, server.engine)


def _own_gates(options: argparse.Namespace) -> Gates | None:
    from trm_runtime.parity.gates import read_gates

    return None if options.gate is None else read_gates(options.gate)


def _refused(golden: Golden, contract: StepContract, gates: Gates | None) -> ParityResult | None:
    """The result where the contract alone shows that the file is not the recorded one."""
    from trm_runtime.parity import gates_of
    from trm_runtime.parity.ladder import refusal

    return refusal(
        golden.contract, contract, gates or gates_of(contract), golden.puzzles, golden.about.kind,
        any_weights=False,
    )  # fmt: skip


def _compared(
    options: argparse.Namespace, golden: Golden, runner: StepRunner, gates: Gates | None
) -> ParityResult:
    from trm_runtime.parity import check

    with StatusLine() as status:
        return check(
            golden, runner, gates=gates, batch_size=options.batch_size,
            progress=lambda done, total: status.show(f"{done / total:4.0%} checked"),
        )  # fmt: skip


def _shown(
    options: argparse.Namespace,
    golden: Golden,
    result: ParityResult,
    hop: EngineHop | None,
    driver: str | None = None,
) -> int:
    from trm_runtime.json_values import plain

    if options.json:
        more = {"engine_hop": hop, "driver": driver}
        given = {name: value for name, value in more.items() if value is not None}
        print(json.dumps(plain({**result.to_json(), **given}), ensure_ascii=False))
    else:
        print(text(result, _sides(options, golden), "" if hop is None else hop.words, driver))
        cure = None if result else _cure(options, golden, result)
        if cure is not None:
            sys.stdout.flush()
            say(printable(f"Try: {cure}"))
    return 0 if result else ParityError.exit_code


def _sides(options: argparse.Namespace, golden: Golden) -> str:
    """One sentence on the file and the golden."""
    found = golden.about.provenance
    of = found.get("file") or found.get("model") or golden.contract.model_name
    side = getattr(options, "model", None) or "The step server"
    return printable(f"{side} against {options.golden}, a recording of {of}.")


def _cure(options: argparse.Namespace, golden: Golden, result: ParityResult) -> str | None:
    """The command that shows why a file or a server fails; None where it would say no more."""
    model = golden.about.provenance.get("model")
    if not isinstance(model, str) or result.of_other_model:
        return None
    if not hasattr(options, "model"):  # a step server
        same = result.same_weights and result.broken not in result.rungs[:3]
        return shlex.join(["trm-export", "vectors", argument(model)]) if same else None
    more = _further(options) if result.ran else []
    return shlex.join(["trm-export", "parity", *map(argument, (model, options.model)), *more])


def _further(options: argparse.Namespace) -> list[str]:
    """What `parity` tells more of; its --explain runs no engine but the first."""
    from trm_runtime.file_kinds import kind_of

    other = kind_of(Path(options.model)).is_other(options.engine)
    return ["--engine", options.engine] if other else ["--explain"]


def text(result: ParityResult, sides: str = "", hop: str = "", driver: str | None = None) -> str:
    """The verdict, what was compared, the ladder, and the problems of the failed rung."""
    width = max(len(rung.name) for rung in result.rungs)
    told = [result.verdict, sides, hop, f"Driver: {driver}." if driver else ""]
    lines = [*itertools.chain(*(wrapped(sentence, 0) for sentence in told)), ""]
    for rung in result.rungs:
        head = f"{rung.name:{width}}  {rung.status:10}  "
        lines += wrapped(f"{head}{rung.summary}", len(head))
    broken = result.broken
    if broken is not None and broken.problems:
        count = len(broken.problems) + broken.unlisted
        lines += ["", f"{counted(count, 'problem')}:"]
        for problem in broken.problems[:_LISTED]:
            lines += wrapped(f"  - {problem}", 4)
        lines += [f"  ... and {count - _LISTED} more"] if count > _LISTED else []
    return "\n".join(lines)
