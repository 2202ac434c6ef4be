"""Open the model in a `.keras` file: a `TRM`, or a class of a package that the caller trusts."""

from __future__ import annotations

import os
from collections.abc import Sequence

from trm_export.checkpoints.keras_file import open_keras
from trm_export.checkpoints.loading import build, fill
from trm_export.checkpoints.third_party import load_third_party
from trm_export.step.model_facts import ModelHints, given_hints
from trm_export.step.step_model import StepModel, adapt


def open_model(
    path: str | os.PathLike[str], trusted: Sequence[str] = (), hints: ModelHints | None = None
) -> StepModel:
    """The model saved at `path` with exactly the weights of the file, on the running backend.

    Args:
        path: a `.keras` file.
        trusted: packages whose code may be imported and run.
        hints: what the caller knows about the model and the file does not say.

    Raises:
        CheckpointError: the file is damaged or refused, or its weights do not fit the model.
        ProtocolError: the model does not follow the protocol.
        UsageError: a trusted package cannot be imported, or facts about the model are missing.
    """
    hints = given_hints(hints)
    file = open_keras(path, trusted)
    if not file.is_ours:
        return adapt(load_third_party(file, trusted, hints), hints)
    model = build(file)
    weights = fill(model, file)
    found = adapt(model, hints)
    found.weights = weights
    return found
