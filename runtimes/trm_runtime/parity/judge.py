"""Make rungs of measurements: apply the gates, and stop at the first rung that fails."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from trm_runtime.message_text import counted
from trm_runtime.parity.contracts import CHECKS
from trm_runtime.parity.decisions import Decisions, Difference
from trm_runtime.parity.drift import StepSizes
from trm_runtime.parity.gaps import TensorDiff
from trm_runtime.parity.gates import Gates
from trm_runtime.parity.outcomes import Accuracy
from trm_runtime.parity.result import FAILED, NOT_JUDGED, OK, REPORTED, WEIGHTS, Rung

INSIDE = "the graph contains the complete loop, so its steps are not visible"
VALUES = ("forced values", "free drift", "answers", "halting steps", "task accuracy")
BLIND_ANSWERS = 0.95  # minimum share of equal answers if nothing else can be judged
DECISIONS = VALUES[2:]  # results of puzzles; int8 needs many puzzles to judge them


def contract_rungs(
    problems: Mapping[str, Sequence[str]], weights: Sequence[str] = ()
) -> tuple[Rung, ...]:
    """The first three rungs, from the problems of each; if one fails, all the others as well.

    Problems of the `weights` by the contracts are a rung after these three.
    """
    rungs = [_contract_rung(name, problems[name]) for name in CHECKS]
    rungs += [_contract_rung(WEIGHTS, weights)] if weights else []
    if weights or any(problems.values()):
        rungs += [Rung(name, OK, "") for name in VALUES]
    return stopped(rungs)


def _contract_rung(name: str, problems: Sequence[str]) -> Rung:
    if not problems:
        return Rung(name, OK, "the two contracts agree")
    more = f", and {counted(len(problems) - 1, 'more problem')}" if len(problems) > 1 else ""
    return Rung(name, FAILED, f"{problems[0]}{more}", tuple(problems))


def value_rungs(
    gates: Gates,
    forced: Sequence[TensorDiff],
    free: Sequence[StepSizes],
    broken_rows: int,
    decisions: Decisions,
    score: Accuracy | None,
) -> tuple[Rung, ...]:
    """The other five. `broken_rows`: puzzles with NaN or Inf in the candidate only."""
    return stopped(
        [
            _forced(gates, forced),
            _free(free, broken_rows),
            _answers(gates, decisions, blind=not forced and score is None),
            _steps(gates, decisions),
            _accuracy(gates, score, decisions),
        ]
    )


def step_rungs(gates: Gates, forced: Sequence[TensorDiff]) -> tuple[Rung, ...]:
    """The other five if only single steps were compared."""
    rest = (Rung(name, NOT_JUDGED, "only single steps were compared") for name in VALUES[1:])
    return stopped([_forced(gates, forced), *rest])


def stopped(rungs: Sequence[Rung]) -> tuple[Rung, ...]:
    """The rungs after the first failed one are not judged."""
    failed = next((i for i, rung in enumerate(rungs) if rung.status == FAILED), len(rungs))
    later = (Rung(r.name, NOT_JUDGED, "an earlier rung failed") for r in rungs[failed + 1 :])
    return (*rungs[: failed + 1], *later)


def _forced(gates: Gates, forced: Sequence[TensorDiff]) -> Rung:
    name = VALUES[0]
    if not forced:
        return Rung(name, NOT_JUDGED, INSIDE)
    bad = [(error, problem) for error in forced if (problem := error.problem(gates))]
    if bad:
        problems = tuple(f"step {e.step}, {e.tensor}: {text}{_place(e)}" for e, text in bad)
        return Rung(name, FAILED, problems[0], problems)
    floats = [error for error in forced if error.dtype == "float32"]
    if gates.cosine is not None:
        least = min(floats, key=lambda error: error.cosine)
        limit = f"{least.cosine:.6f} >= {gates.cosine}"
        return Rung(name, OK, f"lowest cosine {limit} ({least.tensor}, step {least.step})")
    most = max(floats, key=lambda error: error.relative_l2)
    limit = "" if gates.relative_l2 is None else f" <= {gates.relative_l2:.0e}"
    text = f"largest relative L2 {most.relative_l2:.1e}{limit} ({most.tensor}, step {most.step})"
    return Rung(name, OK if limit else REPORTED, text)


def _place(error: TensorDiff) -> str:
    worst = error.worst
    if worst is None:
        return ""
    where = "".join(f"[{i}]" for i in worst.position)
    slot = ", refilled slot" if worst.refilled else ""
    values = f"expected {worst.expected:.6g}, got {worst.got:.6g}"
    return f"; worst at puzzle {worst.puzzle}{slot}, {error.tensor}{where}: {values}"


def _free(free: Sequence[StepSizes], broken_rows: int) -> Rung:
    name = VALUES[1]
    if broken_rows:
        return Rung(name, FAILED, f"NaN or infinite values in {counted(broken_rows, 'puzzle')}")
    if not free:
        return Rung(name, NOT_JUDGED, INSIDE)
    last = free[-1]
    drift = last.tensors["logits"]
    shown = drift.settled or drift.all
    which = "all puzzles" if drift.settled is None else "settled puzzles"
    text = f"logits differ by {shown.relative_l2:.1e} at step {last.step} ({which})"
    return Rung(name, REPORTED, f"{text}, {last.cells_equal:.2%} of all cells equal")


def _answers(gates: Gates, d: Decisions, *, blind: bool) -> Rung:
    """`blind`: neither steps nor accuracy are known, so only equal answers can be judged."""
    name, equal = VALUES[2], f"{d.answers_equal} of {d.settled} settled puzzles equal"
    text = f"{equal}{_ties(d.answers_near_tie)}; {_unsettled(d, d.unsettled_answers_equal)}"
    if d.settled == 0:
        return Rung(name, NOT_JUDGED, f"no puzzle is settled; {text}")
    if gates.answers is None and gates.cells is None:
        return _blind_answers(d, text) if blind else Rung(name, REPORTED, text)
    problems, unlisted = [], 0
    excused = d.answers_near_tie if gates.near_ties_excused else 0
    if gates.answers is not None and (d.answers_equal + excused) / d.settled < gates.answers:
        problems += _real(d, "answer", gates)
        unlisted = d.settled - d.answers_equal - excused - len(problems)
    if gates.cells is not None and d.cells_equal < gates.cells:
        problems.append(f"{d.cells_equal:.3%} of cells equal, expected {gates.cells:.1%}")
    return Rung(name, FAILED if problems else OK, text, tuple(problems), unlisted)


def _blind_answers(d: Decisions, text: str) -> Rung:
    share = d.answers_equal / d.settled
    if share >= BLIND_ANSWERS:
        return Rung(VALUES[2], OK, text)
    problem = f"{share:.1%} of the settled answers are equal, expected {BLIND_ANSWERS:.0%}, "
    return Rung(VALUES[2], FAILED, text, (f"{problem}because nothing else can be judged",))


def _steps(gates: Gates, d: Decisions) -> Rung:
    name, equal = VALUES[3], f"{d.steps_equal} of {d.settled} settled puzzles equal"
    means = f"mean {d.mean_steps:.2f} and {d.candidate_mean_steps:.2f}"
    ties = _ties(d.steps_near_tie)
    text = f"{equal}{ties}; {_unsettled(d, d.unsettled_steps_equal)}; {means}"
    problems, unlisted, needed = [], 0, None
    gap = abs(d.candidate_mean_steps - d.mean_steps)
    if gates.mean_steps is not None and gap > gates.mean_steps:
        alone, needed = _one_decides(d, gates.mean_steps)
        limit = f"expected at most {gates.mean_steps}{alone}"
        problems.append(f"mean steps differ by {gap:.2f}, {limit}")
    excused = d.steps_near_tie if gates.near_ties_excused else 0
    share = (d.steps_equal + excused) / max(d.settled, 1)
    if gates.halting_steps is not None and d.settled and share < gates.halting_steps:
        real = _real(d, "halting step", gates)
        problems += real
        unlisted = d.settled - d.steps_equal - excused - len(real)
    if problems:
        return Rung(name, FAILED, text, tuple(problems), unlisted, needed)
    if gates.mean_steps is None and d.settled == 0:
        return Rung(name, NOT_JUDGED, f"no puzzle is settled; {text}")
    judged = gates.mean_steps is not None or gates.halting_steps is not None
    return Rung(name, OK if judged else REPORTED, text)


def _one_decides(d: Decisions, most: float) -> tuple[str, int | None]:
    """What to do where a single puzzle's steps fail the gate, and with how many they would not."""
    gaps = [(abs(x.got - x.expected), x.puzzle) for x in d.differences if x.kind == "halting step"]
    steps, puzzle = max(gaps, key=lambda gap: gap[0], default=(0, 0))
    if most <= 0 or steps / d.puzzles <= most:
        return "", None
    needed = math.ceil(steps / most)
    alone = f"puzzle {puzzle} of {d.puzzles} alone makes that {steps / d.puzzles:.2f}"
    return f"; {alone}, {_compare(needed)}", needed


