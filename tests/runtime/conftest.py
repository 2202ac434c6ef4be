"""One test body, every engine: the toy model as numpy, ONNX, TFLite and SavedModel."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.fakes import FakeRunner, make_contract
from tests.runtime.graphs import build, write
from tests.runtime.tf_graphs import write_saved_model, write_tflite
from trm_runtime import StepRunner, open_runner

MakeRunner = Callable[..., StepRunner]


ENGINES = {
    "numpy": (),
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
    "litert": ("ai_edge_litert", "tensorflow"),  # the second makes the file
    "saved_model": ("tensorflow",),
}


@pytest.fixture(params=list(ENGINES))
def make_runner(request: pytest.FixtureRequest, tmp_path: Path) -> MakeRunner:
    """make_runner(**contract fields) -> the toy model on the engine of this parameter."""
    for package in ENGINES[request.param]:
        if importlib.util.find_spec(package) is None:  # importing openvino sends telemetry
            pytest.skip(f"{package} is not installed")

    def make(**fields: Any) -> StepRunner:
        contract = make_contract(**fields)
        if request.param == "numpy":
            return FakeRunner(contract)
        if request.param == "onnx":
            return open_runner(write(tmp_path / "toy.onnx", build(contract)), threads=1)
        if request.param == "openvino":
            path = write(tmp_path / "toy.onnx", build(contract))
            return open_runner(path, threads=1, engine="openvino")
        if request.param == "litert":
            return open_runner(write_tflite(tmp_path / "toy.tflite", contract), threads=1)
        return open_runner(write_saved_model(tmp_path / "toy", contract))

    return make


@pytest.fixture
def toy_onnx(tmp_path: Path) -> Path:
    """The toy model as a sound ONNX file."""
    return write(tmp_path / "toy.onnx")


@pytest.fixture
def toy_tflite(tmp_path: Path) -> Path:
    """The toy model as a sound TFLite file."""
    pytest.importorskip("tensorflow")
    return write_tflite(tmp_path / "toy.tflite")


@pytest.fixture
def toy_saved_model(tmp_path: Path) -> Path:
    """The toy model as a sound SavedModel."""
    pytest.importorskip("tensorflow")
    return write_saved_model(tmp_path / "toy")
