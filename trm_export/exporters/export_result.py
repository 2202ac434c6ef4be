"""What a finished export says of itself, and what a whole set of them does."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trm_export.exporters.c_source.limits import Fit
from trm_export.exporters.keep_search import KeepSearch
from trm_export.files import sidecar
from trm_runtime.contract import StepContract
from trm_runtime.display import Shown, Table, bytes_text
from trm_runtime.json_values import json_object
from trm_runtime.message_text import counted

_LOST = "The file before it was tuned, and this one is not; tune it again."


@dataclasses.dataclass(frozen=True, repr=False)
class ExportResult(Shown):
    """A finished export: the file was written, opened again and compared with Keras."""

    path: Path
    contract: StepContract
    format: str
    recursion: str
    bytes: int
    seconds: float  # conversion, without the check
    check_seconds: float
    forced_error: float | None  # worst relative L2 of any tensor and checked step; None for a loop
    verdict: str  # of the check, in words
    documents: tuple[Path, ...] = ()  # about the file, written beside it
    puzzle_table: Path | None = None  # the external puzzle table
    kept: tuple[str, ...] = ()  # layers that stay float32
    search: KeepSearch | None = None  # how they were found, if they were searched for
    fit: Fit | None = None  # of C source: what was chosen, and its memory
    tuning_lost: bool = False  # it took the place of a file that `tune` had written into

    @property
    def sidecar(self) -> Path:
        """The contract beside the file."""
        return sidecar(self.path)

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything that was written, the file itself first."""
        table = () if self.puzzle_table is None else (self.puzzle_table,)
        return (self.path, self.sidecar, *self.documents, *table)

    @property
    def summary(self) -> str:
        """Times, size and verdict."""
        memory = "" if self.fit is None else f" {self.fit.summary}"
        lost = f" {_LOST}" if self.tuning_lost else ""
        return (
            f"Exported in {self.seconds:.1f} s, {bytes_text(self.bytes)}, {self.recursion}; "
            f"checked in {self.check_seconds:.1f} s: {self.verdict}{memory}{lost}"
        )

    def tables(self) -> tuple[Table, ...]:
        """The file, and the search for its float layers if there was one."""
        contract, error = self.contract, self.forced_error
        rows = [
            ("format", f"{self.format}, {contract.precision}, {self.recursion}"),
            ("one call is", f"one {contract.granularity}"),
            ("size", f"{bytes_text(self.bytes)} ({self.bytes:,} bytes)"),
            ("seconds", f"{self.seconds:.1f} to export, {self.check_seconds:.1f} to check"),
            ("forced error", "-" if error is None else f"{error:.1e} (relative L2, worst step)"),
            ("verdict", self.verdict),
            *([] if self.fit is None else [("memory", self.fit.summary)]),
            ("kept in float", ", ".join(self.kept) or "nothing"),
            ("files", "\n".join(map(str, self.files))),
        ]
        return (Table(str(self.path), rows), *(self.search.tables() if self.search else ()))

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON types; with a search, the document of the search."""
        names = [field.name for field in dataclasses.fields(self) if field.name != "search"]
        own = {name: getattr(self, name) for name in names}
        own |= {"contract": self.contract.document(), "sidecar": self.sidecar}
        return self.search.to_json(own) if self.search else json_object(own)


@dataclasses.dataclass(frozen=True)
class SetEntry:
    """One entry of the set: a finished export, or the reason why there is none."""

    format: str
    precision: str
    path: Path
    result: ExportResult | None = None
    refused: str | None = None  # this format or model does not support it
    failed: str | None = None  # it did not compute what Keras computes, and was not written


@dataclasses.dataclass(frozen=True, repr=False)
class ExportSet(Shown):
    """One model in every format and precision; truthy unless a file failed its check."""

    entries: tuple[SetEntry, ...]

    def __bool__(self) -> bool:
        return not self.failed

    def __iter__(self) -> Iterator[SetEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def results(self) -> tuple[ExportResult, ...]:
        """The files that were written."""
        return tuple(entry.result for entry in self.entries if entry.result is not None)

    @property
    def failed(self) -> tuple[SetEntry, ...]:
        """The entries whose file did not compute what Keras computes."""
        return tuple(entry for entry in self.entries if entry.failed)

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why files are missing, each reason once."""
        found = dict.fromkeys(entry.refused or entry.failed for entry in self.entries)
        return tuple(reason for reason in found if reason)

    @property
    def summary(self) -> str:
        """How many files there are, and whose tuning is lost."""
        refused = len(self) - len(self.results) - len(self.failed)
        written = counted(len(self.results), "file")
        lost = f" {self.lost}" if self.lost else ""
        return f"{written} written, {refused} refused, {len(self.failed)} failed.{lost}"

    @property
    def lost(self) -> str:
        """Which files took the place of tuned ones, in a sentence; empty if none did."""
        tuned = ", ".join(one.path.name for one in self.results if one.tuning_lost)
        return f"Tuned before, and now not; tune again: {tuned}." if tuned else ""

    def tables(self) -> tuple[Table, ...]:
        """The set in one table."""
        heads = ("file", "precision", "size", "seconds", "error", "verdict")
        folder = str(self.entries[0].path.parent)
        rows = list(map(_row, self.entries))
        return (Table(folder, rows, heads, ("file", "precision", "verdict")),)

    def to_json(self) -> dict[str, Any]:
        """Every entry, in JSON types."""
        files = [
            {**vars(entry), "result": None if entry.result is None else entry.result.to_json()}
            for entry in self.entries
        ]
        return json_object({"files": files})


def _row(entry: SetEntry) -> tuple[str, ...]:
    found = entry.result
    if found is None:
        verdict = "FAILED" if entry.failed else "refused"
        return entry.format, entry.precision, "-", "-", "-", verdict
    error = "-" if found.forced_error is None else f"{found.forced_error:.1e}"
    seconds = f"{found.seconds:.1f} + {found.check_seconds:.1f}"
    return entry.path.name, entry.precision, bytes_text(found.bytes), seconds, error, "PASSED"
