"""Train a TRM on a task by a recipe: model, optimizer, callbacks, saving, resuming."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np

from trm_export.checkpoints.loading import load_model
from trm_export.files import atomic_write
from trm_export.model import TRM, preset
from trm_export.model.weightless import to_be_filled
from trm_export.step.saved_weights import weights_sha256
from trm_export.tasks import Task, get_task
from trm_export.training.backup import Backup
from trm_export.training.callbacks import (
    Clock,
    Finite,
    LearningCurve,
    Log,
    Validate,
    as_logged,
    draw_curve,
    undrawn,
)
from trm_export.training.curriculum import Curriculum, Ramp
from trm_export.training.deadline import Deadline, TimeIsUpError
from trm_export.training.recipe import Recipe
from trm_export.training.run_files import RunFiles
from trm_export.training.run_log import best_logged
from trm_export.training.stopping import StopAskedError, StopRequest, asked_by_ctrl_c
from trm_export.training.telling import Progress, Tell
from trm_export.training.trainer import ACTTrainer
from trm_export.training.validation import HaltingPoint
from trm_runtime.display import Shown, Table
from trm_runtime.errors import TRMError, UsageError
from trm_runtime.json_values import json_object
from trm_runtime.memory_errors import lacks_memory

_NAMES = ("inputs", "labels", "puzzle_identifiers")  # of what `Task.batches` gives, in order


@dataclasses.dataclass(frozen=True, repr=False)
class TrainResult(Shown):
    """The files and figures of a training run."""

    model: Path
    log: Path | None  # None before the first epoch is finished
    curve: Path | None  # None before the first validation
    epochs: int  # finished, those before a resume included
    interrupted: bool
    minutes: float  # of this run
    validation: HaltingPoint | None  # the latest; None before the first
    training_exact: float | None  # of the weights themselves, at halt, in the last epoch
    recipe: Recipe | None = None  # that was followed
    no_curve: str | None = None  # why no curve is drawn; None where one is

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that are written; the recipe, with which a run goes on, lies beside the model."""
        recipe = None if self.recipe is None else RunFiles(self.model).recipe
        files = self.model, self.log, self.curve, recipe
        return tuple(file for file in files if file is not None)

    @property
    def complete(self) -> bool:
        """Whether every epoch of the recipe is finished; else the run can be resumed."""
        done = self.recipe is not None and self.epochs >= self.recipe.epochs
        return done and not self.interrupted

    @property
    def summary(self) -> str:
        """How good the saved model is, and how many steps it takes."""
        point = self.validation
        if point is None:
            return "The model has not been validated yet."
        if not point.exact_all_steps:
            return (
                "Validation: no puzzle is solved after all steps. The model has not learnt the "
                "task yet; train longer."
            )
        return (
            f"Validation: {point.exact:.1%} exact in {point.mean_steps:.1f} steps on average "
            f"(all steps: {point.exact_all_steps:.1%}); halt threshold {point.threshold:g}."
        )

    def tables(self) -> tuple[Table, ...]:
        """The run and its files."""
        rows = [
            ("epochs", f"{self.epochs} in all; this run took {self.minutes:.1f} minutes"),
            ("ended", "complete" if self.complete else self._reason),
            ("result", self.summary),
            ("files", "\n".join(map(str, self.files))),
            *([("curve", self.no_curve)] if self.no_curve else []),
        ]
        return (Table(str(self.model), rows),)

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON types."""
        return json_object({**vars(self), "complete": self.complete})

    @property
    def _reason(self) -> str:
        return "interrupted" if self.interrupted else "before its last epoch"


def train(
    recipe: Recipe,
    output: Path,
    *,
    start: Path | None = None,
    resume: bool = False,
    force: bool = False,
    verbose: int | str = 0,
    jit_compile: bool = True,
    until: float | None = None,
    stop: StopRequest | None = None,
    progress: Progress | None = None,
) -> TrainResult:
    """Trains and writes ``output`` (.keras) with its log, curve and recipe beside it.

    The model on disk always holds the averaged weights of the best validation so far and the
    halting threshold tuned there. ``resume=True`` continues a killed run after its last epoch, or
    a stopped one after its last step, by the recipe beside the model (`RunFiles.recorded`), which
    must be the one given.
    Ctrl-C, or another thread by ``stop``, ends training after the present step with a backup of
    it; a model is written, unvalidated, only where there is none. Before the first step
    KeyboardInterrupt is raised. ``until`` (`time.time`) stops in time for a last validation.
    ``start`` is a .keras file of the recipe's preset whose weights, in place of random ones, are
    where training begins. ``progress`` is called after every step, see `Tell`.

    Raises:
        UsageError: ``output`` is no .keras file or is ``start``, there is nothing to resume, the
            recipes differ, or ``start`` is a model of another configuration.
        DivergedError: the loss became NaN or infinite; what was saved before is kept.
        OverwriteError: ``output`` or a file beside it was not made by this tool, or a backup of
            another run exists, which ``resume`` continues and ``force`` discards.
        CheckpointError: ``start`` is damaged or refused.
    """
    files = RunFiles(output)
    files.check(start=start, resume=resume, force=force)
    _require_fit(recipe, get_task(recipe.task))
    with files.alone():
        return _train(
            recipe, files, start, resume, verbose, jit_compile, until, stop or StopRequest(),
            progress,
        )  # fmt: skip


def _train(
    recipe: Recipe, files: RunFiles, start: Path | None, resume: bool, verbose: int | str,
    jit_compile: bool, until: float | None, request: StopRequest, progress: Progress | None,
) -> TrainResult:  # fmt: skip
    keras.utils.set_random_seed(recipe.seed)
    task = get_task(recipe.task)
    model = TRM(**preset(recipe.preset, **_of_task(task)), dtype=recipe.dtype)
    if start is not None:
        recipe = dataclasses.replace(recipe, start=_begin_with(model, start))
    state = None
    if resume:
        files.refuse_changes(recipe)
        state = files.state()
        files.warn_of_damage(state)
    with _enough_memory(recipe):
        trainer = ACTTrainer(
            model, recipe.batch_size, loss_kind=recipe.loss, q_weight=recipe.q_weight,
            ponder_cost=recipe.ponder_cost, goals=1 + (task.lessons if recipe.mastery else 0),
        )  # fmt: skip
    compiles = jit_compile and keras.backend.backend() != "torch"  # torch takes minutes to compile
    trainer.compile(optimizer=_optimizer(recipe), jit_compile=compiles)
    puzzles = task.puzzles("validation", recipe.validation_blanks, recipe.validation_count)
    finite, clock = Finite(trainer, recipe.learning_rate), Clock()
    log = Log(files.log, 0 if state is None else state.epoch)
    validate = Validate(
        model, puzzles, recipe.validate_every, recipe.epochs,
        save=lambda point: _save(model, point, files), log=log,
        best=_best(files, log) if state else -1.0, request=request,
    )  # fmt: skip
    backup = Backup(trainer, files, recipe, request, state)
    depth = _depth(recipe, trainer, log, task.lessons)
    if backup.epoch and not backup.step and not log.has(backup.epoch - 1):
        _log_again(backup, depth, log)
    no_curve = undrawn()
    others = [] if no_curve else [LearningCurve(files.log, files.curve)]
    others += [] if until is None else [Deadline(until, validate)]
    others += [] if progress is None else [Tell(progress, recipe.epochs)]
    began, interrupted = time.monotonic(), False
    try:
        with asked_by_ctrl_c(request), _enough_memory(recipe):
            try:
                for first, last, done in backup.parts():
                    swap = keras.callbacks.SwapEMAWeights(swap_on_epoch=True)
                    callbacks = [finite, clock, depth, backup, log, swap, validate, *others]
                    trainer.fit(
                        _batches(task, recipe, first, done), callbacks=callbacks,
                        steps_per_epoch=recipe.epoch_steps - done, initial_epoch=first,
                        epochs=last, verbose=verbose, shuffle=False,
                    )  # fmt: skip
            except TimeIsUpError:
                if backup.step:
                    backup.save()
            if backup.step or validate.validated + 1 != backup.epoch:
                _averaged(trainer, validate)
                point = validate.validated_and_saved()
                if not backup.step and log.has(backup.epoch - 1):
                    log.amend(as_logged(point))
                    if not no_curve:
                        draw_curve(files.log, files.curve)
    except (KeyboardInterrupt, StopAskedError):
        if backup.state is None:
            raise KeyboardInterrupt from None  # nothing is backed up
        interrupted = True
        if not files.output.exists():
            _averaged(trainer, validate)
            _save(model, validate.point, files)
    if not interrupted and backup.epoch == recipe.epochs and files.output.exists():
        files.discard_backup()
    curve = _existing(files.curve) if log.has_validation and not no_curve else None
    return TrainResult(
        files.output, log.written, curve, backup.epoch, interrupted,
        (time.monotonic() - began) / 60, validate.point or log.point, log.last.get("exact"),
        no_curve=no_curve,
    )  # fmt: skip


@contextlib.contextmanager
def _enough_memory(recipe: Recipe) -> Iterator[None]:
    """Within the block, memory that runs out is a TRMError, whichever backend says so."""
    try:
        yield
    except Exception as error:
        if not lacks_memory(error):
            raise
        raise TRMError(
            f"There is not enough memory to train {recipe.preset} with a batch size of "
            f"{recipe.batch_size:,}; use a smaller one."
        ) from error


def _averaged(trainer: ACTTrainer, validate: Validate) -> None:
    """Puts the averages of the weights into the model, if they are not there already."""
    trainer.sync()
    if not validate.averaged:
        trainer.optimizer.finalize_variable_values(trainer.trainable_variables)
        validate.averaged = True


def _depth(recipe: Recipe, trainer: ACTTrainer, log: Log, lessons: int) -> keras.callbacks.Callback:
    """What sets the ACT steps of each epoch."""
    if recipe.ramp:
        return Ramp(recipe.act_steps, recipe.ramp * recipe.epochs, trainer)
    lessons = lessons if recipe.start is None else 0
    return Curriculum(lessons, recipe.mastery, recipe.act_steps, trainer, log.rows)


def _log_again(backup: Backup, depth: keras.callbacks.Callback, log: Log) -> None:
    """Adds the row of an epoch that was backed up when a kill came, before it was logged.

    Its minutes are not known, and it is not validated: the next epoch that is due is, or the last.
    """
    epoch, row = backup.epoch - 1, backup.metrics()
    depth.on_epoch_end(epoch, row)
    log.on_epoch_end(epoch, row)


def _of_task(task: Task) -> dict[str, Any]:
    """The model arguments that the task determines."""
    arguments: dict[str, Any] = {"alphabet": task.alphabet}
    if task.num_puzzle_identifiers is not None:
        arguments["num_puzzle_identifiers"] = task.num_puzzle_identifiers
    return arguments


def _require_fit(recipe: Recipe, task: Task) -> None:
    """Raises UsageError for a preset whose boards are not those of the task."""
    config = preset(recipe.preset)
    wanted, found = (task.seq_len, task.vocab_size), (config["seq_len"], config["vocab_size"])
    if wanted != found:
        raise UsageError(
            f"The preset {recipe.preset} is not for the task {recipe.task}: seq_len and vocab_size "
            f"are {found}, but those of the task are {wanted}."
        )


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def _begin_with(model: TRM, start: Path) -> str:
    """Puts the weights of a checkpoint into the fresh model; returns their SHA-256."""
    source = load_model(start)
    expected, got = model.config.to_dict(), source.config.to_dict()
    free = {"halt_threshold", "halt_exploration_prob"}  # of training, not of the weights
    free |= {"alphabet"} if got["alphabet"] is None else set()
    free |= {"num_heads"} if got["mixer"] == "mlp" else set()  # which has none
    shapes = [[variable.shape for variable in one.weights] for one in (model, source)]
    free |= {"expansion"} if shapes[0] == shapes[1] else set()  # widths are rounded up
    names = [name for name in expected if name not in free and expected[name] != got[name]]
    if names:
        listed = (f"expected {name} {expected[name]!r}, got {got[name]!r}" for name in names)
        raise UsageError(
            f"{start} does not have the configuration of this recipe: {'; '.join(listed)}."
        )
    model.set_weights(source.get_weights())
    return weights_sha256(source)


def _optimizer(recipe: Recipe) -> keras.optimizers.Optimizer:
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(recipe.steps - recipe.warmup_steps, 1), alpha=0.1,
        warmup_target=recipe.learning_rate, warmup_steps=recipe.warmup_steps,
    )  # fmt: skip
    return keras.optimizers.AdamW(
        schedule, weight_decay=recipe.weight_decay, beta_2=0.95, global_clipnorm=1.0,
        use_ema=True, ema_momentum=recipe.ema,
    )  # fmt: skip


def _batches(task: Task, recipe: Recipe, first: int, done: int) -> Iterator[tuple[dict[str, Any]]]:
    """Batches for `fit` from the epoch ``first``, of which so many are ``done``; each epoch has a
    stream of its own.
    """
    for epoch in itertools.count(first):
        stream = task.batches(
            recipe.batch_size, recipe.blanks, seed=recipe.seed * 1_000_003 + epoch,
            minimal_fraction=recipe.minimal_fraction, hard_fraction=recipe.hard_fraction,
        )  # fmt: skip
        skipped = done if epoch == first else 0
        for inputs, labels, *others in itertools.islice(stream, skipped, recipe.epoch_steps):
            if recipe.mastery and task.lessons:
                goals = (task.lesson(inputs, labels, n + 1) for n in range(task.lessons))
                labels = np.stack([*goals, labels], axis=1)
            yield (dict(zip(_NAMES, (inputs, labels, *others), strict=False)),)


def _best(files: RunFiles, log: Log) -> float:
    """The share answered right that a model must reach to take the place of the one there.

    Any takes the place of none.
    """
    if not files.output.exists():
        return -1.0
    score = files.score()
    return best_logged(log.rows) if score is None else score


def _save(model: TRM, point: HaltingPoint | None, files: RunFiles) -> None:
    """Writes a copy of the model in float32, with the threshold that was tuned, if any was."""
    tuned = {} if point is None else {"halt_threshold": point.threshold}
    with to_be_filled():
        copy = TRM.from_config({**model.get_config(), **tuned, "dtype": "float32"})
    copy.set_weights(model.get_weights())
    with atomic_write(files.output, force=True) as temporary:
        copy.save(temporary)
        if point is not None:
            files.note_score(temporary, point.exact)
