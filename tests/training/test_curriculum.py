from __future__ import annotations

import keras
import numpy as np
import pytest

from trm_export import TRM
from trm_export.errors import UsageError
from trm_export.training.curriculum import Curriculum, Ramp
from trm_export.training.recipe import recipe_for
from trm_export.training.trainer import ACTTrainer


def trainer() -> ACTTrainer:
    model = TRM(6, 16, 2, 1.0, 9, family="paper", puzzle_emb_len=1, halt_max_steps=8)
    return ACTTrainer(model, 4)


def test_an_epoch_that_is_mastered_brings_the_next_lesson() -> None:
    taught = Curriculum(2, 0.5, 0, trainer())
    taught.on_train_begin()
    seen = []
    for epoch, exact in enumerate((0.4, 0.5, 0.9, 0.0, 1.0)):
        logs = {"exact": exact}
        seen.append((taught.lesson, int(taught.trainer.limit.value)))
        taught.on_epoch_end(epoch, logs)
        assert logs["lesson"] == (taught.lesson or 0)
    assert seen == [(1, 1), (1, 1), (2, 2), (None, 8), (None, 8)]
    assert taught.lesson is None


@pytest.mark.parametrize(
    ("last", "lesson", "steps"), [("3.0", 3, 3), ("9.0", 9, 8), ("0.0", None, 8)]
)
def test_a_resumed_run_goes_on_at_its_lesson(last: str, lesson: int | None, steps: int) -> None:
    rows = [{"epoch": "0", "lesson": "2.0"}, {"epoch": "1", "lesson": last}]
    resumed = Curriculum(10, 0.5, 0, trainer(), rows)
    resumed.trainer.limit.assign(5)
    resumed.on_train_begin()
    assert (resumed.lesson, int(resumed.trainer.limit.value)) == (lesson, steps)


def test_a_row_has_no_more_steps_than_the_recipe_says() -> None:
    taught = Curriculum(5, 0.5, 3, trainer())
    seen = []
    for epoch in range(7):
        taught.on_epoch_end(epoch, {"exact": 1.0})
        seen.append(int(taught.trainer.limit.value))
    assert seen == [2, 3, 3, 3, 3, 3, 3]


@pytest.mark.parametrize(("lessons", "mastery"), [(0, 0.5), (8, 0.0)])
def test_without_lessons_or_mastery_there_is_the_task_alone(lessons: int, mastery: float) -> None:
    plain = Curriculum(lessons, mastery, 0, trainer())
    logs = {"exact": 1.0}
    plain.on_train_begin()
    plain.on_epoch_end(0, logs)
    assert plain.lesson is None
    assert int(plain.trainer.limit.value) == 8
    assert "lesson" not in logs


def test_a_mastery_that_nothing_reaches_is_refused() -> None:
    with pytest.raises(UsageError, match="mastery must be 0 or more and below 1"):
        recipe_for("maze9", mastery=1.0)


def test_rows_halt_at_the_limit_in_training_alone() -> None:
    taught = trainer()
    taught.limit.assign(1)
    batch = {name: np.ones((4, 9), np.int32) for name in ("inputs", "labels")}
    batch = {name: keras.ops.convert_to_tensor(array) for name, array in batch.items()}
    assert not np.asarray(taught(batch, training=False)["halted"]).any()
    assert np.asarray(taught(batch, training=True)["halted"]).all()


def test_a_ramp_ends_with_all_act_steps_whatever_the_first_epoch() -> None:
    ramp = Ramp(2, 4.0, trainer())
    seen = []
    for epoch in (0, 1, 2, 3, 4, 9, 1):
        ramp.on_epoch_begin(epoch)
        seen.append(int(ramp.trainer.limit.value))
    assert seen == [2, 3, 5, 6, 8, 8, 3]
    with pytest.raises(UsageError, match="ramp must be 0 to 1, got 2"):
        recipe_for("sudoku9", ramp=2)
    with pytest.raises(UsageError, match="The ramp and the mastery both set the ACT steps"):
        recipe_for("maze9", ramp=0.5)
