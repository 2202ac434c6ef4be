"""What every test shares: a quiet, single-purpose environment, work and one small saved model."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.shared_work import Results, folder_of, sharing

# A shell starts background jobs with SIGINT ignored, and children would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Commands run as in a user's shell: standard output is buffered, and compiled modules are kept.
for name in ("PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"):
    os.environ.pop(name, None)

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # tests import the engine, too


LONGEST = (
    "tests/exporters/test_c_source.py", "tests/commands/test_spine.py",
    "tests/explain/test_explain.py", "tests/test_contract_document.py",
    "tests/parity/test_scale.py", "tests/stored/test_weights_rung.py",
    "tests/exporters/test_export_tflite.py", "tests/training/test_trainer.py",
    "tests/runtime/test_bare_venv.py", "tests/training/test_run.py",
    "tests/third_party/test_exports.py", "tests/step/test_saved_weights.py",
    "tests/parity/test_control.py",
    "tests/commands/test_all_and_bench.py", "tests/commands/test_tune.py",
    "tests/parity/test_few_steps.py", "tests/fuzz/test_readers.py",
    "tests/parity/test_command.py", "tests/parity/test_api.py", "tests/faults/test_interrupts.py",
    "tests/training/test_deadline.py", "tests/runtime/test_servers.py",
    "tests/commands/test_frameworks.py", "tests/commands/test_names.py",
    "tests/exporters/test_export_onnx_precision.py", "tests/api/test_documented.py",
    "tests/training/test_without_tensorflow.py", "tests/fuzz/test_random_models.py",
    "tests/runtime/test_command.py", "tests/faults/test_faults.py", "tests/runtime/test_doctor.py",
    "tests/tasks/test_hard.py", "tests/test_sbom.py", "tests/explain/test_auto_keep.py",
)  # fmt: skip
"""Files whose tests take more than 20 seconds, longest first; `make test` begins with them."""
CONVERTER = "tensorflow.lite.python.lite"
COLLECT = (100_000, 10, 5)
"""Thresholds of garbage collection: about 100 MB of TensorFlow's objects between two."""


def pytest_configure(config: pytest.Config) -> None:
    """A worker takes its share of the cores, because threads of idle engines wait busily."""
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker is None or not hasattr(os, "sched_setaffinity"):
        return
    cores = sorted(os.sched_getaffinity(0))
    share = cores[int(worker["workerid"].removeprefix("gw")) :: worker["workercount"]]
    os.sched_setaffinity(0, share or cores)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first, so that two workers end at about the same time."""
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.nodeid.partition("::")[0], len(order)))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Modules are imported without garbage collection, which need not look at them later either.

    A tenth of the time of an export is that of collections with Python's own thresholds.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(*COLLECT)
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any]) -> None:
    """What a fixture makes does not depend on the tests before it."""
    random.seed(fixturedef.argname)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """A test is given the same random weights in every run: Keras draws its seeds from `random`."""
    random.seed(item.nodeid)


@pytest.fixture(scope="module", autouse=True)
def _few_collections() -> Iterator[None]:
    """What the tests of a file leave is collected at their end; what then lives is not again.

    Otherwise TensorFlow's converter collects in every conversion, which takes as long as it does.
    """
    with pytest.MonkeyPatch.context() as patch:
        if CONVERTER in sys.modules:
            fake = SimpleNamespace(collect=lambda: 0)
            patch.setattr(sys.modules[CONVERTER], "gc", fake, raising=False)  # not after 2.21
        yield
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _shared_work(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Equal work of all tests is done once."""
    if "keras" not in sys.modules:  # tests of the device package alone
        yield
        return
    with sharing(Results(folder_of(request.config, tmp_path_factory))):
        yield


@pytest.fixture(scope="session")
def tiny_keras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small TRM with random weights, saved as Keras saves it; do not write to it."""
    from trm_export import TRM

    path = tmp_path_factory.mktemp("tiny") / "tiny.keras"
    TRM(6, 16, 2, 1.0, 16, family="paper", puzzle_emb_len=1, h_cycles=2, l_cycles=2).save(path)
    return path
