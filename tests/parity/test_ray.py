"""A comparison that is spread over a Ray cluster: the same bytes as in one process."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from functools import partial
from pathlib import Path

import pytest

from tests.parity.fakes import toy_puzzles
from tests.runtime.fakes import FakeRunner
from tests.runtime.graphs import write
from trm_export.commands.app import run
from trm_export.errors import MissingExtraError
from trm_export.parity.checking import Check, Spread, check_files, here
from trm_export.parity.parts import Parts
from trm_export.parity.ray_engine import LOCAL, ClusterError, over_ray
from trm_export.shipped import shipped_checkpoint
from trm_runtime.parity import record
from trm_runtime.parity.golden_file import write_golden
from trm_runtime.plain import plain

pytest.importorskip("onnxruntime")

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None,
    reason='Ray is not installed: pip install "trm-export[ray]"',
)


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Sixty toys in chunks of twenty, and an export that fits."""
    recording = importlib.import_module("trm_runtime.parity.record")
    monkeypatch.setattr(recording, "CHUNK", 20)
    with (tmp_path / "toy.npz").open("wb") as file:
        write_golden(file, record(FakeRunner(), toy_puzzles(60, unsettled=(3,))))
    return Check(tmp_path / "toy.npz", write(tmp_path / "toy.onnx"))


def said(asked: Check, parts: Path, spread: Spread) -> str:
    (result,) = check_files([asked], Parts(parts, {}), spread=spread)
    return json.dumps(plain(result.to_json()))


@needs_ray
@pytest.mark.filterwarnings("ignore")  # Ray's own
def test_a_cluster_gives_the_same_bytes_and_keeps_no_files(asked: Check, tmp_path: Path) -> None:
    wanted = said(asked, tmp_path / "here", here)
    found = said(asked, tmp_path / "there", partial(over_ray, address=LOCAL))
    assert found == wanted
    assert not list(Path(tempfile.gettempdir()).glob("trm-export-*"))


@needs_ray
@pytest.mark.filterwarnings("ignore")
def test_a_cluster_that_is_not_there_is_said_so(asked: Check, tmp_path: Path) -> None:
    spread = partial(over_ray, address="127.0.0.1:1")
    with pytest.raises(ClusterError, match=r"cannot be reached at 127.0.0.1:1: .*refused"):
        said(asked, tmp_path / "parts", spread)


def test_without_ray_one_sentence_says_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(module: str, extra: str, distribution: str) -> None:
        raise MissingExtraError(f'install it with: pip install "{distribution}[{extra}]"')

    monkeypatch.setattr("trm_export.parity.ray_engine.load_extra", missing)
    model = str(shipped_checkpoint("sudoku4"))
    assert run(["parity", model, "m.onnx", "--ray", "local"]) == 3
    assert 'pip install "trm-export[ray]"' in capsys.readouterr().err
    assert run(["parity", model, "m.onnx", "--ray", "local", "--jobs", "2"]) == 2
    assert "leave it out with --ray" in capsys.readouterr().err
