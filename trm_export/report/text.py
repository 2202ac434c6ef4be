"""Format numbers and names for a report. Knows nothing about parity."""

from __future__ import annotations

import math
from pathlib import Path

from trm_runtime.file_kinds import KINDS, suffix_kind

MANY = 20  # items of a list before the rest is only counted

_MINUS = "\N{MINUS SIGN}"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def clean(text: object) -> str:
    """One line of text; characters that do not print are escaped."""
    return "".join(c if c.isprintable() else _escape(c) for c in str(text))


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def short(name: str, most: int) -> str:
    """A clean name of at most so many characters, its middle left out."""
    name = clean(name)
    head = (most - 1) // 2
    return name if len(name) <= most else f"{name[:head]}…{name[head + 1 - most :]}"


def ending(name: str, most: int) -> str:
    """The last so many characters of a clean name: where paths differ."""
    name = clean(name)
    return name if len(name) <= most else f"…{name[1 - most :]}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share as a percentage."""
    return "-" if share is None else f"{share * 100:.{digits}f} %"


def interval(ends: tuple[float, float] | list[float]) -> str:
    """An interval of shares, in percent."""
    low, high = ends
    return f"{low * 100:.1f} to {high * 100:.1f}"


def signed(value: float, digits: int) -> str:
    """A difference, with a sign unless it is 0 in these digits."""
    text = f"{value:+.{digits}f}"
    return text.replace("-", _MINUS) if text.strip("+-0.") else f"{0:.{digits}f}"


def small(value: float | None) -> str:
    """An error; None stands for infinity in JSON."""
    if value is None:
        return "∞"
    return "0" if value == 0 else f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e+")


def cosine(value: float | None) -> str:
    """A cosine with six decimal places, nearer to 1 with more; None: a value is not finite."""
    if value is None:
        return "-"
    return f"{value:.6f}" if value == 1 or value < 0.9999995 else f"{value:.12g}"


def decibels(value: float | None) -> str:
    """A ratio of signal to noise; None: there is no noise."""
    return "∞" if value is None else f"{value:.1f}"


def size_text(size: int, smallest: int | None = None) -> str:
    """Bytes as MB of 10^6 bytes, or as kB where the smallest of the sizes is below a tenth of that.

    Without `smallest` the size is alone.
    """
    in_kilobytes = (size if smallest is None else smallest) < 1e5
    return f"{size / 1e3:.1f} kB" if in_kilobytes else f"{size / 1e6:.2f} MB"


def milliseconds(value: float) -> str:
    """A time with about three digits."""
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def points(value: float, ends: tuple[float, float], unit: str = "") -> str:
    """A difference in percentage points, and its interval."""
    low, high = (signed(end, 1) for end in ends)
    return f"{signed(value, 1)} {unit}({low} to {high})"


def brief(count: int) -> str:
    """A count in at most four characters: `9999`, `12k`, `1.2M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if count >= size:
            scaled = count / (1e3 if unit == "k" else size)
            return f"{scaled:.0f}{unit}" if scaled >= 10 else f"{scaled:.1f}{unit}"
    return str(count)


def no_floor(why: str) -> str:
    """A sentence about a control that could not be measured."""
    return f"The noise floor was not measured: {clean(why)}."


def power_of_ten(value: float) -> str:
    """A tick of a logarithmic axis: `10⁻³`, `3·10⁻³`."""
    power = math.floor(math.log10(value) + 1e-9)
    factor = f"{value / 10.0**power:.2g}"
    return ("" if factor == "1" else f"{factor}·") + "10" + str(power).translate(_SUPERSCRIPTS)


def listed(items: list[str] | tuple[str, ...], most: int = MANY) -> list[str]:
    """The first items, clean, and how many more there are."""
    more = [f"… and {len(items) - most} more, in the JSON"] if len(items) > most else []
    return [*map(clean, items[:most]), *more]


def kind_of_file(name: str) -> str:
    """The format by the name of a file."""
    kind = suffix_kind(Path(name))
    folders = (kind.title for kind in KINDS.values() if kind.marker)
    return kind.title if kind else next(folders, "unknown")
