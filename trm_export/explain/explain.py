"""`explain`: the first step, tensor and operator where a file is wrong, and the cause."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from trm_export.errors import TRMError
from trm_export.explain.blame import Attempts, attempts_on, conclusion
from trm_export.explain.explanation import Explanation
from trm_export.explain.feeds import calls_of
from trm_export.explain.file_choices import choices_of, format_of
from trm_export.explain.op_diff import Labels, StoredChange, Walk
from trm_export.explain.ranking import rank_layers
from trm_export.explain.trial import Trial, fresh
from trm_export.explain.walker import View, Walker, walker_of
from trm_export.exporters.choices import Choices
from trm_export.exporters.format import Format
from trm_export.exporters.keep_search import LayerImpact
from trm_export.exporters.kept_layers import layers
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.step.step_model import AnyModel
from trm_runtime.open import open_runner
from trm_runtime.parity import GATES, Gates, ParityResult, Puzzles, TensorDiff, check, gates_of
from trm_runtime.parity.gates import is_integer

Progress = Callable[[str], object]  # called with a description of what is being done


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
        ranked: for integer precisions, also rank the layers, with one export per layer.
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
        given = None if result.gates == gates_of(candidate.contract) else result.gates
        search = _Search(shared, kind, choices, path, given, puzzles, report)
        findings = search.findings(result)
        cause = conclusion(findings.attempts, choices, kind) if findings.attempts else cause
    ranking: tuple[LayerImpact, ...] = ()
    if ranked and is_integer(choices.precision):
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
    given: Gates | None  # of the user
    puzzles: Puzzles
    report: Progress

    def findings(self, result: ParityResult) -> _Findings:
        """Everything about a file that does not pass."""
        calibrated = probe_puzzles(self.shared.model)
        attempts = attempts_on(
            self.shared, self.path, self.kind, self.choices, result, self.given, self.puzzles,
            calibrated, self.report,
        )  # fmt: skip
        if attempts.again.passed is None:
            return _Findings(attempts, None, f"no new export can be made: {attempts.again.remark}")
        self.report("analysing the file")
        with fresh(self.shared, self.kind, self.choices, calibrated) as again:
            view = self._view(again.path)
            stored = self._walker.stored(view, self.path, again.path)
            if result.first_divergence is None:
                reason = "no single step of the file differs, or can be compared"
                return _Findings(attempts, None, reason, stored)
            first, gates = result.first_divergence, result.gates
            walk, words = self._walked(attempts.deciding, again.path, view, first, gates)
            return _Findings(attempts, walk, words, stored)

    def _walked(
        self, attempts: Attempts, again: Path, view: View, first: TensorDiff, gates: Gates
    ) -> tuple[Walk | None, str]:
        """The operators of the first bad step against correct ones, and where these are from."""
        try:
            if attempts.again.passed:  # what is equal computes the same, to rounding at most
                words = "a new export with the same choices"
                return self._operators(again, view, first, GATES["fp32"]), words
            return self._in_float(attempts, view, first, gates)
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

    def _view(self, again: Path) -> View:
        """Static int8 scales matrices, so they are recognised by their position in fp32."""
        find, known = self._walker.labels, layers(self.shared.model)
        if find is None:
            labels: Labels = {}
        elif self.choices.precision == "int8-static":
            with self._exact() as exact:
                labels = find(exact.path, known)
        else:
            labels = find(again, known)
        return View(self.shared, labels, self.choices.precision)

    @property
    def _walker(self) -> Walker:
        return walker_of(self.kind.name)

    def _in_float(
        self, attempts: Attempts, view: View, first: TensorDiff, gates: Gates
    ) -> tuple[Walk | None, str]:
        """The operators of the first bad step against those in fp32, and what they are."""
        if attempts.exact.passed is not True:
            return None, f"fp32 in {self.kind.name} fails too, so there is nothing to compare with"
        if self.choices.integer_io:
            return None, "operators of a file with int8 I/O are not compared with those of fp32"
        with self._exact() as exact:
            walk = self._operators(exact.path, view, first, gates, exact=True)
            return walk, f"fp32 in {self.kind.name}"

    def _operators(
        self, right: Path, view: View, first: TensorDiff, gates: Gates, *, exact: bool = False
    ) -> Walk:
        golden = self.shared.golden(self.puzzles)
        calls = calls_of(right, golden, first.step, first.worst)
        return self._walker.walk(view, self.path, right, calls, gates, exact)


def _silent(description: str) -> None:
    pass
