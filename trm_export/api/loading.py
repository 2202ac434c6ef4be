"""`load`: load a `.keras` file strictly; and how every function opens its model argument."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from trm_export.api.arguments import FilePath, ModelLike, file_of, packages
from trm_export.errors import OutputWarning, UsageError
from trm_export.step.model_facts import ModelHints, given_hints

if TYPE_CHECKING:
    import keras

    from trm_export.step.step_model import StepModel


def load(
    path: FilePath, *, trust: Sequence[str] = (), hints: ModelHints | None = None
) -> keras.Model:
    """The Keras model of a `.keras` file, with exactly the weights of the file.

    Runs on the Keras backend of this process, TensorFlow if none was chosen.

    Args:
        path: a `.keras` file. It is inspected before Keras opens it.
        trust: packages whose code may run, for a model whose class is not ours.
        hints: what a model of another class does not state itself.

    Raises:
        CheckpointError: the file is damaged or refused, or its weights do not fit the model.
        ProtocolError: the model does not follow the protocol of a step.
        UsageError: a package cannot be imported, or facts are missing that `hints` can give.
    """
    return as_step_model(path, trust, hints, any_backend=True).keras


def refuse_model(model: ModelLike, trust: Sequence[str] = ()) -> None:
    """Checks this argument, as far as possible before Keras is imported.

    Raises UsageError for a trusted package that does not exist, CheckpointError for a missing
    file or another kind of file.
    """
    from trm_export.checkpoints.keras_file import require_keras

    packages(trust)
    file = file_of(model)
    if file is not None:
        require_keras(file)
    elif not (hasattr(model, "get_config") or hasattr(model, "keras")):
        raise UsageError(
            f"The model must be the path of a .keras file or a Keras model, got {model!r:.60}."
        )


def as_step_model(
    model: ModelLike,
    trust: Sequence[str] = (),
    hints: ModelHints | None = None,
    *,
    any_backend: bool = False,
) -> StepModel:
    """The adapted model of a file or of a Keras model; an adapted one is returned as it is.

    Warns with OutputWarning where outputs of the model are left out.

    Args:
        model: see `ModelLike`.
        trust: packages whose code may run.
        hints: what the model does not state itself.
        any_backend: accept every Keras backend, not TensorFlow alone.

    Raises what `load` raises, and BackendError or MissingExtraError where Keras cannot start.
    """
    from trm_export.api.frameworks import load_keras

    refuse_model(model, trust)
    given_hints(hints)
    load_keras(any_backend=any_backend)
    from trm_export.checkpoints.opening import open_model
    from trm_export.step.step_model import StepModel, adapt

    if isinstance(model, StepModel):
        return model
    file = file_of(model)
    found = adapt(model, hints) if file is None else open_model(file, packages(trust), hints)
    if found.left_out:
        warnings.warn(
            "Outputs without rows are left out, because a step contract cannot describe them: "
            f"{', '.join(found.left_out)}.",
            OutputWarning,
            stacklevel=2,
        )
    return found
