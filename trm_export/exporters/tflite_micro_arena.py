"""Run a `.tflite` file once in tflite-micro, if that is installed, and measure its arena.

In a process of its own: the interpreter ends the process at what it does not expect, and writes
what it allocates to standard error only.
"""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

from trm_export.artifacts.tflite_micro import operator_names, resolver_calls
from trm_export.errors import UsageError
from trm_export.exporters.tflite_flatbuffer import load
from trm_export.version import TOOL
from trm_runtime.message_text import printable

_PACKAGE = "tflite-micro"
_SECONDS = 300
_TOTAL = re.compile(r"Arena allocation total (\d+) bytes")
_SHARE = 16  # of an arena that is too small, which is added to it
_SCRIPT = """
import sys
import numpy as np
from tflite_micro import runtime
data = open(sys.argv[1], "rb").read()
interpreter = runtime.Interpreter.from_bytes(data, arena_size=int(sys.argv[2]))
for place in range(int(sys.argv[3])):
    described = interpreter.get_input_details(place)
    interpreter.set_input(np.zeros(described["shape"], described["dtype"]), place)
interpreter.invoke()
interpreter.print_allocations()
"""
_LARGE = 1 << 28  # bytes of an arena that is large enough
_ALIGNMENT = 16  # of the arena


def micro_document(path: Path) -> str:
    """What a firmware needs to know of a file: operators, how to register them, bytes of arena.

    The arena is null without tflite-micro. Raises UsageError if it cannot run the file.
    """
    names = operator_names(load(path.read_bytes()))
    installed = importlib.util.find_spec("tflite_micro") is not None
    facts = {
        "tool": TOOL,
        "operators": names,
        "resolver": resolver_calls(names),
        "arena": _arena(path) if installed else None,
        "measured_with": f"{_PACKAGE} {version(_PACKAGE)}" if installed else None,
    }
    return json.dumps(facts, indent=2) + "\n"


def _arena(path: Path) -> int:
    """Bytes of the arena, with which the file was opened and run once.

    To prepare an operator may take more for a moment than all allocations that stay.
    """
    done = _called(path, _LARGE)
    _refuse_failed(done)
    found = _TOTAL.search(done.stderr)
    if found is None:
        raise UsageError("tflite: tflite-micro does not say how much memory it allocates.")
    arena = int(found[1]) + _ALIGNMENT
    while (done := _called(path, arena)).returncode and arena < _LARGE:
        arena += -(-arena // _SHARE // _ALIGNMENT) * _ALIGNMENT
    _refuse_failed(done)
    return arena


def _called(path: Path, arena: int) -> subprocess.CompletedProcess[str]:
    """A call of the file with zeros in a process of its own."""
    graph = load(path.read_bytes()).subgraphs[0]
    words = [sys.executable, "-c", _SCRIPT, str(path), str(arena), str(len(graph.inputs))]
    return subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)


def _refuse_failed(done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        reason = printable(lines[0] if lines else "no reason given")[:200]
        raise UsageError(
            f"tflite: tflite-micro cannot run this file: {reason}; use --target litert, or "
            "generate C with trm-export c."
        )
