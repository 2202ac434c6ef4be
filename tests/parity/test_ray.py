"""A comparison that is spread over a Ray cluster: the same bytes as in one process."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.parity.fakes import toy_puzzles
from tests.runtime.fakes import FakeRunner
from tests.runtime.graphs import write
from trm_export import leftovers
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support.app import run
from trm_export.errors import MissingExtraError
from trm_export.files import sha256_file
from trm_export.parity import ray_engine
from trm_runtime.parity import GoldenOrigin, record, recorder
from trm_runtime.parity.golden_file import write_golden

pytest.importorskip("onnxruntime")

MODEL = shipped_checkpoint("sudoku4")
ROOT = Path(__file__).parents[2]
needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason='Ray is not installed: pip install "trm-export[ray]"',
)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Judges an export against sixty toys in chunks of twenty."""
    monkeypatch.setattr(recorder, "CHUNK", 20)
    about = GoldenOrigin("toys", None, {"model_sha256": sha256_file(MODEL)}, None)
    golden, artifact = tmp_path / "toy.npz", write(tmp_path / "toy.onnx")
    with golden.open("wb") as file:
        write_golden(file, record(FakeRunner(), toy_puzzles(60, unsettled=(3,)), about=about))
    return ["parity", str(MODEL), str(artifact), "--golden", str(golden)]


def in_a_process(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Ray leaves threads and open files behind, which are none of these tests' concern."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "runtimes"), os.environ.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "trm_export", *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )


@needs_ray
def test_a_cluster_gives_the_same_bytes_and_keeps_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "CHUNK", 20)
    golden, file = str(tmp_path / "model.npz"), str(tmp_path / "model.onnx")
    here, there = tmp_path / "here.json", tmp_path / "there.json"
    assert run(["onnx", str(MODEL), "-o", file]) == 0
    assert run(["reference", str(MODEL), "--count", "60", "-o", golden]) == 0
    command = ["parity", str(MODEL), file, "--golden", golden]
    assert run([*command, "-o", str(here)]) == 0
    found = in_a_process([*command, "-o", str(there), "--ray", "local"])
    if "Ray cannot be started here" in found.stderr:
        pytest.skip(found.stderr)
    assert (found.returncode, found.stderr) == (0, "")
    assert there.read_bytes() == here.read_bytes()
    assert not list(Path(tempfile.gettempdir()).glob("trm-export-*"))


@needs_ray
def test_a_cluster_that_is_not_there_is_said_so(command: list[str], tmp_path: Path) -> None:
    found = in_a_process([*command, "-o", str(tmp_path / "x.json"), "--ray", "127.0.0.1:1"])
    assert found.returncode == 1
    assert found.stderr.startswith("Error: Ray cannot be reached at 127.0.0.1:1: ")
    assert found.stderr.count("\n") == 1


def test_where_a_cluster_answers_and_refuses_a_token_may_be_missing(
    command: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuses(**_: object) -> None:
        raise ConnectionError("Failed to connect to the cluster")

    refusing = SimpleNamespace(init=refuses, shutdown=lambda: None)
    monkeypatch.setattr("trm_export.parity.ray_engine.require_ray", lambda: refusing)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert run([*command, "--ray", f"127.0.0.1:{server.getsockname()[1]}"]) == 1
    assert "Failed to connect to the cluster; for a cluster with a token" in capsys.readouterr().err


@pytest.mark.parametrize(
    "address",
    [
        "nonsense", "", ":6379", "10.0.0.1:port", "10.0.0.1:0", "head:99999", "ray://head",
        "http://127.0.0.1:8265", "anyscale://x", "10.0.0.1:6379:1", " :1", "a b:1", "head:1 ",
        "://head:1", "head:٦٣٧٩", "head:" + "1" * 20,
    ],
)  # fmt: skip
def test_what_is_no_address_is_a_wrong_option(
    address: str, command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*command, "--ray", address]) == 2
    said = capsys.readouterr().err
    assert said.startswith("Error: --ray: expected local, auto, HOST:PORT or ray://HOST:PORT, ")
    assert said.endswith(f"got {address!r}.\n")


@pytest.mark.parametrize("address", ["local", "auto", "head:6379", "ray://head:10001", "[::1]:1"])
def test_an_address_is_left_to_ray(address: str) -> None:
    ray_engine.refuse_address(address)


def test_ray_reports_nothing_of_what_it_is_started_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def started(**_: object) -> None:
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        raise ConnectionError("seen")

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    fake = SimpleNamespace(init=started, shutdown=lambda: None)
    with pytest.raises(ray_engine.ClusterError, match="Ray cannot be started here: seen"):
        ray_engine._join(fake, ray_engine.LOCAL)  # type: ignore[arg-type]


def test_a_signal_ends_what_ray_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = list[str]()

    def started(**_: object) -> None:
        leftovers.clear()  # as a signal does
        assert ended == ["by the signal"]
        raise ConnectionError("seen")

    fake = SimpleNamespace(init=started, shutdown=lambda: ended.append("by the signal"))
    monkeypatch.setattr(ray_engine, "require_ray", lambda: fake)
    with pytest.raises(ray_engine.ClusterError, match="seen"):
        next(ray_engine.over_ray(Any, Any, [0], Any, address=ray_engine.LOCAL))  # type: ignore[arg-type]


def test_without_ray_one_sentence_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(module: str, extra: str, distribution: str) -> None:
        raise MissingExtraError(f'install it with: pip install "{distribution}[{extra}]"')

    monkeypatch.setattr("trm_export.parity.ray_engine.load_extra", missing)
    assert run(["parity", str(MODEL), "m.onnx", "--ray", "local"]) == 3
    assert 'pip install "trm-export[ray]"' in capsys.readouterr().err
    assert run(["parity", str(MODEL), "m.onnx", "--ray", "local", "--jobs", "2"]) == 2
    assert "leave it out with --ray" in capsys.readouterr().err
