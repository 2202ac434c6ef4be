"""Exports and recordings of the shipped models, made when a test first asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

Made = Callable[[str], Path]


def exporting(folder: Path, options: Mapping[str, Mapping[str, Any]]) -> Made:
    """Exports a model into the folder; a file is named by its model, and has its own options."""

    def file(name: str) -> Path:
        import trm_export as te

        path = folder / name
        if not path.exists():
            model = name.partition(".")[0].partition("-")[0]
            te.export(ROOT / "artifacts" / f"{model}.keras", path, **options[name])
        return path

    return file


def recording(folder: Path, count: int) -> Made:
    """Records the reference of a model into the folder."""

    def golden(model: str) -> Path:
        import trm_export as te

        path = folder / f"{model}.npz"
        if not path.exists():
            source = ROOT / "artifacts" / f"{model}.keras"
            te.record(source, output=path, count=count, control=False, device="cpu")
        return path

    return golden
