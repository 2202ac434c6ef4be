"""Every system call of every writer fails once, and kills once: nothing is ever lost."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults import injector

SHARED_MEMORY = Path("/dev/shm")  # where a flush costs nothing

pytestmark = pytest.mark.skipif(injector.missing() is not None, reason=str(injector.missing()))


@pytest.fixture(scope="module")
def rows() -> Iterator[list[dict[str, Any]]]:
    memory = SHARED_MEMORY if SHARED_MEMORY.is_dir() else None
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield injector.sweep(folder)
    shutil.rmtree(folder)


def test_nothing_is_lost(rows: list[dict[str, Any]]) -> None:
    assert sum(row["places"] for row in rows) > 800
    assert {row["writer"] for row in rows if row["lost"]} == set()
    assert {row["writer"] for row in rows if row["unmended"]} == set()
    for row in rows:
        assert row["old"] > 0, row
        assert row["new"] > 0, row


def test_an_error_leaves_all_files_old_or_all_new(rows: list[dict[str, Any]]) -> None:
    assert sum(row["mixed"] + row["aside"] for row in rows if row["fault"] == "error") == 0


def test_a_kill_leaves_a_file_without_its_name_only_where_names_cannot_be_exchanged(
    rows: list[dict[str, Any]],
) -> None:
    assert {row["writer"] for row in rows if row["aside"]} <= {"SavedModel, no exchange"}


def test_an_error_names_a_file_and_is_not_hidden(rows: list[dict[str, Any]]) -> None:
    assert [row for row in rows if row["surprised"] or row["unheard"]] == []
