"""Train a TRM on a task by a recipe: model, optimizer, callbacks, saving, resuming."""

from __future__ import annotations

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
from trm_export.step.saved_weights import weights_sha256
from trm_export.tasks import Task, get_task
from trm_export.training.callbacks import (
    Clock,
    LearningCurve,
    Log,
    Validate,
    best_logged,
    can_draw,
)
from trm_export.training.curriculum import Curriculum, Ramp
from trm_export.training.deadline import Deadline, TimeIsUpError
from trm_export.training.recipe import Recipe
from trm_export.training.run_files import RunFiles
from trm_export.training.trainer import ACTTrainer
from trm_export.training.validation import HaltingPoint
from trm_runtime.display import Shown, Table
from trm_runtime.errors import UsageError

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
    validation: HaltingPoint
    training_exact: float | None  # of the weights themselves, at halt, in the last epoch
    recipe: Recipe | None = None  # that was followed

    @property
    def files(self) -> tuple[Path, ...]:
        """Those that exist."""
        return tuple(file for file in (self.model, self.log, self.curve) if file is not None)

    @property
    def summary(self) -> str:
        """How good the saved model is, and how many steps it takes."""
        point = self.validation
        return (
            f"Validation: {point.exact:.1%} exact in {point.mean_steps:.1f} steps on average "
            f"(all steps: {point.exact_all_steps:.1%}); halt threshold {point.threshold:g}."
        )

    def tables(self) -> tuple[Table, ...]:
        """The run and its files."""
        rows = [
            ("epochs", f"{self.epochs} in all; this run took {self.minutes:.1f} minutes"),
            ("ended", "interrupted" if self.interrupted else "complete"),
            ("result", self.summary),
            ("files", "\n".join(map(str, self.files))),
        ]
        return (Table(str(self.model), rows),)

    def to_json(self) -> dict[str, Any]:
        """Everything, paths left as they are."""
        return vars(self)


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
) -> TrainResult:
    """Trains and writes ``output`` (.keras) with its log, curve and recipe beside it.

    The model on disk always holds the averaged weights of the best validation so far and the
    halting threshold tuned there. ``resume=True`` continues a killed run after its last epoch, by
    the recipe beside the model (`RunFiles.recorded`), which must be the one given.
    KeyboardInterrupt ends training cleanly and saves; before the first step it is raised.
    ``until`` (`time.time`) does the same in time for a last validation.
    ``start`` is a .keras file of the recipe's preset whose weights, in place of random ones, are
    where training begins.

    Raises:
        UsageError: ``output`` is no .keras file or is ``start``, there is nothing to resume, the
            recipes differ, or ``start`` is a model of another configuration.
        OverwriteError: ``output`` or a file beside it was not made by this tool, or a backup of
            another run exists, which ``resume`` continues and ``force`` discards.
        CheckpointError: ``start`` is damaged or refused.
    """
    files = RunFiles(output)
    files.check(start=start, resume=resume, force=force)
    keras.utils.set_random_seed(recipe.seed)
    task = get_task(recipe.task)
    model = TRM(**preset(recipe.preset, **_of_task(task)), dtype=recipe.dtype)
    if start is not None:
        recipe = dataclasses.replace(recipe, start=_begin_with(model, start))
    if resume:
        files.refuse_changes(recipe)
    else:
        files.begin(recipe)
    trainer = ACTTrainer(
        model, recipe.batch_size, loss_kind=recipe.loss, q_weight=recipe.q_weight,
        ponder_cost=recipe.ponder_cost, goals=1 + (task.lessons if recipe.mastery else 0),
    )  # fmt: skip
    compiles = jit_compile and keras.backend.backend() != "torch"  # torch takes minutes to compile
    trainer.compile(optimizer=_optimizer(recipe), jit_compile=compiles)
    puzzles = task.puzzles("validation", recipe.validation_blanks, recipe.validation_count)
    validate = Validate(
        model, puzzles, recipe.validate_every, recipe.epochs,
        save=lambda point: _save(model, point, output), best=best_logged(files.log),
    )  # fmt: skip
    log = Log(files.log)
    callbacks = [
        Clock(),
        _depth(recipe, trainer, files.log, task.lessons),
        keras.callbacks.BackupAndRestore(files.backup, double_checkpoint=True),
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        validate,
        log,
        *([LearningCurve(files.log, files.curve)] if can_draw() else []),
        *([] if until is None else [Deadline(until, validate)]),
    ]
    began, stopped, interrupted = time.monotonic(), False, False
    try:
        trainer.fit(
            _batches(task, recipe, files), steps_per_epoch=recipe.epoch_steps,
            epochs=recipe.epochs, callbacks=callbacks, verbose=verbose, shuffle=False,
        )  # fmt: skip
    except (KeyboardInterrupt, TimeIsUpError) as reason:
        stopped, interrupted = True, isinstance(reason, KeyboardInterrupt)
        if keras.backend.backend() == "jax":
            trainer.jax_state_sync()  # in `fit` JAX keeps the weights outside the model
        if not int(trainer.optimizer.iterations.value):
            raise  # no step is done and the averages are empty
        if not validate.averaged:
            trainer.optimizer.finalize_variable_values(trainer.trainable_variables)
    point = validate.measure()
    if stopped and point.exact >= validate.best:
        _save(model, point, output)
    minutes = (time.monotonic() - began) / 60
    done = files.finished_epochs if stopped else recipe.epochs
    return TrainResult(
        output, _existing(files.log), _existing(files.curve), done, interrupted, minutes, point,
        log.last.get("exact"),
    )  # fmt: skip


