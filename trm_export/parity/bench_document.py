"""The costs of files from a document of `trm-export bench`, where its rows are of these files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

from trm_export.errors import RejectedInputError
from trm_export.files import size_on_disk
from trm_export.parity.document import Cost
from trm_runtime import strict_json
from trm_runtime.digest import tree_digest
from trm_runtime.errors import unreadable
from trm_runtime.measure import load_engine
from trm_runtime.message_text import quoted
from trm_runtime.regular_file import read_regular


def rows_for(
    document: Path | None, files: Sequence[Path], engine: str | None = None
) -> list[Cost | None]:
    """The row of each file on this engine; None where the document has none of its name.

    RejectedInputError for a document of another kind, and where every row of the name of a file
    is of other bytes or of another engine.
    """
    if document is None:
        return [None] * len(files)
    rows = read_rows(document)
    return [_row_of(document, rows, file, engine) for file in files]


def read_rows(document: Path) -> list[Any]:
    """The rows of a document of bench; RejectedInputError for another one."""
    try:
        rows = strict_json.parse(read_regular(document).decode())["rows"]
        if not isinstance(rows, list) or not all(map(_is_row, rows)):
            raise TypeError("a time is not a number")
        return rows
    except OSError as error:
        raise unreadable(document, error) from error
    except (ValueError, KeyError, TypeError) as error:
        raise RejectedInputError(
            f"{document}: not a document of bench; write one with "
            "`trm-export bench MODEL FILE -o bench.json`."
        ) from error


def _is_row(row: Any) -> bool:
    """Whether it names a file and has costs of it; KeyError, TypeError without them."""
    costs = row["step_ms"], row["load_ms"], row["bytes"]
    texts = row["file"], row["engine"], row.get("sha256", "")
    return all(isinstance(text, str) for text in texts) and all(
        type(cost) in (int, float) and 0 <= cost <= strict_json.LARGEST for cost in costs
    )


def _row_of(document: Path, rows: Sequence[Any], file: Path, engine: str | None) -> Cost | None:
    named: list[Cost] = [row for row in rows if PurePath(row["file"]).name == file.name]
    problems = [_problem(row, file, engine) for row in named]
    if None in problems:
        return named[problems.index(None)]
    if not problems:
        return None
    again = f"trm-export bench MODEL {quoted(file)} -o bench.json"
    raise RejectedInputError(
        f"{document}: its row {file.name} is not of {file}: {problems[0]}; measure it again with "
        f"`{again}`."
    )


def _problem(row: Any, file: Path, engine: str | None) -> str | None:
    """What differs between a row and a file; rows of earlier versions have no digest."""
    size, ran = size_on_disk(file), load_engine(file, engine)
    if row["bytes"] != size:
        return f"it has {row['bytes']:,} bytes and the file {size:,}"
    if "sha256" in row and row["sha256"] != (digest := tree_digest(file)):
        return f"it has the SHA-256 {row['sha256']:.12} and the file {digest:.12}"
    if _unversioned(row["engine"]) != _unversioned(ran):
        return f"it was measured on {row['engine']} and the file is compared on {ran}"
    return None


def _unversioned(engine: str) -> list[str]:
    """The name of an engine and its mode, without the version between them."""
    return [word for word in engine.split() if not word[0].isdigit()]
