"""`write_vectors`: what a driver in any language must compute and refuse, as a folder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_export.api.arguments import ARTIFACTS, FilePath, ModelLike, path_of, stem_of
from trm_export.api.model_source import ModelSource
from trm_export.errors import OverwriteError
from trm_export.files import (
    atomic_write,
    is_export,
    refuse_overwrite,
    refuse_source,
    require_suffix,
    size_on_disk,
)
from trm_export.tasks.selection import PuzzleSource, read_choice, refuse_puzzles, select_puzzles
from trm_runtime.display import Shown, Table, bytes_text

if TYPE_CHECKING:
    from trm_export.step.model_facts import ModelHints
    from trm_export.tasks import Blanks

__all__ = ["WrittenVectors", "write_vectors"]

CANDIDATES = 64  # puzzles of which the clearest are taken


@dataclass(frozen=True, repr=False)
class WrittenVectors(Shown):
    """A folder of vectors."""

    path: Path
    cases: dict[str, int]  # kind -> number
    bytes: int
    margin: float | None  # logits: the least of any decision in a `solve` case

    @property
    def summary(self) -> str:
        """The folder and its cases."""
        listed = ", ".join(f"{count} {kind}" for kind, count in self.cases.items())
        return f"{self.path}: cases {listed}; {bytes_text(self.bytes)}"

    def tables(self) -> tuple[Table, ...]:
        """The same as a table."""
        clear = "none" if self.margin is None else f"{self.margin:.2g} logits"
        rows = [("folder", f"{self.path} ({bytes_text(self.bytes)})")]
        rows += [(f"{kind} cases", str(count)) for kind, count in self.cases.items()]
        return (Table("Vectors", [*rows, ("least margin", clear)]),)

    def to_json(self) -> dict[str, Any]:
        """The same in plain JSON types."""
        return {**vars(self), "path": str(self.path)}


def write_vectors(
    model: ModelLike,
    folder: FilePath | None = None,
    *,
    puzzles: PuzzleSource | None = None,
    task: str | None = None,
    blanks: Blanks | str | None = None,
    trust: Sequence[str] = (),
    hints: ModelHints | None = None,
    force: bool = False,
) -> WrittenVectors:
    """Write what a driver in any language must compute and refuse; docs/contract.md specifies it.

    Args:
        model: the reference; see `ModelLike`.
        folder: the folder to write; `artifacts/<name>-vectors` if not given.
        puzzles: see `PuzzleSource`; shipped test puzzles if not given. The clearest of the first
            64 are taken.
        task: name of the task of the puzzles; the one that fits the model if not given.
        blanks: of the shipped puzzles: a number, `minimal` or `hard`.
        trust: packages whose code may run.
        hints: what the model does not state itself.
        force: replace a folder that this tool did not make.

    Raises:
        UsageError: an unknown value, or options that contradict each other.
        OverwriteError: `folder` was not made by this tool.
        RejectedInputError: the model or the puzzles cannot be used.
    """
    target = path_of("folder", folder, ARTIFACTS / f"{stem_of(model)}-vectors")
    source = ModelSource(model, trust, hints)
    if source.file is not None:
        refuse_source(target, source.file)
    require_suffix(target, "")
    refuse_overwrite(target, force=force)
    if is_export(target) and not force:
        raise OverwriteError(
            f"{target} is an exported model; choose another name, or replace it with --force."
        )
    source.refuse()
    refuse_puzzles(puzzles, task, blanks, "PUZZLES")
    puzzles, blanks = read_choice(puzzles, blanks)
    opened = source.open()
    from trm_export.parity.vectors import vectors_of
    from trm_export.parity.vectors_folder import write_folder
    from trm_export.step.keras_runner import KerasRunner

    runner = KerasRunner(opened)
    chosen = select_puzzles(runner.contract, puzzles, task, blanks, CANDIDATES)
    found = vectors_of(runner, chosen)
    with atomic_write(target, force=force) as new:
        new.unlink()
        write_folder(found, new)
    kinds = [case["kind"] for case in found.cases]
    margins = [case["margin"] for case in found.cases if case.get("margin") is not None]
    return WrittenVectors(
        target,
        {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)},
        size_on_disk(target),
        min(margins, default=None),
    )
