from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from trm_export.tasks import PuzzleSet, get_task, read_puzzles
from trm_runtime.errors import RejectedInputError, UsageError

PUZZLE = "1..........4.2.."
SOLUTION = "1234341221434321"
SOLVABLE = "1234.........3.."


@pytest.fixture(scope="module")
def nine() -> PuzzleSet:
    return get_task("sudoku9").puzzles("test", 50, 12)


@pytest.fixture(scope="module")
def four() -> PuzzleSet:
    return get_task("sudoku4").puzzles("test", (4, 9), 12)


def text(tokens: np.ndarray, blank: str = ".") -> str:
    return "".join(blank if token == 1 else str(token - 1) for token in tokens)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def folder(path: Path, puzzles: PuzzleSet, **changes: object) -> Path:
    path.mkdir(parents=True)
    seq_len = puzzles.inputs.shape[1]
    facts = {"sets": ["all"], "seq_len": seq_len, "vocab_size": 11, "pad_id": 0}
    (path / "dataset.json").write_text(json.dumps(facts | changes))
    np.save(path / "all__inputs.npy", puzzles.inputs.astype(np.uint8))
    np.save(path / "all__labels.npy", puzzles.labels.astype(np.uint8))
    np.save(path / "all__puzzle_identifiers.npy", np.zeros(len(puzzles), np.int32))
    return path


def assert_same(read: PuzzleSet, expected: PuzzleSet, labels: bool = True) -> None:
    assert read.inputs.dtype == np.int32
    assert (read.inputs == expected.inputs).all()
    assert (read.blanks == expected.blanks).all()
    if labels:
        assert read.labels is not None
        assert read.labels.dtype == np.int32
        assert (read.labels == expected.labels).all()
    else:
        assert read.labels is None


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(RejectedInputError) as caught:
        read_puzzles(path, **options)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize("header", ["quizzes,solutions", "Puzzle,Solution", "question,answer"])
def test_csv_with_a_header(tmp_path: Path, nine: PuzzleSet, header: str) -> None:
    rows = [f"{text(a, '0')},{text(b)}" for a, b in zip(nine.inputs, nine.labels, strict=True)]
    assert_same(read_puzzles(write(tmp_path / "puzzles.csv", header, *rows)), nine)


def test_csv_columns_are_found_by_name(tmp_path: Path, nine: PuzzleSet) -> None:
    pairs = zip(nine.inputs, nine.labels, strict=True)
    rows = [f'"puzzles, hard",{text(a)},{text(b)},{7}' for a, b in pairs]
    path = write(tmp_path / "test.csv", "source,question,answer,rating", *rows)
    assert_same(read_puzzles(path), nine)
    assert_same(
        read_puzzles(write(tmp_path / "bare.csv", "quizzes", *map(text, nine.inputs))), nine, False
    )


@pytest.mark.parametrize("gap", [",", "\t", "  ", ", ", ";"])
@pytest.mark.parametrize("blank", [".", "0", "_"])
def test_lines_with_solutions(tmp_path: Path, four: PuzzleSet, gap: str, blank: str) -> None:
    pairs = zip(four.inputs, four.labels, strict=True)
    rows = [f"{text(a, blank)}{gap}{text(b)}" for a, b in pairs]
    assert_same(read_puzzles(write(tmp_path / "puzzles.txt", *rows)), four)


def test_lines_with_comments_empty_lines_and_windows_ends(tmp_path: Path, nine: PuzzleSet) -> None:
    lines = ["# by level", "", *map(text, nine.inputs), "", "# end"]
    path = tmp_path / "puzzles.txt"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    assert_same(read_puzzles(path), nine, False)


def test_official_folders(tmp_path: Path, nine: PuzzleSet) -> None:
    folder(tmp_path / "data" / "test", nine)
    assert_same(read_puzzles(tmp_path / "data" / "test"), nine)
    assert_same(read_puzzles(tmp_path / "data", split="test"), nine)
    assert_same(read_puzzles(tmp_path / "data" / "test", split="test"), nine)


