"""Atomic writes, and which files count as ours."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.fakes import make_contract
from tests.runtime.graphs import build, write
from trm_export import file_commit
from trm_export.commands.support.app import run
from trm_export.errors import OverwriteError, TargetError, UsageError
from trm_export.file_commit import STALE_SECONDS
from trm_export.files import (
    atomic_write,
    refuse_document,
    refuse_overwrite,
    refuse_source,
    require_suffix,
    sha256_file,
    write_together,
)
from trm_export.own_files import is_ours
from trm_export.own_folders import foreign_files


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_block_that_ends_puts_the_file_in_place(tmp_path: Path) -> None:
    target = tmp_path / "new" / "deeper" / "model.onnx"
    with atomic_write(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".onnx"
        temporary.write_bytes(b"all of it")
        assert not target.exists()
    assert target.read_bytes() == b"all of it"
    assert names(target.parent) == ["model.onnx"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_raises_changes_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "contract.json"
    target.write_text(make_contract().to_json())
    before = target.read_bytes()

    def write_half() -> None:
        with atomic_write(target) as temporary:
            temporary.write_text("half of")
            raise error

    with pytest.raises(error):
        write_half()
    assert target.read_bytes() == before
    assert names(tmp_path) == ["contract.json"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_a_full_disk_names_the_target(tmp_path: Path, number: int) -> None:
    target = tmp_path / "model.onnx"
    reason = os.strerror(number)
    with (
        pytest.raises(TargetError, match=f"{target} cannot be written: {reason}"),
        atomic_write(target),
    ):
        raise OSError(number, reason)  # as a write does, which names no file
    with pytest.raises(TargetError, match="cannot be written: Input"), atomic_write(target) as new:
        raise OSError(errno.EIO, "Input/output error", str(new / "variables"))
    with pytest.raises(TargetError, match="cannot be written: Input"), atomic_write(target) as new:
        raise OSError(errno.EIO, "Input/output error", "source", None, str(new))  # as of a copy
    for other in (OSError(number, reason, "/other"), OSError(errno.EPIPE, "Broken pipe")):
        with pytest.raises(OSError) as caught, atomic_write(target):  # noqa: PT011
            raise other
        assert caught.value is other
    assert names(tmp_path) == []


def test_files_that_belong_together_are_all_written_or_none(tmp_path: Path) -> None:
    model, contract = tmp_path / "m.onnx", tmp_path / "m.onnx.json"
    for text in ("old", "new"):
        with write_together(force=True) as writing:
            writing(model).write_text(text)
            writing(contract).write_text(text)
            assert not model.exists() or model.read_text() == "old"
        assert (model.read_text(), contract.read_text()) == (text, text)
        assert names(tmp_path) == ["m.onnx", "m.onnx.json"]
    with pytest.raises(OverwriteError), write_together() as writing:
        writing(model).write_text("newer")
    assert (model.read_text(), names(tmp_path)) == ("new", ["m.onnx", "m.onnx.json"])


def half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    """Writes a folder and its document, and fails after the folder has its name."""
    monkeypatch.setattr(file_commit, "_place", once_then(file_commit._place, error))
    with write_together(force=True) as writing:
        folder, document = writing(tmp_path / "m_sm"), writing(tmp_path / "m_sm.json")
        folder.unlink()
        folder.mkdir()
        (folder / "saved_model.pb").write_text("new")
        document.write_text("new")


def once_then(real: Callable[[Any], None], error: type[BaseException]) -> Callable[[Any], None]:
    calls: list[Any] = []

    def place(entry: Any) -> None:
        if calls:
            raise error
        calls.append(entry)
        real(entry)

    return place


def old_export(tmp_path: Path) -> tuple[Path, Path]:
    folder, document = tmp_path / "m_sm", tmp_path / "m_sm.json"
    folder.mkdir()
    (folder / "saved_model.pb").write_text("old")
    document.write_text("old")
    return folder / "saved_model.pb", document


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_error_half_way_takes_back_what_was_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], exchanges: bool
) -> None:
    graph, document = old_export(tmp_path)
    if not exchanges:
        monkeypatch.setattr(file_commit, "_exchange_call", lambda: None)
    with pytest.raises(TargetError if error is OSError else error):
        half_written(tmp_path, monkeypatch, error)
    assert (graph.read_text(), document.read_text()) == ("old", "old")
    assert names(tmp_path) == ["m_sm", "m_sm.json"]


@pytest.mark.parametrize("exchanges", [True, False])
def test_what_a_kill_left_half_done_is_finished_by_the_next_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    graph, document = old_export(tmp_path)
    if not exchanges:
        monkeypatch.setattr(file_commit, "_exchange_call", lambda: None)
    entries = []
    for target in (tmp_path / "m_sm", document):
        new = file_commit.temporary_name(target, "0123abcd")
        if target.is_dir():
            new.mkdir()
            (new / "saved_model.pb").write_text("new")
        else:
            new.write_text("new")
        entries.append(file_commit._Entry(target, "0123abcd", new.stat().st_ino))
    file_commit._write_note(tmp_path / ".m_sm.0123abcd.commit", entries)
    file_commit._place(entries[0])
    assert (graph.read_text(), document.read_text()) == ("new", "old")
    refuse_overwrite(document, force=True)
    assert (graph.read_text(), document.read_text()) == ("new", "new")
    assert names(tmp_path) == ["m_sm", "m_sm.json"]


def test_a_command_that_only_reads_finishes_it_too(tmp_path: Path) -> None:
    contract = make_contract().to_json()
    files = [tmp_path / "toy.onnx.json", tmp_path / "other.json"]
    for target in files:
        file_commit.temporary_name(target, "0123abcd").write_text(contract)
    inodes = [file_commit.temporary_name(target, "0123abcd").stat().st_ino for target in files]
    entries = [
        file_commit._Entry(*each) for each in zip(files, ["0123abcd"] * 2, inodes, strict=True)
    ]
    file_commit._write_note(tmp_path / ".toy.onnx.0123abcd.commit", entries)
    assert run(["inspect", str(files[0])]) == 0
    assert names(tmp_path) == ["other.json", "toy.onnx.json"]


def test_what_was_set_aside_is_put_back_where_nothing_new_is_left(tmp_path: Path) -> None:
    """However old it is: it is the only one."""
    token, target = "0123abcd", tmp_path / "m_sm"
    note = {"token": token, "inodes": {"m_sm": 1}}
    (tmp_path / f".m_sm.{token}.commit").write_text(json.dumps(note))
    aside = tmp_path / f".m_sm.{token}.old"
    aside.mkdir()
    (aside / "saved_model.pb").write_text("old")
    os.utime(aside, (1, 1))
    file_commit.remove_stale(target)
    assert aside.exists()
    refuse_overwrite(target, force=True)
    assert names(tmp_path) == ["m_sm"]


@pytest.mark.parametrize(
    "note",
    [
        "",
        "[]",
        '{"token": "0123abcd", "inodes": {"../x": 1}}',
        '{"token": "../../ab", "inodes": {"x": 1}}',
        '{"token": "0123abcd", "inodes": {"x": "1"}}',
        '{"token": "0123abcd", "inodes": {"": 1}}',
        '{"token": "0123abcd", "inodes": {"a\\u0000b": 1}}',
        '{"token": "0123abcd", "inodes": {"\\ud800": 1}}',
    ],
)
def test_a_note_that_is_not_ours_moves_nothing(tmp_path: Path, note: str) -> None:
    inside, outside = tmp_path / "in", tmp_path / ".x.0123abcd.part"
    inside.mkdir()
    outside.write_text("planted")
    (inside / ".m.0123abcd.commit").write_text(note)
    file_commit.recover(inside)
    assert names(inside) == []
    assert names(tmp_path) == [".x.0123abcd.part", "in"]


@pytest.mark.parametrize("inode", [-1, 0, True])
def test_a_note_of_no_file_removes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inode: int
) -> None:
    monkeypatch.setattr(file_commit, "_exchange_call", lambda: None)
    (tmp_path / "victim").mkdir()
    for _ in range(2):
        note = {"token": "0123abcd", "inodes": {"victim": inode}}
        (tmp_path / ".x.0123abcd.commit").write_text(json.dumps(note))
        file_commit.recover(tmp_path)
    assert names(tmp_path) == ["victim"]


def test_a_note_that_cannot_be_read_keeps_no_other_back(tmp_path: Path) -> None:
    (tmp_path / ".a.0123abcd.commit").mkdir()
    new = tmp_path / ".z.0123abcd.part"
    new.write_text("new")
    note = {"token": "0123abcd", "inodes": {"z": new.stat().st_ino}}
    (tmp_path / ".z.0123abcd.commit").write_text(json.dumps(note))
    file_commit.recover(tmp_path)
    assert names(tmp_path) == [".a.0123abcd.commit", "z"]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no FIFOs")
def test_a_note_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".x.0123abcd.commit")
    file_commit.recover(tmp_path)
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows locks no folders")
@pytest.mark.parametrize("kind", ["m.onnx", "m_saved_model"])
def test_files_of_two_writers_are_not_mixed(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = file_commit._place

    def slowly(entry: Any) -> None:
        place(entry)
        time.sleep(0.02)

    monkeypatch.setattr(file_commit, "_place", slowly)
    together = threading.Barrier(2)

    def write_pair(text: str) -> None:
        with write_together(force=True) as writing:
            new, beside = writing(tmp_path / kind), writing(tmp_path / f"{kind}.json")
            beside.write_text(text)
            if kind == "m_saved_model":
                new.unlink()
                new.mkdir()
                new = new / "saved_model.pb"
            new.write_text(text)
            together.wait()

    for _ in range(5):
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(write_pair, "ab"))
        written = tmp_path / kind
        text = (written / "saved_model.pb" if written.is_dir() else written).read_text()
        assert text == (tmp_path / f"{kind}.json").read_text()
    assert names(tmp_path) == [kind, f"{kind}.json"]


def test_a_killed_writer_leaves_the_old_file_and_a_hidden_rest(tmp_path: Path) -> None:
    target = tmp_path / "contract.json"
    target.write_text(make_contract().to_json())
    before = target.read_bytes()
    code = f"""
        import sys, time
        from trm_export.files import atomic_write
        with atomic_write({str(target)!r}) as temporary:
            temporary.write_text("half of")
            print("writing", flush=True)
            time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
    assert target.read_bytes() == before
    left, kept = names(tmp_path)
    assert left.startswith(".contract.")
    assert kept == "contract.json"

    with atomic_write(target) as temporary:  # too fresh: it may belong to a living writer
        temporary.write_text("new")
    assert left in names(tmp_path)
    long_ago = time.time() - STALE_SECONDS - 1
    os.utime(tmp_path / left, (long_ago, long_ago))
    with atomic_write(target, force=True) as temporary:
        temporary.write_text("newer")
    assert names(tmp_path) == ["contract.json"]
    assert target.read_text() == "newer"


