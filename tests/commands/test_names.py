"""Odd names of files, in every command that reads or writes one: they work, or one sentence."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from trm_export.commands.support.app import run
from trm_export.training import run as training
from trm_runtime.__main__ import main

SUDOKU4 = Path(__file__).parents[2] / "artifacts" / "sudoku4.keras"
CHECKPOINT = Path(__file__).parents[1] / "importing" / "golden" / "learned" / "step_10.safetensors"
DEVICE, HOST = main, run
READS: list[tuple[Callable[[Sequence[str]], int], str, str]] = [
    (DEVICE, "{} puzzles.txt", "good.onnx"),
    (DEVICE, "{} puzzles.txt", "good.tflite"),
    (DEVICE, "good.onnx {}", "puzzles.txt"),
    (DEVICE, "good.onnx puzzles.txt --identifiers {}", "numbers.txt"),
    (DEVICE, "good.onnx puzzles.txt --puzzle-table {}", "numbers.txt"),
    (DEVICE, "check {} good.npz", "good.onnx"),
    (DEVICE, "check good.onnx {}", "good.npz"),
    (DEVICE, "check good.onnx good.npz --gate {}", "gate.json"),
    (HOST, "inspect {}", "good.onnx"),
    (HOST, "inspect {}", "good.onnx.json"),
    (HOST, "inspect {}", "good.keras"),
    (HOST, "onnx {} -o new.onnx", "good.keras"),
    (HOST, "import {} -o imported.keras", CHECKPOINT.name),
    (HOST, "parity {} good.onnx --count 2", "good.keras"),
    (HOST, "parity good.keras {} --count 2", "good.onnx"),
    (HOST, "parity good.keras good.onnx --golden {}", "good.npz"),
    (HOST, "parity good.keras good.onnx --golden good.npz --gate {}", "gate.json"),
    (HOST, "reference good.keras {} -o new.npz", "puzzles.txt"),
    (HOST, "tune {} --count 2 --dry-run", "good.onnx"),
    (HOST, "plan {} --count 2 --budget 4", "good.onnx"),
    (HOST, "evaluate {} --count 2", "good.onnx"),
    (HOST, "bench good.keras {} --count 2", "good.tflite"),
    (HOST, "profile {} --count 2", "good.onnx"),
    (HOST, "report {}", "none.json"),
]
WRITES = [
    "onnx good.keras -o {}.onnx",
    "tflite good.keras -o {}.tflite",
    "saved-model good.keras -o {}_saved",
    "parity good.keras good.onnx --golden good.npz -o {}.json",
    "parity good.keras good.onnx --golden good.npz --report {}.html",
    "reference good.keras --count 2 -o {}.npz",
    "tune good.onnx --count 2 -o {}.onnx",
    "bench good.keras good.onnx --count 2 -o {}.json",
    "import checkpoint/step_10.safetensors -o {}.keras",
    "train sudoku4 --steps 2 -o {}.keras",
]
NAMES = {"unicode": "模型 é", "bytes": os.fsdecode(b"caf\xe9"), "long": "n" * 300}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names")
    shutil.copy(SUDOKU4, folder / "good.keras")
    shutil.copytree(CHECKPOINT.parent, folder / "checkpoint")
    model = str(folder / "good.keras")
    for kind in ("onnx", "tflite"):
        assert run([kind, model, "-o", str(folder / f"good.{kind}")]) == 0
    assert run(["reference", model, "--count", "2", "-o", str(folder / "good.npz")]) == 0
    (folder / "puzzles.txt").write_text("341221.3.3.1123.\n")
    (folder / "numbers.txt").write_text("0\n")
    (folder / "gate.json").write_text('{"forced": 1.0}')
    return folder


def outcome(
    command: Callable[[Sequence[str]], int], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str]:
    """The exit code and the message, with streams as strict as those of a terminal."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stdout", out)
        patched.setattr(sys, "stderr", err)
        code = command([*words, "--json"])
        out.flush()
    document = json.loads(out.buffer.getvalue())  # type: ignore[attr-defined]
    failures = document.get("failures") or [{}]  # `bench` goes on to the next file
    return code, document.get("error", {}).get("message", failures[0].get("reason", ""))


def expected(kind: str, code: int, message: str) -> None:
    assert "Unexpected" not in message
    if kind == "unicode":
        assert code in (0, 2, 4), message  # 2 and 4: a file that is not what the option takes
        assert "encode" not in message
    elif kind == "bytes":
        assert code == 2
        assert "is not UTF-8; rename the file or folder." in message
    else:
        assert code in (1, 2, 4)
        assert "File name too long" in message or code == 2
        assert message.count("\n") == 0


@pytest.mark.parametrize("kind", NAMES)
@pytest.mark.parametrize(("command", "words", "source"), READS, ids=[row[1] for row in READS])
def test_reading(
    files: Path, kind: str, command: Callable[[Sequence[str]], int], words: str, source: str,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(files)
    folder = tmp_path / "inputs"
    shutil.copytree(files / "checkpoint", folder)
    odd = folder / (NAMES[kind] + Path(source).suffix)
    given = files / source
    if kind == "unicode" and (given.exists() or source == CHECKPOINT.name):
        shutil.copy(CHECKPOINT if source == CHECKPOINT.name else given, odd)
    listed = [str(odd) if word == "{}" else word for word in words.split()]
    code, message = outcome(command, listed, monkeypatch)
    expected(kind, code, message)


@pytest.mark.parametrize("kind", [*NAMES, "beside"])
@pytest.mark.parametrize("words", WRITES)
def test_writing(
    files: Path, kind: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(files)
    monkeypatch.setattr(training, "train", partial(training.train, jit_compile=False))  # in seconds
    odd = str(tmp_path / NAMES.get(kind, "n" * 240))  # only those of files beside it are too long
    listed = [word.replace("{}", odd) for word in words.split()]
    code, message = outcome(run, listed, monkeypatch)
    expected(kind, code, message)
    assert (code == 0) == (kind == "unicode"), message
    assert bool(list(tmp_path.iterdir())) == (kind == "unicode")
