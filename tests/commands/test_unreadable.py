"""What the system does not let a command read has one exit code, one sentence and its own name."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.modes import modes_count
from tests.runtime.graphs import build, write
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support.app import run
from trm_runtime.__main__ import main

ZEROS = "0" * 64
LINES = (
    "onnx UNREAD.keras -o new.onnx", "parity UNREAD.keras m.onnx",
    "vectors UNREAD.keras -o new",
    "plan UNREAD.keras --deadline 50ms", "train sudoku4 --from UNREAD.keras -o new.keras",
    "import UNREAD.pt -o new.keras", "inspect UNREAD.onnx", "evaluate UNREAD.onnx",
    "reference UNREAD.onnx", "report UNREAD.json", "evaluate m.keras --puzzles UNREAD.txt",
    "evaluate m.onnx --puzzles UNREAD.npz", f"inspect UNREAD.onnx --expect-sha256 {ZEROS}",
    "inspect UNREAD.onnx --verify-key key.pem", "verify UNREAD.onnx --key key.pem",
    "verify m.onnx --key key.pem --signature UNREAD.sig", "verify m.onnx --key UNREAD.pem",
)  # fmt: skip
DEVICE = (
    "UNREAD.onnx p.txt", "UNREAD.onnx p.txt --verify-key key.pem", "m.onnx UNREAD.txt",
    f"UNREAD.onnx p.txt --expect-sha256 {ZEROS}", "check m.onnx UNREAD.npz",
)  # fmt: skip
KEY = """-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAENK/X6YYxr6SVvDfXwudtjMivR2IT
wKTJj0rqBoKh6shexiqoozdLrb5vkcKQQOSdwV9y2aFqgj1meLXRt7by6Q==
-----END PUBLIC KEY-----
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(shipped_checkpoint("sudoku4"), "m.keras")
    write(tmp_path / "m.onnx", build())
    Path("m.onnx.sig").write_text("{}")
    Path("key.pem").write_text(KEY)
    Path("locked").mkdir()
    Path("old").mkdir()


def message(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> str:
    """Of a command that must end with 4."""
    with modes_count(monkeypatch):
        code = main(words[1:]) if words[0] == "trm" else run(words)
    Path("locked").chmod(0o700)
    said = " ".join(capsys.readouterr().err.split())
    assert code == 4, said
    return said


@pytest.mark.parametrize("where", ["a", "locked/a"])
@pytest.mark.parametrize("line", [*LINES, *(f"trm {line}" for line in DEVICE)])
def test_a_file(
    line: str, where: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = line.replace("UNREAD", where).split()
    name = next(word for word in words if word.startswith(f"{where}."))
    Path(name).write_text("a")
    Path(name).chmod(0)
    Path("locked").chmod(0o600)
    said = message(words, monkeypatch, capsys)
    unsigned = where == "a" and f"{name} " in line.replace("UNREAD", "a") and "key.pem" in line
    if not (unsigned and said.startswith(f"Error: {name}: has no signature")):
        assert said.startswith(f"Error: {name}: cannot be read: Permission denied.")


@pytest.mark.parametrize("option", ["", f"--expect-sha256 {ZEROS}"])
@pytest.mark.parametrize("mode", [0o600, 0o300])
def test_a_folder(
    mode: int, option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (Path("locked") / "saved_model.pb").write_text("a")
    Path("locked").chmod(mode)
    said = message(["inspect", "locked", *option.split()], monkeypatch, capsys)
    entered = mode == 0o300 and not option  # its names are known, and need not be listed
    assert ("has no step contract" if entered else "cannot be read: Permission denied.") in said


@pytest.mark.parametrize(
    "line",
    [
        "sign locked/a.onnx --key key.pem -o new.sig",
        "sign m.onnx --key locked/a.pem -o new.sig",
        "sign locked --key key.pem -o new.sig",
        "c locked/a.keras -o old",
    ],
)
def test_in_a_folder(
    line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("locked").chmod(0o600)
    said = message(line.split(), monkeypatch, capsys)
    name = next(word for word in line.split() if "locked" in word)
    assert said.startswith(f"Error: {name}: cannot be read: Permission denied.")


def test_an_output(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    Path("old.onnx").write_text("mine")
    Path("old.onnx").chmod(0o200)
    said = message(["onnx", "no.keras", "-o", "old.onnx", "--force"], monkeypatch, capsys)
    assert said.startswith("Error: no.keras: cannot be read: No such file")
