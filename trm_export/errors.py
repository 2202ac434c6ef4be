"""Every error the host toolchain raises on purpose; the tree continues the device's.

    TRMError                      1  (trm_runtime.errors)
     +- TargetError               1  a file that cannot or must not be written
     |   +- OverwriteError        1  it would replace something this tool did not make
     +- UsageError                2  (trm_runtime.errors)
     |   +- BackendError          2  Keras runs on a backend that cannot do this
     |   +- ConfigurationError    2  a model configuration that cannot be built
     +- MissingExtraError         3  (trm_runtime.errors)
     +- RejectedInputError        4  (trm_runtime.errors)
     |   +- CheckpointError       4  a checkpoint that is damaged, of unknown origin or refused
     |   +- ProtocolError         4  a model that does not follow the protocol of a step
     +- ParityError               5  (trm_runtime.errors)
     |   +- OtherWeightsError     5  files that were not made from this model
     +- NonfiniteError            6  (trm_runtime.errors)
     +- DivergedError             6  a training whose loss is NaN or infinite

The number is the exit code a command ends with. A message says which file or tensor, what was
expected, what was found and what to do about it; tests/test_messages.py holds its style.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from trm_runtime.errors import (
    MissingExtraError,
    NonfiniteError,
    ParityError,
    RejectedInputError,
    TRMError,
    UsageError,
)

__all__ = [
    "BackendError",
    "BackupWarning",
    "CheckpointError",
    "ConfigurationError",
    "ConfigurationWarning",
    "DivergedError",
    "MissingExtraError",
    "NonfiniteError",
    "OtherWeightsError",
    "OutputWarning",
    "OverwriteError",
    "ParityError",
    "ProtocolError",
    "RejectedInputError",
    "SignatureWarning",
    "TRMError",
    "TargetError",
    "UsageError",
    "reason_of",
    "refuse_unknown",
]

_ADDED = re.compile(r"\x1b\[[0-9;]*m|^Exception encountered when calling .*", re.MULTILINE)
_WRAPPING = ("Exception encountered", "Arguments ", "in user code", "File ")


class TargetError(TRMError):
    """A file cannot be written at the given path."""


class OverwriteError(TargetError):
    """The target exists and was not made by this tool; `--force` replaces it all the same."""


class BackendError(UsageError):
    """`KERAS_BACKEND` names a backend that this operation does not run on."""


class ConfigurationError(UsageError, ValueError):
    """A model configuration that cannot be built; a ValueError too, as Keras users expect."""


class DivergedError(TRMError):
    """The loss of a training, or a weight, is NaN or infinite in an epoch, from 1."""

    exit_code: ClassVar[int] = 6

    def __init__(self, epoch: int, loss: float | None, learning_rate: float) -> None:
        self.epoch, self.learning_rate = epoch, learning_rate
        what = "a weight is not finite" if loss is None else f"the loss is {loss}"
        super().__init__(
            f"Training diverged: {what} in epoch {epoch}, and nothing of that epoch is kept; start "
            f"again with a learning rate below {learning_rate:g}."
        )


class CheckpointError(RejectedInputError):
    """A `.keras` file or an official checkpoint that is damaged, of unknown origin or refused.

    `problems` lists every reason.
    """


class ProtocolError(RejectedInputError):
    """A model whose step is not what the protocol says; `problems` lists every reason."""


class NoControlError(TRMError):
    """This model, or this engine, cannot be computed in a second way."""


class OtherWeightsError(ParityError):
    """Files whose contracts record other weights than those of the model; `files` are their paths.

    Nothing was computed. `others` are the files of them with other sizes, which are not of an
    earlier state of the model but of another one.
    """

    def __init__(self, files: Mapping[Path, Sequence[str]], model: str) -> None:
        """Takes each file, and where its sizes are not the model's: nowhere for other weights."""
        self.files = tuple(files)
        self.others = tuple(file for file, sizes in files.items() if sizes)
        weights = [str(file) for file in self.files if file not in self.others]
        models = [f"{file} ({', '.join(files[file])})" for file in self.others]
        parts = [
            f"{made}: {', '.join(some)} {'was' if len(some) == 1 else 'were'} not exported from "
            f"{model}."
            for made, some in (("Made from other weights", weights), ("Another model", models))
            if some
        ]
        cures = ["export the model again, or compare what is stored with --weights"] * bool(weights)
        cures += ["compare a file of another model with its own model"] * bool(models)
        super().__init__(f"{' '.join(parts)} Nothing was computed; {'; '.join(cures)}.")


class ConfigurationWarning(UserWarning):
    """A model configuration that can be built, and is not what its options say together."""


class OutputWarning(UserWarning):
    """Outputs of a model that no step contract can hold; they are left out of every file."""


class BackupWarning(UserWarning):
    """One of the two backups of a training run is damaged, and the run goes on from the other."""


class SignatureWarning(UserWarning):
    """A file was replaced, and the signature beside it is of the content before."""


def refuse_unknown(what: str, name: object, known: Iterable[str]) -> None:
    """UsageError for the name of a thing, such as a task, that is none of the known ones."""
    names = [*known]  # a list, which takes what has no hash
    if name not in names:
        raise UsageError(f"There is no {what} {name!r}; choose from {', '.join(names)}.")


def reason_of(error: BaseException) -> str:
    """What an exception of another library says: one line without a full stop, to be quoted.

    Keras wraps messages in several lines, and in colour; these lines and the arguments that it
    appends are skipped.
    """
    text = _ADDED.sub("", str(error)).partition("\nArguments received by ")[0]
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(_WRAPPING)]
    return (telling or lines or ["no reason given"])[0].rstrip(".")
