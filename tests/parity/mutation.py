"""Faulty files of a model, and which rung catches each.

Every fault is done to a healthy export of one format and precision; the file keeps the contract of
the healthy one and gets a right checksum. A fault *changes* a file if any value of any step differs
from the healthy file's, on puzzles and refilled slots, on the same engine.
"""

from __future__ import annotations

import dataclasses
import shutil
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity.model_faults import ATTENTION_ONLY, MODEL_FAULTS, assigned
from tests.parity.stored_faults import (
    ACTIVATION,
    BENIGN,
    EDITS,
    GRIDS,
    ZERO,
    edit_onnx,
    edit_tflite,
)
from trm_export.checkpoints.loading import load_model
from trm_export.explain.weights_rung import weights_report
from trm_export.exporters.choices import Choices
from trm_export.exporters.export import build, export, format_named, plan
from trm_export.exporters.format import Job
from trm_export.exporters.kept_layers import layers
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.files import CALIBRATION, sidecar
from trm_runtime import TRMError
from trm_runtime.open import open_runner
from trm_runtime.parity import Gates, check, record

STORED = (*EDITS, *GRIDS, ZERO, ACTIVATION, *BENIGN)
KINDS = (*STORED, *MODEL_FAULTS)
NOT_RUN = "not run"


@dataclasses.dataclass(frozen=True)
class Caught:
    """One faulty file.

    Attributes:
        weights: the status of the rung `weights`.
        forced: the rung that fails without it; empty if none does, ``"opening"`` for a file that
            the engine refuses, `NOT_RUN` for one that was not run.
        changes: whether any value differs from the healthy file's; None for a file that does not
            run, or was not run.
        words: the summary of the rung `weights`.
    """

    weights: str
    forced: str
    changes: bool | None
    words: str

    @property
    def by(self) -> str:
        """The rung of the complete ladder that catches it; empty if none does."""
        return "weights" if self.weights == "failed" else self.forced


class Subject:
    """The healthy export of a checkpoint in one format and precision, and faulty ones."""

    def __init__(self, checkpoint: Path, name: str, precision: str, folder: Path) -> None:
        self.model = load_model(checkpoint)
        self._checkpoint, self._folder, self._precision = checkpoint, folder, precision
        self._kind, self._shared = format_named(name), Shared(self.model)
        self._puzzles = probe_puzzles(self.model, 4)
        self.healthy = folder / f"healthy-{precision}{self._kind.suffix}"
        choices = Choices(precision=precision)
        done = export(self.model, self.healthy, self._puzzles, self._kind, choices,
                      shared=self._shared, force=True)  # fmt: skip
        self._contract = done.contract
        self._golden = self._shared.golden(self._puzzles)
        self._own = record(self._opened(self.healthy), self._puzzles)

    def mutant(self, fault: str) -> Path | None:
        """A file with this fault; None where there is no such thing in this file."""
        attention = hasattr(self.model.inner.L_level.blocks[0].mix, "rope")
        if fault in ATTENTION_ONLY and not attention:
            return None
        path = self._folder / f"mutant-{self._precision}{self._kind.suffix}"
        if path.is_dir():
            shutil.rmtree(path)
        done = self._model_fault(fault, path) if fault in MODEL_FAULTS else self._edit(fault, path)
        recipe = sidecar(self.healthy, CALIBRATION)
        if recipe.exists():
            shutil.copyfile(recipe, sidecar(path, CALIBRATION))
        return path if done else None

    def judged(self, path: Path, *, quick: bool = False) -> Caught:
        """What the ladder says of a file; a quick one stops at the rung `weights` if that fails."""
        report = weights_report(self._shared, path)
        if quick and report.status == "failed":
            return Caught(report.status, NOT_RUN, None, report.summary)
        try:
            runner = self._opened(path)
            forced = check(self._golden, runner, steps_only=True)
            own = check(self._own, runner, steps_only=True, gates=Gates(relative_l2=0.0))
        except (TRMError, RuntimeError, ValueError):
            return Caught(report.status, "opening", None, report.summary)
        broken = "" if forced.broken is None else forced.broken.name
        return Caught(report.status, broken, not own, report.summary)

    def _opened(self, path: Path) -> Any:
        return open_runner(path, None if path.is_dir() else 1)

    def _model_fault(self, fault: str, path: Path) -> bool:
        model = load_model(self._checkpoint)
        job = self._planned(model)  # first, because it refuses some of these faults
        with MODEL_FAULTS[fault](model):
            build(job, self._kind, path)
        return True

    def _planned(self, model: Any) -> Job:
        """An export of another model under the contract and with the recipe of this one."""
        choices = Choices(precision=self._precision)
        job = plan(model, self._puzzles, self._kind, choices)
        recipe = sidecar(self.healthy, CALIBRATION)
        text = recipe.read_text(encoding="utf-8") if recipe.exists() else None
        return dataclasses.replace(job, contract=self._contract, recipe=text)

    def _edit(self, kind: str, path: Path) -> bool:
        """One stored tensor changed, another one for each kind, the same every time."""
        draw = np.random.default_rng(zlib.crc32(kind.encode()))
        names = [name for name in layers(self.model) if name not in ("lm_head", "q_head")
                 and "embed" not in name]  # fmt: skip
        weight = names[draw.integers(len(names))]
        if self._kind.name == "saved-model":
            return self._edit_variable(weight, kind, path, draw)
        shutil.copyfile(self.healthy, path)
        if self._kind.name == "onnx":
            return edit_onnx(path, weight, kind, draw)
        return edit_tflite(path, layers(self.model), weight, kind, draw)

    def _edit_variable(self, weight: str, kind: str, path: Path, draw: np.random.Generator) -> bool:
        if kind not in EDITS:
            return False
        model = load_model(self._checkpoint)
        half = np.float16 if self._precision == "fp16" else np.float32
        wanted = layers(self.model)[weight]
        variable = next(v for v in model.weights if np.array_equal(np.array(v.numpy()), wanted))
        assigned(variable, lambda x: EDITS[kind](x.astype(half), draw).astype(np.float32))
        build(self._planned(model), self._kind, path)
        return True