def _accuracy(gates: Gates, score: Accuracy | None, d: Decisions) -> Rung:
    name = VALUES[4]
    if score is None:
        return Rung(name, NOT_JUDGED, "the puzzles have no solutions")
    sides = f"exact {score.reference.exact:.2%} and {score.candidate.exact:.2%}"
    text = f"{sides}, {len(score.lost)} lost, {len(score.won)} won, p = {score.p_value:.2g}"
    if gates.exact_drop is None:
        return Rung(name, REPORTED, text)
    excused = d.lost_near_tie if gates.near_ties_excused else 0
    drop = (len(score.lost) - excused - len(score.won)) / score.n
    if drop <= gates.exact_drop:
        return Rung(name, OK, text)
    alone, needed = _too_few(score.n, gates.exact_drop)
    limit = f"expected at most {gates.exact_drop * 100:g}{alone}"
    problem = f"exact accuracy drops {drop * 100:.2f} points, {limit}"
    return Rung(name, FAILED, text, (problem,), needed=needed)


def _too_few(count: int, most: float) -> tuple[str, int | None]:
    """What to do where a single lost puzzle fails the gate, and with how many it would not."""
    if most <= 0 or 1 / count <= most:
        return "", None
    needed = math.ceil(1 / most)
    return f"; one of {count} is {100 / count:.2g} points, {_compare(needed)}", needed


def _compare(needed: int) -> str:
    return f"so compare {counted(needed, 'puzzle')} or more"


def _ties(count: int) -> str:
    return f", {counted(count, 'near-tie')}" if count else ""


def _unsettled(d: Decisions, equal: int) -> str:
    return f"{equal} of {d.puzzles - d.settled} others"


def _real(d: Decisions, kind: str, gates: Gates) -> list[str]:
    """The listed differences on settled puzzles that fail the gates."""
    tie = gates.near_ties_excused
    return [
        _difference(x)
        for x in d.differences
        if x.kind == kind and x.settled and not (x.near_tie and tie)
    ]


def _difference(x: Difference) -> str:
    where = f" in {counted(x.cells, 'cell')}, first cell {x.first_cell}" if x.cells else ""
    values = f"expected {x.expected}, got {x.got}"
    return f"puzzle {x.puzzle}, {x.kind}{where}: {values} (margin {x.margin:.2g} logits)"