def test_official_folders_of_several_sets(tmp_path: Path, nine: PuzzleSet) -> None:
    path = folder(tmp_path / "train", nine, sets=["easy", "hard"])
    for name, part in (("easy", slice(0, 5)), ("hard", slice(5, None))):
        np.save(path / f"{name}__inputs.npy", nine.inputs[part])
        np.save(path / f"{name}__labels.npy", nine.labels[part])
    assert_same(read_puzzles(path), nine)
    assert len(read_puzzles(path, limit=7)) == 7
    assert len(read_puzzles(path, limit=3)) == 3


def test_npz(tmp_path: Path, four: PuzzleSet) -> None:
    np.savez(tmp_path / "both.npz", inputs=four.inputs, labels=four.labels)
    assert_same(read_puzzles(tmp_path / "both.npz"), four)
    np.savez(tmp_path / "inputs.npz", inputs=four.inputs.astype(np.int64))
    assert_same(read_puzzles(tmp_path / "inputs.npz"), four, False)


def test_a_limit_reads_only_the_first_rows(tmp_path: Path, nine: PuzzleSet) -> None:
    path = write(tmp_path / "p.txt", *map(text, nine.inputs[:3]), "rubbish")
    assert len(read_puzzles(path, limit=3)) == 3
    with pytest.raises(UsageError, match="limit of puzzles must be 1 or more, got 0"):
        read_puzzles(path, limit=0)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (PUZZLE[:-1], "expected 16 characters, got 15"),
        ("." * 81, "expected 16 characters, got 81"),
        ("1x" + PUZZLE[2:], "expected a digit 1-4 or a blank (. 0 _) at position 2, got 'x'"),
        ("15" + PUZZLE[2:], "expected a digit 1-4 or a blank (. 0 _) at position 2, got '5'"),
        ("1é" + PUZZLE[2:], "expected a digit 1-4 or a blank (. 0 _) at position 2, got 'é'"),
        ("1..1" + "." * 12, "the clue 1 appears twice in row 1"),
        ("1" + "." * 11 + "1...", "the clue 1 appears twice in column 1"),
        ("1....1" + "." * 10, "the clue 1 appears twice in box 1"),
        (f"{SOLVABLE},{SOLUTION}", "expected no solution, as in the first row"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    path = write(tmp_path / "puzzles.txt", "# comment", SOLVABLE, "", line, SOLVABLE)
    message = refusal(path)
    assert f"puzzles.txt line 4: {reason}" in message
    assert "1 of 3 rows" in message


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (f"{PUZZLE},{SOLUTION[:-1]}", "expected 16 characters in the solution, got 15"),
        (
            f"{SOLVABLE},{SOLUTION[:-1]}.",
            "expected a digit 1-4 at position 16 in the solution, got '.'",
        ),
        (f"2{SOLVABLE[1:].replace('2', '.')},{SOLUTION}", "column 1: expected the clue 2, got 1"),
        (f"{SOLVABLE},{SOLUTION[:-2]}22", "the solution's digit 2 appears twice in row 4"),
        (f"{SOLVABLE}", "expected a solution, as in the first row"),
        ("", ""),
    ],
)
def test_a_bad_solution_is_named(tmp_path: Path, row: str, reason: str) -> None:
    good = f"....{'.' * 12},{SOLUTION}"
    path = write(tmp_path / "puzzles.csv", "quizzes,solutions", good, row, good)
    if not row:
        assert len(read_puzzles(path)) == 2
        return
    message = refusal(path)
    assert "puzzles.csv line 3: " in message
    assert reason in message


def test_only_five_bad_rows_are_listed_in_order(tmp_path: Path) -> None:
    lines = [SOLVABLE, "11..", *["11" + "." * 14] * 7, "1"]
    message = refusal(write(tmp_path / "puzzles.txt", *lines))
    assert message.startswith("puzzles.txt: 9 of 10 rows cannot be used; correct or remove:")
    named = [line for line in message.splitlines() if " line " in line]
    assert [line.split(" line ")[1].split(":")[0] for line in named] == ["2", "3", "4", "5", "6"]
    assert "and 4 more" in message


def test_all_bad_rows_are_counted_however_many_fit_into_the_message(tmp_path: Path) -> None:
    path = write(tmp_path / f"{'long' * 20}.txt", *["5" + "." * 15] * 30)
    message = refusal(path)
    listed = sum(" line " in line for line in message.splitlines())
    assert 1 < listed < 5
    assert message.endswith(f"\n  - ... and {30 - listed} more")
    assert len(message) < 500