def test_another_tools_file_is_not_replaced_without_force(tmp_path: Path) -> None:
    target = tmp_path / "thesis.onnx"
    target.write_bytes(b"somebody else's")
    with pytest.raises(OverwriteError, match=r"thesis\.onnx exists .* add --force"):
        refuse_overwrite(target)
    with pytest.raises(OverwriteError), atomic_write(target):
        pytest.fail("the block must not run")
    assert names(tmp_path) == ["thesis.onnx"]
    with atomic_write(target, force=True) as temporary:
        temporary.write_bytes(b"ours")
    assert target.read_bytes() == b"ours"


@pytest.mark.parametrize("changed", ["mine", "damaged", "stripped"])
def test_a_contract_beside_a_file_is_no_proof_that_it_is_ours(tmp_path: Path, changed: str) -> None:
    target = write(tmp_path / "m.onnx", build())
    (tmp_path / "m.onnx.json").write_text(make_contract().to_json())
    refuse_overwrite(target)
    bare = build()
    del bare.metadata_props[:]
    content = {
        "mine": b"mine", "damaged": target.read_bytes()[:-9], "stripped": bare.SerializeToString(),
    }[changed]  # fmt: skip
    target.write_bytes(content)
    assert not is_ours(target)
    with pytest.raises(OverwriteError, match=r"damaged, or was changed or replaced .* --force"):
        refuse_overwrite(target)
    with pytest.raises(OverwriteError), atomic_write(target):
        pytest.fail("the block must not run")
    assert target.read_bytes() == content
    with atomic_write(target, force=True) as temporary:
        temporary.write_bytes(b"new")
    assert target.read_bytes() == b"new"


