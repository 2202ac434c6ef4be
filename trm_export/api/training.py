"""`train`: a model of a task, trained by a recipe, as a `.keras` file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_export.api.arguments import ARTIFACTS, FilePath

if TYPE_CHECKING:
    from trm_export.training.run import TrainResult


def train(
    task: str,
    path: FilePath | None = None,
    *,
    start: FilePath | None = None,
    resume: bool = False,
    force: bool = False,
    verbose: int | str = 0,
    until: str | None = None,
    **changes: Any,
) -> TrainResult:
    """Trains a model and writes it; log, learning curve and recipe land beside it.

    Ctrl-C saves what there is; the result then says `interrupted`.

    Args:
        task: a task such as ``"sudoku4"``, or a preset such as ``"paper-maze"``.
        path: the ``.keras`` file to write; ``artifacts/<task>.keras`` if None.
        start: begin with the weights of this ``.keras`` file.
        resume: go on with the run beside `path` after a kill, by its own recipe.
        force: replace files that this tool did not make.
        verbose: what `fit` shows: 0 nothing, 1 a bar, 2 a line an epoch.
        until: stop in time for this time of day or ISO date and time, with all that `resume` needs.
        **changes: fields of `Recipe` that are to be otherwise; None leaves one as it is.

    Raises:
        UsageError: a task without a recipe, senseless values, no run to resume, or another recipe
            than that of the run.
        OverwriteError: files that this tool did not make, or a run to resume, are in the way.
        CheckpointError: `start` is damaged or refused.
    """
    from trm_export.api.frameworks import load_keras
    from trm_export.training.recipe import recipe_for, with_changes
    from trm_export.training.run_files import RunFiles
    from trm_export.training.until import parse_time

    end = None if until is None else parse_time(until)
    recipe = recipe_for(task, **changes)
    target = ARTIFACTS / f"{task}.keras" if path is None else Path(path)
    files, begin = RunFiles(target), None if start is None else Path(start)
    files.check(start=begin, resume=resume, force=force)
    if resume:
        asked, recipe = recipe, files.recorded()
        same = {"task": asked.task, "preset": asked.preset}
        files.refuse_changes(with_changes(recipe, **same, **changes))
    load_keras(any_backend=True)
    from trm_export.training.run import train as run

    result = run(
        recipe, target, start=begin, resume=resume, force=force, verbose=verbose, until=end
    )
    return replace(result, recipe=recipe)
