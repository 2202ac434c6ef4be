from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.driver_rules import (
    lets_threads_take_turns,
    takes_other_integers_strides_and_batches,
)
from tests.runtime.fakes import FakeRunner, assert_solved, make_contract, make_puzzles
from tests.runtime.tf_graphs import flatbuffer, write_tflite
from trm_runtime import (
    ContractError,
    ContractMismatchError,
    MissingExtraError,
    RejectedInputError,
    UsageError,
    initial_carry,
    open_runner,
    solve,
)
from trm_runtime.drivers import litert, quiet
from trm_runtime.drivers.litert import LiteRTRunner
from trm_runtime.drivers.tflite_file import append_contract, read_contract, replace_contract, seal
from trm_runtime.errors import OldFileWarning

pytest.importorskip("ai_edge_litert")

CONTRACT = "trm_contract.json"


@pytest.mark.parametrize("batch", [None, 3])
def test_a_step_is_the_fakes_step(tmp_path: Path, batch: int | None) -> None:
    contract = make_contract(batch=batch)
    runner = LiteRTRunner(write_tflite(tmp_path / "toy.tflite", contract), threads=1)
    fake, inputs = FakeRunner(contract), {"inputs": make_puzzles(3)}
    carry = wanted = initial_carry(contract, 3)
    for _ in range(10):  # two more than max_steps: the graph restarts rows by itself
        out, expected = runner.step(inputs, carry), fake.step(inputs, wanted)
        carry, wanted = out.carry, expected.carry
        for found, sure in ((out.carry, expected.carry), (out.outputs, expected.outputs)):
            assert found.keys() == sure.keys()
            for name, array in sure.items():
                np.testing.assert_array_equal(found[name], array)
                assert found[name].dtype == array.dtype


def test_the_contract_comes_from_the_file(toy_tflite: Path) -> None:
    assert open_runner(toy_tflite).contract == make_contract()
    assert isinstance(open_runner(str(toy_tflite)), LiteRTRunner)


def test_the_graph_can_run_on_the_interpreters_own_kernels(toy_tflite: Path) -> None:
    runner, puzzles = open_runner(toy_tflite, optimised=False), make_puzzles(6)
    assert_solved(solve(runner, puzzles), puzzles, puzzles[:, 0])


def test_returned_arrays_are_not_written_again(toy_tflite: Path) -> None:
    runner = LiteRTRunner(toy_tflite)
    inputs, carry = {"inputs": make_puzzles(3)}, initial_carry(runner.contract, 3)
    first = runner.step(inputs, carry)
    kept = {name: array.copy() for name, array in {**first.carry, **first.outputs}.items()}
    second = runner.step(inputs, first.carry)
    for name, array in {**first.carry, **first.outputs}.items():
        np.testing.assert_array_equal(array, kept[name])
    assert not np.shares_memory(first.carry["z_H"], second.carry["z_H"])


def test_other_integers_strides_and_batches_are_accepted(toy_tflite: Path) -> None:
    takes_other_integers_strides_and_batches(LiteRTRunner(toy_tflite, threads=2))


def test_threads_that_share_a_runner_take_turns(toy_tflite: Path) -> None:
    lets_threads_take_turns(LiteRTRunner(toy_tflite, threads=1))


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 2), (64, 4)])
def test_the_default_is_a_thread_a_core_but_four_at_most(
    toy_tflite: Path, monkeypatch: pytest.MonkeyPatch, cores: int, threads: int
) -> None:
    seen = []
    monkeypatch.setattr(litert, "available_cores", lambda: cores)
    monkeypatch.setattr(litert, "_open", lambda engine, path, count, optimised: seen.append(count))
    monkeypatch.setattr(litert, "_signature", lambda *_: None)
    LiteRTRunner(toy_tflite)
    assert seen == [threads]


def test_bad_threads(toy_tflite: Path) -> None:
    with pytest.raises(UsageError, match="threads: expected 1 or more, got 0"):
        open_runner(toy_tflite, threads=0)


def test_no_rows_are_refused_before_the_engine_sees_them(toy_tflite: Path) -> None:
    runner = LiteRTRunner(toy_tflite)
    none = np.zeros((0, 4), np.int32)
    with pytest.raises(RejectedInputError, match="expected 1 or more rows, got 0"):
        runner.step({"inputs": none}, initial_carry(runner.contract, 0))


# --- broken files --------------------------------------------------------------------------------


def refused(path: Path) -> RejectedInputError:
    with pytest.raises(RejectedInputError) as caught:
        open_runner(path, threads=1)
    assert str(caught.value).startswith(str(path))
    return caught.value


