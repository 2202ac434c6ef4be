"""The problems of inspected files as SARIF 2.1.0, which code hosts show beside a change."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from trm_export.version import TOOL, __version__

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
RULE = "damaged-export"


def sarif(path: Path, problems: Sequence[str]) -> str:
    """One run; each problem of the file is a result of level error."""
    rule = {
        "id": RULE,
        "shortDescription": {"text": "An export that is damaged or contradicts its contract."},
    }
    place = {"physicalLocation": {"artifactLocation": {"uri": path.as_posix()}}}
    results = [
        {"ruleId": RULE, "level": "error", "message": {"text": problem}, "locations": [place]}
        for problem in problems
    ]
    driver = {"name": TOOL, "version": __version__, "rules": [rule]}
    document = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results}],
    }
    return json.dumps(document, indent=2) + "\n"
