"""What a user demands of a file before an engine opens it: its digest, its author, a cage.

The options of the device's command line, and the checks, which a host makes too. Standard library
only; a signature needs the package `cryptography`.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from trm_runtime import isolation
from trm_runtime.contract_rules import SHA256
from trm_runtime.digest import tree_digest
from trm_runtime.errors import RejectedInputError, UsageError
from trm_runtime.message_text import shown
from trm_runtime.signature import verify_signature

HELP_SHA256 = "The SHA-256 that the file must have; of a folder as `inspect` shows it."
HELP_KEY = "A public key (PEM): the file must have a signature of it, <file>.sig."


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of distrust, for a command with an argument `model`."""
    add = parser.add_argument
    add("--expect-sha256", metavar="HEX", action="append", help=HELP_SHA256)
    add("--verify-key", metavar="FILE", help=HELP_KEY)
    add(isolation.OPTION, action="store_true", help=isolation.HELP)
    add("--isolate-memory", type=int, metavar="MB", help=isolation.HELP_MEGABYTES)
    add("--isolate-seconds", type=float, metavar="SECONDS", help=isolation.HELP_SECONDS)


def require_options(options: argparse.Namespace) -> None:
    """`require` with the options of `add_options`."""
    require(options.model, sha256=options.expect_sha256, key=options.verify_key)


def require(
    path: str | os.PathLike[str],
    *,
    sha256: str | Sequence[str] | None = None,
    key: str | os.PathLike[str] | None = None,
) -> None:
    """Check a file or folder before it is opened: its digest, one of these, and its signature.

    Raises RejectedInputError for another file, UsageError for what is no SHA-256, and whatever
    `trm_runtime.signature.verify_signature` raises.
    """
    file = Path(path)
    wanted = digests(sha256)
    for text in wanted:
        if not isinstance(text, str) or not re.fullmatch(SHA256, text.lower()):
            raise UsageError(f"--expect-sha256: expected 64 hexadecimal digits, got {shown(text)}.")
    if wanted:
        found = tree_digest(file)
        if found not in [text.lower() for text in wanted]:
            raise RejectedInputError(
                f"{file}: expected the SHA-256 {' or '.join(wanted)}, got {found}; get the file "
                "again from its author."
            )
    if key is not None:
        verify_signature(file, key)


def digests(given: Any) -> list[Any]:
    """One or several, or None, as a list; what they are is not checked."""
    if isinstance(given, Iterable) and not isinstance(given, str):
        return list(given)
    return [] if given is None else [given]
