"""Big comparisons: spread over processes, killed, interrupted and gone on with; the same bytes."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.parity.fakes import toy_puzzles
from tests.runtime.fakes import FakeRunner
from tests.runtime.graphs import write
from tests.terminal import open_terminal
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support.app import run
from trm_export.errors import RejectedInputError
from trm_export.files import atomic_write, sha256_file
from trm_export.parity import checking, processes
from trm_export.parity.checking import Check, Spread, check_files, here
from trm_export.parity.parts import Parts
from trm_export.parity.processes import WorkerDiedError, over_processes
from trm_runtime.json_values import plain
from trm_runtime.open import open_runner
from trm_runtime.parity import GoldenOrigin, ParityResult, check, record, recorder
from trm_runtime.parity.golden_file import read_golden, write_golden
from trm_runtime.parity.ladder import REFILLED

pytest.importorskip("onnxruntime")


MODEL = shipped_checkpoint("sudoku4")
ROOT = Path(__file__).parents[2]
PUZZLES, CHUNK = 600, 10
WAIT = 120.0  # seconds, for a machine that has much else to do


@dataclass(frozen=True)
class Toy:
    """A golden of many small chunks, said to be of MODEL, and an export that fits it."""

    golden: Path
    artifact: Path

    def command(self, output: Path, *more: str) -> list[str]:
        words = ["parity", MODEL, self.artifact, "--golden", self.golden, "-o", output, *more]
        return list(map(str, words))


UNWEIGHED = (
    "import trm_export.api.comparing as comparing",
    "comparing.with_weights = lambda source, files, gated, tell: files",
)
"""The toy is not an export of MODEL, which the rung of weights would find at once."""


@pytest.fixture(autouse=True, scope="module")
def unweighed() -> Iterator[None]:
    from trm_export.api import comparing

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(comparing, "with_weights", lambda source, files, gated, tell: files)
        yield


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Toy:
    folder = tmp_path_factory.mktemp("toy")
    about = GoldenOrigin("toys", None, {"model_sha256": sha256_file(MODEL)}, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recorder, "CHUNK", CHUNK)
        golden = record(FakeRunner(), toy_puzzles(PUZZLES, unsettled=(3, 77)), about=about)
    with atomic_write(folder / "toy.npz") as new, new.open("wb") as file:
        write_golden(file, golden)
    return Toy(folder / "toy.npz", write(folder / "toy.onnx"))


@pytest.fixture(scope="module")
def whole(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The document of a command that nothing disturbs."""
    output = tmp_path_factory.mktemp("whole") / "out.json"
    assert run(toy.command(output)) == 0
    assert names(output.parent) == ["out.json"]
    return output.read_bytes()


def as_json(results: Sequence[ParityResult]) -> list[str]:
    return [json.dumps(plain(result.to_json())) for result in results]


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def counted(measured: list[int]) -> Spread:
    """`here`, noting what it measures."""

    def spread(check: Check, sides: Any, numbers: Sequence[int], units: Any) -> Any:
        measured.extend(numbers)
        return here(check, sides, numbers, units)

    return spread


# --- what is spread ------------------------------------------------------------------------------


def checked(toy: Toy, checks: Sequence[Check], parts: Parts, **options: Any) -> Any:
    return check_files(read_golden(toy.golden), checks, parts, **options)


def test_parts_say_what_a_direct_check_says(toy: Toy, tmp_path: Path) -> None:
    direct = check(read_golden(toy.golden), open_runner(toy.artifact, 1))
    found = list(
        check_files(
            read_golden(toy.golden), [Check(toy.golden, toy.artifact)], Parts(tmp_path / "p", {})
        )
    )
    assert as_json(found) == as_json([direct])


