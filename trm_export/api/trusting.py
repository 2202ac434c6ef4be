"""`sign`, `verify` and `require`: who made a file, and whether it is still the same."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from trm_export.api.arguments import FilePath, path_of
from trm_export.errors import OverwriteError, RejectedInputError, UsageError
from trm_export.files import atomic_write, refuse_overwrite, refuse_source, require_suffix
from trm_export.own_files import is_known
from trm_export.own_folders import SOURCE_BUILT
from trm_export.version import TOOL
from trm_runtime import signature as signatures
from trm_runtime import trust
from trm_runtime.digest import files_of
from trm_runtime.errors import reading
from trm_runtime.extras import load_extra
from trm_runtime.file_kinds import behind_link, is_source, named
from trm_runtime.regular_file import check_regular

_GIT = (".git", ".gitattributes", ".github", ".gitignore")  # which verifiers of the format ignore


def sign(
    path: FilePath, key: FilePath, *, output: FilePath | None = None, force: bool = False
) -> Path:
    """Sign a file or folder in the OpenSSF model-signing format; returns the signature's path.

    Needs the extra `trm-export[sign]`, and no network.

    Args:
        path: a model, an exported file or folder, or another file that this tool wrote. Of a
            symbolic link what is behind it is signed.
        key: a private key on the curve P-256, P-384 or P-521, PEM, without a password.
        output: the signature, a .sig file; `<path>.sig` if not given.
        force: replace a file that is no signature, or one with another key.

    Raises:
        UsageError: the signature is the file or the key, lies in the folder, or is no .sig file.
        RejectedInputError: the file or the key cannot be read, or is of a kind that is not signed,
            or the folder has links, files of Git, or what its Makefile built.
        OverwriteError: `output` exists and is no signature of a model, or one with another key.
        MissingExtraError: the package `model-signing` is not installed.
    """
    with reading(path):
        model = behind_link(path_of("path", path))
    private = path_of("key", key)
    target = path_of("output", output, signatures.signature_beside(model))
    _refuse_inputs(target, model, private)
    refuse_overwrite(target, force=force)
    for file in (model, private):
        with reading(file):
            if not file.exists():
                raise RejectedInputError(f"{file}: there is no such file or folder.")
    with reading(model):
        _refuse_unknown(model)
        _refuse_unsigned(model)
    for file in files_of(model).values() if model.is_dir() else [model]:
        with reading(file):
            check_regular(file)
    config = _config(private)
    if target.exists() and not force and not signatures.is_signed_with(target, private):
        raise OverwriteError(
            f"{target} is a signature with another key; choose another name or add --force."
        )
    with atomic_write(target, force=force) as new:
        config.sign(named(model), new)
    return target


def _refuse_unknown(model: Path) -> None:
    """RejectedInputError for a file or folder that no reader of ours opens."""
    if not is_known(model):
        raise RejectedInputError(
            f"{model}: neither a model, nor an export, nor written by {TOOL}, so no reader of it "
            "verifies a signature; sign the exported file or folder."
        )


def _refuse_unsigned(model: Path) -> None:
    """RejectedInputError for a folder with what is not signed, so that it would not verify."""
    link = next((file for file in model.rglob("*") if file.is_symlink()), None)
    if link is not None:
        raise RejectedInputError(
            f"{link}: a symbolic link, which a signature does not cover; put what is behind it in "
            "its place."
        )
    names = (*_GIT, *(SOURCE_BUILT if is_source(model) else ()))
    found = [name for name in names if (model / name).exists()]
    if found:
        raise RejectedInputError(
            f"{model}: has files that are not part of the model: {', '.join(found)}; delete them "
            "(`make clean` deletes what make built), or move them elsewhere, then sign."
        )


def _config(private: Path) -> Any:
    """What signs with that key; RejectedInputError for a key that cannot."""
    package = load_extra("model_signing", "sign", "trm-export")
    signatures.check_private_key(private)
    return package.signing.Config().use_elliptic_key_signer(private_key=private)


def _refuse_inputs(target: Path, model: Path, private: Path) -> None:
    """UsageError for a signature that would replace or change what is signed, or the key."""
    refuse_source(target, model)
    refuse_source(target, private, "the key itself")
    require_suffix(target, signatures.SUFFIX)
    real, place = (Path(os.path.realpath(path)) for path in (model, target))
    if model.is_dir() and real in place.parents:
        raise UsageError(f"{target} lies in the folder that it signs ({model}); put it elsewhere.")


def verify(path: FilePath, key: FilePath, *, signature: FilePath | None = None) -> None:
    """Check that the owner of a public key has signed the present content of a file or folder.

    Needs no network. `signature` is `<path>.sig` if not given.

    Raises RejectedInputError if the signature is missing, damaged, made with another key, or of
    other content; MissingExtraError without the package `cryptography`.
    """
    signatures.verify_signature(path_of("path", path), path_of("key", key), signature)


def require(
    path: FilePath, *, sha256: str | Sequence[str] | None = None, key: FilePath | None = None
) -> None:
    """Check a file before it is opened, as `--expect-sha256` and `--verify-key` do.

    Args:
        path: a file or folder.
        sha256: the digest that it must have, or several of which it must have one; that of a folder
            is what `inspect` shows.
        key: a public key; `<path>.sig` must be its signature of the file.

    Raises RejectedInputError for another file, UsageError for what is no SHA-256 and where neither
    is given.
    """
    wanted = trust.digests(sha256)
    if key is None and not wanted:
        raise UsageError("Give sha256 or key; without them nothing is checked.")
    own = None if key is None else path_of("key", key)
    trust.require(path_of("path", path), sha256=wanted, key=own)
