"""Verify a signature of the OpenSSF model-signing format with a public key, without a network.

The signature of `model.onnx` is `model.onnx.sig`, a Sigstore bundle (JSON) with a DSSE envelope: a
signed in-toto statement with the SHA-256 of every file of the model. `trm-export sign` and the
package `model-signing` write it (https://github.com/sigstore/model-transparency); only its key
pairs on elliptic curves are supported. Needs the package `cryptography`.
"""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

from trm_runtime.digest import file_digest, files_of
from trm_runtime.errors import RejectedInputError, reading
from trm_runtime.extras import load_extra
from trm_runtime.file_kinds import behind_link
from trm_runtime.file_kinds import beside as companion
from trm_runtime.regular_file import read_regular

SUFFIX = ".sig"

_PAYLOAD = b"application/vnd.in-toto+json"
_STATEMENT, _PREDICATE = (
    "https://in-toto.io/Statement/v1",
    "https://model_signing/signature/v1.0",
)
_HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}  # by curve
MAKE_PRIVATE = "openssl ecparam -name prime256v1 -genkey -noout -out private.pem"
MAKE_PUBLIC = "openssl ec -in private.pem -pubout -out public.pem"
_WHOLE = "."  # the name of a model that is a single file


def signature_beside(path: Path) -> Path:
    """The signature beside a file or folder, or else that beside what is behind a symbolic link.

    Raises RejectedInputError where the system does not tell.
    """
    with reading(path):
        names = companion(path, SUFFIX), companion(behind_link(path), SUFFIX)
        return next((name for name in names if name.exists()), names[0])


def is_signature(path: Path) -> bool:
    """Whether a file is a signature of this format, with any key and of any content."""
    try:
        payload, _, _ = _read(path, path)
        _signed_digests(payload, path)
    except RejectedInputError:
        return False
    return True


