"""Vectors as a folder: JSON and raw little-endian bytes, which any language reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from trm_export.own_files import VECTORS_INDEX
from trm_export.parity.vectors import Vectors
from trm_export.version import TOOL, __version__
from trm_runtime.parity import GATES
from trm_runtime.parity.gates import is_integer

FORMAT, VERSION = "trm-vectors", 1
CONTRACT, DATA, README = "contract.json", "tensors.bin", "README.md"
_WIDER = 5  # times the distance of a cosine from 1
_ALIGNED = 8  # bytes: every tensor begins at a multiple

_TEXT = """\
# Vectors of {model}

What a driver of this model must compute, and what it must refuse, for any language. Written by
{tool}; docs/contract.md of that project, section "Vectors", specifies it.

- `contract.json`: the step contract of the reference.
- `vectors.json`: `tensors` (dtype, shape, offset in `tensors.bin`) and `cases`.
- `tensors.bin`: raw elements, little-endian, C order; a bool is one byte, 0 or 1.

{cases}

Integers and booleans must be equal. Floats, all rows of a tensor together, are within the gate of
the file's precision under `gates`: the largest relative L2 error, or the smallest cosine.
"""

_KINDS = {
    "solve": "run the driver's own loop; answers, steps and stop reasons must be equal",
    "step": "one ACT step; the outputs and the next carry must be the expected ones",
    "refuse": "inputs or a carry that must be refused before an engine is called",
}


def write_folder(found: Vectors, folder: Path) -> None:
    """Write the files into a folder, which is made."""
    folder.mkdir()
    data, places = _packed(found.tensors)
    made = f"{TOOL} {__version__}"
    index = {
        "tool": made,
        "format": FORMAT,
        "version": VERSION,
        "weights_sha256": found.contract.made_by.weights_sha256,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "gates": _gates(),
        "tensors": places,
        "cases": found.cases,
    }
    counts = {kind: sum(case["kind"] == kind for case in found.cases) for kind in _KINDS}
    listed = [f"- {counts[kind]} cases `{kind}`: {text}." for kind, text in _KINDS.items()]
    readme = _TEXT.format(model=found.contract.model_name, tool=made, cases="\n".join(listed))
    texts = {README: readme, CONTRACT: found.contract.to_json(), VECTORS_INDEX: json_text(index)}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    (folder / DATA).write_bytes(data)


def json_text(index: Mapping[str, Any]) -> str:
    """JSON with a line for each tensor and case, ending in a newline."""
    lines = []
    for key, value in index.items():
        if isinstance(value, dict):
            inner = [f"{json.dumps(k)}: {_compact(v)}" for k, v in value.items()]
            text = "{\n  " + ",\n  ".join(inner) + "\n }"
        elif isinstance(value, list):
            text = "[\n  " + ",\n  ".join(map(_compact, value)) + "\n ]"
        else:
            text = _compact(value)
        lines.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _packed(tensors: Mapping[str, np.ndarray[Any, Any]]) -> tuple[bytes, dict[str, Any]]:
    data, places = bytearray(), {}
    for name, array in tensors.items():
        data += bytes(-len(data) % _ALIGNED)
        places[name] = {
            "dtype": array.dtype.name, "shape": list(array.shape), "offset": len(data)
        }  # fmt: skip
        data += array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    return bytes(data), places


def _gates() -> dict[str, dict[str, float]]:
    """The gates of parity, wider for integers: among the few rows of a case one decides alone."""
    found = {}
    for precision, gates in GATES.items():
        cosine = gates.cosine
        if cosine is not None and is_integer(precision):
            cosine = round(1 - _WIDER * (1 - cosine), 6)
        values = {"relative_l2": gates.relative_l2, "cosine": cosine}
        found[precision] = {name: value for name, value in values.items() if value is not None}
    return found