def test_a_file_of_vectors_that_was_changed_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / "tensors.bin").write_bytes(b"ours")
    index = {"tool": "trm-export 0.1.0", "sha256": sha256_file(tmp_path / "tensors.bin")}
    (tmp_path / "vectors.json").write_text(json.dumps(index))
    assert is_ours(tmp_path)
    assert foreign_files(tmp_path) == []
    (tmp_path / "tensors.bin").write_bytes(b"mine")
    assert foreign_files(tmp_path) == ["tensors.bin"]


def test_ours_are_recognised(tmp_path: Path, tiny_keras: Path) -> None:
    assert is_ours(tiny_keras)
    assert is_ours(write(tmp_path / "embedded.onnx", build()))
    sidecar = tmp_path / "embedded.onnx.json"
    sidecar.write_text(make_contract().to_json())
    assert is_ours(sidecar)
    report = tmp_path / "report.json"
    report.write_text(json.dumps({"tool": "trm-export 0.1.0"}))
    assert is_ours(report)
    page, text = tmp_path / "report.html", tmp_path / "report.md"
    page.write_text('<!doctype html>\n<meta name="generator" content="trm-export 0.1.0">\n')
    text.write_text("<!-- trm-export 0.1.0 parity report -->\n")
    assert is_ours(page)
    assert is_ours(text)
    puzzles = tmp_path / "puzzles.txt"
    puzzles.write_text("# trm-export demo\n..1\n")
    assert is_ours(puzzles)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("empty.onnx", b""),
        ("empty.json", b""),
        ("other.json", b'{"tool": "another"}'),
        ("list.json", b"[1, 2]"),
        ("deep.json", b"[" * 100_000),
        ("not.keras", b"PK\x03\x04 not a zip"),
        ("notes.txt", b"trm-export trm_contract"),
        ("notes.md", b"# trm-export"),
        ("page.html", b"<!doctype html><p>trm-export"),
        ("nosuffix", b"trm_contract"),
    ],
)
def test_others_are_not(tmp_path: Path, name: str, content: bytes) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert not is_ours(path)


