"""Puzzle files as people have them, read by the same reader on the device and on the host."""

from __future__ import annotations

import gzip
import io
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.runtime.fakes import make_contract
from trm_export.tasks import get_task
from trm_export.tasks import read_puzzles as read_on_host
from trm_runtime import RejectedInputError, StepContract
from trm_runtime.limits import JSON_MB
from trm_runtime.puzzle_names import PUZZLE_NAMES, SOLUTION_NAMES
from trm_runtime.puzzles import read_inputs, read_puzzles

DOCUMENT = Path(__file__).parents[2] / "docs/puzzle-files.md"
SUDOKU = get_task("sudoku9")
MAZE = get_task("maze9")
NINE = SUDOKU.puzzles("test", 50, 4)
MAZES = MAZE.puzzles("test", count=4)


def contract(task: str) -> StepContract:
    own = get_task(task)
    return make_contract(alphabet=own.alphabet, seq=own.seq_len, vocab=own.vocab_size)


def digits(tokens: np.ndarray, blank: str = "0") -> str:
    return "".join(blank if token == 1 else str(token - 1) for token in tokens)


def walls(tokens: np.ndarray) -> str:
    return "".join("?# SGo"[token] for token in tokens)


P, S = [digits(row) for row in NINE.inputs], [digits(row) for row in NINE.solutions]
M, W = [walls(row) for row in MAZES.inputs], [walls(row) for row in MAZES.solutions]


def rows(board: str, gap: str = "") -> list[str]:
    return [gap.join(board[i : i + 9]) for i in range(0, len(board), 9)]


def table(header: str, sep: str = ",", more: str = "") -> str:
    lines = [f"{p}{sep}{s}{more}" for p, s in zip(P, S, strict=True)]
    return "\n".join([header, *lines]) + "\n"


def framed(board: str) -> str:
    bars = [f"| {r[:3]} | {r[3:6]} | {r[6:]} |".replace("0", ".") for r in rows(board)]
    rule = "+-----+-----+-----+"
    return "\n".join([rule, *bars[:3], rule, *bars[3:6], rule, *bars[6:], rule])


def quoted(board: str) -> str:
    return '"' + "\n".join(rows(board)) + '"'


def grids(puzzles: list[str], solutions: list[str]) -> str:
    boards = ["\n".join(rows(board)) for board in [*puzzles, *solutions]]
    return "\n\n".join([*boards[: len(puzzles)], "Solutions", *boards[len(puzzles) :]])


