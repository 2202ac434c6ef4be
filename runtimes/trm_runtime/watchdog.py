"""End a command whose engine does not return: no engine can stop a graph that loops for ever.

The engines let other threads run while they compute, so a timer can end the process. For command
lines only. Standard library only.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from trm_runtime.errors import RejectedInputError
from trm_runtime.failures import report

GRACE = 10.0  # seconds for the call that runs when a deadline passes


@contextmanager
def ended_after(deadline: float | None, model: str, as_json: bool) -> Iterator[None]:
    """End this process, with a message and exit code 4, GRACE seconds after `deadline` seconds.

    Only if the block has not ended by then; never without a deadline.
    """
    if deadline is None or not 0 <= deadline < threading.TIMEOUT_MAX - GRACE:
        yield
        return
    timer = threading.Timer(deadline + GRACE, _end, (deadline, model, as_json))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _end(deadline: float, model: str, as_json: bool) -> None:
    error = RejectedInputError(
        f"{model}: a call of its graph has not ended {GRACE:g} s after the deadline of "
        f"{deadline:g} s; use a longer deadline, or do not use this file."
    )
    code = report(error, as_json)
    sys.stderr.flush()
    os._exit(code)
