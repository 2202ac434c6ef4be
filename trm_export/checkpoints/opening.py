"""Open a model by its file, whosever class it is: our own, or one of a package that is trusted."""

from __future__ import annotations

import os
from collections.abc import Sequence

from trm_export.checkpoints.keras_file import open_keras
from trm_export.checkpoints.loading import build, fill
from trm_export.checkpoints.third_party import load_third_party
from trm_export.step.model_facts import ModelHints
from trm_export.step.step_model import StepModel, adapt


def open_model(
    path: str | os.PathLike[str], trusted: Sequence[str] = (), asked: ModelHints | None = None
) -> StepModel:
    """The model saved at `path` with exactly the weights of the file, on the running backend.

    Args:
        path: a `.keras` file.
        trusted: packages whose code may run to bring the model to life.
        asked: what the caller says of the model.

    Raises:
        CheckpointError: the file is damaged or refused, or its weights do not fit the model.
        ProtocolError: the model does not follow the protocol.
        UsageError: a trusted package cannot be imported, or something must be said of the model.
    """
    asked = asked or ModelHints()
    file = open_keras(path, trusted)
    if not file.is_ours:
        return adapt(load_third_party(file, trusted, asked), asked)
    model = build(file)
    fill(model, file)
    return adapt(model, asked)
