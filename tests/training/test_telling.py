"""What a training run reports: one stage an epoch, its figures, and the time that is left."""

from __future__ import annotations

import re

from trm_export.training.telling import Tell


def test_an_epoch_is_a_stage_that_ends_with_its_result() -> None:
    told: list[tuple[float, str]] = []
    tell = Tell(lambda done, what: told.append((done, what)), epochs=3)
    tell.set_params({"steps": 2})
    logs = {"loss": 1.25, "exact": 0.5, "steps": 3.0, "halted": 0.1}
    validated = {"val_exact": 0.25, "val_exact_all_steps": 0.5, "val_steps": 2.0,
                 "val_threshold": 0.0}  # fmt: skip
    for epoch in (1, 2):  # of a run that is resumed
        tell.on_epoch_begin(epoch)
        tell.on_train_batch_end(0, {"loss": 1.5, "exact": 0.0, "steps": 0.0, "halted": 0.0})
        tell.on_train_batch_end(1, logs)
        tell.on_epoch_end(epoch, logs if epoch == 1 else {**logs, **validated})
    tell.on_train_end()
    figures = "loss 1.250, 50.0% exact in 3.0 steps"
    assert [(done, re.sub(r"\d+\.\d minutes", "M minutes", what)) for done, what in told] == [
        (0.0, "Epoch 2 of 3: compiling the first step"),
        (0.5, "Epoch 2 of 3: loss 1.500"),
        (0.0, "Epoch 2 of 3: saving and validating"),
        (1.0, f"Epoch 2 of 3: {figures}; M minutes"),
        (0.5, "Epoch 3 of 3: loss 1.500"),
        (0.0, "Epoch 3 of 3: saving and validating"),
        (1.0, f"Epoch 3 of 3: {figures}; validation 25.0% in 2.0 steps; M minutes"),
        (0.0, "Writing the files"),
    ]


def test_the_minutes_that_are_left() -> None:
    told: list[str] = []
    tell = Tell(lambda done, what: told.append(what), epochs=10)
    tell.start -= 120
    tell.on_epoch_begin(0)
    tell.on_epoch_end(0, {"loss": 1.0})
    assert told[-1] == "Epoch 1 of 10: loss 1.000; 2.0 minutes, 18 left"


def test_a_run_of_no_time_is_told_too() -> None:
    told: list[float] = []
    tell = Tell(lambda done, what: told.append(done), epochs=1)
    tell.set_params({"steps": 1})
    tell.on_epoch_begin(0)
    tell.on_epoch_end(0, None)
    assert told == [0.0, 1.0]
