"""One small Keras model of each mixer, and its healthy ONNX export, for the whole session."""

from __future__ import annotations

import copy
import dataclasses
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.graphs import write
from trm_runtime import StepContract, StepRunner
from trm_runtime.drivers.onnxruntime import OnnxRunner

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

MIXERS = ("attention", "mlp")
H_CYCLES = 2


@dataclass(frozen=True)
class Exported:
    """A model, its step as a runner, and its export as a protobuf."""

    mixer: str
    model: Any
    reference: StepRunner
    proto: Any
    folder: Path

    def converted(self, model: Any) -> Any:
        """Another model, exported under the contract of this one."""
        return converted(model, self.reference.contract)

    def opened(self, proto: Any) -> StepRunner:
        """A runner for a protobuf, by way of a file as on a device."""
        path = write(self.folder / "step.onnx", proto)
        return OnnxRunner(path, threads=1)


Exports = Callable[[str], Exported]


def converted(model: Any, contract: StepContract) -> Any:
    """The model as an ONNX protobuf under this contract."""
    from trm_export.exporters.export import format_named, plan
    from trm_export.exporters.onnx import convert
    from trm_export.exporters.probe import probe_puzzles

    job = plan(model, probe_puzzles(model), format_named("onnx"))
    return convert(dataclasses.replace(job, contract=contract))


def small_model(mixer: str, *, h_cycles: int = H_CYCLES) -> Any:
    """Hidden 32, 17 positions, 4 steps of 2 x 2 passes; random weights, the q head's too."""
    import keras

    from trm_export.model import TRM
    from trm_export.tasks import get_task

    keras.utils.set_random_seed(7)
    model = TRM(
        *(6, 32, 4, 2.0, 16),
        family="paper",
        puzzle_emb_len=1,
        mixer=mixer,
        pos_encodings="rope" if mixer == "attention" else "none",
        h_cycles=h_cycles,
        l_layers=1,
        h_layers=1,
        halt_max_steps=4,
        alphabet=get_task("sudoku4").alphabet,
    )
    model.inner.q_head.kernel.assign(np.random.default_rng(0).normal(0, 0.3, (32, 2)))
    return model


@pytest.fixture(scope="session")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Exports:
    """The healthy export of a model with that mixer, made once; tests change copies of it."""

    @functools.cache
    def export(mixer: str) -> Exported:
        from trm_export.step.keras_runner import KerasRunner

        model = small_model(mixer)
        reference = KerasRunner(model)
        folder = tmp_path_factory.mktemp(mixer)
        return Exported(mixer, model, reference, converted(model, reference.contract), folder)

    return export


@pytest.fixture(params=MIXERS)
def exported(request: pytest.FixtureRequest, exports: Exports) -> Exported:
    """Every healthy export in turn."""
    return exports(request.param)


@pytest.fixture(scope="session")
def files(exports: Exports, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """A model, its export, and an export with a wrong weight."""
    exported = exports("mlp")
    folder = tmp_path_factory.mktemp("command")
    model, good, bad = (folder / name for name in ("m.keras", "good.onnx", "bad.onnx"))
    exported.model.save(model)
    write(good, exported.proto)
    from tests.parity.faults import one_weight_off_by_5_percent

    broken = copy.deepcopy(exported.proto)
    one_weight_off_by_5_percent(exported, broken)
    write(bad, broken)
    return str(model), str(good), str(bad)