def _depth(
    recipe: Recipe, trainer: ACTTrainer, log: Path, lessons: int
) -> keras.callbacks.Callback:
    """What sets the ACT steps of each epoch."""
    if recipe.ramp:
        return Ramp(recipe.act_steps, recipe.ramp * recipe.epochs, trainer)
    lessons = lessons if recipe.start is None else 0
    return Curriculum(lessons, recipe.mastery, recipe.act_steps, trainer, log)


def _of_task(task: Task) -> dict[str, Any]:
    """The model arguments that the task determines."""
    arguments: dict[str, Any] = {"alphabet": task.alphabet}
    if task.num_puzzle_identifiers is not None:
        arguments["num_puzzle_identifiers"] = task.num_puzzle_identifiers
    return arguments


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def _begin_with(model: TRM, start: Path) -> str:
    """Puts the weights of a checkpoint into the fresh model; returns their SHA-256."""
    source = load_model(start)
    expected, got = model.config.to_dict(), source.config.to_dict()
    tuned = "halt_threshold"  # training sets it again
    names = [name for name in expected if name != tuned and expected[name] != got[name]]
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


def _batches(task: Task, recipe: Recipe, files: RunFiles) -> Iterator[tuple[dict[str, Any]]]:
    """Batches for `fit`, another stream every epoch, so that a resumed run has new puzzles."""
    for epoch in itertools.count(files.finished_epochs):
        stream = task.batches(
            recipe.batch_size, recipe.blanks, seed=recipe.seed * 1_000_003 + epoch,
            minimal_fraction=recipe.minimal_fraction, hard_fraction=recipe.hard_fraction,
        )  # fmt: skip
        for inputs, labels, *others in itertools.islice(stream, recipe.epoch_steps):
            if recipe.mastery and task.lessons:
                goals = (task.lesson(inputs, labels, n + 1) for n in range(task.lessons))
                labels = np.stack([*goals, labels], axis=1)
            yield (dict(zip(_NAMES, (inputs, labels, *others), strict=False)),)


def _save(model: TRM, point: HaltingPoint, output: Path) -> None:
    """Writes a copy of the model in float32, whose halt threshold is the tuned one."""
    changes = {"halt_threshold": point.threshold, "dtype": "float32"}
    tuned = TRM.from_config({**model.get_config(), **changes})
    tuned.set_weights(model.get_weights())
    with atomic_write(output, force=True) as temporary:
        tuned.save(temporary)
