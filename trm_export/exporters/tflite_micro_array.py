"""A `.tflite` file for tflite-micro as a C array, and a header that adds its operators.

The same two files serve Arduino, ESP-IDF and Zephyr; only where they are put differs.
"""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trm_export.errors import MissingExtraError
from trm_export.files import MICRO, sidecar, write_together
from trm_export.own_files import C_HEADER, C_SOURCE
from trm_export.version import TOOL

_A_LINE = 16  # bytes


def refuse_without_arena() -> None:
    """MissingExtraError without the package that measures the arena."""
    if find_spec("tflite_micro") is None:
        raise MissingExtraError(
            "A C array needs the package tflite-micro, which measures the arena for its header; "
            "install it with `pip install tflite-micro`."
        )


def write_c_array(path: Path, *, force: bool = False) -> tuple[Path, Path]:
    """Writes `<file>.h` and `<file>.c` of an export for tflite-micro; returns their paths."""
    facts = json.loads(sidecar(path, MICRO).read_text(encoding="utf-8"))
    data, header, source = path.read_bytes(), sidecar(path, C_HEADER), sidecar(path, C_SOURCE)
    with write_together(force=force) as writing:
        writing(header).write_text(_header(path.name, len(data), facts), encoding="utf-8")
        writing(source).write_text(_source(path.name, header.name, data), encoding="utf-8")
    return header, source


def _header(name: str, size: int, facts: dict[str, Any]) -> str:
    calls = " \\\n".join(f"    (resolver).{call}();" for call in facts["resolver"])
    return f"""/* {TOOL}: {name} for tflite-micro.

   alignas(16) static uint8_t arena[TRM_ARENA_BYTES];
   static tflite::MicroMutableOpResolver<TRM_OPERATORS> resolver;
   TRM_ADD_OPERATORS(resolver)
   static tflite::MicroInterpreter interpreter(
       tflite::GetModel(trm_model), resolver, arena, sizeof arena);
*/
#ifndef TRM_MODEL_H
#define TRM_MODEL_H

#define TRM_MODEL_BYTES {size}
#define TRM_ARENA_BYTES {facts["arena"]} /* measured with {facts["measured_with"]} */
#define TRM_OPERATORS {len(facts["resolver"])}
#define TRM_ADD_OPERATORS(resolver) \\
{calls}

#ifdef __cplusplus
extern "C" {{
#endif
extern const unsigned char trm_model[TRM_MODEL_BYTES];
#ifdef __cplusplus
}}
#endif
#endif
"""


def _source(name: str, header: str, data: bytes) -> str:
    lines = "".join(
        "    " + ", ".join(map(str, data[start : start + _A_LINE])) + ",\n"
        for start in range(0, len(data), _A_LINE)
    )
    return f"""/* {TOOL}: {name} for tflite-micro. */
#include "{header}"

__attribute__((aligned(16))) const unsigned char trm_model[TRM_MODEL_BYTES] = {{
{lines}}};
"""
