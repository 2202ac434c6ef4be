"""`tune`: choose the halting threshold of an exported file by accuracy against mean steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_export.api.arguments import (
    FilePath,
    Progress,
    again_of,
    counts_of,
    path_of,
    reporter,
)
from trm_export.api.judging import refuse_judge, rules_of, with_solutions
from trm_export.artifacts.contract_rewrite import embedded_contract, refuse_rewrite, rewrite
from trm_export.errors import NonfiniteError, UsageError
from trm_export.halting.curve import Point
from trm_export.halting.trying import calibrated_again, refuse_votes, run_all_steps, run_tries
from trm_export.halting.tuning import Tuning, calibrated, refuse_loop
from trm_export.halting.tuning import tune as choose_threshold
from trm_export.tasks.selection import PuzzleSource, boards_of, refuse_puzzles, select_puzzles
from trm_export.version import TOOL, __version__
from trm_runtime.confidence import Confidence
from trm_runtime.contract import StepContract
from trm_runtime.display import Shown, Table
from trm_runtime.json_values import json_object
from trm_runtime.message_text import counted, rows_text, shown
from trm_runtime.open import open_runner, runner_contract
from trm_runtime.scalars import as_real, check_flags
from trm_runtime.settling import own_states
from trm_runtime.tries import plan_tries
from trm_runtime.try_options import CHOOSE, SIGMA, VARY

if TYPE_CHECKING:
    from trm_export.tasks import Blanks

__all__ = ["Point", "TuneResult", "Tuning", "tune"]

_MOST_POINTS = 100  # of exact accuracy


@dataclass(frozen=True, repr=False)
class TuneResult(Shown):
    """The chosen threshold of one file, and the curve.

    Attributes:
        artifact: the file that was run.
        contract: its contract before.
        tuning: the curve, and the chosen threshold.
        written: the tuned file; None where nothing was written.
        rows: the kind of puzzles.
        judge: `exact` or `valid`; the shares of the curve are of answers that are so.
        again: the options of `solve` about tries; None with one try.
        confidence: the fitted probability that an answer is right; None if not asked for.
        dropped: whether the file's own confidence is dropped, because it was fitted at another
            threshold or number of tries and is not fitted again.
        files: what was written: the tuned file, the contract and other documents beside it, and a
            puzzle table; empty where nothing was.
    """

    artifact: Path
    contract: StepContract
    tuning: Tuning
    written: Path | None
    rows: str = "puzzles"
    judge: str = "exact"
    again: Mapping[str, Any] | None = None
    confidence: Confidence | None = None
    dropped: bool = False
    files: tuple[Path, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The complete curve and the choice, in JSON types."""
        found = dict(vars(self.tuning))
        if found["settling"] is None:
            del found["settling"]
        document = {
            "tool": f"{TOOL} {__version__}",
            "kind": "tune",
            "artifact": self.artifact,
            "precision": self.contract.precision,
            "score": self.contract.halt.kind,
            "max_steps": self.contract.max_steps,
            "written": self.written,
            "rows": self.rows,
            "judge": self.judge,
            **found,
            **({} if self.again is None else {"tries": self.again}),
            **({} if self.confidence is None else {"confidence": self.confidence}),
            **({"confidence_dropped": True} if self.dropped else {}),
        }
        return json_object(document)

    @property
    def summary(self) -> str:
        """The chosen threshold, and its cost."""
        found, score = self.tuning, self.contract.halt.kind
        old, new = found.present, found.chosen
        if not found.changes:
            why = "no other one saves steps" if found.solves else "no threshold solves a puzzle"
            stays = f"The present threshold {old.threshold:g} stays: {why}."
            return stays + self._settled + self._confident
        verb = self._verb(same=False)
        return (
            f"The rule {verb} {score} > {new.threshold:g} instead of > {old.threshold:g}: "
            f"{new.mean_steps - old.mean_steps:+.2f} steps; of {counted(found.puzzles, 'puzzle')} "
            f"{found.lost} lost, {found.won} won (McNemar's exact p = {found.p_value:.2g})."
            f"{self._settled}{self._confident}"
        )

    def _verb(self, *, same: bool) -> str:
        """The verb of a result; `same` if the file has it already, written or not."""
        return "would be" if self.written is None and not same else "is"

    @property
    def _settled(self) -> str:
        """The rule of movement that was chosen; nothing if it was not measured."""
        if self.tuning.settling is None:
            return ""
        found = self.tuning.settling.chosen
        if found is None:
            return " No threshold of movement is chosen: none solves a puzzle."
        verb = self._verb(same=found.threshold == self.contract.halt.settled)
        return (
            f" Settled {verb} moved < {found.threshold:g}: {found.exact:.2%} in "
            f"{found.mean_steps:.2f} steps."
        )

    @property
    def _confident(self) -> str:
        """What the confidence depends on, or that it is dropped; nothing without either."""
        if self.confidence is None:
            return self._without_confidence if self.dropped else ""
        used = self.confidence.used
        puzzles = counted(self.confidence.puzzles, "puzzle")
        verb = self._verb(same=self.confidence == self.contract.confidence)
        if not used:
            return (
                f" Confidence {verb} fitted on {puzzles} by a constant, so it cannot tell right "
                "answers from wrong ones; fit it on harder puzzles, and on more of them."
            )
        return f" Confidence {verb} fitted on {puzzles} by {', '.join(used)}."

    @property
    def _without_confidence(self) -> str:
        verb = self._verb(same=False)
        return (
            f" The confidence in the file {verb} dropped, because it was fitted at another "
            "threshold or number of tries; give --confidence to fit it again."
        )

    def tables(self) -> tuple[Table, ...]:
        """The named points; the complete curve is in `tuning`."""
        found = self.tuning
        named: dict[str, Point | None] = {"present": found.present, "chosen": found.chosen}
        named["all steps"] = found.all_steps
        if found.settling is not None:
            named["settled"] = found.settling.chosen
            named["both"] = found.settling.chosen_both
        rows = [
            (name, f"{point.threshold:.4g}", f"{point.exact:.2%}", f"{point.mean_steps:.2f}")
            for name, point in named.items()
            if point is not None
        ]
        return (Table(self.title, rows, ("", "threshold", self.judge, "mean steps")),)

    @property
    def title(self) -> str:
        """The file and the puzzles."""
        tries = "" if self.again is None else f", at most {self.again['tries']} tries"
        rows = rows_text(self.tuning.puzzles, self.rows)
        return f"Halting of {self.artifact.name} on {rows}{tries}"


