"""The confidence of a file beside its model's: the rung, the document and the report."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parity import reports
from tests.parity.fakes import toy_puzzles
from tests.parity.test_report import rendered
from tests.runtime.fakes import FakeRunner, make_contract
from tests.runtime.graphs import build, write
from tests.runtime.test_confidence import BY_SCORE
from trm_export.errors import RejectedInputError
from trm_export.halting.trying import run_all_steps
from trm_export.parity.confidence_rung import (
    Side,
    Traced,
    confidence_report,
    confidence_rung,
    traced,
)
from trm_export.report.document_reader import read_report
from trm_runtime import HaltRule, solve

RULE = HaltRule("q_halt", 0.0)


def toy_file(folder: Path, **fields: Any) -> Path:
    """The toy model as an ONNX file."""
    return write(folder / "toy.onnx", build(make_contract(**fields)))


def test_both_sides_answer_what_the_loop_answers(tmp_path: Path) -> None:
    golden, abstain = reports.golden(control=False), 0.2
    file = toy_file(tmp_path, confidence=BY_SCORE)
    rung, report = confidence_rung(file, golden, traced(golden, FakeRunner()), abstain, None)
    assert report is not None
    assert report.model == report.file
    assert report.one_side == 0
    assert report.fitted
    puzzles = toy_puzzles(12, (3, 7))
    whole = solve(FakeRunner(make_contract(confidence=BY_SCORE)), puzzles.inputs, abstain=0.0)
    sure, right = np.asarray(whole.confidence), puzzles.exact(whole.answers)
    answered = sure >= np.float32(abstain)
    assert report.file.exact == right.mean()
    assert report.file.answered == answered.sum()
    assert report.file.wrong == (answered & ~right).sum()
    assert report.file.calibration.brier == pytest.approx(np.mean((sure - right) ** 2))
    brier = f"{report.file.calibration.brier:.4f}"
    assert rung.status == "reported"
    assert rung.summary.startswith(f"Brier score {brier} and {brier}, calibration error ")
    assert rung.summary.endswith(", 0 by one side alone")
    assert set(report.rules) == {"learned", "settled", "both"}


def test_a_file_of_other_scores_withholds_other_answers() -> None:
    puzzles = toy_puzzles(12, (3,))
    model = Traced(run_all_steps(FakeRunner(), puzzles), RULE)
    shifted = model.trace.scores - np.linspace(0, 4, 12, dtype=np.float32)
    other = Traced(replace(model.trace, scores=shifted), RULE)
    report = confidence_report(other, model, BY_SCORE, 0.16)
    assert isinstance(report.model, Side)
    assert report.one_side is not None
    assert report.one_side > 0
    assert report.file.calibration != report.model.calibration
    alone = confidence_report(other, None, BY_SCORE, 0.16)
    assert (alone.model, alone.one_side) == (None, None)
    assert alone.file == report.file


def test_a_file_without_coefficients_is_measured_by_its_score(tmp_path: Path) -> None:
    rung, report = confidence_rung(
        toy_file(tmp_path), reports.golden(control=False), None, 0.5, None
    )
    assert report is not None
    assert not report.fitted
    assert rung.summary.startswith("not fitted, Brier score ")


def test_puzzles_without_solutions_are_not_judged(tmp_path: Path) -> None:
    golden = reports.golden(labels=False, control=False)
    rung, report = confidence_rung(toy_file(tmp_path), golden, None, 0.5, None)
    assert (rung.status, report) == ("not judged", None)
    assert "no solutions" in rung.summary


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A document with the confidence of one of two files."""
    golden = reports.golden(control=False)
    own = traced(golden, FakeRunner())
    report = confidence_report(own, own, BY_SCORE, 0.2)
    folder = tmp_path_factory.mktemp("files")
    first = replace(reports.judged(folder / "good.onnx", golden), confidence=report)
    return reports.written(golden, [first, reports.judged(folder / "plain.onnx", golden)])


def test_the_report_shows_it_for_the_files_that_have_it(
    document: dict[str, Any], tmp_path: Path
) -> None:
    page, markdown = rendered(document, tmp_path)
    found = document["files"][0]["confidence"]["file"]
    total = found["calibration"]["puzzles"]
    said = f"At 0.2 this file answers {found['answered']} of {total} puzzles, {found['wrong']} of"
    for text in (page.text, markdown.replace("\\", "")):
        assert text.count(said) == 1
        assert text.count("The most that each halt rule solves") == 1
        assert "Answered by one side alone: 0 puzzles." in text
    point = found["calibration"]["points"][0]
    assert f"{point['wrong']} of {point['answered']}, {100 * point['risk']:.1f} % (" in page.text


def test_the_document_is_read_back_and_a_damaged_one_refused(
    document: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps(document))
    assert read_report(file) == document
    for key, value, problem in (
        ("puzzles", 0, "calibration.puzzles: expected 1 or more"),
        ("brier", "low", "calibration.brier: expected a number"),
        ("points", None, "calibration.points: expected a list"),
    ):
        bad = copy.deepcopy(document)
        bad["files"][0]["confidence"]["model"]["calibration"][key] = value
        file.write_text(json.dumps(bad))
        with pytest.raises(RejectedInputError) as caught:
            read_report(file)
        assert any(problem in line for line in caught.value.problems)
