from __future__ import annotations

import io
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.fakes import ALPHABET, FakeRunner, make_contract
from trm_runtime import RejectedInputError, Solution, UsageError, solve
from trm_runtime.alphabet import UNPRINTABLE, meanings, text_of
from trm_runtime.puzzles import read_identifiers, read_puzzles

IDS = (
    "in this model 0 is padding, 1 is a blank, 2 to 5 are 1 to 4, so give puzzles as text, or in "
    "these ids"
)


NO_IDS = (
    ", but a cell is one character; token ids are not read from text where digits are cells, so "
    "give them in an .npz"
)


def read(tmp_path: Path, text: str | bytes, **fields: Any) -> list[list[int]]:
    path = tmp_path / "puzzles.txt"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    puzzles = read_puzzles(str(path), make_contract(**fields))
    assert puzzles.dtype == np.int32
    return puzzles.tolist()


@pytest.mark.parametrize(
    "line",
    [
        "1.0_", "  1.0_\t", "1 0 0 0", "1,0,0,0", "1, .,0 , _", "1;0;0;0", "1\t0\t.\t0",
        "[1, 0, 0, 0]",        "1.0_\r", "\ufeff1.0_", '"1.0_"', "1.0_,1234",
        "1,0,0,0,1,2,3,4", "1.0_:1:1234", "7;1.0_;1234",
    ],
)  # fmt: skip
def test_one_puzzle_in_many_spellings(tmp_path: Path, line: str) -> None:
    assert read(tmp_path, line + "\n") == [[2, 1, 1, 1]]


def test_comments_and_blank_lines_are_skipped(tmp_path: Path) -> None:
    text = "# four by one\n\n1234\n   \n  # more\n....\n4 0 0 0"
    assert read(tmp_path, text) == [[2, 3, 4, 5], [1, 1, 1, 1], [5, 1, 1, 1]]


def test_an_alphabet_may_hold_the_comment_sign_and_the_space(tmp_path: Path) -> None:
    alphabet = ("", "#", " ", "S", "G", "o")
    text = "#S G\n\n# oo\n"
    assert read(tmp_path, text, alphabet=alphabet) == [[1, 3, 2, 4], [1, 2, 5, 5]]


def test_a_maze_of_spaces_for_the_most_part_is_no_title(tmp_path: Path) -> None:
    maze = ("", "#", "._ ", "S", "G", "o")
    text = "   G#S   \n#S o# .#G\n"
    found = read(tmp_path, text, seq=9, alphabet=maze)
    assert found == [[2, 2, 2, 4, 1, 3, 2, 2, 2], [1, 3, 2, 5, 1, 2, 2, 1, 4]]


def test_numbers_are_ids_where_no_digit_is_a_cell(tmp_path: Path) -> None:
    maze = ("", "#", ".", "S", "G", "o")
    assert read(tmp_path, "1 3 2 4\n1,1,1,1\n", alphabet=maze) == [[1, 3, 2, 4], [1, 1, 1, 1]]
    ids = "in this model 0 is padding, 1 is #, 2 is a blank, 3 is S, 4 is G, 5 is o"
    with pytest.raises(RejectedInputError, match=f"line 1: column 2: id 0 is padding; {ids}"):
        read(tmp_path, "1 0 2 4\n", alphabet=maze)
    with pytest.raises(RejectedInputError, match=r"line 1: column 4: id 6 is not in 0\.\.5"):
        read(tmp_path, "1 3 2 6\n", alphabet=maze)


def test_without_an_alphabet_only_ids_are_read(tmp_path: Path) -> None:
    assert read(tmp_path, "# ids\n5 4 3 2\n", alphabet=None) == [[5, 4, 3, 2]]
    with pytest.raises(RejectedInputError, match="expected 4 token ids separated by spaces"):
        read(tmp_path, "1234\n", alphabet=None)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("123", "expected 4 characters, got 3"),
        ("12345", "expected 4 characters, got 5"),
        ("12x4", "column 3: 'x' is not one of .01234_"),
        ("1 2 3", "expected 4 characters, got 3"),
        ("1 2 3 4 1", "expected 4 characters, got 5"),
        ("1 0 3 5", "column 4: '5' is not one of .01234_"),
        ("1 2 3 10", f"got the number 10{NO_IDS}"),
        ("-1 2 3 4", f"got the number 4{NO_IDS}"),
        ("-123", "column 1: '-' is not one of .01234_"),
    ],
)
def test_bad_lines_are_named_by_file_and_line(tmp_path: Path, line: str, complaint: str) -> None:
    with pytest.raises(RejectedInputError) as caught:
        read(tmp_path, f"1234\n# comment\n{line}\n")
    assert caught.value.problems == (f"line 3: {complaint}",)