LINES = "\n".join(P)
SOLVED = {
    "kaggle": table("quizzes,solutions"),
    "byte order mark": "\ufeff" + table("puzzle,solution"),
    "semicolon": table("quizzes;solutions", ";"),
    "tab": table("Puzzle\tSolution", "\t"),
    "told separator": "sep=;\n" + table("puzzle;solution", ";"),
    "input and target": table("input,target"),
    "unsolved and solved": table("unsolved,solved"),
    "board": table("board,solution"),
    "sudoku": table("sudoku,solution"),
    "answers": table("question,answers"),
    "two words": table("sudoku_puzzle,sudoku_solution"),
    "blank after the comma": table("puzzle, solution", ", "),
    "another column": table("puzzle,solution,clues", more=",31"),
    "remark": table("puzzle,solution,remark", more=",schön; sehr"),
    "quoted lines": "puzzle,solution\n"
    + "\n".join(f"{quoted(p)},{s}" for p, s in zip(P, S, strict=True)),
    "lists in cells": "puzzle,solution\n"
    + "\n".join(f'"{list(map(int, p))}","{list(map(int, s))}"' for p, s in zip(P, S, strict=True)),
    "two columns without a header": "\n".join(map(",".join, zip(P, S, strict=True))),
    "a number first": "\n".join(f"{i},{p},{s}" for i, (p, s) in enumerate(zip(P, S, strict=True))),
    "colons": "\n".join(f"{p}:1:{s}" for p, s in zip(P, S, strict=True)),
    "digits apart": "\n".join(f"{' '.join(p)};{' '.join(s)}" for p, s in zip(P, S, strict=True)),
    "json lines": "\n".join(
        json.dumps({"sudoku": p, "solution": s, "rating": 3.1}) for p, s in zip(P, S, strict=True)
    ),
    "json list": json.dumps(
        [{"puzzle": p, "solution": s} for p, s in zip(P, S, strict=True)], indent=1
    ),
    "json columns": json.dumps({"quizzes": P, "solutions": S}),
    "json of the Dosuku service": json.dumps(
        {
            "newboard": {
                "grids": [
                    {
                        "value": [[int(c) for c in r] for r in rows(p)],
                        "solution": [[int(c) for c in r] for r in rows(s)],
                        "difficulty": "Hard",
                    }
                    for p, s in zip(P, S, strict=True)
                ]
            }
        }
    ),
    "json list below a plural": json.dumps(
        {"puzzles": [{"puzzle": p, "solution": s} for p, s in zip(P, S, strict=True)]}
    ),
    "json lists with null below a plural": json.dumps(
        {
            "quizzes": [
                [{"quiz": [[int(c) or None for c in r] for r in rows(p)], "answer": s}]
                for p, s in zip(P, S, strict=True)
            ]
        }
    ),
    "json lists of objects of both": json.dumps(
        {"puzzles": [{"board": p} for p in P], "solutions": [{"board": s} for s in S]}
    ),
    "json of unknown and known name": json.dumps({"data": P, "solutions": S}),
    "pandas": ",quizzes,solutions\n"
    + "\n".join(f"{i},{p},{s}" for i, (p, s) in enumerate(zip(P, S, strict=True))),
    "text for Excel": "puzzle,solution\n"
    + "\n".join(f'"=""{p}""","=""{s}"""' for p, s in zip(P, S, strict=True)),
    "Markdown": "| puzzle | solution |\n|---|---|\n"
    + "\n".join(f"| {p} | {s} |" for p, s in zip(P, S, strict=True)),
    "camel case": table("puzzleString,solutionString"),
    "json pairs": json.dumps(list(zip(P, S, strict=True))),
    "titles": "\n".join(
        "\n".join([f"[Puzzle {i}]", *rows(p), "[Solution]", *rows(s)])
        for i, (p, s) in enumerate(zip(P, S, strict=True))
    ),
    "solutions below all puzzles": "\n\n".join(
        [*(f"Grid {i}\n" + "\n".join(rows(p)) for i, p in enumerate(P)), "Solutions"]
        + ["\n".join(rows(s)) for s in S]
    ),
    "titled solutions below all puzzles": "\n".join(
        [*(f"Grid {i}\n" + "\n".join(rows(p)) for i, p in enumerate(P))]
        + [f"Solution {i}\n" + "\n".join(rows(s)) for i, s in enumerate(S)]
    ),
    "two titles": "\n\n".join(
        ["Puzzles", *("\n".join(rows(p)) for p in P), "Solutions"] + ["\n".join(rows(s)) for s in S]
    ),
}
UNSOLVED = {
    "a line each": LINES,
    "Windows ends": LINES.replace("\n", "\r\n"),
    "old Mac ends": LINES.replace("\n", "\r"),
    "spaces": "\n".join(map(" ".join, P)),
    "commas": "\n".join(map(",".join, P)),
    "semicolons": "\n".join(map(";".join, P)),
    "ratings": "\n".join(f"{p};11.9;forum;{i};" for i, p in enumerate(P)),
    "names": "\n".join(f"Easter Monster {i} {p}" for i, p in enumerate(P)),
    "Project Euler": "\n".join("\n".join([f"Grid {i:02}", *rows(p)]) for i, p in enumerate(P)),
    "empty lines between": "\n\n".join("\n".join(rows(p)) for p in P),
    "nothing between": "\n".join("\n".join(rows(p)) for p in P),
    "spaced rows": "\n\n".join("\n".join(rows(p, " ")) for p in P),
    "comma rows": "\n\n".join("\n".join(rows(p, ",")) for p in P),
    "frames": "\n\n".join(map(framed, P)),
    "drawn by this project": "\n\n".join(SUDOKU.render(row) for row in NINE.inputs),
    "numpy": "\n".join(f"[{np.array2string(row)}]" for row in NINE.inputs.reshape(-1, 9, 9) - 1),
    "json strings": json.dumps(P),
    "json lists": json.dumps([[int(c) for c in p] for p in P]),
    "json rows": json.dumps([rows(p) for p in P]),
    "json with null": json.dumps([[int(c) or None for c in p] for p in P]),
    "one column": "quizzes\n" + LINES,
    "a title": "My best ones\n" + LINES,
    "spaces for blanks": LINES.replace("0", " "),
    "empty fields": "\n".join(",".join(p).replace("0", "") for p in P),
    "grid of a spreadsheet": "\n\n".join(
        "\n".join(";".join(r).replace("0", "") for r in rows(p)) for p in P
    ),
    "json by name": json.dumps(dict(zip("abcd", P, strict=True))),
    "json without solutions": json.dumps([{"puzzle": p, "solution": None} for p in P]),
    "sdk": "\n".join("\n".join(["#A me", "[Puzzle]", *rows(p), "[State]", *rows(p)]) for p in P),
}


