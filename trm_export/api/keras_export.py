"""`export` with the signature of `keras.Model.export`."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from trm_export.api.arguments import FilePath, ModelLike
from trm_export.api.exporting import export
from trm_export.errors import UsageError

if TYPE_CHECKING:
    from trm_export.exporters.export_result import ExportResult

_KERAS_NAMES = {"tf_saved_model": "saved-model", "litert": "tflite"}
_FIXED = ("model", "path", "format")


def export_as_keras(
    model: ModelLike,
    path: FilePath,
    format: str | None,
    input_signature: Any,
    choices: Mapping[str, Any],
) -> ExportResult:
    """`export` with Keras's names of formats.

    Raises UsageError for arguments of Keras that are not supported, and what `export` raises.
    """
    if input_signature is not None:
        raise UsageError(
            "The step contract determines the inputs of the graph; drop input_signature."
        )
    known = [name for name in inspect.signature(export).parameters if name not in _FIXED]
    unknown = [name for name in choices if name not in known]
    if unknown:
        raise UsageError(
            f"An export has no option {', '.join(unknown)}; choose from {', '.join(known)}."
        )
    return export(model, path, format=_KERAS_NAMES.get(format or "", format), **choices)
