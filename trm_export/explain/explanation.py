"""The result of `explain`: the cause of a failing file, for people and programs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from html import escape
from typing import Any

from trm_export.explain.blame import Attempts
from trm_export.explain.op_diff import StoredChange, Walk
from trm_export.exporters.keep_search import LayerImpact, ranking_table
from trm_export.parity.document import ToldExplanation, ToldTable
from trm_export.version import TOOL
from trm_runtime.display import Shown, Table
from trm_runtime.message_text import first_few
from trm_runtime.parity import TensorDiff

_LISTED = 8
_WORDS = ("trial", "passes", "layer", "")
_PASSES = {True: "yes", False: "no", None: "-"}


@dataclasses.dataclass(frozen=True, repr=False)
class Explanation(Shown):
    """Why a file fails; truthy where its single steps pass.

    Attributes:
        verdict: of its single steps.
        conclusion: one sentence that begins with the cause.
        first: the first tensor, by step, that fails its gate.
        operators: the operators of that step, each fed the reference's values; None where they
            cannot be compared.
        operators_of: what they are compared with, or why they are not compared.
        stored: tensors that differ from those of a new export.
        attempts: the trials behind the conclusion; None where the file passes.
        ranking: for int8: the layers, the worst first.
    """

    verdict: str
    conclusion: str
    first: TensorDiff | None
    operators: Walk | None
    operators_of: str
    stored: tuple[StoredChange, ...]
    attempts: Attempts | None
    ranking: tuple[LayerImpact, ...]

    def __bool__(self) -> bool:
        return self.first is None and (self.attempts is None or bool(self.attempts.file.passed))

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON types, infinities apart."""
        return {"tool": TOOL, "kind": "explanation", **dataclasses.asdict(self)}

    @property
    def summary(self) -> str:
        """The conclusion."""
        return f"the cause is {self.conclusion}"

    def findings(self) -> Iterator[str]:
        """Sentences on the first bad step and operator, and a line for each stored difference."""
        if self.first is not None:
            yield f"First bad step: {self.first.step}, tensor {self.first.tensor}."
        yield from self._operators()
        if self.stored:
            yield "Stored tensors that differ from a new export:"
            lines = first_few([one.words for one in self.stored], _LISTED)
            yield from (f"  - {line}" for line in lines)

    def _operators(self) -> Iterator[str]:
        walk = self.operators
        if walk is not None and walk.first is not None:
            read = [one.tensor for one in self.stored if one.tensor in walk.first.reads]
            reads = f" and reads {', '.join(read)}" if read else ""
            yield (
                f"First bad operator, fed the values of {self.operators_of}: {walk.first.words}: "
                f"{walk.first.problem}. It computes {walk.first.output}{reads}."
            )
        elif walk is not None and walk.largest is not None:
            largest = f"{walk.largest.relative_l2:.1e}, is that of {walk.largest.words}"
            yield (
                f"No single operator is outside the tolerance, fed the values of "
                f"{self.operators_of}; the largest error, {largest}."
            )
        elif self.attempts is not None:
            yield f"Operators were not compared: {self.operators_of}."

    def told(self) -> ToldExplanation:
        """Everything for people, in plain JSON types, for a report."""
        tables: list[ToldTable] = [
            {"title": t.title, "heads": list(t.heads), "rows": [list(row) for row in t.rows]}
            for t in self.tables()
        ]
        return {"summary": self.summary, "findings": list(self.findings()), "tables": tables}

    def tables(self) -> tuple[Table, ...]:
        """The trials behind the conclusion, and the ranking of the layers, where there are any."""
        found = []
        if self.attempts is not None:
            rows = [
                (
                    one.what,
                    _PASSES[one.passed],
                    "-" if one.cosine is None else f"{one.cosine:.6f}",
                    "-" if one.relative_l2 is None else f"{one.relative_l2:.1e}",
                )
                for one in self.attempts
            ]
            heads = ("trial", "passes", "least cosine", "relative L2")
            found.append(Table("Trials: single steps against the model", rows, heads, _WORDS))
        if self.ranking:
            found.append(ranking_table(self.ranking))
        return tuple(found)

    def _repr_html_(self) -> str:
        text = "".join(f"<p>{escape(line)}</p>" for line in (self.summary, *self.findings()))
        return text + super()._repr_html_()
