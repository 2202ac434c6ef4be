"""Random models and exports: a few of them here, more by `make fuzz`."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import trm_export as te
from tests.fuzz import random_models
from tests.fuzz.random_models import (
    ALARM,
    CRASH,
    FINE,
    LONG,
    OTHER,
    PASSED,
    REFUSED,
    Outcome,
    draw,
    table,
    tried,
)
from trm_export.errors import ParityError, UsageError

DRAWN = [draw(seed) for seed in range(200)]
FAMILIES = {"seed", "paper"}


@pytest.mark.parametrize("seed", random_models.QUICK)
def test_an_export_passes_or_is_refused_in_a_sentence(seed: int, tmp_path: Path) -> None:
    outcome = tried(draw(seed), tmp_path)
    assert outcome.result in FINE, outcome.text


def test_every_choice_is_among_the_models() -> None:
    assert {one.config["family"] for one in DRAWN} == FAMILIES
    for name, count in (("format", 4), ("precision", 4), ("granularity", 3), ("recursion", 3)):
        assert len({one.options[name] for one in DRAWN}) == count
    quick = [draw(seed) for seed in random_models.QUICK]
    assert {one.options["format"] for one in quick} == {"c", "onnx", "tflite", "saved-model"}
    assert "tflite-micro" in {one.options.get("target") for one in quick}
    assert {one.config["family"] for one in quick} == FAMILIES


@pytest.mark.parametrize(
    ("error", "result"),
    [
        (ParityError("It was not written."), ALARM),
        (UsageError("Not supported."), REFUSED),
        (UsageError("x" * 500), LONG),
        (KeyError("weight"), OTHER),
    ],
    ids=[ALARM, REFUSED, LONG, OTHER],
)
def test_what_an_export_raises_is_counted(
    error: Exception, result: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def export(*given: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(te, "export", export)
    outcome = tried(draw(random_models.QUICK[0]), tmp_path)
    assert (outcome.result, str(error).strip("'") in outcome.text) == (result, True)


def test_a_table_has_a_row_for_each_kind_of_export() -> None:
    found = [Outcome(seed, "onnx", "int8", "step", PASSED) for seed in (1, 2)]
    rows = table([*found, Outcome(3, "tflite", "fp16", "loop", ALARM)]).splitlines()
    assert rows[2] == "| onnx int8 | 2 | 0 | 0 | 0 | 0 | 0 |"
    assert rows[-1] == "| all | 2 | 0 | 1 | 0 | 0 | 0 |"


def test_a_slow_machine_is_no_crash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is ended has done one seed; at seed 2 it hangs."""
    log = tmp_path / "log.jsonl"

    def run(line: list[Any], timeout: float, stderr: int) -> None:
        first = int(line[line.index("--child") + 1].partition(":")[0])
        if first != 2:
            with log.open("a") as file:
                file.write(
                    json.dumps(asdict(Outcome(first, "onnx", "fp32", "step", PASSED))) + "\n"
                )
        raise subprocess.TimeoutExpired(line, timeout)

    monkeypatch.setattr(random_models.subprocess, "run", run)
    found = random_models._in_children(range(4), log, 1.0)
    assert {o.seed: o.result for o in found} == {0: PASSED, 1: PASSED, 2: CRASH, 3: PASSED}
