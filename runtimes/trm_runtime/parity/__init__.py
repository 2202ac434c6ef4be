"""Parity: does an exported step still think the same thoughts as its reference?

A reference is recorded once, as a `Golden`; `check` then climbs a ladder with a candidate, on a
device that has numpy and one engine. It stops blaming at the first broken rung, on which it
reports everything:

1. names, dtypes, shapes: the two contracts, halt rule and alphabet included.
2. forced values: at every step up to the last the candidate is fed the *reference's* carry, so an
   error is that of one step. Floats are gated by relative L2 or cosine, over all rows of a step;
   integers and booleans must be equal. The rows are the *followed* puzzles, spread over all and a
   quarter of them unsettled, and *refilled slots*, which change their puzzle in mid-flight with
   stale or garbage states in the carry: they show a dropped reset, a stale puzzle, a wrong
   counter.
3. free drift: each side feeds itself, to the last step, on the followed puzzles. Reported, and set
   against the *floor*, the drift of the reference's own control; only a NaN or infinity that the
   reference does not have fails, on any puzzle.
4. answers and halting steps, of every puzzle, as the driver's loop decides by the learned rule.
5. task accuracy, where there are labels: both sides, Wilson intervals, puzzles lost and won,
   McNemar's exact test.

A recursion amplifies rounding. A trained model contracts on puzzles it solves and stays chaotic on
the others, where even the same network in another precision answers differently. So a puzzle is
*settled* when the reference solves it (without labels: when it halts before the last step), and
the gates on equal answers and halting steps hold on settled puzzles. Differences on the others are
counted and listed and judged by what they do to accuracy; that every single step is right on
them, too, is what the forced rung proves. In fp32 a difference that is a near-tie of the reference
itself (`decisions`) does not fail either; it is counted and listed.

A candidate that holds the whole loop in its graph shows no steps: rungs 2 and 3 cannot be judged,
its answers and halting steps are compared with what the reference decides in the driver's loop.

Neither side is special: both are `trm_runtime.StepRunner`s. Knows no engine and no Keras.
"""

from __future__ import annotations

from trm_runtime.parity.check import check, compare
from trm_runtime.parity.chunk_measure import WorsePuzzles
from trm_runtime.parity.decisions import Decisions, Difference
from trm_runtime.parity.drift import Growth, Split, StepSizes
from trm_runtime.parity.gaps import Place, Size, TensorDiff
from trm_runtime.parity.gates import GATES, Gates, gates_for, gates_of
from trm_runtime.parity.golden import Golden, GoldenOrigin
from trm_runtime.parity.outcomes import Accuracy, Halting, Score
from trm_runtime.parity.record import Puzzles, record
from trm_runtime.parity.result import ParityResult, Rung

__all__ = [
    "GATES",
    "Accuracy",
    "Decisions",
    "Difference",
    "Gates",
    "Golden",
    "GoldenOrigin",
    "Growth",
    "Halting",
    "ParityResult",
    "Place",
    "Puzzles",
    "Rung",
    "Score",
    "Size",
    "Split",
    "StepSizes",
    "TensorDiff",
    "WorsePuzzles",
    "check",
    "compare",
    "gates_for",
    "gates_of",
    "record",
]
