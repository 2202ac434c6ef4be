"""Which files this tool made.

A file was made by this tool, and may be replaced without `force`, if its content shows it:

- a folder of generated code holds the contract and the code;
- `.keras`  its `config.json` names `trm_export>TRM`;
- an exported file, of any kind of `trm_runtime.file_kinds`: its checksum is right, and its step
  contract is embedded in it; an exported folder holds it as a file;
- `.npz`    it holds the index of a golden;
- `.npy`    it is a puzzle table, with the digest in the contract beside its artifact;
- `.json`   it is a step contract, or an object whose `tool` begins with `trm-export`;
- `.txt`    its first line is a remark that begins with `# trm-export`;
- `.c`, `.h`  its first line is a remark that begins with `/* trm-export`;
- `.xml`, `.sarif`  for build servers: it names this tool as theirs do;
- `.sig`    it is a signature of a model, in the format of `trm_runtime.signature`;
- `.html`, `.md`  a report: it names this tool as its generator, or in its first line.

Every other existing file was made by another program, or was changed since. What lies beside a file
is no proof, because a user may have put another file in its place.
"""

from __future__ import annotations

import codecs
import mmap
import warnings
from collections.abc import Callable
from pathlib import Path

from trm_export.errors import RejectedInputError
from trm_export.version import TOOL
from trm_runtime import strict_json
from trm_runtime.contract import (
    GOLDEN_FORMAT,
    GOLDEN_INDEX,
    METADATA_KEY,
    PUZZLE_TABLE_SUFFIX,
    StepContract,
)
from trm_runtime.digest import file_digest
from trm_runtime.errors import OldFileWarning
from trm_runtime.file_kinds import (
    CONTRACT,
    SOURCE_CONTRACT,
    beside,
    folder_kind,
    is_source,
    suffix_kind,
)
from trm_runtime.regular_file import read_regular
from trm_runtime.signature import is_signature
from trm_runtime.zip_members import DAMAGE, opened_archive, read_member

MODEL_CLASS = "trm_export>TRM"  # the name Keras registers our model under
C_SOURCE, C_HEADER = ".c", ".h"  # a file for tflite-micro as a C array
SOURCE_MEMORY = "memory.json"  # in a folder of generated code
VECTORS_INDEX = "vectors.json"  # of a folder of vectors
_TEXT_REMARK = f"# {TOOL}".encode()
_MARKDOWN_REMARK = f"<!-- {TOOL}".encode()
_C_REMARK = f"/* {TOOL}".encode()
_GENERATOR = f'<meta name="generator" content="{TOOL}'.encode()
_SUITES = f'<testsuites name="{TOOL}"'.encode()
_DRIVER = f'"driver": {{"name": "{TOOL}"'.encode()
_HEAD = 512  # bytes of a page in which the generator stands
_TEXT_HEAD = 1 << 20  # bytes of a file that show whether it is text


def is_ours(path: Path) -> bool:
    """Whether an existing file was made by this tool, by the rules at the top of this module."""
    if path.is_dir():
        return _is_our_folder(path)
    recognise = recogniser(path)
    return recognise is not None and recognise(path)


def is_export_folder(path: Path) -> bool:
    """Whether a folder is an export: a SavedModel or generated C."""
    return folder_kind(path) is not None or is_source(path)


def is_known(path: Path) -> bool:
    """Whether this tool reads it: a model, an exported file or folder, or what it wrote itself."""
    if path.is_dir():
        return is_export_folder(path) or is_ours(path)
    return path.suffix.lower() == ".keras" or suffix_kind(path) is not None or is_ours(path)


def _is_our_keras(path: Path) -> bool:
    return _zipped_json(path, "config.json").get("registered_name") == MODEL_CLASS


def _zipped_json(path: Path, name: str) -> dict[str, object]:
    """The JSON object that is this member of a zip file; an empty one where there is none."""
    try:
        with path.open("rb") as file, opened_archive(file) as archive:
            found = strict_json.parse(read_member(archive, name).decode())
    except (OSError, *DAMAGE):
        return {}
    return found if isinstance(found, dict) else {}


def not_ours_because(path: Path) -> str:
    """The reason, for a message; an export of ours that is damaged looks like one that was."""
    if suffix_kind(path) and (names_contract(path) or _contract(beside(path, CONTRACT))):
        return f"is damaged, or was changed or replaced since {TOOL} wrote it"
    return f"exists and was not made by {TOOL}"