def test_two_processes_give_the_same_bytes(toy: Toy, whole: bytes, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    assert run(toy.command(output, "--jobs", "2")) == 0
    assert output.read_bytes() == whole
    assert names(tmp_path) == ["out.json"]


@pytest.mark.parametrize("spread", [here, partial(over_processes, jobs=2)])
def test_progress_never_goes_back_and_ends_with_all(
    spread: Spread, toy: Toy, tmp_path: Path
) -> None:
    shares: list[float] = []
    checks = [Check(toy.golden, toy.artifact)] * 2
    list(
        check_files(
            read_golden(toy.golden),
            checks,
            Parts(tmp_path / "p", {}),
            spread=spread,
            progress=shares.append,
        )
    )
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert len(set(shares)) > 3


def test_files_of_the_same_name_have_parts_of_their_own(toy: Toy, tmp_path: Path) -> None:
    from tests.runtime.graphs import build, numpy_helper

    other = tmp_path / toy.artifact.name
    model = build()
    half = next(w for w in model.graph.initializer if w.name == "half_f")
    half.CopyFrom(numpy_helper.from_array(np.array(-0.5, np.float32), "half_f"))
    write(other, model)
    checks = [Check(toy.golden, path) for path in (toy.artifact, other)]
    good, bad = checked(toy, checks, Parts(tmp_path / "p", {}))
    assert (bool(good), bool(bad)) == (True, False)


def test_many_chunks_are_judged_by_one_thread(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    """How sums are split must not depend on the cores of the machine that measures a part."""
    asked: list[int | None] = []

    def opened(path: Path, threads: int | None, engine: str | None = None) -> Any:
        asked.append(threads)
        return open_runner(path, threads, engine=engine)

    monkeypatch.setattr(checking, "open_runner", opened)
    checking.opened(Check(toy.golden, toy.artifact))
    checking.opened(Check(toy.golden, toy.artifact, threads=2))
    assert asked == [1, 2]


def test_tensorflow_that_runs_already_keeps_its_threads(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A SavedModel is judged where Keras has just recorded, and TensorFlow takes threads once."""
    seen = []

    def opened(path: Path, threads: int | None, engine: str | None = None) -> FakeRunner:
        seen.append(threads)
        return FakeRunner()

    monkeypatch.setattr(checking, "open_runner", opened)
    for running, said in ((True, None), (False, None), (True, 2)):
        if running:
            monkeypatch.setitem(sys.modules, "tensorflow", object())
        else:
            monkeypatch.delitem(sys.modules, "tensorflow")
        checking.opened(Check(toy.golden, tmp_path, threads=said))
    assert seen == [None, 1, 2]


def test_an_error_of_a_process_is_the_error(toy: Toy, tmp_path: Path) -> None:
    copy = tmp_path / "toy.npz"
    shutil.copy(toy.golden, copy)
    asked = Check(copy, toy.artifact)
    sides = checking.opened(asked)
    copy.write_bytes(b"gone bad")
    with pytest.raises(RejectedInputError, match=r"toy.npz: not a golden, or a damaged one"):
        list(over_processes(asked, sides, [REFILLED, 0], lambda done: None, jobs=2))


def dies(pipe: Any, parent: int) -> None:
    os._exit(9)


def crashes(pipe: Any, parent: int) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def test_an_engine_that_crashes_in_a_process_is_named(
    toy: Toy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "work", crashes)
    asked = Check(toy.golden, toy.artifact)
    sides = checking.opened(asked)
    with pytest.raises(RejectedInputError, match=r"toy.onnx: the process .* crashed \(SIGSEGV\)"):
        list(over_processes(asked, sides, [REFILLED, 0], lambda done: None, jobs=2))


def test_a_process_that_dies_is_said_so(
    toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes, "work", dies)
    spread = partial(over_processes, jobs=2)
    with pytest.raises(
        WorkerDiedError, match="A worker process died, perhaps because memory ran out"
    ):
        list(
            check_files(
                read_golden(toy.golden),
                [Check(toy.golden, toy.artifact)],
                Parts(tmp_path / "p", {}),
                spread=spread,
            )
        )
    assert run(toy.command(tmp_path / "out.json", "--jobs", "2")) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: A worker process died")
    assert said.count("\n") == 1


# --- what is kept --------------------------------------------------------------------------------


def test_only_what_is_missing_is_measured(toy: Toy, tmp_path: Path) -> None:
    parts, asked = Parts(tmp_path / "p", {}), Check(toy.golden, toy.artifact)
    first: list[int] = []
    again: list[int] = []
    wanted = as_json(list(checked(toy, [asked], parts, spread=counted(first))))
    assert first == [REFILLED, *range(PUZZLES // CHUNK)]
    folder = parts.folder / asked.folder
    (folder / "part-00003.npz").unlink()
    damaged = folder / "part-00005.npz"
    damaged.write_bytes(damaged.read_bytes()[:-40] + bytes(40))
    shares: list[float] = []
    results = check_files(
        read_golden(toy.golden), [asked], parts, spread=counted(again), progress=shares.append
    )
    assert as_json(list(results)) == wanted
    assert again == [2, 4]
    assert shares[0] > 0.9


def test_another_job_uses_no_part(toy: Toy, tmp_path: Path, whole: bytes) -> None:
    """A kept part that says something else would show, if it were used."""
    output, artifact = tmp_path / "out.json", tmp_path / "toy.onnx"
    shutil.copy(toy.artifact, artifact)
    mine = replace(toy, artifact=artifact)
    stopped_by(signal.SIGKILL, mine.command(output), output)
    kept = json.loads((tmp_path / "out.json.parts" / "job.json").read_text())
    gate = tmp_path / "gate.json"
    gate.write_text('{"based_on": "fp32", "answers": 0.5}')
    with pytest.MonkeyPatch.context() as patch:
        measured = noted(patch)
        assert run(mine.command(output, "--gate", str(gate))) == 0
    assert len(measured) == PUZZLES // CHUNK + 1
    assert json.loads(output.read_bytes())["gates"]["answers"] == 0.5
    assert kept["files"][str(artifact)] == sha256_file(artifact)


# --- killed --------------------------------------------------------------------------------------


def noted(patch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the parts that are measured from now on."""
    numbers: list[int] = []
    real = checking.measured

    def measured(check: Check, sides: Any, number: int, units: Any) -> Any:
        numbers.append(number)
        return real(check, sides, number, units)

    patch.setattr(checking, "measured", measured)
    return numbers


def command_line(command: Sequence[str], *setup: str) -> tuple[list[str], dict[str, str]]:
    """A command of trm-export in a process of its own, after some lines of Python."""
    lines = ["import sys", *UNWEIGHED, *setup, "from trm_export.commands.support.app import run"]
    code = "\n".join([*lines, "sys.exit(run(sys.argv[1:]))"])
    paths = os.pathsep.join([str(ROOT), str(ROOT / "runtimes"), os.environ.get("PYTHONPATH", "")])
    return [sys.executable, "-c", code, *command], {**os.environ, "PYTHONPATH": paths}


def begun(command: Sequence[str], enough: int, folder: Path, *setup: str) -> subprocess.Popen[str]:
    """Runs a command of trm-export until so many parts lie in the folder."""
    words, environment = command_line(command, *setup)
    running = subprocess.Popen(
        words,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    until = time.monotonic() + WAIT
    while len(list(folder.rglob("[!.]*.npz"))) < enough:
        if running.poll() is not None or time.monotonic() > until:
            running.kill()
            raise AssertionError(f"ended too early: {running.communicate()}")
        time.sleep(0.005)
    return running


SLOWLY = (
    "import time",
    "import trm_export.parity.checking as checking",
    "fast = checking.measured",
    "checking.measured = lambda *given: (time.sleep(0.05), fast(*given))[1]",
)


def stopped_by(number: int, command: Sequence[str], output: Path) -> tuple[int, str, str]:
    """Begins a slow command and sends it a signal when some parts are there."""
    running = begun(command, 5, output.with_name(f"{output.name}.parts"), *SLOWLY)
    running.send_signal(number)
    out, err = running.communicate(timeout=WAIT)
    assert not output.exists()
    return running.returncode, out, err


def test_parity_killed_goes_on_to_the_same_bytes(toy: Toy, whole: bytes, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    code, out, _ = stopped_by(signal.SIGKILL, toy.command(output), output)
    assert (code, out) == (-signal.SIGKILL, "")
    kept = len(list(tmp_path.rglob("part-*.npz")))
    with pytest.MonkeyPatch.context() as patch:
        measured = noted(patch)
        assert run(toy.command(output)) == 0
    assert len(measured) == PUZZLES // CHUNK + 1 - kept
    assert output.read_bytes() == whole
    assert names(tmp_path) == ["out.json"]


def test_reference_killed_goes_on_to_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six chunks of ten: two at least are there at the kill, and not recorded again."""
    output, other = tmp_path / "golden.npz", tmp_path / "other" / "golden.npz"
    setup = "import importlib", f"importlib.import_module({recorder.__name__!r}).CHUNK = 10"
    running = begun(reference(output), 2, tmp_path, *setup)
    running.kill()
    running.communicate(timeout=WAIT)
    assert not output.exists()
    monkeypatch.setattr(recorder, "CHUNK", 10)
    recorded: list[int] = []

    def noted(runner: Any, span: range, *given: Any) -> Any:
        recorded.append(span.start)
        return recorder.record_chunk(runner, span, *given)

    monkeypatch.setattr("trm_export.parity.recording.record_chunk", noted)
    assert run(reference(output)) == 0
    assert run(reference(other)) == 0
    assert len(recorded) <= 4 + 6
    assert recorded[-6:] == [0, 10, 20, 30, 40, 50]
    assert output.read_bytes() == other.read_bytes()
    assert [path.name for path in tmp_path.glob("*.parts")] == []


def reference(output: Path) -> list[str]:
    return ["reference", str(MODEL), "-o", str(output), "--count", "60", "--states", "1"]


def test_processes_end_with_the_one_that_began_them(toy: Toy, whole: bytes, tmp_path: Path) -> None:
    output = tmp_path / "out.json"
    running = begun(toy.command(output, "--jobs", "2"), 5, tmp_path)
    group = running.pid  # of its own session
    running.kill()
    running.communicate(timeout=WAIT)
    all_end(group)
    assert run(toy.command(output, "--jobs", "2")) == 0
    assert output.read_bytes() == whole


def all_end(group: int) -> None:
    """Fails if a process of a group goes on."""
    until = time.monotonic() + WAIT
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("a worker outlives its parent")


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_ctrl_c_ends_with_130_and_keeps_the_parts(
    jobs: str, toy: Toy, whole: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "out.json"
    running = begun(toy.command(output, "--jobs", jobs), 5, tmp_path, *SLOWLY)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does
    out, err = running.communicate(timeout=WAIT)
    kept = f"Finished parts are kept in {output}.parts: the same command goes on from there; "
    assert (running.returncode, out) == (130, "")
    assert err == f"Interrupted.\n{kept}delete the folder if you do not need them.\n"
    assert len(list(tmp_path.rglob("part-*.npz"))) >= 5
    all_end(running.pid)
    assert run(toy.command(output)) == 0
    assert output.read_bytes() == whole


def test_a_full_disk_names_the_parts_that_are_kept(tmp_path: Path) -> None:
    import resource

    output, most = tmp_path / "g.npz", 850_000  # bytes: a part fits, the whole does not
    found = subprocess.run(
        [sys.executable, "-m", "trm_export", *reference(output)],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 1
    error, kept = found.stderr.splitlines()[-2:]
    assert "cannot be written: File too large" in error
    assert kept.startswith(f"Finished parts are kept in {output}.parts: the same command goes on")
    assert Path(f"{output}.parts").is_dir()
    assert run(reference(output)) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["g.npz"]


def test_another_folder_makes_no_difference(
    toy: Toy, whole: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(toy.command(Path("out.json"), "--jobs", "2")) == 0
    assert Path("out.json").read_bytes() == whole


def test_a_folder_that_takes_no_file_is_said_so(
    toy: Toy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    assert run(toy.command(tmp_path / "file" / "out.json")) == 1
    said = capsys.readouterr().err
    assert said.startswith("Error: ")
    assert said.count("\n") == 1
    assert "out.json" in said
    assert (tmp_path / "file").read_text() == "no folder"


# --- seen ----------------------------------------------------------------------------------------


def bar(command: Sequence[str], *setup: str) -> list[tuple[int, int | None]]:
    """What the bar of a command shows on a terminal: percent, and seconds left if it knows them."""
    ours, theirs = open_terminal()
    words, environment = command_line(command, *setup)
    environment |= {"TERM": "xterm", "COLUMNS": "100"}
    running = subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=theirs)
    os.close(theirs)
    seen = b""
    with suppress(OSError):  # how a terminal ends whose other side is closed
        while piece := os.read(ours, 1 << 16):
            seen += piece
    os.close(ours)
    assert running.wait(WAIT) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen.decode())
    found = re.findall(r"(\d+)% +(?:(\d+:)?(\d+):(\d+)( left)?)", text)
    return [
        (int(p), int(h[:-1] or 0) * 3600 + int(m) * 60 + int(s) if left else None)
        for p, h, m, s, left in found
    ]


def test_a_terminal_sees_how_far_it_is_and_how_long_it_takes(
    toy: Toy, whole: bytes, tmp_path: Path
) -> None:
    output = tmp_path / "out.json"
    stopped_by(signal.SIGKILL, toy.command(output), output)
    kept = len(list(tmp_path.rglob("part-*.npz"))) / (PUZZLES // CHUNK + 1)
    shown = bar(toy.command(output), *SLOWLY)
    percents = [percent for percent, _ in shown]
    assert percents == sorted(percents)
    begins = next(percent for percent in percents if percent > 0)
    assert begins == pytest.approx(100 * kept, abs=5)
    assert len(set(percents)) > 5
    left = [seconds for _, seconds in shown if seconds is not None]
    assert left
    assert max(left) < WAIT
    assert output.read_bytes() == whole
