"""Inspect a `.keras` file without Keras and refuse everything that our models do not need.

A `.keras` file is untrusted: it names classes to import and may contain more than weights. Accepted
is a zip of exactly `config.json`, `metadata.json` and `model.weights.h5`, of bounded size, that
describes one `trm_export>TRM` and nothing else, or a model of packages that the caller trusts, see
`trm_export.checkpoints.keras_classes`. Knows nothing about what the model computes.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trm_export.checkpoints.keras_classes import (
    named_classes,
    notebook_remedy,
    origin,
    untrusted,
    without_module,
)
from trm_export.errors import CheckpointError, reason_of
from trm_export.files import sha256_file
from trm_export.own_files import MODEL_CLASS
from trm_export.step.weights import TensorInfo, describe, digest, not_finite, read_weights
from trm_runtime import strict_json
from trm_runtime.errors import reading
from trm_runtime.file_kinds import is_checkpoint, suffix_kind
from trm_runtime.message_text import shown
from trm_runtime.regular_file import open_regular
from trm_runtime.zip_members import DAMAGE, member_problem, opened_archive, read_member

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
LIMITS = {CONFIG: 1 << 20, METADATA: 1 << 16, WEIGHTS: 1 << 31}  # bytes, uncompressed
_DEEPEST = 100  # levels of a JSON document
OUR_MODEL = ("TRM", MODEL_CLASS)
_POLICY = ("DTypePolicy", None)


@dataclass(frozen=True)
class KerasFileInfo:
    """The facts in a `.keras` file."""

    path: str
    size: int  # bytes
    sha256: str  # of the file
    keras_version: str
    date_saved: str
    model_class: str
    dtype_policy: str
    config: dict[str, Any]  # constructor arguments of the model
    tensors: tuple[TensorInfo, ...]
    weights_sha256: str  # of names and values alone, see `trm_export.step.weights.digest`

    @property
    def parameters(self) -> int:
        """Number of stored values, optimizer state left out."""
        return sum(tensor.size for tensor in self.tensors)

    def to_json(self) -> dict[str, Any]:
        """The fields and the number of parameters, ready for `json.dumps`."""
        return {"kind": "keras", "parameters": self.parameters, **asdict(self)}


@dataclass(frozen=True)
class KerasFile:
    """An inspected file: `config` for `TRM.from_config`, `weights` the HDF5 bytes."""

    info: KerasFileInfo
    config: dict[str, Any]
    weights: bytes
    model_config: dict[str, Any]  # `config.json` without `compile_config`

    @property
    def is_ours(self) -> bool:
        """Whether it holds a `TRM`."""
        return self.info.model_class == MODEL_CLASS


def inspect_keras(path: str | os.PathLike[str], trusted: Sequence[str] = ()) -> KerasFileInfo:
    """What `path` holds, without importing Keras; raises CheckpointError as `open_keras` does."""
    return open_keras(path, trusted).info


def open_keras(path: str | os.PathLike[str], trusted: Sequence[str] = ()) -> KerasFile:
    """Read all of a `.keras` file and check it.

    `trusted` names packages whose classes are accepted besides our own. Nothing is imported.

    Raises CheckpointError, listing every reason, for a file that is missing, damaged, too large,
    has other members or classes, or weights that Keras does not write or that are not finite.
    """
    where = str(path)
    members = _members(Path(path), where)
    config = _json_object(members[CONFIG], f"{where}: {CONFIG}")
    metadata = _json_object(members[METADATA], f"{where}: {METADATA}")
    config.pop("compile_config", None)
    ours = (config.get("class_name"), config.get("registered_name")) == OUR_MODEL
    if trusted and not ours:
        problems, summary = [*untrusted(config, trusted)], "contains classes that are not trusted:"
    else:
        problems = [*_foreign(config)] or [*_unbuildable(config["config"])]
        summary = "not a model of trm-export:"
    if problems:
        raise CheckpointError(f"{where}: {summary}", problems)
    arrays = read_weights(io.BytesIO(members[WEIGHTS]), f"{where}: {WEIGHTS}")
    problems = not_finite(arrays)
    if problems:
        raise CheckpointError(
            f"{where}: weights contain NaN or Inf; train or save the model again:", problems
        )
    info = KerasFileInfo(
        path=where,
        size=Path(path).stat().st_size,
        sha256=sha256_file(path),
        keras_version=str(metadata.get("keras_version", "unknown")),
        date_saved=str(metadata.get("date_saved", "unknown")),
        model_class=str(config.get("registered_name") or config["class_name"]),
        dtype_policy=_policy_name(config["config"]) or "",
        config={key: value for key, value in config["config"].items() if key != "dtype"},
        tensors=describe(arrays),
        weights_sha256=digest(arrays),
    )
    return KerasFile(info, config["config"], members[WEIGHTS], config)


def require_keras(path: str | os.PathLike[str]) -> None:
    """CheckpointError for a file that is missing or has unexpected members; reads no weights.

    Cheap, so that a wrong name is reported before Keras is loaded.
    """
    with _archive(Path(path), str(path)):
        pass


def refuse_keras(path: str | os.PathLike[str]) -> None:
    """CheckpointError for the name of a `.keras` file, where an official checkpoint is expected."""
    if Path(path).suffix.lower() == ".keras":
        raise CheckpointError(
            f"{path}: already a Keras file, so there is nothing to import; pass it to trm-export "
            "onnx, tflite or saved-model."
        )


def _members(path: Path, where: str) -> dict[str, bytes]:
    with _archive(path, where) as archive:
        return {name: read_member(archive, name) for name in LIMITS}


@contextmanager
def _archive(path: Path, where: str) -> Iterator[zipfile.ZipFile]:
    """The archive, with exactly the members of a `.keras` file; CheckpointError for any other."""
    try:
        with open_regular(path) as file, opened_archive(file) as archive:
            if any(member.endswith("data.pkl") for member in archive.namelist()):
                raise _is_torch(where)
            problems = list(_zip_problems(archive.infolist()))
            if problems:
                _refuse_exported(path, where)
                raise CheckpointError(f"{where}: unexpected archive contents:", problems)
            yield archive
    except OSError as error:
        with reading(where):
            if (path / "saved_model.pb").is_file():
                raise _other_kind(where, "a SavedModel folder") from error
            if path.is_dir():
                raise CheckpointError(f"{where}: a folder; name a .keras file in it.") from error
        raise CheckpointError(f"{where}: cannot be read: {error.strerror or error}.") from error
    except DAMAGE as error:
        if is_checkpoint(path):
            raise _is_torch(where) from error
        if path.suffix.lower() in (".h5", ".hdf5"):
            raise _other_kind(where, "an HDF5 file") from error
        _refuse_exported(path, where)
        raise CheckpointError(
            f"{where}: not a .keras file, or a damaged one: {reason_of(error)}."
        ) from error


def _refuse_exported(path: Path, where: str) -> None:
    """CheckpointError for a file that this tool writes, given in the place of its model."""
    kind = suffix_kind(path)
    found = "an .npz file" if path.suffix.lower() == ".npz" else kind and kind.described
    if found:
        raise CheckpointError(
            f"{where}: {found}, expected a .keras file; the model that it was made from comes "
            "first."
        )


def _other_kind(where: str, kind: str) -> CheckpointError:
    return CheckpointError(
        f"{where}: {kind}, expected a .keras file; build the model in Keras, load its weights, and "
        "save it by model.save('model.keras')."
    )


def _is_torch(where: str) -> CheckpointError:
    return CheckpointError(
        f"{where}: a PyTorch checkpoint; convert it first with `trm-export import {where}`."
    )


def _zip_problems(members: list[zipfile.ZipInfo]) -> Iterator[str]:
    names = [member.filename for member in members]
    yield from (f"{name}: missing" for name in LIMITS if name not in names)
    yield from (f"{name!r}: unexpected member" for name in names if name not in LIMITS)
    yield from (f"{name}: more than once" for name in LIMITS if names.count(name) > 1)
    for member in members:
        limit = LIMITS.get(member.filename, 0)
        problem = member_problem(member)
        if limit and member.file_size > limit:
            yield f"{member.filename}: {member.file_size:,} bytes, at most {limit:,} are accepted"
        elif problem is not None:
            yield f"{member.filename!r}: {problem}"


def _json_object(data: bytes, where: str) -> dict[str, Any]:
    try:
        value = strict_json.parse(data)
    except ValueError as error:
        raise CheckpointError(f"{where}: not valid JSON: {reason_of(error)}.") from error
    if not isinstance(value, dict):
        raise CheckpointError(f"{where}: expected a JSON object, got a {strict_json.kind(value)}.")
    if _levels(value) > _DEEPEST:
        raise CheckpointError(f"{where}: nested more than {_DEEPEST} levels deep.")
    return value


def _levels(value: object) -> int:
    """How deep lists and objects are nested."""
    levels, members = 0, list[Any]([value])
    while members:
        parts = (m.values() if isinstance(m, dict) else m for m in members)
        members = [m for part in parts for m in part if isinstance(m, dict | list)]
        levels += 1
    return levels


def _foreign(config: dict[str, Any]) -> Iterator[str]:
    """Problems with the model's class and with every class named inside its configuration."""
    named = config.get("class_name"), config.get("registered_name")
    inner = config.get("config")
    if named != OUR_MODEL or not isinstance(inner, dict):
        yield f"{CONFIG} names the class {shown(named[1] or named[0])}, expected {MODEL_CLASS!r}"
        package = origin(config)
        if named[0] is not None and without_module(config):
            yield notebook_remedy(named[0])
        if package is not None:
            yield (
                f"its class is from the package {package!r}; if you trust that package, pass "
                f"--trust-module {package} to a command that has this option"
            )
    for path, found in named_classes(inner, "config"):
        named = found.get("class_name"), found.get("registered_name")
        if path != "config.dtype" or named != _POLICY or found.get("module") != "keras":
            kind = shown(named[1] or named[0])
            yield f"{CONFIG}: {path} names the class {kind}, which is not allowed"


def _unbuildable(arguments: dict[str, Any]) -> Iterator[str]:
    """A precision that is not a named policy."""
    if _policy_name(arguments) is None:
        yield f"{CONFIG}: config.dtype is not a named dtype policy: {shown(arguments.get('dtype'))}"


def _policy_name(arguments: dict[str, Any]) -> str | None:
    dtype = arguments.get("dtype")
    options = dtype.get("config") if isinstance(dtype, dict) else None
    name = options.get("name") if isinstance(options, dict) else None
    return name if isinstance(name, str) else None
