"""`record` of an exported file: what it computes on the engine of this machine.

A device then compares the same file with itself on another engine, so that quantization is no part
of the comparison. Needs no Keras.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trm_export.api.arguments import Progress
from trm_export.artifacts.host_kinds import host_kind
from trm_export.errors import UsageError
from trm_export.tasks import Blanks
from trm_export.tasks.selection import PuzzleSource, puzzle_file, select_puzzles
from trm_export.version import TOOL, __version__
from trm_runtime.open import runner_contract
from trm_runtime.parity import Golden, GoldenOrigin
from trm_runtime.parity.file_golden import origin_of


def exported_file(model: object) -> Path | None:
    """The path if it names an exported file, not a model."""
    if not isinstance(model, str | os.PathLike):
        return None
    path = Path(model)
    return path if host_kind(path) is not None else None


@dataclass(frozen=True)
class FileRecording:
    """An exported file to record; the fields are those of `record`."""

    artifact: Path
    puzzles: PuzzleSource | None
    task: str | None
    blanks: Blanks | str | None
    count: int
    batch_size: int
    control: bool | None
    states: int

    def into(self, path: Path, *, force: bool, progress: Progress) -> Golden:
        """Records into this file, and opens it."""
        from trm_export.parity.recording import record_export

        contract = runner_contract(self.artifact)
        if contract.granularity == "loop":
            raise UsageError(
                f"{self.artifact}: has granularity loop, so its single steps cannot be recorded; "
                "record a file of granularity step or block."
            )
        chosen = select_puzzles(contract, self.puzzles, self.task, self.blanks, self.count)
        about = GoldenOrigin(chosen.kind, self.task, self._provenance())
        return record_export(
            self.artifact,
            chosen,
            path,
            about,
            control=self.control,
            budget=self.states,
            batch_size=self.batch_size,
            force=force,
            progress=lambda share: progress(share, "Recording"),
        )

    def _provenance(self) -> dict[str, Any]:
        """The origin of a golden, without a date, so that its bytes are repeatable."""
        origin, puzzles = origin_of(self.artifact, None), puzzle_file(self.puzzles)
        name, _, version = origin["engine"].partition(" ")
        device = {"kind": "cpu", "name": origin["processor"], "backend": name}
        named = "puzzles in memory" if puzzles is None else puzzles.name
        return {
            "made_by": f"{TOOL} {__version__}",
            "model": self.artifact.name,
            **origin,
            "puzzles": "shipped test puzzles" if self.puzzles is None else named,
            "device": {**device, "versions": {name: version}, "tf32": False},
        }
