"""How libraries, engines, C++ and Python say that memory ran out, if not by a MemoryError."""

from __future__ import annotations

import re

_SAID = re.compile(
    "failed to map segment|cannot map zero-fill pages|[Cc]annot allocate memory|bad_alloc"
    "|bad allocation|can't start new thread|[Ff]ailed to allocate memory|OOM when allocating"
    "|ResourceExhausted|RESOURCE_EXHAUSTED|[Nn]ot enough memory|OutOfMemory"
    "|Status: 1, message: could not create a primitive"  # oneDNN's dnnl_out_of_memory
)


def lacks_memory(error: BaseException | str) -> bool:
    """Whether that error, or what an engine says, is for lack of memory."""
    if isinstance(error, str):
        return _SAID.search(error) is not None
    named = f"{type(error).__name__}: {error}"
    return isinstance(error, MemoryError) or _SAID.search(named) is not None
