"""A terminal for commands that draw on one."""

from __future__ import annotations

import pty

import pytest


def open_terminal() -> tuple[int, int]:
    """Both sides of a new one; without /dev/pts, as in some containers, the test is skipped."""
    try:
        return pty.openpty()
    except OSError as error:
        pytest.skip(f"there is no pseudo-terminal here: {error}")
