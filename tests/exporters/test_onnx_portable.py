"""Rewritten graphs compute what they computed; what cannot be proven equal is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import parser

from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.exporters.choices import Choices
from trm_export.exporters.export import export, format_named
from trm_export.exporters.onnx_graph import graphs
from trm_export.exporters.onnx_portable import simplify
from trm_export.exporters.probe import probe_puzzles

SELECT = """
    sizes = Shape(z)
    rows = Slice(sizes, zero, one, zero)
    all = Concat<axis = 0>(rows, width)
    wide = Expand({expanded}, all)
    y = Where(stop, wide, z)
"""
FILLED = """
    sizes = Shape(z)
    fill = ConstantOfShape<value = float[1] {5}>(sizes)
    y = Where(stop, fill, z)
"""
PADDED = """
    sizes = Shape(z)
    rows = Slice(sizes, zero, one, zero)
    all = Concat<axis = 0>(rows, {width})
    front = Expand({zeros}, all)
    y = Concat<axis = 1>(front, z)
"""
LOOKED_UP = """
    real = Cast<to = 1>(ids)
    below = Less(real, none)
    from_end = Add(ids, {size})
    index = Where(below, from_end, ids)
    y = Gather(table, index)
"""
CASES = {
    "a select": (SELECT.format(expanded="row"), {"Where"}),
    "a select of more": (
        SELECT.format(expanded="row").replace("(stop, wide, z)", "(stop, wide, thin)"),
        {"Shape", "Slice", "Concat", "Expand", "Where"},
    ),
    "a filled select": (FILLED, {"Where"}),
    "zeros in front": (PADDED.format(width="width", zeros="nothing"), {"Pad"}),
    "negative zeros in front": (
        PADDED.format(width="width", zeros="less_than_nothing"),
        {"Shape", "Slice", "Concat", "Expand"},
    ),
    "ones in front": (
        PADDED.format(width="width", zeros="row"), {"Shape", "Slice", "Concat", "Expand"},
    ),
    "a look-up": (LOOKED_UP.format(size="height"), {"Gather"}),
    "another look-up": (
        LOOKED_UP.format(size="four"), {"Cast", "Less", "Add", "Where", "Gather"},
    ),
    "a select that grows": (
        "sizes = Shape(row)\nwide = Expand(none, sizes)\nall = Where(stop, wide, row)\n"
        "again = Shape(all)\nrest = Expand(row, again)\nbelow = Less(row, none)\n"
        "y = Where(below, rest, row)",
        {"Where", "Less", "Shape", "Expand"},
    ),
    "zeros of more rows": (
        "sizes = Shape(row)\nfront = Expand(nothing4, sizes)\ny = Concat<axis = 0>(front, row)",
        {"Shape", "Expand", "Concat"},
    ),
    "zeros that Pad does not take": (
        "sizes = Shape(row)\nshort = Cast<to = 5>(row)\nfront = Expand(short_zero, sizes)\n"
        "long = Concat<axis = 0>(front, short)\ny = Cast<to = 1>(long)",
        {"Shape", "Cast", "Expand", "Concat"},
    ),
    "zeros along the last axis": (
        "sizes = Shape(row)\nfront = Expand(none, sizes)\ny = Concat<axis = -1>(front, row)",
        {"Pad"},
    ),
    "a taken name": ("limit_1 = Neg(ids)\nno = GreaterOrEqual(limit_1, four)\n"
                     "y = Cast<to = 1>(no)", {"Neg", "Less", "Cast"}),
    "a look-up that adds an axis": (
        LOOKED_UP.format(size="tall").replace("(ids)", "(one_id)").replace("(ids,", "(one_id,")
        .replace("from_end, ids", "from_end, one_id"),
        {"Cast", "Less", "Add", "Where", "Gather"},
    ),
    "at least": ("y = GreaterOrEqual(ids, four)", {"Less"}),
    "at most": ("y = LessOrEqual(ids, four)", {"Less"}),
    "at least the least": ("y = GreaterOrEqual(ids, lowest)", {"GreaterOrEqual"}),
    "at least a real number": ("y = GreaterOrEqual(z, row)", {"GreaterOrEqual"}),
}  # fmt: skip


def _model(nodes: str, output: str) -> onnx.ModelProto:
    return parser.parse_model(f"""
        <ir_version: 8, opset_import: ["" : 17]>
        step (float[batch, 3] z, bool[batch, 1] stop, float[batch, 1] thin, int32[batch, 2] ids)
            => ({output} y)
        <int64[1] zero = {{0}}, int64[1] one = {{1}}, int64[1] width = {{3}},
         float[1, 3] row = {{1, 2, nan}}, float none = {{0}},
         float[1, 3] nothing = {{0, 0, 0}}, float[1, 3] less_than_nothing = {{0, -0.0, 0}},
         float[5, 2] table = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
         float[4, 3] nothing4 = {{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}}, int16 short_zero = {{0}},
         int32 one_id = {{2}}, int32[1] tall = {{5}},
         int32 height = {{5}}, int32 four = {{4}}, int32 lowest = {{-2147483648}}>
        {{ {nodes} }}
    """)


@pytest.mark.parametrize("case", CASES)
def test_a_graph_computes_the_same(case: str) -> None:
    nodes, wanted = CASES[case]
    kind = "bool" if case.startswith("at ") else "float"
    rank = 3 if case in ("a look-up", "another look-up") else 2
    model = _model(nodes, f"{kind}[{', '.join(['batch', 'w', 'n'][:rank])}]")
    before = onnxruntime.InferenceSession(model.SerializeToString())
    simplify(model)
    onnx.checker.check_model(model, full_check=True)
    after = onnxruntime.InferenceSession(model.SerializeToString())
    assert {node.op_type for node in model.graph.node} == wanted
    for rows in (1, 4):
        rng = np.random.default_rng(rows)
        feeds = {
            "z": rng.normal(size=(rows, 3)).astype(np.float32),
            "stop": rng.random((rows, 1)) < 0.5,
            "thin": rng.normal(size=(rows, 1)).astype(np.float32),
            "ids": rng.integers(-1, 4, (rows, 2), dtype=np.int32),
        }
        (was,), (is_now,) = (session.run(["y"], feeds) for session in (before, after))
        assert was.dtype == is_now.dtype
        assert was.tobytes() == is_now.tobytes()


@pytest.mark.parametrize(
    ("name", "choices"),
    [
        ("sudoku4", Choices()),
        ("sudoku4", Choices("int8")),
        ("sudoku4", Choices("int4")),
        ("sudoku4", Choices(granularity="block")),
        ("maze9", Choices("fp16")),
    ],
)
def test_a_step_computes_no_shapes_and_its_nodes_have_names(
    name: str, choices: Choices, tmp_path: Path
) -> None:
    model, path = load_model(shipped_checkpoint(name)), tmp_path / "m.onnx"
    export(model, path, probe_puzzles(model), format_named("onnx"), choices)
    nodes = [node for part in graphs(onnx.load(path).graph) for node in part.node]
    assert len({node.name for node in nodes}) == len(nodes)
    assert all(node.name for node in nodes)
    loops = [node for node in nodes if node.op_type == "Loop"]
    assert all(node.input[0] for node in loops)
    refused = {"GreaterOrEqual", "BitShift"}
    if not loops:
        refused |= {"Shape", "Expand", "ConstantOfShape"}
    assert not refused & {node.op_type for node in nodes}
