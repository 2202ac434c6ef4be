"""Values as plain JSON types."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any


def json_object(values: Mapping[str, Any]) -> dict[str, Any]:
    """Named values, each as `plain` makes it."""
    return {name: plain(value) for name, value in values.items()}


def plain(value: Any) -> Any:
    """Mappings, sequences, dataclasses and arrays as JSON; paths as text, NaN and Inf as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return plain(dataclasses.asdict(value))
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    listed = getattr(value, "tolist", None)  # numpy, without importing it
    return plain(listed()) if listed else value