def tune(
    artifact: FilePath,
    *,
    puzzles: PuzzleSource | None = None,
    task: str | None = None,
    blanks: Blanks | str | None = None,
    count: int = 400,
    lose: float = 0.25,
    settled: bool = False,
    confidence: bool = False,
    judge: str = "exact",
    tries: int = 1,
    vary: str = VARY[0],
    choose: str = CHOOSE[0],
    seed: int = 0,
    sigma: float = SIGMA,
    output: FilePath | None = None,
    dry_run: bool = False,
    force: bool = False,
    progress: Progress | None = None,
) -> TuneResult:
    """Choose a new halting threshold of an exported file and write it into its contract.

    The file runs on validation puzzles. Needs no Keras.

    Args:
        artifact: an exported file of granularity `step` or `block`.
        puzzles: see `PuzzleSource`, with solutions, and not test puzzles; of a data-set folder the
            validation split is read. Shipped validation puzzles if not given.
        task: name of the task of the puzzles; the one that fits the file if not given.
        blanks: of the shipped puzzles: a number, `minimal` or `hard`.
        count: how many puzzles, at most.
        lose: points of accuracy (0 to 100) that fewer steps may cost.
        settled: measure how far the states move, and choose the threshold of halt "settled" too.
        confidence: fit the probability that an answer is right, for `abstain` of `solve`. Without
            it one that was fitted at another threshold or number of tries is dropped.
        judge: `exact` compares answers with solutions; `valid` checks them by the rules of the
            task, and needs none.
        tries, vary, choose, seed, sigma: see `trm_runtime.solve`. With several tries the threshold
            is chosen and the confidence is fitted for them; steps are then those of all tries
            together. The threshold of movement is that of one try.
        output: write the tuned file here, and leave the other unchanged.
        dry_run: write nothing.
        force: replace a file that this tool did not make.
        progress: called with the share done, and what is being done.

    Raises:
        UsageError: a file of granularity loop, puzzles without solutions, a wrong suffix.
        OverwriteError: a file to write was not made by this tool.
        RejectedInputError: the file or the puzzles cannot be used.
        NonfiniteError: the file computes NaN or infinity; nothing is written.
    """
    points = as_real(lose)
    if points is None or not 0 <= points <= _MOST_POINTS:
        got = shown(lose)
        raise UsageError(f"--lose must be 0 to {_MOST_POINTS} points of accuracy, got {got}.")
    check_flags(settled=settled, confidence=confidence, dry_run=dry_run, force=force)
    tell = reporter(progress)
    count, tries = counts_of(count=count, tries=tries)
    again = again_of(tries, vary, choose, seed, sigma)
    refuse_puzzles(puzzles, task, blanks)
    refuse_judge(judge)
    file = path_of("artifact", artifact)
    target = path_of("output", output, file)
    contract = embedded_contract(file)
    refuse_loop(contract, str(file))
    refuse_votes(again)
    driven = runner_contract(file)
    plan_tries(driven, tries, vary, choose, seed, sigma)
    if not dry_run:
        refuse_rewrite(file, target, force=force)
    boards = boards_of(contract, task)
    valid = rules_of(boards, judge)
    selected = select_puzzles(contract, puzzles, task, blanks, count, "validation")
    chosen = with_solutions(selected, puzzles, judge, boards)
    runner, rules = open_runner(file), valid if judge == "valid" else None

    def told(done: int, total: int) -> None:
        tell(done / total, "Running the puzzles")

    measured = settled or (confidence and bool(own_states(driven)))
    trace = run_all_steps(runner, chosen, told, rules, measured=measured)
    if trace.nonfinite:
        raise NonfiniteError(file, trace.nonfinite, len(chosen), ", so it was not tuned")
    own = max(contract.halt.threshold, contract.halt.untuned.threshold)
    unmeasured = trace if settled else replace(trace, moved=None)
    asked = run_tries(runner, chosen, again, own, first=trace, progress=told, valid=rules)
    found = choose_threshold(contract.halt, unmeasured, points / _MOST_POINTS, asked[1:], choose)
    fitted = None
    if confidence and tries == 1:
        fitted = calibrated(trace, found.chosen.threshold)
    elif confidence:
        halt = {"halt": found.chosen.threshold, "settled": 1.0 if measured else None}
        fitted = calibrated_again(runner, chosen, {**again, **halt}, rules)
    dropped = fitted is None and not found.keeps(contract.confidence, tries)
    kept = None if dropped else contract.confidence
    tuned = replace(contract, halt=found.tuned(contract.halt), confidence=fitted or kept)
    files: tuple[Path, ...] = ()
    if not dry_run and (tuned != contract or output is not None):
        files = rewrite(file, tuned, target, force=force)
    return TuneResult(
        file, contract, found, files[0] if files else None, chosen.kind, judge,
        again if tries > 1 else None, fitted, dropped, files,
    )  # fmt: skip
