"""`train`: a model of a task, trained by a recipe, as a `.keras` file."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trm_export.api.arguments import ARTIFACTS, FilePath, Progress, path_of, reporter
from trm_export.errors import UsageError
from trm_runtime.message_text import shown
from trm_runtime.scalars import check_flags

if TYPE_CHECKING:
    from trm_export.training.run import TrainResult
    from trm_export.training.stopping import StopRequest

_VERBOSE = (0, 1, 2, "auto")  # of `fit`


def train(
    task: str,
    path: FilePath | None = None,
    *,
    start: FilePath | None = None,
    resume: bool = False,
    force: bool = False,
    verbose: int | str = 0,
    until: str | None = None,
    stop: StopRequest | None = None,
    progress: Progress | None = None,
    **changes: Any,
) -> TrainResult:
    """Trains a model and writes it, with its log, learning curve and recipe beside it.

    Ctrl-C stops after the present step, with a backup of it; the result is then `interrupted`.
    The random numbers of Python, NumPy and the backend begin anew with the seed of the recipe.

    Args:
        task: a task such as ``"sudoku4"``, or a preset such as ``"paper-maze"``.
        path: the ``.keras`` file to write; ``artifacts/<task>.keras`` if None.
        start: begin with the weights of this ``.keras`` file.
        resume: continue the run beside `path` after a kill, by its own recipe.
        force: replace files that this tool did not make.
        verbose: what `fit` shows: 0 nothing, 1 a bar, 2 a line an epoch.
        stop: asks, from another thread, to stop after the present step.
        progress: called after every step with the share of the epoch that is done, and its figures;
            at the end of an epoch with 1 and its result.
        until: stop before this time of day or ISO date and time, with everything `resume` needs.
        **changes: fields of `Recipe` to change; None leaves a field unchanged.

    Raises:
        UsageError: a task without a recipe, values out of range, no run to resume, or another
            recipe than that of the run.
        OverwriteError: files that this tool did not make, or a run to resume, exist.
        CheckpointError: `start` is damaged or refused.
        DivergedError: the loss became NaN or infinite; what was saved before is kept.
    """
    from trm_export.api.frameworks import load_keras
    from trm_export.training.recipe import recipe_for, with_changes
    from trm_export.training.run_files import RunFiles
    from trm_export.training.stopping import StopRequest
    from trm_export.training.until import parse_time

    if not (stop is None or isinstance(stop, StopRequest)):
        raise UsageError(f"stop: expected a StopRequest, got {shown(stop)}.")
    check_flags(resume=resume, force=force)
    if verbose not in _VERBOSE:
        raise UsageError(f"verbose: expected 0, 1, 2 or auto, got {shown(verbose)}.")
    if progress is not None:
        progress = reporter(progress)
    end = None if until is None else parse_time(until)
    recipe = recipe_for(task, **changes)
    target = path_of("path", path, ARTIFACTS / f"{task}.keras")
    files, begin = RunFiles(target), None if start is None else path_of("start", start)
    files.check(start=begin, resume=resume, force=force)
    if resume:
        given, recipe = recipe, files.recorded()
        same = {"task": given.task, "preset": given.preset}
        files.refuse_changes(with_changes(recipe, **{**same, **changes}))
    load_keras(any_backend=True)
    from trm_export.training.run import train as run

    result = run(
        recipe,
        target,
        start=begin,
        resume=resume,
        force=force,
        verbose=verbose,
        until=end,
        stop=stop,
        progress=progress,
    )
    return replace(result, recipe=recipe)


def changes_of(task: str, result: TrainResult) -> dict[str, Any]:
    """The fields of its recipe in which a run is not that of the task."""
    from trm_export.training.recipe import unlike

    return {} if result.recipe is None else unlike(task, result.recipe)