def tailed(
    path: Path, members: Mapping[str, str], compression: int = zipfile.ZIP_STORED, batch: Any = None
) -> Path:
    """The toy flatbuffer with an archive of these members."""
    path.write_bytes(flatbuffer(batch))
    with zipfile.ZipFile(path, "a", compression) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def contracted(path: Path, text: str, batch: Any = None) -> Path:
    """The toy flatbuffer with any text as its contract, and the right checksum."""
    path.write_bytes(flatbuffer(batch))
    append_contract(path, text)
    return path


def test_other_members_before_the_contract_and_compression_do_no_harm(tmp_path: Path) -> None:
    path = tailed(tmp_path / "toy.tflite", {"labels.txt": "a\nb\n"}, zipfile.ZIP_DEFLATED)
    append_contract(path, make_contract().to_json())
    assert open_runner(path).contract == make_contract()
    path.write_bytes(path.read_bytes().replace(b"labels.txt", b"lapels.txt", 1))
    assert "does not match its checksum" in str(refused(path))


def edit_contract(path: Path, old: str, new: str) -> None:
    """What a careful editor does: the ZIP's own CRC is right, our checksum is as it was."""
    with zipfile.ZipFile(path) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist()}
        start = min(member.header_offset for member in archive.infolist())
    assert old in texts[CONTRACT]
    texts[CONTRACT] = texts[CONTRACT].replace(old, new)
    path.write_bytes(path.read_bytes()[:start])
    with zipfile.ZipFile(path, "a") as archive:
        for name, text in texts.items():
            archive.writestr(name, text)


def test_an_edited_contract_is_refused_until_it_is_sealed(toy_tflite: Path) -> None:
    edit_contract(toy_tflite, '"threshold": 0.0', '"threshold": 9.5')
    error = refused(toy_tflite)
    assert "does not match its checksum (trm_file.sha256)" in str(error)
    assert "trm_runtime.drivers.tflite_file.seal" in str(error)
    assert error.exit_code == 4
    seal(toy_tflite)
    assert open_runner(toy_tflite).contract.halt.threshold == 9.5


def test_a_file_without_its_checksum_is_refused(tmp_path: Path) -> None:
    path = tailed(tmp_path / "toy.tflite", {CONTRACT: make_contract().to_json()})
    assert "has no checksum (member 'trm_file.sha256' of its ZIP archive)" in str(refused(path))


def test_a_second_contract_behind_the_checksum_is_refused(toy_tflite: Path) -> None:
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(toy_tflite, "a") as archive:
        archive.writestr(CONTRACT, make_contract().to_json().replace('"fp32"', '"fp16"'))
    assert f"'{CONTRACT}' is behind its checksum" in str(refused(toy_tflite))


def old_file(path: Path, checksum: str | None = None) -> Path:
    """An export of schema version 1: the checksum is that of the flatbuffer alone."""
    text = make_contract().to_json().replace('"schema_version": 2', '"schema_version": 1')
    digest = hashlib.sha256(flatbuffer()).hexdigest() if checksum is None else checksum
    return tailed(path, {CONTRACT: text, "trm_flatbuffer.sha256": digest})


def test_a_file_of_schema_version_1_is_read_with_a_warning(tmp_path: Path) -> None:
    path = old_file(tmp_path / "old.tflite")
    with pytest.warns(OldFileWarning, match="whose checksum does not cover its contract"):
        assert open_runner(path).contract == make_contract()
    replace_contract(path, make_contract().to_json())  # as `tune` does
    assert open_runner(path).contract == make_contract()


def test_a_damaged_file_of_schema_version_1_is_refused(tmp_path: Path) -> None:
    path = old_file(tmp_path / "old.tflite", "0" * 64)
    assert "does not match its checksum (trm_flatbuffer.sha256)" in str(refused(path))
    tailed(path, {CONTRACT: make_contract().to_json().replace('sion": 2', 'sion": 1')})
    assert "does not match its checksum (trm_flatbuffer.sha256)" in str(refused(path))


def test_the_same_export_has_the_same_bytes(tmp_path: Path) -> None:
    one, two = (write_tflite(tmp_path / f"{name}.tflite") for name in "ab")
    assert one.read_bytes() == two.read_bytes()
    with zipfile.ZipFile(one) as archive:
        assert archive.namelist() == [CONTRACT, "trm_file.sha256"]
        assert archive.read(CONTRACT).decode() == make_contract().to_json() == read_contract(one)


