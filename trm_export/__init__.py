"""Export Tiny Recursive Models from Keras to devices, and check that they give the same answers.

    import trm_export as te

    result = te.export("model.keras", "model.onnx")

Every name is loaded when it is first used: `import trm_export` imports no framework.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from trm_export import errors as errors
from trm_export.version import TOOL, __version__

if TYPE_CHECKING:
    from trm_export.api.benching import BenchResult, bench
    from trm_export.api.c_export import export_c
    from trm_export.api.comparing import compare
    from trm_export.api.comparison import Comparison
    from trm_export.api.evaluating import Evaluation, evaluate
    from trm_export.api.exporting import export, export_all
    from trm_export.api.importing import ImportResult, import_checkpoint
    from trm_export.api.inspecting import Inspection, inspect
    from trm_export.api.loading import load
    from trm_export.api.planning import PlanResult, plan
    from trm_export.api.profiling import Profile, profile
    from trm_export.api.recording import RecordedReference, record
    from trm_export.api.reporting import write_report
    from trm_export.api.training import train
    from trm_export.api.trusting import require, sign, verify
    from trm_export.api.tuning import TuneResult, tune
    from trm_export.api.vectors import WrittenVectors, write_vectors
    from trm_export.explain.explanation import Explanation
    from trm_export.exporters.export_result import ExportResult, ExportSet, SetEntry
    from trm_export.exporters.keep_search import AutoKeepError, KeepSearch
    from trm_export.model import TRM, TRMInner, TRMReasoningModule
    from trm_export.step.model_facts import ModelHints
    from trm_export.training.run import TrainResult
    from trm_export.training.stopping import StopRequest

__all__ = [
    "TOOL",
    "TRM",
    "AutoKeepError",
    "BenchResult",
    "Comparison",
    "Evaluation",
    "Explanation",
    "ExportResult",
    "ExportSet",
    "ImportResult",
    "Inspection",
    "KeepSearch",
    "ModelHints",
    "PlanResult",
    "Profile",
    "RecordedReference",
    "SetEntry",
    "StopRequest",
    "TRMInner",
    "TRMReasoningModule",
    "TrainResult",
    "TuneResult",
    "WrittenVectors",
    "__version__",
    "bench",
    "compare",
    "evaluate",
    "export",
    "export_all",
    "export_c",
    "import_checkpoint",
    "inspect",
    "load",
    "plan",
    "profile",
    "record",
    "require",
    "sign",
    "train",
    "tune",
    "verify",
    "write_report",
    "write_vectors",
]

_MODULES = {
    "api.benching": ("BenchResult", "bench"),
    "api.c_export": ("export_c",),
    "api.comparing": ("compare",),
    "api.comparison": ("Comparison",),
    "api.evaluating": ("Evaluation", "evaluate"),
    "api.exporting": ("export", "export_all"),
    "api.importing": ("ImportResult", "import_checkpoint"),
    "api.inspecting": ("Inspection", "inspect"),
    "api.loading": ("load",),
    "api.planning": ("PlanResult", "plan"),
    "api.profiling": ("Profile", "profile"),
    "api.recording": ("RecordedReference", "record"),
    "api.reporting": ("write_report",),
    "api.training": ("train",),
    "api.trusting": ("require", "sign", "verify"),
    "api.tuning": ("TuneResult", "tune"),
    "api.vectors": ("WrittenVectors", "write_vectors"),
    "explain.explanation": ("Explanation",),
    "exporters.export_result": ("ExportResult", "ExportSet", "SetEntry"),
    "exporters.keep_search": ("AutoKeepError", "KeepSearch"),
    "model": ("TRM", "TRMInner", "TRMReasoningModule"),
    "step.model_facts": ("ModelHints",),
    "training.run": ("TrainResult",),
    "training.stopping": ("StopRequest",),
}
"""What each module of this package gives to the public; loaded when it is first used."""

_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
