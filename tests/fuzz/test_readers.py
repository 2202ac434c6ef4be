"""A short run of the fuzzer for every reader: no traceback, no hang, no memory, no bad message."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.reader import all_readers

MUTANTS = 60  # of each reader, the same at every run
ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", ["python", "native"])
def test_no_input_surprises_a_reader(kind: str, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "tests.fuzz", "--kind", kind, "--mutants", str(MUTANTS)]
    words += ["--minutes", "5", "--jobs", "1", "--failures", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    reasons = [path.read_text(errors="replace") for path in tmp_path.glob("*/reason.txt")]
    assert done.returncode == 0, "\n".join([done.stdout, done.stderr[-2000:], *reasons])
    names = [name for name, one in all_readers().items() if one.native is (kind == "native")]
    for name in names:
        assert f"\n{name} " in done.stdout
