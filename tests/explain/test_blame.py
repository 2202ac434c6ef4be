"""Who is to blame follows from which trials pass."""

from __future__ import annotations

import dataclasses

import pytest

from trm_export.explain.blame import Attempt, Attempts, conclusion
from trm_export.exporters.choices import Choices
from trm_export.exporters.export import format_named


def attempts(*passed: bool | None, usual: tuple[bool | None, ...] = ()) -> Attempts:
    """Of the file, unoptimised, exported again, in fp32 and in the other format."""
    pairs = enumerate(zip(passed, usual or passed, strict=True))
    return Attempts(*(Attempt(f"trial {k}", p, u, None, None, "") for k, (p, u) in pairs))


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


@pytest.mark.parametrize(
    ("passed", "usual", "precision", "begins"),
    [
        ((0, 0, 0, 0, 0), (1, 1, 1, 1, 1), "fp32", "the gates: every new export of fp32 in onnx"),
        ((0, 0, 0, 0, 1), (1, 1, 1, 1, 1), "fp32", "the gates: "),
        ((0, 0, 0, 0, 0), (1, 1, 1, 1, 1), "int8", "the gates: every new export of int8 in onnx"),
        ((0, 0, 0, 1, 0), (1, 1, 1, 1, 1), "int8", "the precision: fp32 in onnx passes"),
        ((0, 1, 0, 0, 0), (1, 1, 1, 1, 1), "fp32", "the engine: "),
        ((0, 0, 1, 1, 1), (1, 1, 1, 1, 1), "fp32", "the file: "),
        ((0, 0, 0, 0, 0), (0, 0, 1, 1, 1), "fp32", "the file: "),
        ((0, 0, 0, 0, 0), (0, 1, 1, 1, 1), "fp32", "the engine: "),
        ((0, 0, 0, 0, 0), (0, 0, 0, 0, 1), "fp32", "the conversion: "),
        ((0, 0, 1, 1, 1), (0, 0, 0, 1, 1), "int8", "the file: "),
        ((0, 1, 0, 0, 0), (0, 0, 0, 1, 1), "int8", "the engine: "),
        ((0, 0, 0, 0, 0), (0, 0, 0, 1, 0), "int8", "the precision: "),
    ],
)
def test_conclusions_by_given_gates(
    passed: tuple[int, ...], usual: tuple[int, ...], precision: str, begins: str
) -> None:
    found = attempts(*map(bool, passed), usual=tuple(map(bool, usual)))
    assert conclusion(found, Choices(precision), format_named("onnx")).startswith(begins)


def test_the_trials_come_in_order() -> None:
    found = attempts(True, False, None, True, False)
    assert [one.passed for one in found] == [True, False, None, True, False]
    assert dataclasses.asdict(found)["plain"]["passed"] is False
