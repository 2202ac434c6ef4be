"""`auto_keep`: the few layers of a model that must stay in float for a file to pass its gates."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from trm_export.explain.ranking import rank_layers
from trm_export.explain.trial import Trial, fresh
from trm_export.exporters.choices import Choices, refuse_target
from trm_export.exporters.export import export
from trm_export.exporters.export_result import ExportResult
from trm_export.exporters.file_check import a_row_may_decide, file_check, more_golden
from trm_export.exporters.format import Format, Tell, silent
from trm_export.exporters.keep_search import (
    AutoKeepError,
    KeepSearch,
    LayerImpact,
    Stage,
    least_cosine,
)
from trm_export.exporters.kept_layers import chosen
from trm_export.exporters.shared import Shared
from trm_export.files import refuse_overwrite
from trm_export.parity import valid_answers
from trm_export.step.step_model import AnyModel
from trm_runtime.message_text import counted
from trm_runtime.parity import Accuracy, Golden, ParityResult, Puzzles, check, record


def auto_keep(
    model: AnyModel,
    path: Path,
    puzzles: Puzzles,
    kind: Format,
    choices: Choices,
    *,
    budget: float,
    judged: Puzzles,
    force: bool = False,
    shared: Shared | None = None,
    source: Path | None = None,
    tell: Tell = silent,
) -> ExportResult:
    """Keeps the worst layers in float, one after the other, until the gate passes; then exports.

    A file passes if `export` would write it and `judged` is within the gates; so nothing more is
    kept where the file with `choices` alone does.

    Args:
        model: see `export`.
        path: see `export`; it is written only if the gate passes.
        puzzles: a few, for the ranking and the check of the export.
        kind: see `export`.
        choices: see `export`; every file keeps at least their layers.
        budget: most bytes that may be added, in percent of the file with `choices` alone. A layer
            that is too large for the rest of the budget is skipped.
        judged: puzzles on which every file is compared in full; on `puzzles` as `export` does it.
        force: see `export`.
        shared: see `export`.
        source: see `export`.
        tell: called with what is being done.

    Raises what `export` raises, and AutoKeepError with the whole search where no file passes.
    """
    refuse_target(kind.name, path, source)
    refuse_overwrite(path, force=force)
    shared = shared or Shared(model)
    tell("Solving puzzles with Keras")
    golden = record(shared.runner, judged)
    search = _Search(shared, kind, choices, puzzles, golden, tell)
    kept = chosen(shared.model, choices.keep)
    stages = [search.stage(kept)]
    ranking: tuple[LayerImpact, ...] = ()
    if not stages[0].passed:
        ranking = search.ranking(kept)
        stages += search.more(stages[0], ranking, budget)
    found = KeepSearch(budget, tuple(stages), ranking)
    if not found:
        raise AutoKeepError(found)
    wanted = dataclasses.replace(choices, keep=stages[-1].kept)
    made = export(
        model, path, puzzles, kind, wanted, force=force, shared=shared, source=source, tell=tell
    )
    return dataclasses.replace(made, search=found)


@dataclasses.dataclass(frozen=True)
class _Search:
    """What stays the same from file to file."""

    shared: Shared
    kind: Format
    choices: Choices
    puzzles: Puzzles
    golden: Golden
    tell: Tell

    def stage(self, kept: tuple[str, ...]) -> Stage:
        """One file, compared in full."""
        self.tell(f"Trying a file with {counted(len(kept), 'layer')} in float")
        choices = dataclasses.replace(self.choices, keep=kept)
        with fresh(self.shared, self.kind, choices, self.puzzles) as trial:
            return self._judged(trial, kept)

    def _judged(self, trial: Trial, kept: tuple[str, ...]) -> Stage:
        asked = file_check(trial.job, trial.runner)
        full, accuracy = self._in_full(trial)
        cosine = min(least_cosine(full), least_cosine(asked.result))
        passed = full.passed and asked.passed
        verdict = asked.verdict if full.passed else full.verdict
        return Stage(kept, trial.bytes, cosine, accuracy, passed, verdict)

    def _in_full(self, trial: Trial) -> tuple[ParityResult, Accuracy | None]:
        """The comparison on the judged puzzles, or on more where these are too few; their score."""
        valid = valid_answers(self.golden.contract)
        full = check(self.golden, trial.runner, valid=valid)
        if not a_row_may_decide(trial.job, full):
            return full, full.accuracy
        more = more_golden(trial.job, None)
        return check(more, trial.runner, valid=valid), full.accuracy

    def ranking(self, kept: Sequence[str]) -> tuple[LayerImpact, ...]:
        """The layers that may still be kept."""
        self.tell("Ranking the layers")
        ranked = rank_layers(self.shared, self.kind, self.choices, self.puzzles)
        return tuple(one for one in ranked if one.layer not in kept)

    def more(self, first: Stage, ranking: Sequence[LayerImpact], budget: float) -> list[Stage]:
        """Files with one more layer in float each, until one passes or no layer fits."""
        most = first.bytes * (1 + budget / 100)
        stages = [first]
        for one in ranking:
            last = stages[-1]
            if last.passed:
                break
            if last.bytes + one.bytes_saved <= most:
                more = self.stage((*last.kept, one.layer))
                stages += [more] if more.bytes <= most else []
        return stages[1:]
