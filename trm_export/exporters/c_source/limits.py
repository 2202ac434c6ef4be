"""What a microcontroller has, as a user writes it. Imports no framework."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trm_export.errors import UsageError

if TYPE_CHECKING:
    from trm_export.exporters.c_source.layout import Layout

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20}
_PART = re.compile(r"(flash|ram)=(\d{1,9})([km]?)", re.IGNORECASE)


@dataclass(frozen=True)
class Limits:
    """Bytes that there are; None for as many as are needed."""

    flash: int | None = None
    ram: int | None = None

    def excess(self, layout: Layout) -> list[str]:
        """What a layout needs too much of, in words."""
        needs = (("flash", layout.flash, self.flash), ("RAM", layout.ram, self.ram))
        return [
            f"{need:,} bytes of {name}, which is {need - most:,} too many"
            for name, need, most in needs
            if most is not None and need > most
        ]


def limits_of(text: str) -> Limits:
    """The limits in ``flash=512k,ram=96k``; UsageError for anything else."""
    found: dict[str, int] = {}
    for part in text.split(","):
        match = _PART.fullmatch(part.strip())
        if match is None or match[1].lower() in found:
            raise UsageError(
                f"--fit: expected flash and ram in bytes, such as flash=512k,ram=96k, got {text!r}."
            )
        found[match[1].lower()] = int(match[2]) * _UNITS[match[3].lower()]
    return Limits(**found)
