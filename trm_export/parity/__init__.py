"""The host's part of parity: recording, the float64 control, jobs over processes and machines.

The comparison itself is in `trm_runtime.parity`, because it runs on devices too.
"""

from __future__ import annotations

from trm_export.parity.rules import valid_answers

__all__ = ["valid_answers"]
