"""Results are shown in three lines at the most, and as a small table in a notebook."""

from __future__ import annotations

import dataclasses
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.parity.fakes import toy_puzzles
from tests.runtime.fakes import FakeRunner, make_contract, make_puzzles
from trm_runtime import StepEvent, solve
from trm_runtime.display import html_table
from trm_runtime.parity import compare, record

LONGEST = 600  # characters of a repr


class Cells(HTMLParser):
    """The cells of a table, row by row; every tag must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.open: list[str] = []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1] in ("td", "th"):
            self.rows[-1].append(data)


def results() -> list[Any]:
    """What the functions of the package return, large enough to be too long in full."""
    runner, events = FakeRunner(), list[StepEvent]()
    solution = solve(runner, make_puzzles(500), on_step=events.append)
    puzzles = toy_puzzles(300, tuple(range(0, 300, 3)))
    broken = FakeRunner(make_contract(precision="int8"), leaky=True)
    golden = record(runner, puzzles)
    found = [compare(runner, candidate, puzzles) for candidate in (runner, broken)]
    parts = [found[0].decisions, found[0].accuracy, found[0].halting]
    step = runner.step({"inputs": make_puzzles(8)}, _carry(8))
    return [
        solution, solve(runner, make_puzzles(0)), events[0], step, runner.contract, golden,
        golden.chunks[0], golden.refilled, golden.about, *found, *parts,
    ]  # fmt: skip


def _carry(rows: int) -> dict[str, Any]:
    from trm_runtime import initial_carry

    return initial_carry(make_contract(), rows)


def test_every_result_is_short_and_a_table() -> None:
    for result in results():
        text = repr(result)
        assert text.count("\n") <= 2, text
        assert len(text) <= LONGEST, text
        assert text.lstrip("<").startswith(type(result).__name__)
        rows = Cells(result._repr_html_()).rows
        assert len({len(row) for row in rows[:-1] or rows}) == 1
        assert len(rows) <= 40


def test_a_solution_shows_its_first_answers() -> None:
    solution = solve(FakeRunner(), make_puzzles(12))
    assert repr(solution) == "<Solution: 12 puzzles: 12 halted; 2.75 steps on average>"
    rows = Cells(solution._repr_html_()).rows
    assert rows[0] == ["row", "answer", "steps", "stop reason", "q_halt"]
    assert rows[1] == ["0", solution.texts[0], "1", "halted", "0.5000"]
    assert len(rows) == 11
    assert "steps on average (the first 10)</caption>" in solution._repr_html_()
    unnamed = solve(FakeRunner(make_contract(alphabet=None)), make_puzzles(1))
    assert Cells(unnamed._repr_html_()).rows[1][1] == str(unnamed.answers[0].tolist())


def test_a_contract_shows_its_tensors() -> None:
    contract = make_contract()
    assert repr(contract) == (
        "<StepContract: toy in fp32, granularity step, dynamic batch: 4 cells, 6 token ids, at "
        "most 8 steps, halts if q_halt > 0>"
    )
    rows = Cells(contract._repr_html_()).rows
    assert ["output", "logits", "float32", "(batch, 4, 6)"] in rows
    assert dataclasses.replace(contract) == contract


def test_a_cell_cannot_break_the_table() -> None:
    rows = Cells(html_table("a < b", ["x"], [["<b>&"], ["\x1b[1m"]])).rows
    assert ["".join(row) for row in rows] == ["x", "<b>&", "\\x1b[1m"]


@pytest.mark.parametrize("count", [0, 1])
def test_few_puzzles(count: int) -> None:
    found = repr(solve(FakeRunner(), make_puzzles(count)))
    assert found.startswith(f"<Solution: {count} puzzle{'s' * (not count)}: ")
