"""Export Tiny Recursive Models from Keras to devices, and check that they give the same answers.

The model classes are loaded when they are first used: `import trm_export` imports no framework.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trm_export.model import TRM, TRMInner, TRMReasoningModule

TOOL = "trm-export"
__version__ = "0.1.0"

__all__ = ["TOOL", "TRM", "TRMInner", "TRMReasoningModule", "__version__"]

_MODEL_CLASSES = ("TRM", "TRMInner", "TRMReasoningModule")


def __getattr__(name: str) -> Any:
    if name not in _MODEL_CLASSES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module("trm_export.model"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
