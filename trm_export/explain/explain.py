"""`explain`: the first step, tensor and operator where a file is wrong, and the cause."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from trm_export import TOOL
from trm_export.artifacts.contract_rewrite import embedded_contract
from trm_export.errors import TRMError
from trm_export.explain.blame import Attempts, attempts_on, conclusion
from trm_export.explain.feeds import calls_of
from trm_export.explain.file_choices import choices_of, format_of
from trm_export.explain.onnx_walk import walk_onnx
from trm_export.explain.op_diff import Walk
from trm_export.explain.ranking import LayerImpact, rank_layers
from trm_export.explain.saved_model_graph import StepGraph, read_graph
from trm_export.explain.saved_model_walk import walk_saved_model
from trm_export.explain.stored import (
    Labels,
    StoredChange,
    changed_onnx,
    changed_saved_model,
    changed_tflite,
    labels_of,
)
from trm_export.explain.tflite_walk import scaled, walk_tflite
from trm_export.explain.trial import Trial, fresh
from trm_export.exporters.choices import Choices
from trm_export.exporters.format import Format
from trm_export.exporters.kept_layers import layers, weights
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.saved_model import weights_of
from trm_export.exporters.shared import Shared
from trm_export.step.step_model import AnyModel
from trm_runtime.open import open_runner
from trm_runtime.parity import GATES, Gates, ParityResult, Puzzles, TensorDiff, check

Progress = Callable[[str], object]  # called with a description of what is being done


@dataclasses.dataclass(frozen=True)
class Explanation:
    """Why a file fails; truthy where its single steps pass.

    Attributes:
        verdict: of its single steps.
        conclusion: one sentence that begins with the cause.
        first: the first tensor, by step, that fails its gate.
        operators: the operators of that step, each fed the reference's values; None where they
            cannot be compared.
        operators_of: what they are compared with, or why they are not compared.
        stored: tensors that differ from those of a new export.
        attempts: the trials behind the conclusion; None where the file passes.
        ranking: for int8: the layers, the worst first.
    """

    verdict: str
    conclusion: str
    first: TensorDiff | None
    operators: Walk | None
    operators_of: str
    stored: tuple[StoredChange, ...]
    attempts: Attempts | None
    ranking: tuple[LayerImpact, ...]

    def __bool__(self) -> bool:
        return self.first is None and (self.attempts is None or bool(self.attempts.file.passed))

    def to_json(self) -> dict[str, Any]:
        """Everything as plain JSON types, except infinities."""
        return {"tool": TOOL, "kind": "explanation", **dataclasses.asdict(self)}


def explain(
    model: AnyModel,
    path: Path,
    puzzles: Puzzles,
    *,
    gates: Gates | None = None,
    ranked: bool = True,
    progress: Progress | None = None,
) -> Explanation:
    """Finds what is wrong with a file, and why.

    Args:
        model: the reference, on the TensorFlow backend.
        path: an ONNX or TFLite file, or a SavedModel.
        puzzles: a few real ones: everything is compared on all of them.
        gates: the gates of the file; those of its precision if not given.
        ranked: for int8, also rank the layers, with one export per layer.
        progress: called with what is being done.

    Raises UsageError for another kind of file, or one that cannot be an export of this model, and
    what `open_runner` raises.
    """
    report = progress or _silent
    kind, shared = format_of(path), Shared(model)
    candidate = open_runner(path)
    choices = choices_of(path, shared.model)
    report("comparing the file")
    result = check(shared.golden(puzzles), candidate, gates=gates, steps_only=True)
    first, findings = result.first_divergence, _Findings()
    cause = "nothing: every single step is within the gates."
    if not result.passed:
        search = _Search(shared, kind, choices, path, puzzles, report)
        findings = search.findings(result)
        cause = conclusion(findings.attempts, choices, kind) if findings.attempts else cause
    ranking: tuple[LayerImpact, ...] = ()
    if ranked and choices.precision.startswith("int8"):
        report("ranking the layers")
        ranking = rank_layers(shared, kind, dataclasses.replace(choices, keep=()), puzzles)
    return Explanation(
        result.verdict, cause, first, findings.walk, findings.compared_with, findings.stored,
        findings.attempts, ranking,
    )  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Findings:
    """What is found about a failing file; see `Explanation`."""

    attempts: Attempts | None = None
    walk: Walk | None = None
    compared_with: str = "the file passes"
    stored: tuple[StoredChange, ...] = ()


@dataclasses.dataclass(frozen=True)
class _Search:
    """What stays the same while one file is analysed."""

    shared: Shared
    kind: Format
    choices: Choices
    path: Path
    puzzles: Puzzles
    report: Progress

    def findings(self, result: ParityResult) -> _Findings:
        """Everything about a file that does not pass."""
        calibrated = probe_puzzles(self.shared.model)
        attempts = attempts_on(
            self.shared, self.path, self.kind, self.choices, result, self.puzzles, calibrated,
            self.report,
        )  # fmt: skip
        if attempts.again.passed is None:
            return _Findings(attempts, None, f"no new export can be made: {attempts.again.remark}")
        self.report("analysing the file")
        with fresh(self.shared, self.kind, self.choices, calibrated) as again:
            labels = self._labels(again.path)
            stored = self._stored(again.path, labels)
            if result.first_divergence is None:
                reason = "no single step of the file differs, or can be compared"
                return _Findings(attempts, None, reason, stored)
            first, gates = result.first_divergence, result.gates
            walk, compared_with = self._walked(attempts, again.path, labels, first, gates)
            return _Findings(attempts, walk, compared_with, stored)

    def _walked(
        self, attempts: Attempts, again: Path, labels: Labels, first: TensorDiff, gates: Gates
    ) -> tuple[Walk | None, str]:
        """The operators of the first bad step against correct ones, and where these are from."""
        try:
            if attempts.again.passed:  # equal operators differ by rounding only
                source = "a new export with the same choices"
                return self._operators(again, labels, first, GATES["fp32"]), source
            return self._in_float(attempts, labels, first, gates)
        except TRMError:
            raise
        except Exception as error:  # engines have no exceptions of their own
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            return None, f"the graph differs from what this version writes ({reason})"

    @contextmanager
    def _exact(self) -> Iterator[Trial]:
        """The file in fp32."""
        choices = dataclasses.replace(self.choices, precision="fp32", keep=(), integer_io=False)
        with fresh(self.shared, self.kind, choices, probe_puzzles(self.shared.model)) as trial:
            yield trial

    def _labels(self, again: Path) -> Labels:
        """Static int8 scales matrices, so they are recognised by their position in fp32."""
        if self.kind.name != "tflite":
            return {}
        if self.choices.precision != "int8-static":
            return labels_of(again, layers(self.shared.model))
        with self._exact() as exact:
            return labels_of(exact.path, layers(self.shared.model))

    def _stored(self, again: Path, labels: Labels) -> tuple[StoredChange, ...]:
        known = layers(self.shared.model)
        if self.kind.name == "onnx":
            return changed_onnx(self.path, again, known)
        if self.kind.name == "saved-model":
            return changed_saved_model(self._graph(self.path), self._graph(again), known)
        return changed_tflite(self.path, again, labels)

    def _in_float(
        self, attempts: Attempts, labels: Labels, first: TensorDiff, gates: Gates
    ) -> tuple[Walk | None, str]:
        """The operators of the first bad step against those in fp32, and what they are."""
        if attempts.exact.passed is not True:
            return None, f"fp32 in {self.kind.name} fails too, so there is nothing to compare with"
        if self.choices.integer_io:
            return None, "operators of a file with int8 I/O are not compared with those of fp32"
        with self._exact() as exact:
            rescaled = (self.kind.name, self.choices.precision) == ("tflite", "int8-static")
            excluded = scaled(exact.path) if rescaled else ()
            walk = self._operators(exact.path, labels, first, gates, excluded)
            return walk, f"fp32 in {self.kind.name}"

    def _operators(
        self,
        right: Path,
        labels: Labels,
        first: TensorDiff,
        gates: Gates,
        excluded: Collection[str] = (),
    ) -> Walk:
        golden, known = self.shared.golden(self.puzzles), layers(self.shared.model)
        calls = calls_of(right, golden, first.step, first.worst)
        if self.kind.name == "onnx":
            return walk_onnx(self.path, right, calls, tuple(known), gates)
        if self.kind.name == "saved-model":
            ours, theirs = self._graph(right), self._graph(self.path)
            return walk_saved_model(theirs, ours, calls, known, gates)
        return walk_tflite(self.path, right, calls, labels, gates, excluded=excluded)

    def _graph(self, path: Path) -> StepGraph:
        """The graph of a SavedModel of this model, read once."""
        return self.shared.once(("graph", path), lambda: self._read(path))

    def _read(self, path: Path) -> StepGraph:
        contract, model = embedded_contract(path), self.shared.model.keras
        variables, known = weights_of(model, contract), weights(model).items()
        names = [
            next((name for name, array in known if np.array_equal(array, variable)), variable.path)
            for variable in variables
        ]
        return read_graph(path, contract.signature, names)


def _silent(description: str) -> None:
    pass
