"""The result of `auto_keep`: the files that were tried and the layers that they keep."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

from trm_export.errors import ParityError
from trm_export.version import TOOL
from trm_runtime.display import Shown, Table, bytes_text
from trm_runtime.json_values import json_object
from trm_runtime.message_text import counted
from trm_runtime.parity import Accuracy, ParityResult

_WORDS = ("kept in float", "verdict", "layer")


@dataclasses.dataclass(frozen=True)
class LayerImpact:
    """The error of a step if only this layer is quantized, and the bytes that saves.

    Attributes:
        layer: short name, as `kept_layers.layers` has it.
        cosine: least forced cosine of any float tensor and step.
        relative_l2: largest forced relative L2 of any.
        bytes_saved: how much smaller the file is; less than 0 where a quantized layer needs more
            operators than it saves weights.
    """

    layer: str
    cosine: float
    relative_l2: float
    bytes_saved: int


@dataclasses.dataclass(frozen=True)
class Stage:
    """One file that was tried: the layers it keeps, its size and its accuracy."""

    kept: tuple[str, ...]
    bytes: int
    cosine: float  # least forced, of any float tensor and step
    accuracy: Accuracy | None  # where the puzzles have solutions
    passed: bool
    verdict: str


@dataclasses.dataclass(frozen=True, repr=False)
class KeepSearch(Shown):
    """All files that were tried; truthy where the last one passed."""

    budget: float  # most bytes added, in percent of the first file
    stages: tuple[Stage, ...]
    ranking: tuple[LayerImpact, ...]  # empty where the first file passed

    def __bool__(self) -> bool:
        return self.stages[-1].passed

    @property
    def verdict(self) -> str:
        """One sentence for people."""
        last = self.stages[-1]
        kept = ", ".join(last.kept) or "nothing"
        if self:
            return f"PASSED with {kept} in float."
        limit = f"{self.budget:g} % more bytes allow no more layers in float than {kept}"
        return f"Nothing was written, because {limit}: {last.verdict}{self._left}"

    @property
    def needed(self) -> float | None:
        """Percent of bytes with which the next layer can be kept; None if no layer is left."""
        last, first = self.stages[-1], self.stages[0]
        left = next((one for one in self.ranking if one.layer not in last.kept), None)
        if left is None:
            return None
        return 100 * ((last.bytes + left.bytes_saved) / first.bytes - 1)

    @property
    def _left(self) -> str:
        if self.needed is None:
            return " No layer is left."
        return f" The next layer needs {self.needed:.0f} % more bytes."

    @property
    def summary(self) -> str:
        """How many files were tried, and the verdict."""
        return f"{counted(len(self.stages), 'file')} tried. {self.verdict}"

    def tables(self) -> tuple[Table, ...]:
        """The ranking, if there is one, and accuracy against bytes."""
        heads = ("kept in float", "bytes", "least cosine", "exact", "95 % interval", "verdict")
        before = (None, *self.stages)
        rows = [_row(stage, last) for stage, last in zip(self.stages, before, strict=False)]
        stages = Table("Accuracy against bytes", rows, heads, _WORDS)
        return (ranking_table(self.ranking), stages) if self.ranking else (stages,)

    def to_json(self, export: dict[str, Any] | None = None) -> dict[str, Any]:
        """Everything as plain types, with the document of the export that came of it."""
        head = {"tool": TOOL, "kind": "auto-keep", "passed": bool(self), "verdict": self.verdict}
        return json_object({**head, **dataclasses.asdict(self), "export": export})


class AutoKeepError(ParityError):
    """No file passed its gate within the budget, and none was written; `search` has them all."""

    def __init__(self, search: KeepSearch) -> None:
        super().__init__(search.verdict)
        self.search = search


def least_cosine(result: ParityResult) -> float:
    """The least forced cosine of any float tensor and step; 1 where there are no single steps."""
    floats = (error.cosine for error in result.forced if error.dtype == "float32")
    return min(floats, default=1.0)


def ranking_table(ranking: Sequence[LayerImpact]) -> Table:
    """Layers by the error if only that layer is quantized."""
    rows = [
        (one.layer, f"{one.cosine:.6f}", f"{one.relative_l2:.1e}", bytes_text(one.bytes_saved))
        for one in ranking
    ]
    title = "Layers by the forced error if only that layer is quantized"
    return Table(title, rows, ("layer", "least cosine", "relative L2", "saves"), _WORDS)


def _row(stage: Stage, last: Stage | None) -> tuple[str, ...]:
    score = None if stage.accuracy is None else stage.accuracy.candidate
    interval = "-"
    if score is not None:
        interval = f"{score.interval[0] * 100:.1f} to {score.interval[1] * 100:.1f} %"
    kept = ", ".join(stage.kept[len(last.kept) if last else 0 :]) or "nothing"
    return (
        f"+ {kept}" if last else kept,
        f"{stage.bytes:,}",
        f"{stage.cosine:.6f}",
        "-" if score is None else f"{score.exact:.2%}",
        interval,
        "passed" if stage.passed else "FAILED",
    )
