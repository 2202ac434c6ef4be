"""A format is one file and one line: a toy one, made here, goes through everything there is."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import trm_runtime
from trm_export import TRM, files
from trm_export.artifacts.contract_rewrite import embedded_contract, rewrite
from trm_export.artifacts.host_kinds import HOST_KINDS, HostKind
from trm_export.artifacts.inspection import ContractInfo, inspect_file
from trm_export.artifacts.sidecar import sidecar_state
from trm_export.checkpoints.loading import load_model
from trm_export.commands.support.app import run
from trm_export.errors import OverwriteError, RejectedInputError, UsageError
from trm_export.exporters.choices import FORMATS, Choices, target_name
from trm_export.exporters.export import export, format_named
from trm_export.exporters.format import Format, Job
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_runtime import open_runner, solve
from trm_runtime.contract import StepContract
from trm_runtime.doctor import examine
from trm_runtime.file_kinds import KINDS, Engine, FileKind, kind_of
from trm_runtime.measure import load_engine as measured_engine
from trm_runtime.parity import check
from trm_runtime.runner import StepOutput

# --- the new file: what a format is made of ------------------------------------------------------

MODELS: dict[str, Any] = {}  # by digest of the weights: a toy file runs on the model itself
HERE = __name__


def load_engine() -> ModuleType:
    return json


class ToyRunner:
    """A driver: the contract comes from the file, the numbers from Keras."""

    def __init__(self, path: Path, *, threads: int | None = None, optimised: bool = True) -> None:
        text = read_contract(Path(path))
        self.contract = StepContract.from_json(text, f"{path}: its step contract")
        self._keras = MODELS[self.contract.made_by.weights_sha256]

    def step(self, inputs: Mapping[str, Any], carry: Mapping[str, Any]) -> StepOutput:
        output: StepOutput = self._keras.step(inputs, carry)
        return output


class OtherRunner(ToyRunner):
    """A second engine for the same files."""


def read_contract(path: Path) -> str:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return str(document["trm_contract"])
    except (OSError, ValueError, KeyError) as error:
        raise RejectedInputError(f"{path}: not a toy file: {error}") from error


def replace_contract(path: Path, contract: str) -> None:
    path.write_text(json.dumps({"trm_contract": contract}), encoding="utf-8")


def inspect_toy(path: Path) -> ContractInfo:
    contract = StepContract.from_json(read_contract(path), str(path))
    size = files.size_on_disk(path)
    return ContractInfo("toy", str(path), size, contract, sidecar_state(path, contract))


def write(job: Job, path: Path) -> None:
    MODELS[job.contract.made_by.weights_sha256] = job.shared.runner
    replace_contract(path, job.contract.to_json())


def refusals(job: Job) -> Iterator[str]:
    if job.contract.precision != "fp32":
        yield "toy: knows fp32 only."


FORMAT = Format("toy", (), write, rolls=lambda contract: False, refusals=refusals)

# --- the new lines -------------------------------------------------------------------------------

FIRST = Engine(f"{HERE}:ToyRunner", "toy", ("no-such-distribution",))
SECOND = Engine(f"{HERE}:OtherRunner", "other", ("numpy",), can_be_plain=False)
TOY = FileKind("toy", "Toy", ".toy", (FIRST,), f"{HERE}:read_contract", f"{HERE}:replace_contract")
HOST_TOY = HostKind(TOY, ("keras",), f"{HERE}:inspect_toy", f"{HERE}:FORMAT")


@pytest.fixture(scope="module")
def model(tiny_keras: Path) -> TRM:
    return load_model(tiny_keras)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "toy", TOY)
    monkeypatch.setitem(HOST_KINDS, "toy", HOST_TOY)


@pytest.fixture
def made(toy: None, model: TRM, tmp_path: Path) -> Path:
    return export(model, tmp_path / "m.toy", probe_puzzles(model, 4), format_named("toy")).path


# --- what then works -----------------------------------------------------------------------------


def test_it_is_exported_checked_and_opened(made: Path) -> None:
    runner = open_runner(made)
    assert isinstance(runner, ToyRunner)
    assert solve(runner, np.ones((2, runner.contract.inputs[0].shape[1]), np.int32))
    assert made.with_name("m.toy.json").read_text() == read_contract(made)


def test_parity_judges_it(made: Path, model: TRM) -> None:
    golden = Shared(model).golden(probe_puzzles(model, 4))
    result = check(golden, open_runner(made), steps_only=True)
    assert result.passed, result.verdict


def test_its_refusals_and_its_suffix_are_kept(toy: None, model: TRM, tmp_path: Path) -> None:
    kind, puzzles = format_named("toy"), probe_puzzles(model, 2)
    with pytest.raises(UsageError, match="knows fp32 only"):
        export(model, tmp_path / "m.toy", puzzles, kind, Choices("fp16"))
    with pytest.raises(UsageError, match=r"must end in \.toy"):
        export(model, tmp_path / "m.onnx", puzzles, kind)
    assert target_name("m", "toy", Choices()) == "m.toy"
    assert "toy" in FORMATS


def test_inspection_knows_it(made: Path) -> None:
    info = inspect_file(made)
    assert isinstance(info, ContractInfo)
    assert (info.kind, info.sidecar) == ("toy", "same")


def test_the_command_shows_it(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(made)]) == 0
    assert ".toy" in capsys.readouterr().out


def test_its_contract_is_rewritten(made: Path) -> None:
    before = embedded_contract(made)
    halt = dataclasses.replace(before.halt, threshold=0.25)
    rewrite(made, dataclasses.replace(before, halt=halt), made)
    assert open_runner(made).contract.halt.threshold == 0.25
    assert inspect_file(made).to_json()["sidecar"] == "same"


def test_it_is_ours_and_others_are_not_replaced(made: Path, tmp_path: Path) -> None:
    assert files.is_ours(made)
    foreign = tmp_path / "foreign.toy"
    foreign.write_text("{}")
    with pytest.raises(OverwriteError):
        files.refuse_overwrite(foreign)


def test_doctor_says_what_to_install(toy: None) -> None:
    report = examine()
    assert [e.name for e in report.engines if e.opens == ".toy"] == ["no-such-distribution"]
    assert '.toy: pip install "trm-runtime[toy]"' in report.missing


def test_messages_name_it(toy: None, tmp_path: Path) -> None:
    with pytest.raises(RejectedInputError, match=r"SavedModel or a \.toy file"):
        open_runner(tmp_path / "m.xyz")
    (tmp_path / "m.xyz").touch()
    with pytest.raises(RejectedInputError, match=r"\.tflite, \.toy or \.json file"):
        inspect_file(tmp_path / "m.xyz")
    with pytest.raises(UsageError, match="choose from saved-model, onnx, tflite, toy"):
        format_named("tory")


def test_a_second_engine_is_one_line(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(KINDS, "toy", dataclasses.replace(TOY, engines=(FIRST, SECOND)))
    assert isinstance(open_runner(made), OtherRunner), "the first is not installed"
    with pytest.raises(UsageError, match=r"numpy cannot run a \.toy file without optimisation"):
        open_runner(made, optimised=False)
    assert [e.name for e in examine().engines if e.opens == ".toy"] == [
        "no-such-distribution", "numpy",
    ]  # fmt: skip
    assert not [line for line in examine().missing if line.startswith(".toy")]


@pytest.mark.parametrize(
    ("file", "distribution"),
    [
        ("any.onnx", "onnxruntime-gpu"), ("any.onnx", "onnxruntime-directml"),
        ("any.tflite", "ai-edge-litert-nightly"), ("folder", "tf-nightly"),
    ],
)  # fmt: skip
def test_an_engine_of_another_distribution_is_named(
    file: str, distribution: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    versions = {distribution: "1.20", "openvino": "2026.4"}
    for module in ("file_kinds", "measure"):
        monkeypatch.setattr(f"trm_runtime.{module}.installed_version", versions.get)
    path = tmp_path / file
    if file == "folder":
        path.mkdir()
        (path / "saved_model.pb").touch()
    assert measured_engine(path) == f"{distribution} 1.20"
    assert measured_engine(path, distribution) == f"{distribution} 1.20"
    with pytest.raises(UsageError, match=rf"is no engine for .*; choose from {distribution}[,.]"):
        measured_engine(path, "x")
    preferred = kind_of(path).engines[0].name
    with pytest.raises(UsageError, match=f"{preferred} is not used where {distribution} is inst"):
        measured_engine(path, preferred)


# --- the tables themselves -----------------------------------------------------------------------


def test_every_name_in_the_tables_is_there() -> None:
    for kind in KINDS.values():
        for reference in (kind.read, kind.replace, *(engine.driver for engine in kind.engines)):
            module, _, name = reference.partition(":")
            assert hasattr(importlib.import_module(module), name), reference
        assert all(hasattr(engine, "load_driver") for engine in kind.engines)
    for host in HOST_KINDS.values():
        references = (host.inspector, host.exporter, host.walker)
        assert all(host.load(reference) is not None for reference in references)
        assert host.load(host.exporter).name == host.file.name
        assert host.twin in HOST_KINDS


def test_both_tables_hold_the_same_kinds() -> None:
    assert {name: kind.file for name, kind in HOST_KINDS.items()} == KINDS


def test_doctor_names_extras_that_there_are() -> None:
    import tomllib

    text = Path(files.__file__).parents[1].joinpath("runtimes", "pyproject.toml").read_text()
    extras = tomllib.loads(text)["project"]["optional-dependencies"]
    assert {engine.extra for kind in KINDS.values() for engine in kind.engines} <= set(extras)


def test_listing_kinds_loads_nothing() -> None:
    code = (
        "import sys, trm_runtime.file_kinds, trm_export.artifacts.host_kinds, "
        "trm_export.exporters.choices\n"
        "print(sorted({n.partition('.')[0] for n in sys.modules} - sys.stdlib_module_names))\n"
        "print([n for n in sys.modules if n.startswith('trm_runtime.drivers.')])"
    )
    path = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    loaded, drivers = done.stdout.splitlines()
    assert set(json.loads(loaded.replace("'", '"'))) <= {"__main__", "trm_export", "trm_runtime"}
    assert drivers == "[]"


def test_no_other_module_knows_a_suffix() -> None:
    """Suffixes of kinds stand in the tables alone; messages and comments may name them."""
    roots = (Path(files.__file__).parent, Path(trm_runtime.__file__).parent)
    quoted = [f'"{kind.suffix}"' for kind in KINDS.values() if kind.suffix]
    known = {
        file.name
        for root in roots
        for file in root.rglob("*.py")
        if any(word in file.read_text(encoding="utf-8") for word in quoted)
    }
    assert known == {"file_kinds.py"}


def test_a_folder_is_known_by_what_is_in_it(tmp_path: Path) -> None:
    folder = tmp_path / "m.onnx"
    folder.mkdir()
    (folder / "saved_model.pb").touch()
    assert kind_of(folder) is KINDS["saved-model"]
