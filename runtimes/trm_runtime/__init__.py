"""Run an exported Tiny Recursive Model with numpy and one inference engine.

Every name is loaded at its first use, so `import trm_runtime` is fast, and the contract can be read
without numpy.

ONNX Runtime 1.29 and later report to Microsoft which models are opened, and keep an identifier and
a database in the home folder for that, unless a variable forbids it when the engine is imported.
It is set here, before anything of this package or of trm-export can import it.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trm_runtime.answers import write
    from trm_runtime.contract import (
        CarrySpec,
        HaltRule,
        MadeBy,
        StepContract,
        Symmetries,
        TensorSpec,
    )
    from trm_runtime.errors import (
        ContractError,
        ContractMismatchError,
        MissingExtraError,
        ParityError,
        RejectedInputError,
        TRMError,
        UsageError,
    )
    from trm_runtime.loop import solve
    from trm_runtime.open import open_runner
    from trm_runtime.puzzles import read_identifiers, read_inputs, read_puzzles
    from trm_runtime.runner import StepOutput, StepRunner, initial_carry
    from trm_runtime.solution import Solution, StepEvent

__version__ = "0.1.0"

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

__all__ = [
    "CarrySpec",
    "ContractError",
    "ContractMismatchError",
    "HaltRule",
    "MadeBy",
    "MissingExtraError",
    "ParityError",
    "RejectedInputError",
    "Solution",
    "StepContract",
    "StepEvent",
    "StepOutput",
    "StepRunner",
    "Symmetries",
    "TRMError",
    "TensorSpec",
    "UsageError",
    "__version__",
    "initial_carry",
    "open_runner",
    "read_identifiers",
    "read_inputs",
    "read_puzzles",
    "solve",
    "write",
]

_MODULES = {
    "answers": ("write",),
    "contract": ("CarrySpec", "HaltRule", "MadeBy", "StepContract", "Symmetries", "TensorSpec"),
    "errors": (
        "ContractError",
        "ContractMismatchError",
        "MissingExtraError",
        "ParityError",
        "RejectedInputError",
        "TRMError",
        "UsageError",
    ),
    "loop": ("solve",),
    "open": ("open_runner",),
    "puzzles": ("read_identifiers", "read_inputs", "read_puzzles"),
    "runner": ("StepOutput", "StepRunner", "initial_carry"),
    "solution": ("Solution", "StepEvent"),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
