"""Trains a TRM on a task by a recipe: model, optimizer, callbacks, saving, resuming."""

from __future__ import annotations

import dataclasses
import itertools
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras

from trm_export.checkpoint import load_model, weights_sha256
from trm_export.errors import OverwriteError
from trm_export.files import atomic_write, refuse_overwrite
from trm_export.model import TRM, preset
from trm_export.tasks import Task, get_task
from trm_export.training.callbacks import Clock, LearningCurve, Validate
from trm_export.training.evaluate import HaltingPoint
from trm_export.training.recipe import Recipe
from trm_export.training.trainer import ACTTrainer
from trm_runtime.errors import UsageError


@dataclasses.dataclass(frozen=True)
class TrainResult:
    """What a training run left behind."""

    model: Path
    log: Path
    curve: Path
    epochs: int  # finished, those before a resume included
    interrupted: bool
    minutes: float  # of this run
    validation: HaltingPoint


def train(
    recipe: Recipe,
    output: Path,
    *,
    start: Path | None = None,
    resume: bool = False,
    force: bool = False,
    verbose: int | str = 0,
    jit_compile: bool = True,
) -> TrainResult:
    """Trains and writes ``output`` (.keras) with its log, curve and recipe beside it.

    The model on disk always holds the averaged weights of the best validation so far and the
    halting threshold tuned there. A killed run goes on with ``resume=True`` from its last epoch.
    KeyboardInterrupt ends training cleanly and saves. ``start`` is a .keras file of the recipe's
    preset whose weights, in place of random ones, are where training begins.

    Raises:
        UsageError: nothing to resume, resuming another recipe, or a start that does not fit.
        OverwriteError: ``output`` is not ours, or beside it lies the backup of a run that could
            be resumed, and neither ``resume`` nor ``force`` says what to do with it.
        CheckpointError: ``start`` is damaged or refused.
    """
    files = _Files(output)
    refuse_overwrite(output, force=force or resume)
    keras.utils.set_random_seed(recipe.seed)
    task = get_task(recipe.task)
    model = TRM(**preset(recipe.preset, alphabet=task.alphabet))
    if start is not None:
        recipe = dataclasses.replace(recipe, start=_begin_with(model, start))
    _start_or_resume(files, recipe, resume=resume, force=force)
    trainer = ACTTrainer(
        model, recipe.batch_size, loss_kind=recipe.loss, ponder_cost=recipe.ponder_cost
    )
    trainer.compile(optimizer=_optimizer(recipe), jit_compile=jit_compile)
    puzzles = task.puzzles("validation", recipe.validation_blanks, recipe.validation_count)
    validate = Validate(
        model, puzzles, recipe.validate_every, recipe.epochs,
        save=lambda point: _save(model, point, output),
    )  # fmt: skip
    callbacks = [
        Clock(),
        keras.callbacks.BackupAndRestore(files.backup),
        keras.callbacks.SwapEMAWeights(swap_on_epoch=True),
        validate,
        keras.callbacks.CSVLogger(files.log, append=resume),
        LearningCurve(files.log, files.curve),
    ]
    began, interrupted = time.monotonic(), False
    try:
        trainer.fit(
            _batches(task, recipe, files), steps_per_epoch=recipe.epoch_steps,
            epochs=recipe.epochs, callbacks=callbacks, verbose=verbose, shuffle=False,
        )  # fmt: skip
    except KeyboardInterrupt:
        interrupted = True
        if keras.backend.backend() == "jax":
            trainer.jax_state_sync()  # in `fit` JAX keeps the weights outside the model
        trainer.optimizer.finalize_variable_values(trainer.trainable_variables)
    point = validate.measure()
    if interrupted and point.exact_all_steps >= validate.best:
        _save(model, point, output)
    minutes = (time.monotonic() - began) / 60
    done = _finished_epochs(files) if interrupted else recipe.epochs
    return TrainResult(output, files.log, files.curve, done, interrupted, minutes, point)


@dataclasses.dataclass(frozen=True)
class _Files:
    """The files of one run, named after the model it writes."""

    output: Path

    @property
    def log(self) -> Path:
        return self.output.with_suffix(".csv")

    @property
    def curve(self) -> Path:
        return self.output.with_suffix(".png")

    @property
    def recipe(self) -> Path:
        return self.output.with_suffix(".recipe.json")

    @property
    def backup(self) -> Path:
        return self.output.with_suffix(".backup")


def _begin_with(model: TRM, start: Path) -> str:
    """Puts the weights of a checkpoint into the fresh model; returns their SHA-256."""
    given = load_model(start)
    wanted, found = model.config.to_dict(), given.config.to_dict()
    tuned = "halt_threshold"  # training sets it anew
    differing = [name for name in wanted if name != tuned and wanted[name] != found[name]]
    if differing:
        raise UsageError(
            f"{start} is another model than this recipe trains: "
            + ", ".join(f"{name} is {found[name]!r}, not {wanted[name]!r}" for name in differing)
        )
    model.set_weights(given.get_weights())
    return weights_sha256(given)


def _start_or_resume(files: _Files, recipe: Recipe, *, resume: bool, force: bool) -> None:
    described = json.dumps(dataclasses.asdict(recipe), indent=2) + "\n"
    if resume:
        if not files.recipe.exists() or not any(files.backup.glob("*")):
            raise UsageError(f"There is no run to resume beside {files.output}.")
        if files.recipe.read_text() != described:
            raise UsageError(
                f"{files.recipe} describes another run; resume with the options it was started "
                "with, or start anew under another name."
            )
        return
    files.output.parent.mkdir(parents=True, exist_ok=True)
    if not force and _finished_epochs(files):
        raise OverwriteError(
            f"{files.backup} holds a run of {_finished_epochs(files)} epochs; go on with it by "
            "--resume, discard it by --force, or choose another name."
        )
    for old in files.backup.glob("*"):
        old.unlink()
    with atomic_write(files.recipe, force=True) as temporary:
        temporary.write_text(described)


def _optimizer(recipe: Recipe) -> keras.optimizers.Optimizer:
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, max(recipe.steps - recipe.warmup_steps, 1), alpha=0.1,
        warmup_target=recipe.learning_rate, warmup_steps=recipe.warmup_steps,
    )  # fmt: skip
    return keras.optimizers.AdamW(
        schedule, weight_decay=recipe.weight_decay, beta_2=0.95, global_clipnorm=1.0,
        use_ema=True, ema_momentum=recipe.ema,
    )  # fmt: skip


def _batches(task: Task, recipe: Recipe, files: _Files) -> Iterator[tuple[dict[str, Any]]]:
    """Batches for `fit`, every epoch its own stream, so that a resumed run sees new puzzles."""
    for epoch in itertools.count(_finished_epochs(files)):
        stream = task.batches(
            recipe.batch_size, recipe.blanks, seed=recipe.seed * 1_000_003 + epoch,
            minimal_fraction=recipe.minimal_fraction,
        )  # fmt: skip
        for inputs, labels in itertools.islice(stream, recipe.epoch_steps):
            yield ({"inputs": inputs, "labels": labels},)


def _finished_epochs(files: _Files) -> int:
    metadata = files.backup / "training_metadata.json"
    return json.loads(metadata.read_text())["epoch"] if metadata.exists() else 0


def _save(model: TRM, point: HaltingPoint, output: Path) -> None:
    """Writes a copy of the model whose halt threshold is the tuned one."""
    tuned = TRM.from_config({**model.get_config(), "halt_threshold": point.threshold})
    tuned.set_weights(model.get_weights())
    with atomic_write(output, force=True) as temporary:
        tuned.save(temporary)