@pytest.mark.parametrize("part", [0.0, 0.0005, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused_in_one_sentence(toy_tflite: Path, part: float) -> None:
    data = toy_tflite.read_bytes()
    toy_tflite.write_bytes(data[: int(len(data) * part)])
    error = refused(toy_tflite)
    assert "a damaged one" in str(error) or "it is truncated" in str(error)
    assert "\n" not in str(error)


def test_any_flipped_byte_of_the_flatbuffer_is_refused(toy_tflite: Path) -> None:
    """tflite-runtime would crash on one in five of them."""
    data = toy_tflite.read_bytes()
    places = np.random.default_rng(0).integers(8, data.index(b"PK\x03\x04"), size=60)
    for place in places.tolist():
        toy_tflite.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        assert "does not match its checksum (trm_file.sha256)" in str(refused(toy_tflite))


def test_any_flipped_byte_of_the_archive_is_either_refused_or_harmless(toy_tflite: Path) -> None:
    data = toy_tflite.read_bytes()
    places = np.random.default_rng(0).integers(data.index(b"PK\x03\x04"), len(data), size=60)
    for place in places.tolist():
        toy_tflite.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        with contextlib.suppress(RejectedInputError):
            assert open_runner(toy_tflite, threads=1).contract == make_contract()


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 not a model", b"\x00" * 64, b"hello\n"])
def test_another_kind_of_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "toy.tflite"
    path.write_bytes(data)
    assert "not a TFLite file, or a damaged one: the letters TFL3 are not" in str(refused(path))


def test_missing_files_and_folders(tmp_path: Path) -> None:
    assert "cannot be read: No such file" in str(refused(tmp_path / "none.tflite"))
    (tmp_path / "folder.tflite").mkdir()
    assert "cannot be read: Is a directory" in str(refused(tmp_path / "folder.tflite"))


def test_a_file_without_a_contract_is_refused(tmp_path: Path) -> None:
    bare = tmp_path / "bare.tflite"
    bare.write_bytes(flatbuffer())
    assert "has no step contract: no ZIP archive at its end" in str(refused(bare))
    other = tailed(tmp_path / "other.tflite", {"labels.txt": "a\n"})
    assert f"no member '{CONTRACT}' in its ZIP archive" in str(refused(other))
    assert "trm-export tflite MODEL.keras" in str(refused(other))


def test_a_huge_contract_is_refused_unread(tmp_path: Path) -> None:
    zeros = {CONTRACT: "0" * (1 << 24)}
    path = tailed(tmp_path / "bomb.tflite", zeros, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 16
    assert "its step contract is longer than 1,048,576 bytes" in str(refused(path))


def test_a_size_that_lies_does_not_help_a_bomb(tmp_path: Path) -> None:
    zeros = {CONTRACT: "0" * (1 << 24)}
    path = tailed(tmp_path / "bomb.tflite", zeros, zipfile.ZIP_DEFLATED)
    size = (1 << 24).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(size, (100).to_bytes(4, "little")))
    assert "its ZIP archive is damaged (Bad CRC-32" in str(refused(path))


def test_a_huge_directory_is_refused_unread(tmp_path: Path) -> None:
    path = tailed(tmp_path / "many.tflite", {f"{i:060d}": "" for i in range(12_000)})
    assert "the directory of its ZIP archive has 1,2" in str(refused(path))


def test_a_locked_archive_is_refused(tmp_path: Path) -> None:
    path = tailed(tmp_path / "locked.tflite", {CONTRACT: "{}"})
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1
    data[data.index(b"PK\x03\x04") + 6] |= 1
    path.write_bytes(data)
    assert f"({CONTRACT}: encrypted)" in str(refused(path))


def test_a_bad_contract_is_named(tmp_path: Path) -> None:
    for text, complaint in (
        (make_contract().to_json()[:-5], "its step contract is not valid JSON"),
        (make_contract().to_json().replace(": 2,", ": 3,", 1), "has schema_version 3"),
    ):
        error = refused(contracted(tmp_path / "toy.tflite", text))
        assert type(error) is ContractError
        assert complaint in str(error)
    path = tmp_path / "bytes.tflite"
    path.write_bytes(flatbuffer())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(CONTRACT, b"\xff\xfe")
    assert "its ZIP archive is damaged" in str(refused(path))


def test_a_missing_signature_names_the_ones_there_are(tmp_path: Path) -> None:
    path = tmp_path / "toy.tflite"
    path.write_bytes(flatbuffer(None, "serving_default"))
    append_contract(path, make_contract().to_json())
    assert "expected the signature 'act_step', got serving_default" in str(refused(path))


def test_every_difference_from_the_contract_is_listed(tmp_path: Path) -> None:
    text = make_contract().to_json().replace('"z_L', '"z_X').replace("      3\n", "      7\n")
    error = refused(contracted(tmp_path / "toy.tflite", text))
    assert type(error) is ContractMismatchError
    assert error.problems == (
        "input 'z_X': the engine has no such tensor",
        "input 'z_L': the contract has no such tensor",
        "input 'z_H': expected shape (batch, 4, 7), got (batch, 4, 3)",
        "output 'z_X_next': the engine has no such tensor",
        "output 'z_L_next': the contract has no such tensor",
        "output 'z_H_next': expected shape (batch, 4, 7), got (batch, 4, 3)",
    )
    fixed = contracted(tmp_path / "fixed.tflite", make_contract().to_json(), batch=4)
    assert "'inputs': expected shape (batch, 4), got (4, 4)" in str(refused(fixed))


def test_a_graph_the_engine_cannot_open_is_one_sentence(tmp_path: Path) -> None:
    """A sound archive and checksum after a flatbuffer that is none."""
    path = tmp_path / "toy.tflite"
    path.write_bytes(flatbuffer()[:3000])
    append_contract(path, make_contract().to_json())
    error = refused(path)
    assert "ai_edge_litert cannot open it: " in str(error)
    assert "\n" not in str(error)


def test_a_failing_step_is_one_sentence(toy_tflite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runner = LiteRTRunner(toy_tflite)

    def fail(**_: Any) -> None:
        raise RuntimeError("tensorflow/lite/kernels/gather.cc:174 index out of bounds\nNode 3")

    monkeypatch.setattr(runner, "_call", fail)
    with pytest.raises(RejectedInputError, match="ai_edge_litert could not run a step: ") as caught:
        solve(runner, make_puzzles(3))
    assert "\n" not in str(caught.value)


# --- the engine itself ---------------------------------------------------------------------------


def hide(monkeypatch: pytest.MonkeyPatch, *packages: str) -> None:
    for package in packages:
        for name in [name for name in sys.modules if name.partition(".")[0] == package]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, package, None)


SOLVE = """
import os, sys
from trm_runtime import initial_carry, open_runner
from tests.runtime.fakes import make_puzzles
for _ in range(2):
    runner = open_runner(sys.argv[1])
    runner.step({"inputs": make_puzzles(3)}, initial_carry(runner.contract, 3))
os.write(2, b"still here\\n")
"""


def test_the_engine_says_nothing_and_standard_error_stays(toy_tflite: Path) -> None:
    command = [sys.executable, "-c", SOLVE, str(toy_tflite)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "still here\n")


def test_only_the_remark_is_kept_back(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        with quiet.without(litert._LOG_LINE):
            remark = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
            os.write(2, b"ERROR: bad node\n" + remark + b"more\n")
            raise ValueError("no way")

    with pytest.raises(ValueError, match="no way"):
        fail()
    assert capfd.readouterr().err == "ERROR: bad node\nmore\n"


def test_missing_engines_name_both_install_lines(
    toy_tflite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "ai_edge_litert", "tflite_runtime")
    with pytest.raises(MissingExtraError) as caught:
        LiteRTRunner(toy_tflite)
    assert str(caught.value) == (
        "Neither ai_edge_litert nor tflite_runtime is installed; install one with "
        '`pip install "trm-runtime[litert]"` or `pip install "trm-runtime[tflite]"` '
        "(the second only for Python 3.11 and older)."
    )


def test_the_older_engine_is_taken_where_the_newer_is_absent(
    toy_tflite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "ai_edge_litert", "tflite_runtime")
    monkeypatch.delitem(sys.modules, "tflite_runtime")
    monkeypatch.setattr(np, "__version__", "1.26.4")
    package = tmp_path / "tflite_runtime"
    package.mkdir()
    (package / "__init__.py").touch()
    text = "class Interpreter:\n    def __init__(self, **_):\n        raise ValueError('no way')\n"
    (package / "interpreter.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    assert "tflite_runtime cannot open it: no way" in str(refused(toy_tflite))
    (package / "interpreter.py").write_text("import numpy.core.multiarray_of_old\n")
    hide(monkeypatch, "tflite_runtime")
    monkeypatch.delitem(sys.modules, "tflite_runtime")
    with pytest.raises(MissingExtraError, match=r"is installed but cannot be loaded .*\[tflite\]"):
        LiteRTRunner(toy_tflite)
