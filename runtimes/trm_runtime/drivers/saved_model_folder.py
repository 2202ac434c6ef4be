"""The folder of a SavedModel without an engine: its checksums and its contract.

`assets.extra/trm_contract.json` is the contract. `assets.extra/trm_contract.sha256` lists every
other file of the folder and its digest in the format of `sha256sum`, so `sha256sum --check` reads
it too. Files whose names begin with a dot are not part of the model and are ignored.

Standard library only; only plain files inside the folder are opened, and only two are read into
memory, both of a limited size.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

from trm_runtime.contract import MAX_CONTRACT_BYTES, METADATA_KEY
from trm_runtime.digest import file_digest
from trm_runtime.drivers.refusals import again, long_contract, no_contract
from trm_runtime.errors import RejectedInputError, TRMError

KIND = "saved-model"
CONTRACT_FILE = Path("assets.extra", f"{METADATA_KEY}.json")
CHECKSUM_FILE = CONTRACT_FILE.with_suffix(".sha256")

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def add_contract(folder: Path, contract: str) -> None:
    """Add the contract and the checksums to a SavedModel; replaces older ones."""
    target = folder / CONTRACT_FILE
    target.parent.mkdir(exist_ok=True)
    target.write_text(contract, encoding="utf-8")
    seal(folder)


def seal(folder: Path) -> None:
    """Write the checksums of the present files of the folder."""
    lines = [f"{file_digest(file)}  {name}\n" for name, file in _files(folder).items()]
    (folder / CHECKSUM_FILE).write_text("".join(lines), encoding="utf-8")


def read_contract(folder: Path) -> str:
    """The contract's JSON text.

    Raises RejectedInputError for a folder without a readable contract of a limited size, or that
    does not match its checksums.
    """
    text = contract_text(folder)
    problems = seal_problems(folder)
    if problems:
        raise RejectedInputError(
            f"{folder}: damaged, or changed since its export; copy it again, or {again(KIND)}:",
            problems,
        )
    return text


def contract_text(folder: Path) -> str:
    """The contract, without looking at the checksums; raises as `read_contract` does."""
    try:
        return _bounded(folder / CONTRACT_FILE)
    except (OSError, UnicodeDecodeError) as error:
        reason = f"{CONTRACT_FILE.as_posix()} is missing or not a text file"
        raise no_contract(folder, reason, KIND) from error


def seal_problems(folder: Path) -> list[str]:
    """Every difference between the folder and its checksums, a line each."""
    name = CHECKSUM_FILE.as_posix()
    try:
        wanted, sound = _listed(folder)
    except (OSError, UnicodeDecodeError):
        return [f"{name}: missing or not a text file"]
    found = _files(folder)
    problems = [] if sound else [f"{name}: has lines that are not checksums"]
    problems += [f"{name}: missing" for name in wanted if name not in found]
    problems += [f"{name}: not a file of this export" for name in found if name not in wanted]
    both = [name for name in wanted if name in found]
    return problems + [
        f"{name}: does not match its checksum"
        for name in both
        if file_digest(found[name]) != wanted[name]
    ]


def listed_digests(folder: Path) -> dict[str, str]:
    """The digest of each file that the checksums list; none where these cannot be read."""
    try:
        return _listed(folder)[0]
    except (OSError, UnicodeDecodeError):
        return {}


def _listed(folder: Path) -> tuple[dict[str, str], bool]:
    """The digest of each listed file, and whether every line is a checksum."""
    lines = _bounded(folder / CHECKSUM_FILE).splitlines()
    matches = [_LINE.fullmatch(line) for line in lines]
    return {match[2]: match[1] for match in matches if match}, all(matches)


def refuse_patterned_tmpdir() -> None:
    """TRMError where TensorFlow finds nothing in the folder for temporary files."""
    if "[" in gettempdir():
        raise TRMError(
            f"The folder for temporary files, {gettempdir()}, has a bracket in its name, behind "
            "which TensorFlow finds no file; set TMPDIR to another one."
        )


@contextmanager
def unpatterned(folder: Path) -> Iterator[str]:
    """A path of the folder, for as long as it is opened, that TensorFlow takes for no pattern.

    It looks for the files of variables by `glob`, which finds none behind a bracket. Raises as
    `refuse_patterned_tmpdir` does.
    """
    if not set("[\\") & set(str(folder.absolute())):
        yield str(folder)
        return
    refuse_patterned_tmpdir()
    with TemporaryDirectory() as place:
        link = Path(place, "model")
        link.symlink_to(folder.absolute(), target_is_directory=True)
        yield str(link)


def _files(folder: Path) -> dict[str, Path]:
    """The files to be checked, by their name inside the folder, in order."""
    found = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*")}
    return {
        name: found[name]
        for name in sorted(found)
        if found[name].is_file() and not found[name].name.startswith(".")
        and name != CHECKSUM_FILE.as_posix()
    }  # fmt: skip


def _bounded(path: Path) -> str:
    """The text of a plain file; OSError for anything else."""
    if not path.is_file():
        raise FileNotFoundError(path)
    with path.open("rb") as file:
        data = file.read(MAX_CONTRACT_BYTES + 1)
    if len(data) > MAX_CONTRACT_BYTES:
        raise long_contract(path, KIND)
    return data.decode("utf-8")
