"""Signatures as `docs/python-api.md` writes them: names and defaults, without types."""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

WIDTH = 96


def signature_text(name: str, function: Callable[..., Any]) -> str:
    """`name(first, second=1, *, third=None)`, folded to the width of the page."""
    parts, star = [], False
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            parts, star = [*parts, "*"], True
        parts.append(_written(parameter))
    text = f"{name}({', '.join(parts)})"
    return textwrap.fill(text, WIDTH, subsequent_indent=" " * (len(name) + 1))


def _written(parameter: inspect.Parameter) -> str:
    stars = {parameter.VAR_KEYWORD: "**", parameter.VAR_POSITIONAL: "*"}.get(parameter.kind, "")
    if parameter.default is parameter.empty:
        return f"{stars}{parameter.name}"
    default = parameter.default
    if callable(default):
        return f"{parameter.name}={default.__name__}"
    return f"{parameter.name}={str(default) if isinstance(default, Path) else default!r}"