def test_the_message_has_the_first_bad_lines_and_counts_the_others(tmp_path: Path) -> None:
    with pytest.raises(RejectedInputError, match="12 bad lines:") as caught:
        read(tmp_path, "123\n" * 12)
    assert len(caught.value.problems) == 12
    file = tmp_path / "ids.txt"
    file.write_text("".join(f"{'x' * 70}\n" for _ in range(30)))
    with pytest.raises(RejectedInputError, match="30 bad lines:") as caught:
        read_identifiers(file)
    *told, last = str(caught.value).splitlines()[1:]
    assert len(told) > 1
    assert last == f"  - ... and {30 - len(told)} more"
    with pytest.raises(RejectedInputError, match="1 bad line:"):
        read(tmp_path, "12\n")


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"", "has no puzzles"),
        (b"# only\n\n", "has no puzzles"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not a text file"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer, not the file"),
        (b"\x1f\x8b\x08 no gzip", "damaged"),
        (b"PK\x03\x04 no zip", "damaged"),
    ],
)
def test_files_without_puzzles(tmp_path: Path, data: bytes, complaint: str) -> None:
    with pytest.raises(RejectedInputError, match=complaint):
        read(tmp_path, data)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RejectedInputError, match=r"none\.txt: cannot be read: No such file"):
        read_puzzles(str(tmp_path / "none.txt"), make_contract())


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"1234\n1x34\n")))
    with pytest.raises(
        RejectedInputError, match="standard input: 1 bad line:\n  - line 2: column 2: 'x'"
    ):
        read_puzzles("-", make_contract())


def test_answers_are_printed_with_the_first_character_of_each_id() -> None:
    assert text_of([1, 2, 5, 0], ALPHABET) == f".14{UNPRINTABLE}"


def kept(puzzles: list[list[int]], answers: list[list[int]], **fields: Any) -> list[bool | None]:
    """Of answers all but the last of which have been reached."""
    count = len(puzzles)
    scores = np.array([0.5] * (count - 1) + [np.nan], np.float32)
    reasons, steps = ("halted",) * (count - 1) + ("deadline",), np.ones(count, np.int32)
    given, contract = np.array(puzzles), make_contract(**fields)
    solution = Solution(np.array(answers), steps, scores, scores, reasons, given, contract)
    return solution.given_kept


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


@pytest.mark.parametrize("source", ["a name", Path("a path")])
def test_a_runner_will_do_for_its_contract(tmp_path: Path, source: str | Path) -> None:
    path = tmp_path / source
    path.write_text("1234\n")
    given = path if isinstance(source, Path) else str(path)
    assert read_puzzles(given, FakeRunner()).tolist() == [[2, 3, 4, 5]]


@pytest.mark.parametrize(
    "puzzles",
    [
        "1.0_", "  1.0_\n", "1 0 0 0", ["1.0_"], ("1,0,0,0",), np.array(["1.0_"]), [2, 1, 1, 1],
        [[2, 1, 1, 1]], np.array([2, 1, 1, 1], np.int8), {"inputs": "1.0_"},
    ],
)  # fmt: skip
def test_solve_takes_text_and_ids_alike(puzzles: Any) -> None:
    solution = solve(FakeRunner(), puzzles)
    assert solution.puzzles.tolist() == [[2, 1, 1, 1]]
    assert solution.texts == ["3222"]


@pytest.mark.parametrize("puzzles", [[], (), np.zeros((0, 4), np.int32), {"inputs": []}])
def test_no_puzzles(puzzles: Any) -> None:
    assert solve(FakeRunner(), puzzles).answers.shape == (0, 4)


@pytest.mark.parametrize("source", [None, ["1234"], io.StringIO("1234")])
def test_a_source_that_is_no_path(source: Any) -> None:
    wanted = "^source: expected the path of a file or folder, got .*; puzzles that are in memory"
    for read in (lambda: read_puzzles(source, FakeRunner()), lambda: read_identifiers(source)):
        with pytest.raises(UsageError, match=wanted):
            read()