def names_contract(path: Path) -> bool:
    """Whether the name under which a contract is embedded is in a file, damaged or not."""
    return _contains(path, METADATA_KEY.encode())


def _is_our_artifact(path: Path) -> bool:
    kind = suffix_kind(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OldFileWarning)
        try:
            return kind is not None and bool(kind.read_contract(path))
        except RejectedInputError:
            return False


def _is_our_table(path: Path) -> bool:
    artifact = path.name.removesuffix(PUZZLE_TABLE_SUFFIX)
    found = _contract(beside(path.with_name(artifact), CONTRACT))
    try:
        return found is not None and found.puzzle_table_sha256 == file_digest(path)
    except RejectedInputError:
        return False


def _is_our_golden(path: Path) -> bool:
    return _zipped_json(path, GOLDEN_INDEX).get("format") == GOLDEN_FORMAT


def _is_our_folder(path: Path) -> bool:
    """An export has its contract as a file, at the place that is its format's; vectors an index."""
    if is_source(path):
        return _is_contract(path / SOURCE_CONTRACT)
    if folder_kind(path) is None:
        return _is_our_json(path / VECTORS_INDEX)
    return any(_is_contract(file) for file in path.rglob(f"{METADATA_KEY}.json"))


def _is_our_json(path: Path) -> bool:
    if _is_contract(path):
        return True
    value = _read_json(path)
    return isinstance(value, dict) and str(value.get("tool", "")).startswith(TOOL)


def _is_our_text(path: Path) -> bool:
    return _head(path, len(_TEXT_REMARK)) == _TEXT_REMARK


def _is_our_markdown(path: Path) -> bool:
    return _head(path, len(_MARKDOWN_REMARK)) == _MARKDOWN_REMARK


def _is_our_c_file(path: Path) -> bool:
    return _head(path, len(_C_REMARK)) == _C_REMARK


def _is_our_junit(path: Path) -> bool:
    return _SUITES in _head(path, _HEAD)


def _is_our_sarif(path: Path) -> bool:
    return _DRIVER in b" ".join(_head(path, _HEAD).split()).replace(b"{ ", b"{")


def _is_our_page(path: Path) -> bool:
    return _GENERATOR in _head(path, _HEAD)


def is_text(path: Path) -> bool:
    """Whether the first bytes of a file are UTF-8 without NUL; OSError for a folder."""
    with path.open("rb") as file:
        head = file.read(_TEXT_HEAD)
    try:
        whole = len(head) < _TEXT_HEAD
        return "\0" not in codecs.getincrementaldecoder("utf-8")().decode(head, whole)
    except UnicodeDecodeError:
        return False


def _head(path: Path, size: int) -> bytes:
    """The first bytes of a file; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError:
        return b""


def _is_contract(path: Path) -> bool:
    return _contract(path) is not None


def _contract(path: Path) -> StepContract | None:
    """The contract in a JSON file; None for any other file."""
    try:
        return StepContract.from_json(read_regular(path).decode())
    except (OSError, UnicodeDecodeError, RejectedInputError):
        return None


def _read_json(path: Path) -> object:
    try:
        return strict_json.parse(read_regular(path).decode())
    except (OSError, ValueError, RejectedInputError):
        return None


def _contains(path: Path, marker: bytes) -> bool:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return data.find(marker) >= 0
    except (OSError, ValueError):  # ValueError: an empty file
        return False


_RECOGNISERS: dict[str, Callable[[Path], bool]] = {
    C_SOURCE: _is_our_c_file,
    C_HEADER: _is_our_c_file,
    ".html": _is_our_page,
    ".json": _is_our_json,
    ".keras": _is_our_keras,
    ".md": _is_our_markdown,
    ".npz": _is_our_golden,
    ".npy": _is_our_table,
    ".sarif": _is_our_sarif,
    ".sig": is_signature,
    ".txt": _is_our_text,
    ".xml": _is_our_junit,
}


def recogniser(path: Path) -> Callable[[Path], bool] | None:
    """The function that recognises our files of that suffix; None for a suffix we do not use."""
    known = _RECOGNISERS.get(path.suffix.lower())
    return _is_our_artifact if known is None and suffix_kind(path) else known
