"""What `keras.Model.export` takes, as `export` takes it."""

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
    """`export` by the names that Keras has for formats.

    Raises UsageError for what Keras would take and `export` cannot honour, and what `export`
    raises.
    """
    if input_signature is not None:
        raise UsageError(
            "The step contract says what the inputs of the graph are; leave input_signature out."
        )
    known = [name for name in inspect.signature(export).parameters if name not in _FIXED]
    unknown = [name for name in choices if name not in known]
    if unknown:
        raise UsageError(
            f"An export has no option {', '.join(unknown)}; choose from {', '.join(known)}."
        )
    return export(model, path, format=_KERAS_NAMES.get(format or "", format), **choices)
