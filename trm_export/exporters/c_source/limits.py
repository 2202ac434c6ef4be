"""What a microcontroller has, as a user writes it. Imports no framework."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trm_export.errors import UsageError
from trm_runtime.message_text import counted

if TYPE_CHECKING:
    from trm_export.exporters.c_source.layout import Layout

_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20}
_FLOATS = "Without an FPU the code takes up to 8 kB of flash more."
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
            f"{need:,} bytes of {name} ({need - most:,} too many)"
            for name, need, most in needs
            if most is not None and need > most
        ]


@dataclass(frozen=True)
class Fit:
    """What was chosen, the bytes that it needs at most, and what there is."""

    precision: str
    rows: int  # of a tile
    kept: tuple[str, ...]  # layers in float32 of an int8 model
    flash: int
    ram: int
    limits: Limits

    @property
    def summary(self) -> str:
        """One sentence: what it needs, or with limits what was chosen and what is left."""
        kept = f", in float32 {', '.join(self.kept)}" if self.kept else ""
        sizes = [
            _of(name, need, most)
            for name, need, most in (
                ("flash", self.flash, self.limits.flash),
                ("RAM", self.ram, self.limits.ram),
            )
        ]
        head = "Needs" if self.limits == Limits() else "Chosen to fit"
        tiles = f"tiles of {counted(self.rows, 'row')}"
        return f"{head}: {self.precision}{kept}, {tiles}; {', '.join(sizes)}. {_FLOATS}"


def _of(name: str, need: int, most: int | None) -> str:
    if most is None:
        return f"{name} {need:,} bytes at most"
    return f"{name} {need:,} of {most:,} bytes ({most - need:,} left)"


def limits_of(text: str) -> Limits:
    """The limits in ``flash=512k,ram=96k``; UsageError for anything else."""
    found: dict[str, int] = {}
    for part in text.split(",") if isinstance(text, str) else [""]:
        match = _PART.fullmatch(part.strip())
        if match is None or match[1].lower() in found:
            raise UsageError(
                f"--fit: expected flash and ram in bytes, such as flash=512k,ram=96k, got {text!r}."
            )
        found[match[1].lower()] = int(match[2]) * _UNITS[match[3].lower()]
    return Limits(**found)
