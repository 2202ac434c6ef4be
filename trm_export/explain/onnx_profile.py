"""Where the time of an ONNX file goes: onnxruntime's own profile of real calls, node by node.

onnxruntime fuses nodes when it opens a file, so that the names of the file are not those of the
profile: the optimised graph, which it can write too, says what a node reads. Every node is named
before, because a node without a name has none in the profile.
"""

from __future__ import annotations

import bisect
import json
import re
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime

from trm_export.explain.profile import Measured, NodeTime, is_product
from trm_export.exporters.onnx_graph import bodies, graphs
from trm_export.leftovers import scratch_folder

Arrays = Mapping[str, np.ndarray[Any, Any]]

_FATAL_ONLY = 4  # onnxruntime's log severity
_STORED = re.compile(r"(/(int8|half)(/\d+)?|_quantized)$")  # after the name of a weight
_TIMED = "_kernel_time"  # after the name of a node
_NESTED = ("Loop", "If", "Scan")  # whose time is that of the nodes in them


def measure(path: Path, calls: Sequence[Arrays], threads: int) -> Measured:
    """The time of every node in these calls of the graph, medians, after a call to warm up."""
    with scratch_folder() as folder:
        options, optimised = _options(threads), folder / "optimised.onnx"
        options.enable_profiling = True
        options.profile_file_prefix = str(folder / "profile")
        options.optimized_model_filepath = str(optimised)
        session = _opened(_named(path), options)
        _run(session, calls)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        layers = layers_of(onnx.load(optimised).graph)
    plain = _run(_opened(str(path), _options(threads)), calls)
    return _measured(events, layers, plain)


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = threads
    return options


def _opened(model: str | bytes, options: Any) -> Any:
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _run(session: Any, calls: Sequence[Arrays]) -> list[float]:
    """The processor time of each call in ms; the first call is done twice."""
    session.run(None, dict(calls[0]))
    times = []
    for call in calls:
        started = time.process_time()
        session.run(None, dict(call))
        times.append(1000 * (time.process_time() - started))
    return times


def _named(path: Path) -> bytes:
    proto = onnx.load_model_from_string(path.read_bytes())
    nodes = (node for graph in graphs(proto.graph) for node in graph.node)
    for number, node in enumerate(nodes):
        node.name = f"{node.op_type}_{number}"
    return bytes(proto.SerializeToString())


def _measured(events: Sequence[Any], layers: Mapping[str, str], plain: Sequence[float]) -> Measured:
    starts = sorted(event["ts"] for event in events if event["name"] == "model_run")[1:]
    spent = defaultdict[tuple[str, str], list[list[float]]](lambda: [[] for _ in starts])
    for event in events:
        call = bisect.bisect_right(starts, event["ts"]) - 1
        if event["name"].endswith(_TIMED) and call >= 0:
            op, name = event["args"]["op_name"], event["name"].removesuffix(_TIMED)
            spent[op, name][call].append(event["dur"] / 1000)
    nodes = [
        NodeTime(op, layers.get(name), median(map(sum, times)), max(map(len, times)))
        for (op, name), times in spent.items()
        if op not in _NESTED
    ]
    engine = f"onnxruntime {onnxruntime.__version__}"
    return Measured(engine, len(plain), median(plain), tuple(nodes))


def layers_of(graph: Any, stored: frozenset[str] = frozenset()) -> dict[str, str]:
    """Node -> the matrix that its result is multiplied by next, or that it multiplies by itself.

    Nodes after the last product of their graph are left out.
    """
    matrices = stored | {t.name for t in graph.initializer if len(t.dims) > 1}
    found: dict[str, str] = {}
    needed: dict[str, tuple[int, str]] = {}  # value -> place and layer of the first product
    for place in reversed(range(len(graph.node))):
        node = graph.node[place]
        for body in bodies(node):
            found |= layers_of(body, matrices)
        own = next((name for name in node.input[1:2] if name in matrices), None)
        later = [needed[name] for name in node.output if name in needed]
        if own is not None and is_product(node.op_type):
            later = [(place, _STORED.sub("", own))]
        if later:
            found[node.name] = min(later)[1]
            for name in node.input:
                needed[name] = min([*later, needed.get(name, later[0])])
    return found