def packed(text: str) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("sudoku.csv", text)
    return archive.getvalue()


BYTES: dict[str, Callable[[str], bytes]] = {
    "UTF-16 of Excel": lambda text: text.encode("utf-16"),
    "UTF-16 without a mark": lambda text: text.encode("utf-16-le"),
    "Latin-1": lambda text: text.encode("latin-1"),
    "gzip": lambda text: gzip.compress(text.encode()),
    "zip": packed,
}


def both(path: Path, task: str) -> tuple[np.ndarray, np.ndarray | None]:
    """The tokens as the host reads them, which are those that the device reads."""
    host = read_on_host(path, get_task(task))
    assert (read_puzzles(path, contract(task)) == host.inputs).all()
    return host.inputs, host.labels


@pytest.mark.parametrize("name", SOLVED)
def test_puzzles_with_solutions(tmp_path: Path, name: str) -> None:
    path = tmp_path / "puzzles"
    path.write_bytes(SOLVED[name].encode())
    inputs, labels = both(path, "sudoku9")
    assert (inputs == NINE.inputs).all()
    assert labels is not None
    assert (labels == NINE.solutions).all()


@pytest.mark.parametrize("name", UNSOLVED)
def test_puzzles_without_solutions(tmp_path: Path, name: str) -> None:
    path = tmp_path / "puzzles"
    path.write_bytes(UNSOLVED[name].encode())
    inputs, labels = both(path, "sudoku9")
    assert (inputs == NINE.inputs).all()
    assert labels is None


@pytest.mark.parametrize("name", BYTES)
def test_encodings_and_archives(tmp_path: Path, name: str) -> None:
    path = tmp_path / "puzzles"
    path.write_bytes(BYTES[name](table("puzzle,solution,remark", more=",schön")))
    assert (both(path, "sudoku9")[0] == NINE.inputs).all()


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(["question, answer", *(f"{m}, {w}" for m, w in zip(M, W, strict=True))]),
        "\n".join(["question,answer", *(f'"{m}" ,"{w}" ' for m, w in zip(M, W, strict=True))]),
        "\n".join(["question;answer", *(f"{m};{w}" for m, w in zip(M, W, strict=True))]),
        "\n".join(json.dumps({"maze": m, "answer": w}) for m, w in zip(M, W, strict=True)),
        "\n".join(f"{m}\t{w}" for m, w in zip(M, W, strict=True)),
    ],
)
def test_mazes_with_spaces(tmp_path: Path, text: str) -> None:
    path = tmp_path / "mazes.csv"
    path.write_text(text)
    inputs, labels = both(path, "maze9")
    assert (inputs == MAZES.inputs).all()
    assert labels is not None
    assert (labels == MAZES.solutions).all()


@pytest.mark.parametrize("between", ["\n", "\n\n", "\nMaze\n"])
def test_mazes_over_several_lines(tmp_path: Path, between: str) -> None:
    path = tmp_path / "mazes.txt"
    path.write_text(between.join("\n".join(rows(m)) for m in M))
    assert (both(path, "maze9")[0] == MAZES.inputs).all()


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (table("rätsel,lösung"), "the columns rätsel, lösung; known for puzzles are puzzle, quiz"),
        (table("id,solution"), "no column of puzzles, got id, solution; known for puzzles"),
        (table("puzzle,lösung"), "the column 'lösung' has boards, but its name is not known"),
        ("\n".join(rows(P[0])[:8]), "line 1: expected 9 lines of 9 cells, got 8"),
        ("Grid 1\n" + "\n".join([*rows(P[0])[:5], "Grid 2", *rows(P[1])]), "line 2: expected 9 li"),
        (grids(P[:3], S[:2]), "has 3 puzzles and 2 solutions, expected as many of both; boards"),
        (grids([], S[:1]), "has 0 puzzles and 1 solution, expected as many of both"),
        (grids(P[:1], [S[0][:45], S[1]]), "(line 13: expected 9 lines of 9 cells, got 5); boards"),
        ('{"a": 1}', "no puzzle in this JSON, got a; known for puzzles"),
        ('{"puzzle": ', "not valid JSON"),
        ('{"puzzles": ' * 450 + "1" + "}" * 450, "its JSON is nested too deeply"),
        (json.dumps({"puzzle": P[0]}) + "\n{\n", "line 2: not valid JSON"),
        (json.dumps({"puzzle": P[0]}) + "\n{}\n", "line 2: no puzzle in this JSON"),
        (f"{P[0][:80]},{S[0]}", "line 1: expected 81 characters, got 80"),
        (f"{S[0]}\n{S[0][9:]}", "got 72; a spreadsheet drops the zeros in front of a number"),
        (" ".join(str(token) for token in NINE.solutions[0]), "got the number 10, but a cell is"),
        ("PAR1", "a Parquet file; save it as CSV"),
        ("version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer, not the file"),
    ],
)
def test_what_is_no_puzzle_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "puzzles"
    path.write_text(text, encoding="utf-8")
    for refused in (
        lambda: read_on_host(path, SUDOKU),
        lambda: read_puzzles(path, contract("sudoku9")),
    ):
        with pytest.raises(RejectedInputError) as caught:
            refused()
        assert complaint in str(caught.value)


