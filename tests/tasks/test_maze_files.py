from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from trm_export.tasks import get_task, read_puzzles
from trm_runtime.errors import RejectedInputError

TASK = get_task("maze11")
PUZZLES = TASK.puzzles("test", count=12)
OPENS = "._ "


def text(tokens: np.ndarray, opened: str) -> str:
    return "".join(opened if token == 2 else "?#.SGo"[token] for token in tokens)


def refusal(path: Path) -> str:
    with pytest.raises(RejectedInputError) as caught:
        read_puzzles(path, TASK)
    return str(caught.value)


@pytest.mark.parametrize("opened", OPENS)
@pytest.mark.parametrize("gap", [",", "\t", ";"])
def test_lines_with_solutions(tmp_path: Path, opened: str, gap: str) -> None:
    pairs = zip(PUZZLES.inputs, PUZZLES.solutions, strict=True)
    path = tmp_path / "mazes.txt"
    path.write_text("".join(f"{text(a, opened)}{gap}{text(b, opened)}\n" for a, b in pairs))
    read = read_puzzles(path, TASK)
    assert (read.inputs == PUZZLES.inputs).all()
    assert (read.solutions == PUZZLES.solutions).all()
    assert (read.blanks == PUZZLES.blanks).all()


def test_the_table_of_the_official_data(tmp_path: Path) -> None:
    path = tmp_path / "test.csv"
    rows = [
        f"maze,{text(a, ' ')},{text(b, ' ')},{n}"
        for a, b, n in zip(PUZZLES.inputs, PUZZLES.solutions, PUZZLES.blanks, strict=True)
    ]
    path.write_text("\n".join(["source,question,answer,rating", *rows]) + "\n")
    read = read_puzzles(path, TASK)
    assert (read.inputs == PUZZLES.inputs).all()
    assert (read.solutions == PUZZLES.solutions).all()


def test_mazes_without_solutions_have_their_lengths(tmp_path: Path) -> None:
    path = tmp_path / "mazes.txt"
    path.write_bytes(b"\r\n".join(text(row, ".").encode() for row in PUZZLES.inputs))
    read = read_puzzles(path, TASK)
    assert read.labels is None
    assert (read.blanks == PUZZLES.blanks).all()


def test_official_folders_and_npz(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "test"
    folder.mkdir(parents=True)
    facts = {"sets": ["all"], "seq_len": 121, "vocab_size": 6, "pad_id": 0}
    (folder / "dataset.json").write_text(json.dumps(facts))
    np.save(folder / "all__inputs.npy", PUZZLES.inputs.astype(np.uint8))
    np.save(folder / "all__labels.npy", PUZZLES.solutions.astype(np.uint8))
    np.savez(tmp_path / "mazes.npz", inputs=PUZZLES.inputs, labels=PUZZLES.solutions)
    for read in (
        read_puzzles(tmp_path / "data", TASK, split="test"),
        read_puzzles(tmp_path / "mazes.npz", TASK),
    ):
        assert (read.inputs == PUZZLES.inputs).all()
        assert (read.solutions == PUZZLES.solutions).all()


@pytest.mark.parametrize(
    ("cells", "sign", "reason"),
    [
        ({60: "o"}, "", "expected # . S or G at position 61, got 'o'"),
        ({}, "SG", "expected one cell S and one cell G, got 0 and 0"),
        ({}, "#", "no path leads from S to G"),
        ({0: ""}, "", "expected 121 characters, got 120"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, cells: dict[int, str], sign: str, reason: str) -> None:
    signs = list(text(PUZZLES.inputs[0], "."))
    for cell, replaced in cells.items():
        signs[cell] = replaced
    if sign == "SG":
        signs = ["." if s in "SG" else s for s in signs]
    if sign == "#":
        signs = ["#" if s == "." else s for s in signs]
    path = tmp_path / "mazes.txt"
    path.write_text(text(PUZZLES.inputs[1], ".") + "\n" + "".join(signs) + "\n")
    message = refusal(path)
    assert f"mazes.txt line 2: {reason}" in message


def test_bad_solutions_are_named(tmp_path: Path) -> None:
    labels = PUZZLES.solutions.copy()
    labels[2, 0] = 5
    labels[4] = np.where(labels[4] == 5, 2, labels[4])
    np.savez(tmp_path / "mazes.npz", inputs=PUZZLES.inputs, labels=labels)
    message = refusal(tmp_path / "mazes.npz")
    assert "row 2: the solution contradicts the puzzle in row 1, column 1" in message
    assert "row 4: the cells o of the solution are not a shortest path from S to G" in message
    np.savez(tmp_path / "sizes.npz", inputs=PUZZLES.inputs[:, :81])
    assert "not puzzles of maze11:" in refusal(tmp_path / "sizes.npz")
