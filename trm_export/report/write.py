"""Write a report: one file for every kind, all of them or none."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from trm_export.files import atomic_write


def write_report(document: Mapping[str, Any], path: Path, *, force: bool = False) -> None:
    """Writes `<path>` and beside it the same with `.json`.

    Raises OverwriteError for files that this tool did not make, without ``force``.
    """
    with ExitStack() as files:
        beside = files.enter_context(atomic_write(path.with_suffix(".json"), force=force))
        beside.write_text(json.dumps(document, allow_nan=False) + "\n", encoding="utf-8")
