"""Gates in a file of one's own, and in the documents."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tests.parity.fakes import toy_puzzles
from tests.runtime.fakes import FakeRunner, make_contract
from trm_runtime import HaltRule, RejectedInputError
from trm_runtime.parity import GATES, Gates, check, gates_of, record
from trm_runtime.parity.gates import read_gates

DOCUMENT = Path(__file__).parents[2] / "docs" / "parity.md"


def written(folder: Path, value: Any) -> Path:
    path = folder / "gates.json"
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def test_gates_of_ones_own(tmp_path: Path) -> None:
    assert read_gates(written(tmp_path, {"cosine": 0.9})) == Gates(cosine=0.9)
    found = read_gates(written(tmp_path, {"based_on": "int8", "exact_drop": 0, "cosine": None}))
    assert found == replace(GATES["int8"], exact_drop=0, cosine=None)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("{", "not valid JSON"),
        ([], "expected a JSON object of gates"),
        ({"based_on": "int2"}, "based_on is 'int2'; expected one of fp32, fp16, bf16"),
        ({"cosin": 1}, "cosin: unknown; expected one of relative_l2, cosine"),
        ({"cosine": "0.9"}, "cosine: expected a number, 0 or more, or null, got '0.9'"),
        ({"cosine": -1, "cells": True}, "cells: expected a number"),
        ({"based_on": ["int8"]}, "based_on is ['int8']; expected one of fp32"),
        ({}, "has no gates, so nothing would be judged; add one."),
        ("[" * 200_000, "not valid JSON: it is nested too deeply"),
        ('{"answers": 1.0, "answers": 0.0}', "not valid JSON"),
        ({"cosine": 1.5}, "cosine: expected a share or a cosine, at most 1, got 1.5"),
        ({"near_ties_excused": 1}, "near_ties_excused: expected true or false, got 1"),
    ],
)
def test_gates_that_cannot_be_used(tmp_path: Path, value: Any, words: str) -> None:
    with pytest.raises(RejectedInputError, match=re.escape(words)):
        read_gates(written(tmp_path, value))
    with pytest.raises(RejectedInputError, match="cannot be read"):
        read_gates(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("gates", "unsettled", "words"),
    [
        (Gates(answers=1.0), range(12), "PASSED on names, dtypes and shapes, but the reference"),
        (
            Gates(cosine=0.5),
            range(12),
            "PASSED on every single step, but the reference settles none of 12 puzzles",
        ),
        (Gates(), (), "PASSED on names, dtypes and shapes, but there is no gate for its values"),
        (
            Gates(answers=1.0),
            (),
            "PASSED on 12 puzzles. The reference settles 12 of them, on which 12 answers",
        ),
    ],
)
def test_a_verdict_claims_no_more_than_was_judged(
    gates: Gates, unsettled: Sequence[int], words: str
) -> None:
    golden = record(FakeRunner(), toy_puzzles(12, unsettled=tuple(unsettled)))
    found = check(golden, FakeRunner(), gates=gates)
    assert found.passed
    assert found.verdict.startswith(words)
    assert found.judged == ("no gate" not in words and "dtypes" not in words)


def test_a_tuned_file_is_not_judged_by_when_it_halts() -> None:
    contract = replace(make_contract(), precision="int8", halt=HaltRule("q_halt", 1.0, 0.0))
    assert gates_of(contract) == replace(GATES["int8"], mean_steps=None)


def test_the_documented_gates_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(\w+)` \|(.*)\|$", DOCUMENT.read_text(), re.MULTILINE)
    documented = {name: [cell.strip() for cell in cells.split("|")] for name, cells in rows}
    for field in asdict(Gates()):
        values = [getattr(gates, field) for gates in GATES.values()]
        shown = ["-" if value in (None, False) else str(value) for value in values]
        assert documented[field][: len(GATES)] == shown
