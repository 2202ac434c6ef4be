"""What a host adds to the parity of `trm_runtime.parity`: the rules of known tasks.

The ladder itself runs on the device too, and lives there.
"""

from __future__ import annotations

from trm_export.parity.rules import valid_answers

__all__ = ["valid_answers"]