def test_targets_that_cannot_be_files(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match=r"is a directory that trm-export did not make; choose"):
        refuse_overwrite(tmp_path)
    with pytest.raises(TargetError, match="not a plain file"):
        refuse_overwrite("/dev/null", force=True)
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetError, match="cannot be written"), atomic_write(tmp_path / "file/x"):
        pytest.fail("the block must not run")


def test_a_folder_of_the_path_that_is_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "m.keras"
    file.write_text("mine")
    for target in (file / "m.onnx", file / "sub" / "m.onnx"):
        with pytest.raises(TargetError, match=r"m\.keras is a file, not a folder; choose another"):
            atomic_write(target).__enter__()


def test_a_folder_of_the_path_that_is_no_folder_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for target in (tmp_path / "pipe" / "m.onnx", tmp_path / "pipe" / "sub" / "m.onnx"):
        with pytest.raises(TargetError, match=r"pipe is not a folder; choose another name\.$"):
            atomic_write(target).__enter__()


def test_a_name_says_what_is_written_there(tmp_path: Path) -> None:
    require_suffix(tmp_path / "new" / "x.onnx", ".onnx")
    require_suffix(tmp_path / "model_v1.2", "")
    link = tmp_path / "x.onnx"
    link.symlink_to(tmp_path / "other.keras")
    for name, suffix in (("x", ".onnx"), ("x.ONNX", ".onnx"), ("x.onnx", ".onnx"), ("y.json", "")):
        with pytest.raises(UsageError, match=r"must end in \.onnx|names a file, but a folder"):
            require_suffix(tmp_path / name, suffix)


def test_a_document_of_an_export_is_never_a_target(tmp_path: Path) -> None:
    model, folder = tmp_path / "m.onnx", tmp_path / "code"
    model.touch()
    folder.mkdir()
    for name in ("model.c", "trm_contract.json"):
        (folder / name).touch()
    for name in ("m.onnx.json", "m.onnx.measured.json", "m.onnx.plan.json", "code.json"):
        with pytest.raises(UsageError, match=f"{name} is a document of (m.onnx|code); choose"):
            refuse_document(tmp_path / name)
    with pytest.raises(UsageError, match=r"memory.json lies in an exported folder; choose"):
        refuse_document(folder / "memory.json")
    for name in ("n.onnx.json", "m.json", "report.json"):
        refuse_document(tmp_path / name)


def test_a_source_is_never_a_target(tmp_path: Path) -> None:
    source = tmp_path / "folder" / "m.keras"
    source.parent.mkdir()
    source.write_text("weights")
    refuse_source(tmp_path / "folder" / "n.keras", source)
    refuse_source(tmp_path / "other", tmp_path / "missing.keras")
    with pytest.raises(UsageError, match=r"is the model itself .*another name"):
        refuse_source(tmp_path / "folder" / ".." / "folder" / "m.keras", source)
    with pytest.raises(UsageError, match="contains the model itself"):
        refuse_source(source.parent, source)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    with pytest.raises(TargetError, match="Permission denied"), atomic_write(tmp_path / "x.json"):
        pytest.fail("the block must not run")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EINVAL, errno.EIO])
def test_a_file_in_place_is_written_whatever_flushing_its_folder_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refuse_to_flush_folders(monkeypatch, number)
    with atomic_write(tmp_path / "x.json") as temporary:
        temporary.write_text("new")
    assert names(tmp_path) == ["x.json"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EINVAL])
def test_files_of_a_folder_that_cannot_be_flushed_are_written_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """One that may be written and not read, or on a disk that flushes no names."""
    refuse_to_flush_folders(monkeypatch, number)
    with write_together() as writing:
        for name in ("a", "b"):
            writing(tmp_path / name).write_text("new")
    assert names(tmp_path) == ["a", "b"]


def refuse_to_flush_folders(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    real = os.fsync

    def refusing(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(number, os.strerror(number))
        real(handle)

    monkeypatch.setattr(os, "fsync", refusing)


def test_a_symbolic_link_is_written_through(tmp_path: Path) -> None:
    real, link = tmp_path / "real.onnx", tmp_path / "link.onnx"
    link.symlink_to(real)
    with atomic_write(link) as temporary:
        temporary.write_bytes(b"data")
    assert link.is_symlink()
    assert real.read_bytes() == b"data"


def test_sha256(tmp_path: Path) -> None:
    path = tmp_path / "abc"
    path.write_bytes(b"abc")
    assert sha256_file(path) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
