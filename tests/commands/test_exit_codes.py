"""One table of exit codes; a file that computes NaN ends every command that runs it with 6."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from trm_export import errors
from trm_export.commands.support.app import run
from trm_runtime.__main__ import main
from trm_runtime.drivers.onnx_file import seal
from trm_runtime.errors import EXIT_CODES, TRMError, exit_codes_text

ROOT = Path(__file__).parents[2]
SUDOKU4 = ROOT / "artifacts" / "sudoku4.keras"
FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")


def kinds(kind: type[TRMError]) -> Iterator[type[TRMError]]:
    yield kind
    for other in kind.__subclasses__():
        yield from kinds(other)


def test_the_page_has_the_table_and_the_table_every_code() -> None:
    page = (ROOT / "docs" / "exit-codes.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\d+) \| ([^|]+) \| [^|]+ \|$", page, re.MULTILINE)
    assert {int(code): what for code, what in rows} == EXIT_CODES
    assert {kind.exit_code for kind in kinds(TRMError)} == set(range(1, 7))
    for tree in (errors.__doc__, sys.modules["trm_runtime.errors"].__doc__):
        for name, code in re.findall(r"(\w+Error) +(\d)", str(tree)):
            assert getattr(errors, name).exit_code == int(code)


def test_help_of_both_has_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    def shown() -> str:
        return " ".join(capsys.readouterr().out.split())

    assert run(["--help"]) == 0
    assert exit_codes_text() in shown()
    for words in (["--help"], ["check", "--help"]):
        with pytest.raises(SystemExit):
            main(words)
        assert exit_codes_text() in shown()


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped 4x4 model as ONNX with a NaN among its weights, and a good checksum."""
    path = tmp_path_factory.mktemp("nan") / "poisoned.onnx"
    assert run(["onnx", str(SUDOKU4), "-o", str(path)]) == 0
    model = onnx.load(path)
    weight = max(model.graph.initializer, key=lambda tensor: len(tensor.raw_data))
    array = numpy_helper.to_array(weight).copy()
    array[0, 0] = np.nan
    weight.CopyFrom(numpy_helper.from_array(array, weight.name))
    path.write_bytes(model.SerializeToString())
    seal(path)
    return path


@pytest.mark.parametrize("as_json", [False, True])
def test_the_device_prints_and_ends_with_6(
    poisoned: Path, tmp_path: Path, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    puzzles = tmp_path / "puzzles.txt"
    puzzles.write_text("341221.3.3.1123.\n.2..1..3413..3.1\n")
    assert main([str(poisoned), str(puzzles), *["--json"] * as_json]) == 6
    out, err = capsys.readouterr()
    assert f"Error: {poisoned}: NaN or infinity ended 2 of 2 puzzles; " in err
    if as_json:
        reasons = [row["stop_reason"] for row in json.loads(out)["puzzles"]]
        assert reasons == ["nonfinite"] * 2
    else:
        assert out.count("nonfinite") == 2


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("words", "code", "count"),
    [
        (["evaluate", "FILE"], 6, 8),
        (["tune", "FILE"], 6, 8),
        (["plan", "FILE", "--budget", "4"], 6, 8),
        (["bench", str(SUDOKU4), "FILE"], 6, 8),
        (["parity", str(SUDOKU4), "FILE"], 5, 8),
    ],
)
def test_the_host_too(
    poisoned: Path, words: list[str], code: int, count: int, as_json: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    capsys.readouterr()
    before = poisoned.read_bytes()
    given = [str(poisoned) if word == "FILE" else word for word in words]
    assert run([*given, "--count", str(count), *["--json"] * as_json]) == code
    out, err = capsys.readouterr()
    if as_json:
        json.loads(out)
    if code == 6 and (not as_json or words[0] == "evaluate"):
        assert f"NaN or infinity ended {count} of {count} puzzles" in " ".join(err.split())
    assert poisoned.read_bytes() == before


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["evaluate", "FILE", "--count", "8"], 6, "Error: "),
        (["plan", "FILE", "--budget", "4", "--count", "8"], 6, "Error: "),
        (["parity", str(SUDOKU4), "FILE", "--count", "2"], 5, "Try: "),
    ],
)
def test_a_verdict_counts_without_a_reader(
    poisoned: Path, words: list[str], code: int, said: str, as_json: bool
) -> None:
    given = [str(poisoned) if word == "FILE" else word for word in words]
    command = [sys.executable, "-m", "trm_export", *given, *["--json"] * as_json]
    read, written = os.pipe()
    os.close(read)
    with os.fdopen(written, "wb") as pipe:
        done = subprocess.run(command, cwd=ROOT, stdout=pipe, stderr=subprocess.PIPE, text=True)
        assert done.returncode == code
        assert "Traceback" not in done.stderr
        assert as_json or said in done.stderr
        assert subprocess.run(command, cwd=ROOT, stdout=pipe, stderr=pipe).returncode == code


@FULL
@pytest.mark.parametrize(
    "words",
    ["-m trm_runtime --help", "-m trm_runtime --version", "-m trm_runtime check --help",
     "-m trm_runtime doctor --help", "-m trm_export --help", "-m trm_export inspect --help",
     "-m trm_export --version"],
)  # fmt: skip
def test_help_that_cannot_be_written_is_no_success(words: str) -> None:
    command = shlex.join([sys.executable, *words.split()])
    done = subprocess.run(
        ["sh", "-c", f"{command} >/dev/full"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr == "Error: Standard output cannot be written: No space left on device.\n"


@FULL
@pytest.mark.parametrize(
    ("words", "where", "code"),
    [
        ("-m trm_export inspect none.onnx", "2>/dev/full", 4),
        ("-m trm_export inspect none.onnx --json", ">/dev/full", 4),
        ("-m trm_runtime none.onnx none.txt", "2>/dev/full", 4),
        ("-m trm_export none --json", ">/dev/full", 2),
    ],
)
def test_an_error_that_cannot_be_written_keeps_its_code(words: str, where: str, code: int) -> None:
    command = shlex.join([sys.executable, *words.split()])
    done = subprocess.run(
        ["sh", "-c", f"{command} {where}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == code
    assert "Traceback" not in done.stderr


def test_standard_output_in_another_encoding(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trm_export", "report", "模型.json"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
