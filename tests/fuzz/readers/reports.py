"""Documents of this tool: a parity report, and the costs of a bench."""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.mutate_json import changed_text
from tests.fuzz.reader import Files, Reader, one_file
from tests.parity.reports import document
from trm_export.parity.bench_document import read_rows
from trm_export.report.document_reader import read_report
from trm_export.report.write import rewrite_report

_NAME, _COSTS = "report.json", "bench.json"
_ROW = {
    "file": "good.onnx", "engine": "onnxruntime 1.32.0", "bytes": 4, "sha256": "0" * 64,
    "step_ms": 12.5, "load_ms": 3,
}  # fmt: skip


@functools.cache
def _seeds() -> Sequence[Files]:
    """With everything, and without labels and control."""
    with tempfile.TemporaryDirectory() as folder:
        found = [document(Path(folder), labels=both, control=both) for both in (True, False)]
    return [{_NAME: json.dumps(one).encode()} for one in found]


def _costs() -> Sequence[Files]:
    return [{_COSTS: json.dumps({"rows": [_ROW, {**_ROW, "file": "bad.tflite"}]}).encode()}]


def _read(folder: Path) -> Any:
    return json.dumps(read_report(folder / _NAME))


def _draw(folder: Path) -> Any:
    """The pages that are made of it."""
    page = folder / "page.html"
    rewrite_report(folder / _NAME, page, force=True)
    return [path.read_bytes() for path in sorted(folder.glob("page.*"))]


def _read_costs(folder: Path) -> Any:
    return json.dumps(read_rows(folder / _COSTS))


def _load() -> None:
    import trm_export.report.render
    import trm_export.report.view  # noqa: F401


READERS = (
    Reader("report", _seeds, one_file(changed_text), _read),
    Reader("report, pages", _seeds, one_file(changed_text), _draw, prepare=_load),
    Reader("costs", _costs, one_file(changed_text), _read_costs),
)
