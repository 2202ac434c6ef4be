"""Take a Tiny Recursive Model from Keras to a device, and know that it still thinks the same.

    import trm_export as te

    result = te.export("model.keras", "model.onnx")

Every name is loaded when it is first used: `import trm_export` imports no framework.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trm_export.api.benching import BenchResult, bench
    from trm_export.api.comparing import compare
    from trm_export.api.comparison import Comparison
    from trm_export.api.evaluating import Evaluation, evaluate
    from trm_export.api.loading import load
    from trm_export.api.recording import RecordedReference, record
    from trm_export.api.reporting import write_report
    from trm_export.api.tuning import TuneResult, tune
    from trm_export.explain.explanation import Explanation
    from trm_export.model import TRM, TRMInner, TRMReasoningModule
    from trm_export.step.model_facts import ModelHints

TOOL = "trm-export"
__version__ = "0.1.0"

__all__ = [
    "TOOL",
    "TRM",
    "BenchResult",
    "Comparison",
    "Evaluation",
    "Explanation",
    "ModelHints",
    "RecordedReference",
    "TRMInner",
    "TRMReasoningModule",
    "TuneResult",
    "__version__",
    "bench",
    "compare",
    "evaluate",
    "load",
    "record",
    "tune",
    "write_report",
]

_HOMES = {
    "BenchResult": "api.benching",
    "Comparison": "api.comparison",
    "Evaluation": "api.evaluating",
    "Explanation": "explain.explanation",
    "RecordedReference": "api.recording",
    "TuneResult": "api.tuning",
    "bench": "api.benching",
    "compare": "api.comparing",
    "evaluate": "api.evaluating",
    "record": "api.recording",
    "tune": "api.tuning",
    "write_report": "api.reporting",
    "ModelHints": "step.model_facts",
    "TRM": "model",
    "TRMInner": "model",
    "TRMReasoningModule": "model",
    "load": "api.loading",
}
"""The module of this package that each public name is loaded from when it is first used."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