def test_a_source_with_a_null_character() -> None:
    for read in (lambda: read_puzzles("a\0b", FakeRunner()), lambda: read_identifiers("a\0b")):
        with pytest.raises(UsageError, match=r"^source: .* without a null .*, got 'a\\x00b'\.$"):
            read()


def test_a_model_that_is_none() -> None:
    with pytest.raises(UsageError, match=r"^model: expected a runner or its contract, got None"):
        read_puzzles("p.txt", None)  # type: ignore[arg-type]


def test_several_texts_are_several_puzzles() -> None:
    for puzzles in (["1234", "...."], "1234\n....\n"):
        assert solve(FakeRunner(), puzzles).puzzles.tolist() == [[2, 3, 4, 5], [1, 1, 1, 1]]


@pytest.mark.parametrize(
    ("puzzles", "complaint"),
    [
        ("", "puzzle 1: expected 4 characters, got 0"),
        (["1234", "12x4"], "puzzle 2: column 3: 'x' is not one of .01234_"),
        ([[1, 2, 3, 4], [1]], "input 'inputs': expected rows of the same length, got different"),
        (3, "expected shape (N, 4), got ()"),
        ({"input": "1234"}, "input 'inputs': missing"),
        (b"1234", "expected text or token ids, got bytes; decode bytes to a string"),
        ([b"1234", b"4321"], "expected text or token ids, got list; decode bytes to a string"),
        (Path("p.txt"), "expected text or token ids, got PosixPath; read a file with read_puzzles"),
        (None, "expected text or token ids, got NoneType; give a string, a list or an array"),
        (iter(["1234"]), "expected text or token ids, got list_iterator; give list(...) of an"),
    ],
)
def test_text_that_does_not_fit_is_refused(puzzles: Any, complaint: str) -> None:
    with pytest.raises(RejectedInputError, match=re.escape(complaint)):
        solve(FakeRunner(), puzzles)
    if not isinstance(puzzles, int):
        with pytest.raises(RejectedInputError, match=r"fit the model:\n  - "):
            solve(FakeRunner(), puzzles)


@pytest.mark.parametrize("row", [[1, 0, 0, 4], [0, 1, 2, 3], [0, 0, 0, 0]])
def test_digits_in_the_place_of_ids_are_caught(row: list[int]) -> None:
    runner = FakeRunner()
    with pytest.raises(RejectedInputError, match=re.escape(IDS)) as caught:
        solve(runner, [[1, 2, 3, 4], row])
    assert caught.value.problems[0] == f"row 1, column {row.index(0)}: id 0"
    assert not runner.batches


@pytest.mark.parametrize("alphabet", [None, ("-", "|", "0", "1", "2", "3")])
def test_id_0_is_a_cell_where_it_has_a_character_or_nothing_is_known(alphabet: Any) -> None:
    runner = FakeRunner(make_contract(alphabet=alphabet))
    assert len(solve(runner, [[0, 0, 2, 0], [0, 0, 0, 0]])) == 2


def test_padding_behind_a_puzzle_is_no_fault() -> None:
    assert len(solve(FakeRunner(), [[1, 2, 0, 0]])) == 1


def test_answers_without_an_alphabet_have_no_text() -> None:
    solution = solve(FakeRunner(make_contract(alphabet=None)), [1, 2, 3, 4])
    with pytest.raises(UsageError, match="has no alphabet"):
        _ = solution.texts
    assert "toy" in solve(FakeRunner(), "1234").contract.model_name


def test_what_ids_mean_in_words() -> None:
    nine = ("", ".0_", *"123456789")
    assert meanings(nine) == "0 is padding, 1 is a blank, 2 to 10 are 1 to 9"
    maze = ("", "#", "._ ", "S", "G", "o")
    assert meanings(maze) == "0 is padding, 1 is #, 2 is a blank, 3 is S, 4 is G, 5 is o"
    assert meanings(("-", "|", *"0123")) == "0 is -, 1 is |, 2 to 5 are 0 to 3"
    assert meanings(("", "", "a", "b")) == "0 is padding, 1 is nothing, 2 to 3 are a to b"
