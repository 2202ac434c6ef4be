"""Parity: does an exported step compute the same as its reference?

A reference is recorded once, as a `Golden`; `check` then compares a candidate with it, on a device
that has numpy and one engine. The comparison is a ladder of checks, its rungs. The first rung that
fails reports all its problems; the rungs after it are not judged:

1. names, dtypes, shapes: the two contracts, with halt rule and alphabet.
2. forced values: at every step the candidate gets the *reference's* carry, so an error is that of
   one step. Floats are gated by relative L2 or cosine, over all rows of a step; integers and
   booleans must be equal. The rows are the *followed* puzzles, spread over all puzzles and a
   quarter of them unsettled, and *refilled slots*, which change their puzzle between steps, with
   old or random states in the carry: these detect a missing reset, an old puzzle, a wrong counter.
3. free drift: each side uses its own carry, to the last step, on the followed puzzles. Reported,
   and compared with the *floor*, the drift of the reference's own control; it fails only for a NaN
   or infinity that the reference does not have, on any puzzle.
4. answers and halting steps of every puzzle, as the driver's loop decides by the learned rule.
5. task accuracy, if there are labels: both sides, Wilson intervals, puzzles lost and won, McNemar's
   exact test.

A recursion amplifies rounding. A trained model contracts on puzzles that it solves and stays
chaotic on the others, where even the same network in another precision answers differently. So a
puzzle is *settled* if the reference solves it (without labels: if it halts before the last step),
and the gates on equal answers and halting steps apply to settled puzzles. Differences on the others
are counted, listed and judged by their effect on accuracy; the forced rung checks every single step
on them as well. In fp32 a difference that is a near-tie of the reference itself (`decisions`) does
not fail either; it is counted and listed.

A candidate whose graph contains the complete loop shows no steps: rungs 2 and 3 cannot be judged,
and its answers and halting steps are compared with those of the reference in the driver's loop.

A host that has the model adds a rung `weights` before the forced values: what the file stores. The
golden may be that of an exported file instead of a model, see `trm_runtime.parity.file_golden`.

Both sides are `trm_runtime.StepRunner`s. Knows no engine and no Keras.
"""

from __future__ import annotations

from trm_runtime.parity.chunk_measure import WorsePuzzles
from trm_runtime.parity.decisions import Decisions, Difference
from trm_runtime.parity.drift import Growth, Split, StepSizes
from trm_runtime.parity.gaps import Place, Size, TensorDiff
from trm_runtime.parity.gates import GATES, Gates, gates_for, gates_of
from trm_runtime.parity.golden import Golden, GoldenOrigin
from trm_runtime.parity.ladder import check, compare
from trm_runtime.parity.outcomes import Accuracy, Halting, Score
from trm_runtime.parity.recorder import Puzzles, record
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
