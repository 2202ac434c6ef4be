"""The folder of a SavedModel without an engine: is it whole, and what contract does it carry?

`assets.extra/trm_contract.json` is the contract. `assets.extra/trm_contract.sha256` names every
other file of the folder and its digest, as `sha256sum` writes them, so that `sha256sum --check`
reads it too. Files whose names begin with a dot are not of the model and may come and go.

Standard library only; only plain files inside the folder are opened, and only two read whole, both
of a bounded size.
"""

from __future__ import annotations

import re
from pathlib import Path

from trm_runtime.contract import MAX_CONTRACT_BYTES, METADATA_KEY
from trm_runtime.digest import digest
from trm_runtime.errors import RejectedInputError
from trm_runtime.message_text import first_few

CONTRACT_FILE = Path("assets.extra", f"{METADATA_KEY}.json")
CHECKSUM_FILE = CONTRACT_FILE.with_suffix(".sha256")

_AGAIN = "export it again with: trm-export saved-model MODEL.keras"
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def add_contract(folder: Path, contract: str) -> None:
    """Complete a bare SavedModel with its contract and its checksums; replaces those there are."""
    target = folder / CONTRACT_FILE
    target.parent.mkdir(exist_ok=True)
    target.write_text(contract, encoding="utf-8")
    seal(folder)


def seal(folder: Path) -> None:
    """Write the checksums of what the folder holds now."""
    lines = [f"{_digest(file)}  {name}\n" for name, file in _files(folder).items()]
    (folder / CHECKSUM_FILE).write_text("".join(lines), encoding="utf-8")


def read_contract(folder: Path) -> str:
    """The contract's JSON text.

    Raises RejectedInputError for a folder without a readable contract of a sane size, or that is
    not what its checksums say.
    """
    text = contract_text(folder)
    problems = seal_problems(folder)
    if problems:
        raise RejectedInputError(
            f"{folder}: is damaged, or was changed since its export; copy it again, or {_AGAIN}:",
            first_few(problems),
        )
    return text


def contract_text(folder: Path) -> str:
    """The contract, whatever the checksums say; raises as `read_contract` does."""
    try:
        return _bounded(folder / CONTRACT_FILE)
    except (OSError, UnicodeDecodeError) as error:
        raise RejectedInputError(
            f"{folder}: holds no step contract ({CONTRACT_FILE.as_posix()}), so nothing is known "
            f"of its carry; {_AGAIN}"
        ) from error


def seal_problems(folder: Path) -> list[str]:
    """Everything in which the folder differs from its checksums, a line each."""
    name = CHECKSUM_FILE.as_posix()
    try:
        lines = _bounded(folder / CHECKSUM_FILE).splitlines()
    except (OSError, UnicodeDecodeError):
        return [f"{name}: missing or not a text file"]
    matches = [_LINE.fullmatch(line) for line in lines]
    wanted = {match[2]: match[1] for match in matches if match}
    found = _files(folder)
    problems = [] if all(matches) else [f"{name}: has lines that are not of a checksum"]
    problems += [f"{name}: missing" for name in wanted if name not in found]
    problems += [f"{name}: not of this export" for name in found if name not in wanted]
    both = [name for name in wanted if name in found]
    return problems + [
        f"{name}: not the bytes of its checksum"
        for name in both
        if _digest(found[name]) != wanted[name]
    ]


def _files(folder: Path) -> dict[str, Path]:
    """The files to be checked, by their name inside the folder, in order."""
    found = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*")}
    return {
        name: found[name]
        for name in sorted(found)
        if found[name].is_file() and not found[name].name.startswith(".")
        and name != CHECKSUM_FILE.as_posix()
    }  # fmt: skip


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return digest(file)
    except OSError as error:
        raise RejectedInputError(f"{path}: cannot be read: {error.strerror}") from error


def _bounded(path: Path) -> str:
    """The text of a plain file; OSError for anything else."""
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        data = file.read(MAX_CONTRACT_BYTES + 1)
    if len(data) > MAX_CONTRACT_BYTES:
        raise RejectedInputError(f"{path}: larger than {MAX_CONTRACT_BYTES} bytes; {_AGAIN}")
    return data.decode("utf-8")
