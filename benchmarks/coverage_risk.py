"""Coverage against risk, and the three halt rules, of a model in several precisions.

    python benchmarks/coverage_risk.py artifacts/sudoku9.keras --puzzles hard

Exports the model, tunes each file on validation puzzles (thresholds and confidence), answers
test puzzles with it, and prints two Markdown tables: the risk among the most confident 50, 80 and
95 % of answers, and the accuracy and mean steps of each halt rule at its chosen threshold.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import trm_export as te
from trm_export.halting.curve import Point


def main() -> None:
    """Print both tables for one model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, nargs="?", default=Path("artifacts/sudoku9.keras"))
    parser.add_argument("--format", default="onnx")
    parser.add_argument("--precision", nargs="+", default=["fp32", "int8"])
    parser.add_argument("--puzzles", default="hard", help="a difficulty: hard, minimal or blanks")
    parser.add_argument("--count", type=int, default=400, help="validation puzzles, to tune on")
    parser.add_argument("--test", type=int, default=400, help="test puzzles")
    parser.add_argument("--tries", type=int, default=1)
    parser.add_argument("--abstain", type=float, default=0.99)
    options = parser.parse_args()
    risks, rules = [], []
    with tempfile.TemporaryDirectory() as folder:
        for precision in options.precision:
            made = te.export(options.model, format=options.format, precision=precision,
                             path=Path(folder, f"{precision}.{options.format}"))  # fmt: skip
            tuned = te.tune(made.path, blanks=options.puzzles, count=options.count,
                            settled=True, confidence=True, tries=options.tries)  # fmt: skip
            score = te.evaluate(made.path, blanks=options.puzzles, count=options.test,
                                tries=options.tries, abstain=options.abstain)  # fmt: skip
            risks += risk_rows(precision, score)
            rules += rule_rows(precision, tuned)
    print("| file | coverage | answered | wrong | risk | 95 % | least confidence |")
    print("|---|---|---|---|---|---|---|", *risks, sep="\n")
    print("\n| file | rule | threshold | exact | 95 % | mean steps |")
    print("|---|---|---|---|---|---|", *rules, sep="\n")


def risk_rows(precision: str, score: te.Evaluation) -> list[str]:
    """The risk at each coverage, at the confidence demanded, and how well it is calibrated."""
    held, found = score.calibration, score.figures
    if held is None:
        raise SystemExit("The file has no confidence.")
    rows = [
        f"| {precision} | {one.coverage:.0%} | {one.answered} of {held.puzzles} | {one.wrong} | "
        f"{one.risk:.2%} | {span(one.interval)} | {one.confidence:.4f} |"
        for one in held.points
    ]
    if found["answered"]:
        rows.append(
            f"| {precision} | {found['coverage']:.0%}, as asked | {found['answered']} of "
            f"{held.puzzles} | {found['wrong']} | {found['risk']:.2%} | "
            f"{span(found['risk_interval_95'])} | {found['abstain']} |"
        )
    rows.append(
        f"| {precision} | all: Brier {held.brier:.4f}, calibration error {held.error:.4f} | "
        f"{held.puzzles} | | {1 - found['exact']:.2%} | | |"
    )
    return rows


def rule_rows(precision: str, tuned: te.TuneResult) -> list[str]:
    """The chosen point of each rule, on the validation puzzles."""
    found = tuned.tuning
    if found.settling is None:
        raise SystemExit("The movement was not measured.")
    named: dict[str, Point | None] = {
        "learned": found.chosen,
        "settled": found.settling.chosen,
        "both": found.settling.chosen_both,
        "all steps": found.all_steps,
    }
    return [
        f"| {precision} | {rule} | {one.threshold:.4g} | {one.exact:.2%} of {found.puzzles} | "
        f"{span(one.interval)} | {one.mean_steps:.2f} |"
        for rule, one in named.items()
        if one is not None
    ]


def span(ends: tuple[float, float]) -> str:
    """An interval in per cent."""
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"


if __name__ == "__main__":
    main()
