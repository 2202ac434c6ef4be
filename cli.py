"""`python cli.py ...` is `trm-export ...`, from a checkout that is not installed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent / "runtimes")]

from trm_export.commands import main  # noqa: E402  (the path comes first)

if __name__ == "__main__":
    main()
