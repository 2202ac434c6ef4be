"""The manners of the command line: speed, exit codes, `--json`, one way out."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import typer

import trm_export
from tests.runtime.fakes import make_contract
from trm_export import errors
from trm_export.commands.support import app as app_module
from trm_export.commands.support.app import COMMANDS, app, run
from trm_export.commands.support.exits import DEBUG

ROOT = Path(trm_export.__file__).parent.parent
LAUNCHER = [sys.executable, str(ROOT / "cli.py")]
HELP_BUDGET = 0.5  # seconds


@pytest.mark.parametrize("words", [["--json", "--version"], ["--version", "--json"]])
def test_the_version_as_json(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from trm_runtime.__main__ import main

    assert (run(words), main(words)) == (0, 0)
    host, device = re.sub(r"}\s*{", "}\n{", capsys.readouterr().out).rsplit("\n", 2)[:2]
    assert json.loads(host) == {"tool": "trm-export", "version": trm_export.__version__}
    assert json.loads(device)["tool"] == "trm-runtime"


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Make `trm-export inspect` raise a given exception."""

    def fail_with(error: BaseException) -> None:
        def inspect_file(path: Path, trusted: object) -> None:
            raise error

        monkeypatch.setattr("trm_export.artifacts.inspection.inspect_file", inspect_file)

    return fail_with


# --- help -----------------------------------------------------------------------------------------


