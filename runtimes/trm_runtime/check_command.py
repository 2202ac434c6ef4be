"""`python -m trm_runtime check MODEL GOLDEN`: parity on the device, without Keras."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from trm_runtime.display import printable
from trm_runtime.errors import ParityError, exit_codes_text
from trm_runtime.failures import Parser
from trm_runtime.message_text import counted
from trm_runtime.streams import StatusLine
from trm_runtime.trust import add_options

if TYPE_CHECKING:
    from trm_runtime.parity import ParityResult

_LISTED = 10


def parser() -> Parser:
    """The options of the command."""
    command = Parser(
        prog="python -m trm_runtime check",
        description="Compare an exported model with a recorded reference, step by step.",
        epilog=exit_codes_text(),
    )
    add = command.add_argument
    add("model", metavar="MODEL", help="exported model, such as model.tflite")
    add("golden", metavar="GOLDEN", help="recording of `trm-export reference`, an .npz file")
    add("--puzzle-table", metavar="FILE",
        help="the model's puzzle embeddings, if they are not beside it")  # fmt: skip
    add("--gate", metavar="FILE", help="gates of your own, a JSON file (default: by precision)")
    add("--batch-size", type=int, metavar="N", default=64, help="rows a step (default 64)")
    add("--threads", type=int, metavar="N", help="threads of the engine (default: its own choice)")
    add_options(command)
    add("--json", action="store_true", help="print one JSON object, errors included")
    return command


def run(options: argparse.Namespace) -> int:
    """Compare and print; returns the exit code."""
    from trm_runtime.json_values import plain
    from trm_runtime.open import open_runner
    from trm_runtime.parity import check
    from trm_runtime.parity.file_golden import engine_hop
    from trm_runtime.parity.gates import read_gates
    from trm_runtime.parity.golden_file import read_golden

    with StatusLine() as status:
        status.show(f"Opening {printable(Path(options.model).name)} ...")
        gates = None if options.gate is None else read_gates(options.gate)
        golden = read_golden(options.golden)
        hop = engine_hop(golden, Path(options.model), options.threads)
        if hop is not None:
            gates = gates or hop.gates
        runner = open_runner(options.model, options.threads, options.puzzle_table)
        result = check(
            golden, runner, gates=gates, batch_size=options.batch_size,
            progress=lambda done, total: status.show(f"{done / total:4.0%} checked"),
        )  # fmt: skip
    if options.json:
        own = {} if hop is None else {"engine_hop": hop}
        print(json.dumps(plain({**result.to_json(), **own}), ensure_ascii=False))
    else:
        print(text(result, "" if hop is None else hop.words))
    return 0 if result else ParityError.exit_code


def text(result: ParityResult, hop: str = "") -> str:
    """The verdict, what was compared, the ladder, and the problems of the failed rung."""
    width = max(len(rung.name) for rung in result.rungs)
    lines = [result.verdict, *([hop] if hop else []), ""]
    lines += [f"{r.name:{width}}  {r.status:10}  {r.summary}" for r in result.rungs]
    broken = result.broken
    if broken is not None and broken.problems:
        count = len(broken.problems) + broken.unlisted
        lines += ["", f"{counted(count, 'problem')}:"]
        lines += [f"  - {problem}" for problem in broken.problems[:_LISTED]]
        lines += [f"  ... and {count - _LISTED} more"] if count > _LISTED else []
    return "\n".join(lines)
