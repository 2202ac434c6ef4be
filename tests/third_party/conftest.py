"""Models of other people's classes, saved and opened as their users do."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

if TYPE_CHECKING:
    from trm_export.exporters.shared import Shared
    from trm_export.step.step_model import StepModel

PACKAGES = "tests.third_party"


@dataclass(frozen=True)
class ThirdPartyModel:
    """A saved model, the same one opened, and what its exports share."""

    file: Path
    package: str
    model: StepModel
    shared: Shared


def saved(model: Any, path: Path, **batch: Any) -> Path:
    """Calls a model once, as training would have, and saves it."""
    batch = {name: np.array(value, "int32") for name, value in batch.items()}
    model(model.initial_carry(batch), batch)
    model.save(path)
    return path


def _grid(path: Path) -> tuple[Path, Any]:
    from tests.third_party.gridthink import GridThinker
    from trm_export.step.model_facts import ModelHints

    saved(GridThinker(width=32), path, inputs=np.zeros((2, 16)))
    return path, ModelHints()


def _hierarchy(path: Path) -> tuple[Path, Any]:
    from tests.third_party.hierarchy import HRM
    from trm_export.step.model_facts import ModelHints

    model = HRM(hidden_size=32, puzzle_emb_ndim=32, h_cycles=2, l_cycles=1)
    saved(model, path, inputs=np.zeros((2, 16)), puzzle_identifiers=np.zeros(2))
    return path, ModelHints(halt_rule="q_halt_minus_q_continue")


MAKERS = {"gridthink": _grid, "hierarchy": _hierarchy}


@pytest.fixture(scope="session")
def third_party(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], ThirdPartyModel]:
    """The model of that package, made once."""

    @functools.cache
    def make(name: str) -> ThirdPartyModel:
        import keras

        from trm_export.checkpoints.opening import open_model
        from trm_export.exporters.shared import Shared

        keras.utils.set_random_seed(1)
        path, asked = MAKERS[name](tmp_path_factory.mktemp(name) / f"{name}.keras")
        package = f"{PACKAGES}.{name}"
        model = open_model(path, [package], asked)
        return ThirdPartyModel(path, package, model, Shared(model))

    return make


@pytest.fixture(params=list(MAKERS))
def their_model(
    request: pytest.FixtureRequest, third_party: Callable[[str], ThirdPartyModel]
) -> ThirdPartyModel:
    """Every third-party model in turn."""
    return third_party(request.param)
