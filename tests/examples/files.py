"""What the tests of the examples share: the shipped 4x4 model as files of a device."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
CHECKPOINT = ROOT / "artifacts" / "sudoku4.keras"
BOARD, SOLVED = "2.4.....1..442..", "2143341213244231"


def exported(path: Path) -> Path:
    """The shipped 4x4 model in the format of the suffix."""
    import trm_export as te

    return te.export(CHECKPOINT, path).path
