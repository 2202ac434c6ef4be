"""`python -m trm_runtime check --command`, as a user runs it."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.devices.shipped import ROOT
from tests.devices.web.conftest import WEB


def check(golden: Path, *command: str | Path) -> dict[str, Any]:
    """What the ladder says about a step server of runtimes/web: its JSON, and the exit code."""
    words = shlex.join(map(str, command))
    done = subprocess.run(
        [sys.executable, "-m", "trm_runtime", "check", "--command", words, golden, "--json"],
        capture_output=True,
        text=True,
        cwd=WEB,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "runtimes")])},
    )
    assert done.stdout, done.stderr
    return {**json.loads(done.stdout), "exit_code": done.returncode}


def rungs(found: dict[str, Any]) -> dict[str, str]:
    """The status of each rung."""
    return {rung["name"]: rung["status"] for rung in found["rungs"]}