def is_signed_with(path: Path, private: Path) -> bool:
    """Whether a signature, of any content, was made with this private key (PEM)."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    public = load_pem_private_key(read_regular(private), None).public_key()
    try:
        _checked(_read(path, path), public, path, private)
    except RejectedInputError:
        return False
    return True


def is_stale(path: Path) -> bool:
    """Whether the signature beside a file or folder, with any key, is of another content."""
    try:
        beside = signature_beside(path)
        payload, _, _ = _read(beside, path)
        return bool(_differences(path, _signed_digests(payload, beside), beside))
    except RejectedInputError:
        return False


def verify_signature(
    path: str | os.PathLike[str],
    key: str | os.PathLike[str],
    signature: str | os.PathLike[str] | None = None,
) -> None:
    """Check that the owner of a public key (PEM) has signed the present content of `path`.

    `signature` is `<path>.sig` if not given. Raises RejectedInputError if it is missing, damaged,
    made with another key, or of other content; MissingExtraError without `cryptography`.
    """
    model = Path(path)
    with reading(model):
        if not model.exists():
            raise RejectedInputError(f"{model}: there is no such file or folder.")
    beside = signature_beside(model) if signature is None else Path(signature)
    public, statement = _public_key(Path(key)), _read(beside, model)
    payload = _checked(statement, public, beside, Path(key))
    problems = _differences(model, _signed_digests(payload, beside), beside)
    if problems:
        raise RejectedInputError(
            f"{model}: changed since it was signed ({beside}); if you exported or tuned it since, "
            "sign it again, otherwise get it again from its author:",
            problems,
        )


def check_private_key(path: Path) -> None:
    """RejectedInputError for a key that cannot sign: what it is instead, and how to make one."""
    _key(path, private=True)


def _public_key(path: Path) -> Any:
    return _key(path, private=False)


def _key(path: Path, *, private: bool) -> Any:
    """The key in a PEM file; RejectedInputError for one of another kind."""
    load_extra("cryptography", "verify")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    with reading(path):
        data = read_regular(path)
    try:
        if private:
            key: Any = serialization.load_pem_private_key(data, None)
        else:
            key = serialization.load_pem_public_key(data)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _wrong_key(path, private, _what_is(data)) from error
    curve = getattr(getattr(key, "curve", None), "name", None)
    if curve not in _HASHES:
        name = type(key).__name__.strip("_").replace("PrivateKey", "").replace("PublicKey", "")
        found = f"a key on the curve {curve}" if curve else f"a key of the kind {name}"
        raise _wrong_key(path, private, found)
    return key


def _what_is(data: bytes) -> str:
    """What lies in the place of a key."""
    for sign, what in (
        (b"ENCRYPTED", "a private key with a password"),
        (b"PRIVATE KEY-----", "a private key that is damaged, or of a kind that cannot sign"),
        (b"PUBLIC KEY-----", "a public key"),
        (b"BEGIN CERTIFICATE", "a certificate"),
    ):
        if sign in data:
            return what
    return "no key in PEM format" if data.strip() else "an empty file"


def _wrong_key(path: Path, private: bool, found: str) -> RejectedInputError:
    kind, make = ("private", MAKE_PRIVATE) if private else ("public", MAKE_PUBLIC)
    if not private and found.startswith("a private key"):
        found = "a private key; never give that away"
    elif found == f"a {kind} key":
        found = f"a damaged {kind} key"
    password = ", without a password" if private else ""
    return RejectedInputError(
        f"{path}: expected a {kind} key on the curve P-256, P-384 or P-521 in PEM format"
        f"{password}, got {found}; make one: `{make}`."
    )


def _read(path: Path, model: Path) -> Any:
    """The envelope of a signature, its bytes decoded."""
    with reading(path):
        if not path.exists():
            raise RejectedInputError(
                f"{model}: has no signature ({path}); sign it with `trm-export sign`, or get the "
                "signature from its author."
            )
        data = read_regular(path)
    try:
        envelope = json.loads(data)["dsseEnvelope"]
        (one,) = envelope["signatures"]
        texts = envelope["payload"], one["sig"]
        payload, signature = (base64.b64decode(text, validate=True) for text in texts)
        return payload, str(envelope["payloadType"]).encode(), signature
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> RejectedInputError:
    return RejectedInputError(
        f"{path}: not a signature of a model, or a damaged one; sign the model again with "
        "`trm-export sign`."
    )


def _checked(envelope: Any, public: Any, path: Path, key: Path) -> Any:
    """The signed statement, if the signature is by that key."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.ec import ECDSA

    payload, kind, signature = envelope
    signed = b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)
    try:
        public.verify(signature, signed, ECDSA(getattr(hashes, _HASHES[public.curve.name])()))
    except InvalidSignature:
        raise RejectedInputError(
            f"{path}: not signed with the key of {key}, or changed since; do not use the model."
        ) from None
    if kind != _PAYLOAD:
        raise _damaged(path)
    return payload


def _signed_digests(payload: bytes, path: Path) -> dict[str, str]:
    """What was signed: the digest of each file by its name."""
    try:
        statement = json.loads(payload)
        predicate = statement["predicate"]
        how, resources = predicate["serialization"], predicate["resources"]
        kinds = statement["_type"], statement["predicateType"], how["method"], how["hash_type"]
        if kinds != (_STATEMENT, _PREDICATE, "files", "sha256"):
            raise RejectedInputError(
                f"{path}: expected SHA-256 digests of whole files, got {kinds[2]} {kinds[3]}; sign "
                "the model again with `trm-export sign`."
            )
        digests = {str(one["name"]): str(one["digest"]) for one in resources}
        if len(digests) != len(resources):
            raise _damaged(path)
        return digests
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path) from error


def _differences(model: Path, signed: dict[str, str], signature: Path) -> list[str]:
    """Also files that the signature says it ignores; only its own file is, in the folder."""
    found = files_of(model) if model.is_dir() else {_WHOLE: model}
    own = signature.absolute()  # and no link to it, which can be run as a program
    extra = [name for name in found if name not in signed and found[name].absolute() != own]
    problems = [f"{name}: missing" for name in signed if name not in found]
    problems += [f"{name}: not signed; delete it" for name in extra]
    both = [name for name in found if name in signed]
    problems += [f"{name}: a link" for name in both if name != _WHOLE and found[name].is_symlink()]
    return problems + [
        f"{name if name != _WHOLE else model.name}: another content than the signed one"
        for name in both
        if file_digest(found[name]) != signed[name]
    ]
