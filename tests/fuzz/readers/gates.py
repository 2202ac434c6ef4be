"""The user's own gates, a JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.fuzz.mutate_json import changed_text
from tests.fuzz.reader import Files, Reader, one_file
from trm_runtime.parity.gates import read_gates

_NAME = "gates.json"
_TEXTS = (
    b'{"based_on": "int8", "cosine": 0.99, "mean_steps": 2}',
    b'{"relative_l2": 1e-3, "answers": 1, "near_ties_excused": true, "exact_drop": null}',
)


def _seeds() -> Sequence[Files]:
    return [{_NAME: text} for text in _TEXTS]


def _call(folder: Path) -> Any:
    return asdict(read_gates(folder / _NAME))


READERS = (Reader("gates", _seeds, one_file(changed_text), _call),)
