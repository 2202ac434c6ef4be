"""Who is to blame follows from which trials pass."""

from __future__ import annotations

import dataclasses

import pytest

from trm_export.explain.blame import Attempt, Attempts, conclusion
from trm_export.exporters.choices import Choices
from trm_export.exporters.export import format_named


def attempts(*passed: bool | None) -> Attempts:
    """Of the file, unoptimised, exported again, in fp32 and in the other format."""
    return Attempts(*(Attempt(f"trial {k}", p, None, None, "") for k, p in enumerate(passed)))


@pytest.mark.parametrize(
    ("passed", "precision", "begins"),
    [
        ((True, True, True, True, True), "int8", "nothing: "),
        ((False, True, False, False, True), "int8", "the engine: "),
        ((False, False, True, True, True), "int8", "the file: "),
        ((False, False, True, True, True), "fp32", "the file: "),
        ((False, False, False, False, True), "fp32", "the conversion: fp32 in onnx does not"),
        ((False, False, False, False, True), "int8", "the conversion: fp32 in onnx does not"),
        ((False, False, False, True, True), "int8", "the precision in onnx: "),
        ((False, False, False, True, False), "int8", "the precision: fp32 in onnx passes"),
        ((False, False, False, True, None), "int8-static", "the precision: fp32 in onnx passes"),
    ],
)
def test_conclusions(passed: tuple[bool | None, ...], precision: str, begins: str) -> None:
    said = conclusion(attempts(*passed), Choices(precision), format_named("onnx"))
    assert said.startswith(begins)
    assert said.endswith(".")


def test_the_trials_come_in_order() -> None:
    found = attempts(True, False, None, True, False)
    assert [one.passed for one in found] == [True, False, None, True, False]
    assert dataclasses.asdict(found)["plain"]["passed"] is False
