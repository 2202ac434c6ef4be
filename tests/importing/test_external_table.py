"""`--puzzle-table external`: the graph does without the puzzle embeddings, the answers stay."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.importing.golden import TOLERANCE, checkpoint, errors, recorded
from trm_export.errors import OverwriteError, UsageError
from trm_export.files import CALIBRATION, sidecar
from trm_export.own_files import is_ours
from trm_export.version import TOOL

IDS = 3000  # a table that outweighs its network
SIZES = {"onnx": 150_000, "tflite": 150_000, "saved-model": 500_000}


@pytest.fixture(scope="module")
def imported() -> Any:
    from trm_export.importing import import_checkpoint

    return import_checkpoint(checkpoint("rope"))[0]


@pytest.fixture(scope="module")
def sudoku() -> Any:
    """Shaped like 4x4 Sudoku, so that there are real puzzles, with many random identifiers."""
    import keras

    from trm_export import TRM

    keras.utils.set_random_seed(3)
    model = TRM(
        6, 16, 2, 4.0, 16, family="paper", h_cycles=1, l_cycles=2, l_layers=1, h_layers=1,
        halt_max_steps=3, puzzle_emb_ndim=40, puzzle_emb_len=0, num_puzzle_identifiers=IDS,
    )  # fmt: skip
    table = np.random.default_rng(0).normal(size=(IDS, 40))
    model.inner.puzzle_emb.embeddings.assign(table.astype("float32"))
    kernel = model.inner.q_head.kernel
    kernel.assign(np.random.default_rng(1).normal(size=kernel.shape).astype("float32"))
    return model


@pytest.fixture(scope="module")
def shared(sudoku: Any) -> Any:
    from trm_export.exporters.shared import Shared

    return Shared(sudoku)


def export(model: Any, path: Path, kind: str, shared: Any = None, **choices: Any) -> Any:
    from trm_export.exporters.export import Choices, format_named
    from trm_export.exporters.export import export as run
    from trm_export.exporters.probe import probe_puzzles

    wanted = Choices(puzzle_table="external", **choices)
    return run(model, path, probe_puzzles(model, 3), format_named(kind), wanted, shared=shared)


def test_it_computes_what_pytorch_computed(imported: Any, tmp_path: Path) -> None:
    from trm_runtime import open_runner

    made = export(imported, tmp_path / "m.tflite", "tflite")
    assert max(errors(open_runner(made.path), recorded("rope")).values()) <= TOLERANCE


@pytest.mark.parametrize("kind", SIZES)
def test_the_table_is_beside_the_graph_and_parity_holds(
    sudoku: Any, shared: Any, kind: str, tmp_path: Path
) -> None:
    from trm_export.tasks import get_task
    from trm_runtime import open_runner
    from trm_runtime.parity import compare

    made = export(sudoku, tmp_path / f"m.{kind}", kind, shared)
    table = np.load(tmp_path / f"m.{kind}.puzzle_table.npy")
    assert made.puzzle_table == tmp_path / f"m.{kind}.puzzle_table.npy"
    assert is_ours(made.puzzle_table)
    np.testing.assert_array_equal(table, np.asarray(sudoku.inner.puzzle_emb.embeddings))
    assert made.bytes < SIZES[kind] < table.nbytes + 20_001
    assert [spec.name for spec in made.contract.inputs] == ["inputs", "puzzle_embedding"]
    puzzles = get_task("sudoku4").puzzles("test", count=24)
    result = compare(shared.runner, open_runner(made.path), puzzles, batch_size=8)
    assert result, result.verdict
    (tmp_path / "links").mkdir()
    link = tmp_path / "links" / f"current.{kind}"
    link.symlink_to(made.path)
    open_runner(link)  # the table of the file behind it
    made.puzzle_table.write_bytes(b"mine")
    assert not is_ours(made.puzzle_table)


def test_through_a_link_all_is_written_where_the_file_is(
    sudoku: Any, shared: Any, tmp_path: Path
) -> None:
    from trm_export.artifacts.inspection import inspect_file
    from trm_runtime import open_runner

    real, link = tmp_path / "store" / "m.onnx", tmp_path / "links" / "current.onnx"
    for folder in (real.parent, link.parent):
        folder.mkdir()
    link.symlink_to(real)
    for precision in ("fp32", "fp16"):
        sidecar(link, CALIBRATION).write_text(json.dumps({"tool": TOOL}))  # of the file before
        made = export(sudoku, link, "onnx", shared, precision=precision)
        assert {path.parent for path in made.files[1:]} == {real.parent}
        assert {path.name for path in made.files[1:]} == {
            path.name for path in real.parent.iterdir() if path != real
        }
        assert [path.name for path in link.parent.iterdir()] == [link.name]
        for name in (real, link):
            open_runner(name)
            assert inspect_file(name).to_json()["sidecar"] == "same"
    alone = tmp_path / "alone.onnx"
    alone.symlink_to(real)
    for document in made.files[1:]:
        ending = document.name.removeprefix(real.name)
        (tmp_path / f"{alone.name}{ending}").symlink_to(document)
    again = export(sudoku, alone, "onnx", shared)  # whose documents have links of their own
    assert {path.parent for path in again.files} == {tmp_path}
    assert inspect_file(real).to_json()["sidecar"] == "same"


def test_a_step_server_is_given_the_rows(sudoku: Any, shared: Any, tmp_path: Path) -> None:
    from trm_export.tasks import PuzzleSet, get_task
    from trm_runtime.__main__ import main
    from trm_runtime.parity import record as recorded_in_memory
    from trm_runtime.parity.golden_file import write_golden

    export(sudoku, tmp_path / "m.onnx", "onnx", shared)
    board = get_task("sudoku4").puzzles("test", count=8)
    identifiers = np.arange(8, dtype=np.int32) * 99
    many = PuzzleSet(board.inputs, board.labels, board.blanks, identifiers=identifiers)
    with (tmp_path / "g.npz").open("wb") as file:
        write_golden(file, recorded_in_memory(shared.runner, many))
    command = shlex.join([sys.executable, "-m", "trm_runtime", "serve", str(tmp_path / "m.onnx")])
    words = ["check", "--command", command, str(tmp_path / "g.npz")]
    assert main(words) == 2  # the server's file has a table, and only its rows go over the pipe
    assert main([*words, "--puzzle-table", str(tmp_path / "m.onnx.puzzle_table.npy")]) == 0


@pytest.mark.parametrize(
    ("kind", "precision", "granularity"),
    [("onnx", "int8", "loop"), ("onnx", "fp16", "block"), ("tflite", "int8", "block")],
)
def test_with_other_precisions_and_granularities(
    sudoku: Any, shared: Any, kind: str, precision: str, granularity: str, tmp_path: Path
) -> None:
    from trm_export.tasks import get_task
    from trm_runtime import open_runner, solve

    path = tmp_path / f"m.{kind}"
    made = export(sudoku, path, kind, shared, precision=precision, granularity=granularity)
    assert made.bytes < SIZES[kind]
    puzzles = get_task("sudoku4").puzzles("test", count=4).inputs
    rows = {"inputs": puzzles[[0, 0, 0, 0]], "puzzle_identifiers": np.array([0, 7, IDS - 1, 7])}
    solution = solve(open_runner(path), rows)
    assert solution.q_halt[1] == pytest.approx(solution.q_halt[3], abs=1e-6)
    assert len(set(solution.q_halt.round(3).tolist())) == 3  # the embedding matters


def test_what_it_cannot_be(sudoku: Any, tmp_path: Path) -> None:
    from trm_export import TRM

    plain = TRM(6, 16, 2, 1.0, 16, family="paper")
    with pytest.raises(UsageError, match="has no puzzle embeddings"):
        export(plain, tmp_path / "m.onnx", "onnx")
    with pytest.raises(UsageError, match="puzzle table is not supported with int8-static"):
        export(sudoku, tmp_path / "m.onnx", "onnx", precision="int8-static")
    assert list(tmp_path.iterdir()) == []


def test_only_our_own_table_is_replaced(imported: Any, tmp_path: Path) -> None:
    path, table = tmp_path / "m.onnx", tmp_path / "m.onnx.puzzle_table.npy"
    table.write_bytes(b"somebody else's")
    with pytest.raises(OverwriteError, match=r"m\.onnx\.puzzle_table\.npy exists"):
        export(imported, path, "onnx")
    assert not path.exists()


def test_from_the_command_line_to_the_device(
    imported: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trm_export.commands.support.app import run

    model, target = tmp_path / "model.keras", tmp_path / "model.onnx"
    imported.save(model)
    assert run(["onnx", str(model), "-o", str(target), "--puzzle-table", "external"]) == 0
    assert f"{target}.puzzle_table.npy" in capsys.readouterr().out
    assert run(["inspect", str(target)]) == 0
    assert "5 embeddings, in a file beside it" in capsys.readouterr().out
    assert run(["onnx", str(model), "-o", str(target), "--puzzle-table", "nowhere"]) == 2
    (tmp_path / "p.txt").write_text("1 2 3 4 5 6 0 1 2\n" * 3)
    (tmp_path / "ids.txt").write_text("0\n4\n0\n")
    command = [sys.executable, "-m", "trm_runtime", str(target), "p.txt", "--json"]
    done = subprocess.run(
        [*command, "--identifiers", "ids.txt"], cwd=tmp_path, env=os.environ, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    first, second, third = (puzzle["q_halt"] for puzzle in json.loads(done.stdout)["puzzles"])
    assert first == third != second


def test_one_model_can_have_it_both_ways(sudoku: Any, shared: Any, tmp_path: Path) -> None:
    from trm_export.exporters.export import export as run
    from trm_export.exporters.export import format_named
    from trm_export.exporters.probe import probe_puzzles

    puzzles, kind = probe_puzzles(sudoku, 3), format_named("onnx")
    outside = export(sudoku, tmp_path / "outside.onnx", "onnx", shared)
    inside = run(sudoku, tmp_path / "inside.onnx", puzzles, kind, shared=shared)
    assert inside.bytes > outside.bytes + IDS * 40 * 4 - 20_000
    assert inside.puzzle_table is None
