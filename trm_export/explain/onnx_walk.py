"""Compare an ONNX graph operator by operator, each fed the reference's values of its inputs.

Exports of one model use the same names, so two of them are matched by name: values that both
compute are fed to the candidate's operators from the reference, and their results are compared. A
rolled recursion is unrolled first. Works on the graph in sections, so that memory does not grow
with its length.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from trm_export.explain.op_diff import Arrays, OpDiff, StoredChange, Walk, layer_of, op_error
from trm_export.explain.stored import changed_onnx
from trm_export.explain.walker import View, Walker
from trm_export.exporters.onnx_graph import bodies, graphs, prune, unroll
from trm_export.stored.contents import onnx_contents
from trm_runtime.parity import Gates

_TURN = re.compile(r"turn_(\d+)/")  # before the names of what was a loop's body
_SECTION = 150  # values that are compared at once
_FOUND = "/found"  # suffix of the candidate's values that are compared
_FATAL_ONLY = 4  # onnxruntime's log severity


def walk_onnx(
    candidate: Path,
    reference: Path,
    calls: Sequence[Arrays],
    layers: Collection[str],
    gates: Gates,
) -> Walk:
    """The operators of a file against those of another of the same contract.

    Args:
        candidate: the file that is analysed.
        reference: a correct file.
        calls: the inputs of the graph, a dictionary a call.
        layers: names of the model's matrices.
        gates: the tolerance.
    """
    ours, theirs = _straight(reference), _straight(candidate)
    computed = {name for node in ours.graph.node for name in node.output if name}
    shared = [n for node in theirs.graph.node for n in node.output if n in computed]
    walk = Walk()
    for call in calls:
        for start in range(0, len(shared), _SECTION):
            section = shared[start : start + _SECTION]
            walk = walk.over(_section(ours, theirs, call, section, set(shared), layers, gates))
            if walk.first is not None:
                return walk
    return walk


def _straight(path: Path) -> Any:
    """The model without loops, where the number of turns is known, and with nodes renumbered."""
    proto = onnx.load_model_from_string(path.read_bytes())
    unroll(proto.graph)
    prune(proto.graph)
    for number, node in enumerate(proto.graph.node):
        node.name = f"{node.op_type}_{number}"
    return proto


def _section(
    ours: Any,
    theirs: Any,
    call: Arrays,
    section: Sequence[str],
    shared: set[str],
    layers: Collection[str],
    gates: Gates,
) -> Iterator[OpDiff]:
    spliced = _spliced(theirs, section, shared)
    fed = [name for name in _read(spliced.graph) if name in shared]
    right = _run(_with_outputs(ours, {*section, *fed}), call, [*section, *fed])
    for name in fed:
        spliced.graph.input.append(_described(name, right[name]))
    found = _run(spliced, {**call, **right}, [name + _FOUND for name in section])
    makers = {name: node for node in theirs.graph.node for name in node.output}
    for name in section:
        stored = tuple(dict.fromkeys(_stored(makers[name], makers, shared)))
        layer = next((x for n in stored if (x := layer_of(n, layers))), None)
        op = makers[name].op_type
        inside = _TURN.match(name)
        turn = int(inside[1]) + 1 if inside else None
        error = op_error(op, name, layer, right[name], found[name + _FOUND], gates, turn)
        yield dataclasses.replace(error, reads=stored)


def _spliced(model: Any, section: Sequence[str], shared: set[str]) -> Any:
    """The candidate's operators that compute a section, from shared values as inputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in copy.graph.node:
        node.output[:] = [name + _FOUND if name in shared else name for name in node.output]
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name + _FOUND) for name in section)
    prune(copy.graph)
    return copy


def _with_outputs(model: Any, names: Collection[str]) -> Any:
    """The reference with these values as its outputs."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    del copy.graph.output[:]
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(names))
    prune(copy.graph)
    return copy


def _described(name: str, array: np.ndarray[Any, Any]) -> Any:
    kind = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
    return onnx.helper.make_tensor_value_info(name, kind, array.shape)


def _run(model: Any, feeds: Arrays, names: Iterable[str]) -> dict[str, Any]:
    wanted = list(dict.fromkeys(names))
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    known = {value.name: feeds[value.name] for value in session.get_inputs()}
    return dict(zip(wanted, session.run(wanted, known), strict=True))


def _read(graph: Any) -> list[str]:
    """Every value that the nodes of a graph, or of bodies in it, read."""
    names = [name for node in graph.node for name in node.input]
    for node in graph.node:
        for body in bodies(node):
            names += _read(body)
    return list(dict.fromkeys(names))


def _stored(node: Any, makers: dict[str, Any], shared: set[str]) -> Iterator[str]:
    """Names of the stored tensors that the computation of a shared value reads, nearest first."""
    names = list(node.input)
    for name in names:  # which grows
        if name in makers and name not in shared:
            names += makers[name].input
        elif name not in makers:
            yield name


def _kept(path: Path, layers: Arrays) -> tuple[str, ...]:
    proto = onnx.load_model_from_string(path.read_bytes())
    tensors = [tensor for graph in graphs(proto.graph) for tensor in graph.initializer]
    floats = {t.name for t in tensors if t.data_type == onnx.TensorProto.FLOAT}
    return tuple(name for name in layers if name in floats)


def _changed(view: View, candidate: Path, fresh: Path) -> tuple[StoredChange, ...]:
    return changed_onnx(candidate, fresh, view.layers)


def _walk(
    view: View, candidate: Path, right: Path, calls: Sequence[Arrays], gates: Gates, exact: bool
) -> Walk:
    return walk_onnx(candidate, right, calls, tuple(view.layers), gates)


WALKER = Walker(_kept, _changed, _walk, onnx_contents)