def test_rows_of_large_files_are_counted_on(
    tmp_path: Path, four: PuzzleSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trm_export.tasks.row_checks._CHUNK", 5)
    inputs = four.inputs.copy()
    inputs[[1, 7, 11], 0] = 9
    np.savez(tmp_path / "p.npz", inputs=inputs)
    message = refusal(tmp_path / "p.npz")
    assert "3 of 12 rows" in message
    assert all(f"row {row}: expected a token 1 to 5 (" in message for row in (1, 7, 11))
    assert message.count(" at position 1 of the puzzle, got 9") == 3


def test_sizes_must_fit_the_task(tmp_path: Path, four: PuzzleSet) -> None:
    path = write(tmp_path / "puzzles.txt", *map(text, four.inputs))
    assert len(read_puzzles(path, get_task("sudoku4"))) == 12
    message = refusal(path, task=get_task("sudoku9"))
    assert "puzzles.txt line 1: expected 81 characters, got 16" in message
    np.savez(tmp_path / "p.npz", inputs=four.inputs)
    assert "expected the shape (rows, 81)" in refusal(tmp_path / "p.npz", task=get_task("sudoku9"))


def test_a_file_of_one_row(tmp_path: Path) -> None:
    assert "the only row cannot be used" in refusal(write(tmp_path / "p.txt", "123"))


@pytest.mark.parametrize("content", ["", "\n\n# nothing\n", "quizzes,solutions\n"])
def test_empty_files(tmp_path: Path, content: str) -> None:
    (tmp_path / "empty.csv").write_text(content)
    assert "empty.csv: has no puzzle, expected one a line." in refusal(tmp_path / "empty.csv")


def odd_archives() -> dict[str, bytes]:
    """Archives that numpy reads too much of, or ends at with errors of other libraries."""
    file = io.BytesIO()
    np.save(file, np.ones((3, 16), np.int32))
    array = file.getvalue()
    kinds = {
        "text": ("inputs", array, zipfile.ZIP_STORED),
        "shape": ("inputs.npy", array.replace(b"(3, 16)", b"(9**9,)"), zipfile.ZIP_STORED),
        "head": ("inputs.npy", array.replace(b"(3, 16)", b"(3, 1\0("), zipfile.ZIP_STORED),
        "lzma": ("inputs.npy", array, zipfile.ZIP_LZMA),
        "bomb": ("inputs.npy", array + bytes(1 << 20), zipfile.ZIP_DEFLATED),
    }
    found = {}
    for kind, (name, data, method) in kinds.items():
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w", method) as archive:
            archive.writestr(name, data)
        found[kind] = made.getvalue()
    return found


def test_only_regular_files_are_read(tmp_path: Path) -> None:
    for suffix in (".csv", ".npz"):
        os.mkfifo(tmp_path / f"p{suffix}")
        assert "got a FIFO" in refusal(tmp_path / f"p{suffix}")
    assert "got a device" in refusal(Path("/dev/zero"))


def test_a_line_is_read_only_as_far_as_a_puzzle_is_long(tmp_path: Path) -> None:
    with (tmp_path / "p.csv").open("wb") as file:
        file.truncate(1 << 32)  # of zeros, which take no space on disk
    assert "more than" in refusal(tmp_path / "p.csv")


def test_files_that_are_not_puzzle_files(tmp_path: Path) -> None:
    (tmp_path / "image.txt").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    assert "image.txt: not a text file" in refusal(tmp_path / "image.txt")
    assert "no column of puzzles, got solution, rating; known for puzzles are puzzle, " in refusal(
        write(tmp_path / "half.csv", "solution,rating", "1,2")
    )
    assert "line 1: more than 100000 characters" in refusal(
        write(tmp_path / "long.txt", "1" * 200000)
    )
    assert "does not exist" in refusal(tmp_path / "nowhere.csv")
    np.savez(tmp_path / "whole.npz", inputs=np.ones((2, 16), np.int32))
    data = (tmp_path / "whole.npz").read_bytes()
    for broken in (data[:-6] + b"\xff\xff\xff\0" + data[-2:], data[:-2]):
        (tmp_path / "broken.npz").write_bytes(broken)
        assert "broken.npz: not a readable .npz" in refusal(tmp_path / "broken.npz")
    (tmp_path / "whole.npz").unlink()
    (tmp_path / "broken.npz").write_bytes(b"PK\x03\x04 no zip")
    assert "broken.npz: not a readable .npz" in refusal(tmp_path / "broken.npz")
    np.save(tmp_path / "array.npy", np.ones((2, 16), np.int32))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    assert "array.npz: not a readable .npz" in refusal(tmp_path / "array.npz")
    for name, data in odd_archives().items():
        (tmp_path / f"{name}.npz").write_bytes(data)
        assert f"{name}.npz: " in refusal(tmp_path / f"{name}.npz")
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    assert "other.npz: expected inputs (and labels), got x." in refusal(tmp_path / "other.npz")
    np.savez(tmp_path / "pickle.npz", inputs=np.array([{"a": 1}], dtype=object))
    assert "pickle.npz: not a readable .npz" in refusal(tmp_path / "pickle.npz")


def test_arrays_of_wrong_shape_or_dtype(tmp_path: Path, four: PuzzleSet) -> None:
    np.savez(tmp_path / "p.npz", inputs=four.inputs.astype(np.float32), labels=four.labels[:3])
    message = refusal(tmp_path / "p.npz")
    assert "labels: expected the shape (12, 16), got (3, 16)" in message
    assert "inputs: expected integer tokens, got the dtype float32" in message
    np.savez(tmp_path / "q.npz", inputs=np.ones((3, 900), np.int32))
    assert "expected the shape (rows, 16) or (rows, 81)" in refusal(tmp_path / "q.npz")
    np.savez(tmp_path / "r.npz", inputs=np.ones((0, 81), np.int32))
    assert "at least one row" in refusal(tmp_path / "r.npz")


def test_bad_rows_of_arrays_are_named(tmp_path: Path, nine: PuzzleSet) -> None:
    inputs = nine.inputs.copy()
    inputs[3, 10], inputs[5, 0] = 0, 11
    path = folder(tmp_path / "test", PuzzleSet(inputs, nine.labels, nine.blanks))
    message = refusal(path)
    expected = "expected a token 1 to 10 (1 blank, 2.. digits) at position"
    assert f"all__inputs.npy row 3: {expected} 11 of the puzzle, got 0" in message
    assert f"all__inputs.npy row 5: {expected} 1 of the puzzle, got 11" in message
    labels = nine.labels.copy()
    labels[2, 7] = 1
    path = folder(tmp_path / "labels", PuzzleSet(nine.inputs, labels, nine.blanks))
    assert "row 2: expected a token 2 to 10 (2.. digits) at position 8 of" in refusal(path)


def test_damaged_official_folders(tmp_path: Path, nine: PuzzleSet) -> None:
    folder(tmp_path / "data" / "test", nine)
    named = f"; {tmp_path / 'data'} has the splits test: give the folder of one."
    assert refusal(tmp_path / "data") == f"{tmp_path / 'data'} has no dataset.json{named}"
    missing = tmp_path / "data" / "train"
    assert refusal(tmp_path / "data", split="train") == f"{missing} has no dataset.json{named}"
    missing.mkdir()
    assert refusal(missing, split="test") == f"{missing / 'test'} has no dataset.json."
    with pytest.raises(UsageError, match="must be the name of a folder, such as test"):
        read_puzzles(tmp_path / "data", split="../test")
    path = folder(tmp_path / "escape", nine, sets=["../test/all"])
    assert "expected a list of names `sets`" in refusal(path)
    path = folder(tmp_path / "length", nine, seq_len=900)
    assert "has seq_len 900, but all__inputs.npy has rows of 81 tokens." in refusal(path)
    (path / "dataset.json").write_text("{")
    assert "not valid JSON" in refusal(path)
    path = folder(tmp_path / "cut", nine)
    (path / "all__inputs.npy").write_bytes((path / "all__inputs.npy").read_bytes()[:200])
    assert "all__inputs.npy: not a readable .npy file" in refusal(path)
    (path / "all__inputs.npy").unlink()
    assert "all__inputs.npy: cannot be read: No such file" in refusal(path)
