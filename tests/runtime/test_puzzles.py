from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.fakes import make_contract
from trm_runtime import RejectedInputError, Solution
from trm_runtime.puzzles import answer_text, givens_kept, read_puzzles


def read(tmp_path: Path, text: str | bytes, **fields: Any) -> list[list[int]]:
    path = tmp_path / "puzzles.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    puzzles = read_puzzles(str(path), make_contract(**fields))
    assert puzzles.dtype == np.int32
    return puzzles.tolist()


@pytest.mark.parametrize(
    "line",
    ["1.0_", "  1.0_\t", "2 1 1 1", "2,1,1,1", "2, 1,1 , 1", "1.0_\r", "\ufeff1.0_"],
)
def test_one_puzzle_in_many_spellings(tmp_path: Path, line: str) -> None:
    assert read(tmp_path, line + "\n") == [[2, 1, 1, 1]]


def test_comments_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    text = "# four by one\n\n1234\n   \n  # more\n....\n0 0 0 5"
    assert read(tmp_path, text) == [[2, 3, 4, 5], [1, 1, 1, 1], [0, 0, 0, 5]]


def test_an_alphabet_may_hold_the_comment_sign_and_the_space(tmp_path: Path) -> None:
    alphabet = ("", "#", " ", "S", "G", "o")
    text = "#S G\n\n# oo\n"
    assert read(tmp_path, text, alphabet=alphabet) == [[1, 3, 2, 4], [1, 2, 5, 5]]


def test_without_an_alphabet_only_ids_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, "# ids\n5 4 3 2\n", alphabet=None) == [[5, 4, 3, 2]]
    with pytest.raises(RejectedInputError, match="expected 4 token ids separated by spaces"):
        read(tmp_path, "1234\n", alphabet=None)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("123", "expected 4 cells, got 3 characters"),
        ("12345", "expected 4 cells, got 5 characters"),
        ("12x4", "column 3: 'x' is not one of .01234_"),
        ("1 2 3", "expected 4 cells, got 3 token ids"),
        ("1 2 3 4 5", "expected 4 cells, got 5 token ids"),
        ("1 2 3 6", "column 4: id 6 is not in 0..5"),
        ("-1 2 3 4", "column 1: id -1 is not in 0..5"),
        ("1 2 3 99999999999999999999", "expected 4 cells, got 26 characters"),
    ],
)
def test_bad_lines_are_named_by_file_and_line(tmp_path: Path, line: str, complaint: str) -> None:
    with pytest.raises(RejectedInputError) as caught:
        read(tmp_path, f"1234\n# comment\n{line}\n")
    assert caught.value.problems == (f"{tmp_path / 'puzzles.txt'}:3: {complaint}",)


def test_only_the_first_bad_lines_are_listed(tmp_path: Path) -> None:
    with pytest.raises(RejectedInputError, match="12 bad lines:") as caught:
        read(tmp_path, "12\n" * 12)
    assert len(caught.value.problems) == 6
    assert caught.value.problems[-1] == "... and 7 more"
    with pytest.raises(RejectedInputError, match="1 bad line:"):
        read(tmp_path, "12\n")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [(b"", "holds no puzzles"), (b"# only\n\n", "holds no puzzles"), (b"\xff\xfe1", "not UTF-8")],
)
def test_files_without_puzzles(tmp_path: Path, data: bytes, complaint: str) -> None:
    with pytest.raises(RejectedInputError, match=complaint):
        read(tmp_path, data)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RejectedInputError, match=r"none\.txt: cannot be read: No such file"):
        read_puzzles(str(tmp_path / "none.txt"), make_contract())


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1234\n1x34\n")))
    with pytest.raises(RejectedInputError, match="standard input:2: column 2: 'x'"):
        read_puzzles("-", make_contract())


def test_answers_are_printed_with_the_first_character_of_each_id() -> None:
    assert answer_text([1, 2, 5, 0], make_contract()) == ".14?"
    assert answer_text([1, 2, 5, 0], make_contract(alphabet=None)) == "1 2 5 0"


def kept(puzzles: list[list[int]], answers: list[list[int]], **fields: Any) -> list[bool | None]:
    """Of answers all but the last of which have been reached."""
    count = len(puzzles)
    scores = np.array([0.5] * (count - 1) + [np.nan], np.float32)
    reasons = ("halted",) * (count - 1) + ("deadline",)
    solution = Solution(np.array(answers), np.ones(count, np.int32), scores, scores, reasons)
    return givens_kept(np.array(puzzles), solution, make_contract(**fields))


def test_given_cells_are_those_without_a_blank() -> None:
    puzzles = [[1, 2, 3, 1], [1, 2, 3, 1], [1, 1, 1, 1]]
    answers = [[5, 2, 3, 4], [5, 2, 4, 4], [0, 0, 0, 0]]
    assert kept(puzzles, answers) == [True, False, None]
    maze = ("", "#", " ", "S", "G", "o")
    assert kept([[1, 2, 2, 3]] * 3, [[1, 5, 2, 3], [5, 2, 2, 3], [0] * 4], alphabet=maze) == [
        *(True, False, None)
    ]
    for alphabet in (None, ("", "a", "b", "c", "d", "e")):
        assert kept(puzzles, answers, alphabet=alphabet) == [None] * 3