def test_help_is_fast() -> None:
    def seconds() -> float:
        """Of processor time: other processes make a command wait, but not work more."""
        start = os.times()
        subprocess.run([*LAUNCHER, "--help"], check=True, capture_output=True)
        end = os.times()
        spent = end.children_user - start.children_user
        return spent + end.children_system - start.children_system

    assert any(seconds() < HELP_BUDGET for _ in range(5))


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_loads_nothing_heavy(command: str) -> None:
    code = (
        "import json, sys; from trm_export.commands.support.app import run;"
        f"code = run({[*filter(None, [command])]!r} + ['--help']);"
        "sys.stderr.write(json.dumps([code, *{n.partition('.')[0] for n in sys.modules}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    code_, *loaded = json.loads(done.stderr)
    assert code_ == 0
    heavy = {"h5py", "jax", "keras", "matplotlib", "numpy", "onnx", "onnxruntime", "rich"}
    assert not (heavy | {"tensorflow", "tf2onnx", "torch"}) & set(loaded)
    assert f"Usage: trm-export {command}" in done.stdout


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_fits_a_terminal_and_stands_in_panels(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run([*filter(None, [command]), "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    panels = [line[:-1] for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert len(set(panels)) == len(panels)
    if not command:
        assert panels == ["Options", "Get a model", "Export it", "Check, tune and measure it"]
        return
    known = {"Input", "Output", "Puzzles", "What to export", "Third-party models", "Reference"}
    known |= {"How to run", "Limits", "Recipe", "General", "Examples", "Files of others"}
    assert set(panels) <= known
    assert panels[0] == "Input"
    assert panels[-2:] == ["General", "Examples"]
    assert not [line for line in lines if "<int range>" in line or "<list[" in line]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_has_examples_that_parse(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    examples = shown.partition("Examples:\n")[2].splitlines()
    assert 2 <= len(examples) <= 3
    parser: Any = typer.main.get_command(app)
    for line in examples:
        program, name, *words = shlex.split(line)
        assert (program, name) == ("trm-export", command)
        parser.commands[command].make_context(command, words)  # raises for what does not parse


def test_choices_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["onnx", "--help"]) == 0
    shown = capsys.readouterr().out
    choices = ("fp32|fp16|int8|int8-static|int4", "step|loop|block", "unrolled|rolled")
    assert all(f"<{words}>" in shown for words in (*choices, "internal|external"))
    assert run(["saved-model", "--help"]) == 0
    assert "<fp32|fp16>" in capsys.readouterr().out


def test_the_shell_completes_commands_and_choices() -> None:
    def completed(words: str, word: int) -> list[str]:
        asked = {"COMP_WORDS": words, "COMP_CWORD": str(word)}
        environment = {**os.environ, "_TRM_EXPORT_COMPLETE": "complete_bash", **asked}
        done = subprocess.run(LAUNCHER, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    assert completed("trm-export in", 1) == ["inspect"]
    precisions = ["fp32", "fp16", "int8", "int8-static", "int4"]
    assert completed("trm-export onnx --precision ", 3) == precisions
    line = (
        f"{shlex.join([*LAUNCHER, '--show-completion', 'bash'])}; exit $?"  # in a shell, as is due
    )
    command = ["bash", "-c", line]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "complete -o default -F _trm_export_completion trm-export" in shown


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    shown = capsys.readouterr().out
    assert "Usage: trm-export" in shown
    assert all(f"\n  {command} " in shown for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_offers_json(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    assert "--json" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"trm-export {trm_export.__version__}\n"


# --- failures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["inspct"], "No such command 'inspct'. Did you mean 'inspect'?"),
        (["inspect"], "Missing argument"),
        (["inspect", "a", "b"], "unexpected extra argument"),
        (["inspect", "--colour"], "No such option: --colour (see"),
        (["onnx", "m", "--count", "3"], "--count; it is an option of demo, parity, reference, "),
        (["parity", "m", "--fit", "ram=1k"], "No such option: --fit; it is an option of c (see"),
        (["c", "m", "--trust-module", "p"], "C source is only generated for models of this"),
        (["onnx", "m", "--precison", "fp16"], "(Possible options: --precision"),
        (["--debug"], "Missing command"),
    ],
)
def test_usage_errors(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("Error: ")
    assert said in captured.err
    assert "--help`).\n" in captured.err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.TRMError("known"), 1),
        (errors.OverwriteError("known"), 1),
        (errors.UsageError("known"), 2),
        (errors.BackendError("known"), 2),
        (errors.MissingExtraError("known"), 3),
        (errors.RejectedInputError("known"), 4),
        (errors.CheckpointError("known"), 4),
        (errors.ParityError("known"), 5),
        (OSError(28, "No space left on device", "known"), 1),
        (MemoryError(), 1),
        (ValueError("known"), 1),
        (KeyboardInterrupt(), 130),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else str(value),
)
def test_exit_codes(
    error: BaseException,
    code: int,
    failing: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    failing(error)
    assert run(["inspect", "x.keras"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.splitlines()) == 1
    assert "Traceback" not in captured.err
    assert run(["inspect", "x.keras", "--json"]) == code
    captured = capsys.readouterr()
    assert captured.err == ""
    document = json.loads(captured.out)
    assert set(document) == {"error"}
    assert document["error"]["exit_code"] == code
    assert document["error"]["type"] == type(error).__name__


def test_all_problems_are_listed(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    failing(errors.CheckpointError("a.keras: refused:", ["first", "second"]))
    assert run(["inspect", "a.keras"]) == 4
    assert capsys.readouterr().err == "Error: a.keras: refused:\n  - first\n  - second\n"
    run(["inspect", "a.keras", "--json"])
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["message"], error["problems"]) == ("a.keras: refused:", ["first", "second"])


def test_messages_are_neither_markup_nor_terminal_codes(
    failing: Callable[[BaseException], None], capsys: pytest.CaptureFixture[str]
) -> None:
    name = "[bold red]dir[/]/[link=x]" + "long/" * 40 + "\x1b[2J\x07.keras"
    failing(errors.RejectedInputError(f"{name}: refused"))
    run(["inspect", "x.keras"])
    spelled = name.replace("\x1b", "\\x1b").replace("\x07", "\\x07")
    assert capsys.readouterr().err == f"Error: {spelled}: refused\n"


def test_a_traceback_on_demand(
    failing: Callable[[BaseException], None],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing(ZeroDivisionError("oops"))
    assert run(["inspect", "x.keras"]) == 1
    assert (
        f"Unexpected ZeroDivisionError: oops. This is a bug; {DEBUG}=1" in capsys.readouterr().err
    )
    monkeypatch.setenv(DEBUG, "")  # so that the option's change is undone
    assert run(["--debug", "inspect", "x.keras"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_command_may_choose_its_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import typer

    def inspect_file(path: Path, trusted: object) -> None:
        raise typer.Exit(errors.ParityError.exit_code)

    monkeypatch.setattr("trm_export.artifacts.inspection.inspect_file", inspect_file)
    assert run(["inspect", "x.keras"]) == 5
    assert capsys.readouterr() == ("", "")


# --- as a process ---------------------------------------------------------------------------------


def test_the_launcher_and_the_entry_point_are_one(tiny_keras: Path) -> None:
    by_launcher = subprocess.run([*LAUNCHER, "inspect", str(tiny_keras)], capture_output=True)
    entry = "from trm_export.commands import main; main()"
    command = [sys.executable, "-c", entry, "inspect", str(tiny_keras)]
    by_entry = subprocess.run(command, capture_output=True, cwd=ROOT)
    assert by_launcher.returncode == by_entry.returncode == 0
    assert by_launcher.stdout == by_entry.stdout


def test_a_reader_that_leaves_is_no_error(tiny_keras: Path) -> None:
    command = [*LAUNCHER, "inspect", "--json", str(tiny_keras)]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as pipe:
        done = subprocess.run(command, stdout=pipe, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("as_json", ["", "--json"])
@pytest.mark.parametrize(
    ("where", "code", "said"),
    [
        (">&-", 1, "Error: Standard output cannot be written: it is closed.\n"),
        (">&- 2>&-", 1, ""),
        ("| true", 0, ""),
        (">/dev/full", 1, "Error: Standard output cannot be written: No space left on device.\n"),
    ],
)
def test_where_output_goes(
    tmp_path: Path, where: str, code: int, said: str, as_json: str, unbuffered: str
) -> None:
    if "/dev/full" in where and not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    path = tmp_path / "toy.onnx.json"
    path.write_text(make_contract().to_json())
    words = shlex.join([*LAUNCHER, "inspect", str(path)])
    script = f"set -o pipefail; {words} {as_json} {where}"
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (code, said)
    until = time.monotonic() + 20
    while left := running(str(path)):
        assert time.monotonic() < until, left
        time.sleep(0.05)


def running(word: str) -> list[str]:
    """The processes with this in their command line; none where there is no /proc."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found += [line] if word in line and "bash" not in line else []
    return found


def test_the_device_knows_the_commands_of_the_host() -> None:
    from trm_runtime.solve_command import HOST_COMMANDS

    assert sorted(HOST_COMMANDS) == sorted([*COMMANDS, "export"])


def test_commands_are_what_the_application_offers() -> None:
    assert [command.name for command in app.registered_commands] == list(COMMANDS)
    assert app_module.TOOL == "trm-export"
