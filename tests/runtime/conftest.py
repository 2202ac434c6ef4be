"""One test body, every engine: the toy model as numpy and as ONNX."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.runtime.fakes import FakeRunner, make_contract
from tests.runtime.graphs import build, write
from trm_runtime import StepRunner, open_runner

MakeRunner = Callable[..., StepRunner]


@pytest.fixture(params=["numpy", "onnx"])
def make_runner(request: pytest.FixtureRequest, tmp_path: Path) -> MakeRunner:
    """make_runner(**contract fields) -> the toy model on the engine of this parameter."""

    def make(**fields: Any) -> StepRunner:
        contract = make_contract(**fields)
        if request.param == "numpy":
            return FakeRunner(contract)
        pytest.importorskip("onnxruntime")
        return open_runner(write(tmp_path / "toy.onnx", build(contract)), threads=1)

    return make


@pytest.fixture
def toy_onnx(tmp_path: Path) -> Path:
    """The toy model as a sound ONNX file."""
    return write(tmp_path / "toy.onnx")
