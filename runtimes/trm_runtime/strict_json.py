"""Read a JSON object strictly and collect all problems instead of stopping at the first.

Knows nothing about contracts. Standard library only.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]|[\ud800-\udfff]")
LARGEST = 1e300  # of a number that is not an integer; float64 goes further


class _DuplicateKeyError(ValueError):
    pass


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = sorted(key for key, count in counts.items() if count > 1)
        raise _DuplicateKeyError(f"the key {twice[0]!r} appears twice in one object")
    return found


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def parse(text: str | bytes) -> Any:
    """The value of a JSON text, of which bytes are UTF-8.

    Raises ValueError for bytes that are none, for bad syntax, a key given twice, NaN or Infinity,
    and for half of a surrogate pair, which cannot be written as text.
    """
    try:
        text = text if isinstance(text, str) else text.decode()
        value = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        raise ValueError("it is not a text in UTF-8") from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except UnicodeEncodeError as error:
        raise ValueError("it has half of a surrogate pair") from error
    return value


def kind(value: object) -> str:
    """The JSON word for a parsed value, for messages."""
    if value is None:
        return "null"
    names = {bool: "boolean", int: "integer", float: "number", str: "string", list: "list"}
    return names.get(type(value), "object")


class Fields:
    """One JSON object being read.

    Missing and unknown keys are reported on construction. A getter reports a value of the wrong
    type and then returns a default, so that reading continues; the caller checks `problems` before
    it uses the values.
    """

    def __init__(self, value: Any, where: str, keys: Sequence[str], problems: list[str]) -> None:
        self.where = where
        self.problems = problems
        self.values: dict[str, Any] = value if isinstance(value, dict) else {}
        if not isinstance(value, dict):
            problems.append(f"{where}: expected an object, got {kind(value)}")
            return
        problems.extend(f"{self.at(k)}: missing" for k in keys if k not in value)
        problems.extend(f"{self.at(k)}: unknown key" for k in value if k not in keys)

    def at(self, key: str) -> str:
        """The dotted path of a key, for messages."""
        return f"{self.where}.{key}" if self.where else key

    def _typed(self, key: str, types: tuple[type, ...], expected: str, default: Any) -> Any:
        if key not in self.values:
            return default
        value = self.values[key]
        if type(value) in types:
            return value
        self.problems.append(
            f"{self.at(key)}: expected {expected}, got {kind(value)} {value!r:.60}"
        )
        return default

    def text(self, key: str) -> str:
        """A string; '' by default."""
        return str(self._typed(key, (str,), "a string", ""))

    def text_or_null(self, key: str) -> str | None:
        """A string or null; null by default."""
        value: str | None = self._typed(key, (str, type(None)), "a string or null", None)
        return value

    def choice(self, key: str, allowed: Sequence[str]) -> str:
        """One of the allowed strings; the first of them by default."""
        before = len(self.problems)
        value = self.text(key)
        if value not in allowed and len(self.problems) == before and key in self.values:
            known = ", ".join(allowed)
            self.problems.append(f"{self.at(key)}: expected one of {known}; got {value!r:.60}")
        return value if value in allowed else allowed[0]

    def integer(self, key: str) -> int:
        """An integer; 1 by default."""
        return int(self._typed(key, (int,), "an integer", 1))

    def integer_or_null(self, key: str) -> int | None:
        """An integer or null; null by default."""
        value: int | None = self._typed(key, (int, type(None)), "an integer or null", None)
        return value

    def number(self, key: str) -> float:
        """A finite number; 0 by default."""
        value = self._typed(key, (int, float), "a number", 0.0)
        if abs(value) <= LARGEST:
            return float(value)
        self.problems.append(f"{self.at(key)}: {value!r:.60} is out of range")
        return 0.0

    def boolean(self, key: str) -> bool:
        """True or false; False by default."""
        return bool(self._typed(key, (bool,), "true or false", False))

    def items(self, key: str) -> list[Any]:
        """A list of any values; empty by default."""
        return list(self._typed(key, (list,), "a list", []))

    def integer_lists(self, key: str) -> tuple[tuple[int, ...], ...]:
        """A list of lists of integers; empty by default."""
        lists = self.items(key)
        for index, values in enumerate(lists):
            if type(values) is not list or any(type(value) is not int for value in values):
                got = f"{kind(values)} {values!r:.60}"
                self.problems.append(f"{self.at(key)}[{index}]: expected integers, got {got}")
                return ()
        return tuple(map(tuple, lists))

    def texts_or_null(self, key: str) -> tuple[str, ...] | None:
        """A list of strings, or null; null by default."""
        values = self._typed(key, (list, type(None)), "a list of strings or null", None)
        if values is None:
            return None
        if any(type(value) is not str for value in values):
            self.problems.append(f"{self.at(key)}: expected strings only")
            return None
        return tuple(values)

    def text_map(self, key: str) -> dict[str, str]:
        """An object whose values are all strings; empty by default."""
        values = self._typed(key, (dict,), "an object of strings", {})
        wrong = [k for k, v in values.items() if type(v) is not str]
        self.problems.extend(f"{self.at(key)}.{k}: expected a string" for k in wrong)
        return {} if wrong else dict(values)

    def object(self, key: str, keys: Sequence[str]) -> Fields:
        """A nested object with its own keys; empty by default."""
        if key in self.values:
            return Fields(self.values[key], self.at(key), keys, self.problems)
        return Fields({}, self.at(key), (), self.problems)