@pytest.mark.parametrize("indent", [None, 1])
def test_a_json_document_has_a_limit_but_json_lines_have_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indent: int | None
) -> None:
    path, many = tmp_path / "puzzles", [{"puzzle": P[0]}] * 15_000
    monkeypatch.setenv(JSON_MB.variable, "1")
    path.write_text(json.dumps(many, indent=indent))
    for refused in (
        lambda: read_on_host(path, SUDOKU),
        lambda: read_puzzles(path, contract("sudoku9")),
    ):
        with pytest.raises(RejectedInputError, match="larger than 1 MB; set the environment vari"):
            refused()
    path.write_text("\n".join(map(json.dumps, many)))
    assert len(read_puzzles(path, contract("sudoku9"))) == len(many)


def test_token_ids_of_a_model_without_an_alphabet(tmp_path: Path) -> None:
    model = make_contract(alphabet=None, seq=36, vocab=8)
    boards = np.random.default_rng(0).integers(1, 8, (3, 36))
    text = "\n\n".join("\n".join(" ".join(map(str, r)) for r in b.reshape(6, 6)) for b in boards)
    for written in (text, "\n".join(",".join(map(str, b)) for b in boards)):
        (tmp_path / "ids.txt").write_text(written)
        assert (read_puzzles(tmp_path / "ids.txt", model) == boards).all()


def test_the_document_has_every_known_name() -> None:
    text = " ".join(DOCUMENT.read_text().split())
    found = re.search(r"in the plural: (.*?) for puzzles; (.*?) for solutions", text)
    assert found is not None
    assert found.groups() == (", ".join(PUZZLE_NAMES), ", ".join(SOLUTION_NAMES))


@pytest.mark.parametrize("shape", [(0, 81), (0, 9, 9), (0,)])
def test_arrays_without_a_row_are_refused(tmp_path: Path, shape: tuple[int, ...]) -> None:
    np.savez(tmp_path / "none.npz", inputs=np.ones(shape, np.int32))
    with pytest.raises(RejectedInputError, match="has no puzzles; expected at least one row"):
        read_puzzles(tmp_path / "none.npz", contract("sudoku9"))
    with pytest.raises(RejectedInputError, match="with at least one row"):
        read_on_host(tmp_path / "none.npz", SUDOKU)


def test_identifiers_of_arrays(tmp_path: Path) -> None:
    """A puzzle of an official folder may have several rows."""
    model = make_contract(num_puzzle_identifiers=20)
    boards = np.ones((3, 4), np.int32)
    np.savez(tmp_path / "own.npz", inputs=boards, puzzle_identifiers=[5, 6, 7])
    found = read_inputs(tmp_path / "own.npz", model)
    assert found["puzzle_identifiers"].tolist() == [5, 6, 7]
    assert list(read_inputs(tmp_path / "own.npz", make_contract())) == ["inputs"]
    (tmp_path / "text.txt").write_text("1234\n....\n")
    assert read_inputs(tmp_path / "text.txt", model)["puzzle_identifiers"].tolist() == [0, 0]
    folder = tmp_path / "test"
    folder.mkdir()
    (folder / "dataset.json").write_text('\ufeff{"sets": ["all"], "seq_len": 4}')
    for name, array in (("inputs", boards), ("labels", boards), ("puzzle_identifiers", [3, 9])):
        np.save(folder / f"all__{name}.npy", array)
    np.save(folder / "all__puzzle_indices.npy", [0, 2, 3])
    assert read_inputs(folder, model)["puzzle_identifiers"].tolist() == [3, 3, 9]
    np.save(folder / "all__puzzle_indices.npy", [0, 2, 4])
    with pytest.raises(RejectedInputError, match="expected the first row of each of 2 puzzles"):
        read_inputs(folder, model)
    (folder / "all__puzzle_indices.npy").unlink()
    with pytest.raises(RejectedInputError, match=r"identifiers as integers of the shape \(3,\)"):
        read_inputs(folder, model)
