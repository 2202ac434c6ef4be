"""The trainer under plain ``fit()`` on the running backend, its core once more on the others."""

from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from trm_export.model import TRM
from trm_export.training.trainer import ACTTrainer

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

ROWS, SEQ, VOCAB = 4, 5, 6
ELSEWHERE = "halted_slots or stands_still or loss_falls or own_gradient or own_goal"
ROOT = Path(__file__).parents[2]
WHOLE = keras.backend.backend() == "jax"  # a step compiled as one: sooner than each operator


def make_trainer(*, learning_rate: float = 0.0, jit: bool = WHOLE, **options: Any) -> ACTTrainer:
    keras.utils.set_random_seed(3)
    model = TRM(
        VOCAB, 8, 2, 1.0, SEQ, family="paper", mixer="mlp", pos_encodings="none",
        puzzle_emb_len=1, h_layers=1, l_layers=1,
        **{"halt_max_steps": 3, "no_act_continue": options.pop("no_act_continue", True)},
    )  # fmt: skip
    trainer = ACTTrainer(model, ROWS, **options)
    trainer.compile(optimizer=keras.optimizers.Adam(learning_rate), jit_compile=jit)
    return trainer


def batch(seed: int = 0, rows: int = ROWS) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    shape = (rows, SEQ)
    return {
        "inputs": rng.integers(1, VOCAB, shape).astype("int32"),
        "labels": rng.integers(1, VOCAB, shape).astype("int32"),
    }


def value(variable: Any) -> Any:
    return keras.ops.convert_to_numpy(variable)


def slots(trainer: ACTTrainer) -> dict[str, Any]:
    found = {name: value(slot) for name, slot in trainer.slots.items()}
    return {**found, "labels": value(trainer.labels)[:, -1]}


def fit(trainer: ACTTrainer, data: dict[str, Any], **options: Any) -> dict[str, list[float]]:
    options = {"batch_size": ROWS, "verbose": 0, "shuffle": False, **options}
    return dict(trainer.fit(data, **options).history)


def test_one_batch_is_one_act_step() -> None:
    trainer = make_trainer()
    data, model = batch(), trainer.trm
    carry = model.initial_carry(data)
    for step in (1, 2):
        carry, outputs = model(carry, data, training=False)
        history = fit(trainer, data)
        found = slots(trainer)
        assert found["steps"].tolist() == [step] * ROWS
        assert not found["halted"].any()
        for name in ("z_H", "z_L", "current_inputs"):
            np.testing.assert_allclose(found[name], value(carry[name]), rtol=1e-4, atol=1e-5)
        logits = value(outputs["logits"])
        wanted = -log_stablemax(logits)[np.arange(ROWS)[:, None], np.arange(SEQ), data["labels"]]
        assert history["ce"] == [pytest.approx(wanted.mean(), rel=1e-4)]


def test_only_halted_slots_take_the_incoming_row() -> None:
    trainer = make_trainer()
    first, second, third = batch(0), batch(1), batch(2)
    fit(trainer, first)
    trainer.slots["halted"].assign([False, True, True, False])
    trainer.slots["steps"].assign([1, 1, 3, 2])
    fit(trainer, second)
    found, fresh = slots(trainer), np.array([False, True, True, False])[:, None]
    assert found["steps"].tolist() == [2, 1, 1, 3]
    assert found["halted"].tolist() == [False, False, False, True]
    wanted = np.where(fresh, second["inputs"], first["inputs"])
    np.testing.assert_array_equal(found["current_inputs"], wanted)
    wanted = np.where(fresh, second["labels"], first["labels"])
    np.testing.assert_array_equal(found["labels"], wanted)
    fit(trainer, third)
    found = slots(trainer)
    assert found["steps"].tolist() == [3, 2, 2, 1]
    np.testing.assert_array_equal(found["current_inputs"][3], third["inputs"][3])
    np.testing.assert_array_equal(found["labels"][0], first["labels"][0])


def test_the_carry_stands_still_outside_training() -> None:
    trainer = make_trainer()
    fit(trainer, batch())
    before = slots(trainer)
    trainer.evaluate(batch(1), batch_size=ROWS, verbose=0)
    for name, found in slots(trainer).items():
        np.testing.assert_array_equal(found, before[name], name)


def test_the_loss_falls_on_a_tiny_problem() -> None:
    jit = keras.backend.backend() != "torch"
    trainer = make_trainer(learning_rate=0.01, jit=jit)
    data = batch(rows=ROWS)
    data = {"inputs": data["inputs"], "labels": data["inputs"]}
    many = {name: np.tile(rows, (30, 1)) for name, rows in data.items()}
    history = fit(trainer, many, epochs=3)
    assert history["ce"][-1] < 0.5 * history["ce"][0]
    assert history["cells"][-1] > history["cells"][0]
    assert history["exact"][-1] > 0.5
    assert 1 <= history["steps"][-1] <= 3


def test_the_model_s_weights_are_the_trainer_s_and_change() -> None:
    trainer = make_trainer(learning_rate=0.01)
    before = [value(v) for v in trainer.trm.trainable_variables]
    fixed = value(trainer.trm.inner.H_init)
    assert [v.path for v in trainer.trainable_variables] == [
        v.path for v in trainer.trm.trainable_variables
    ]
    fit(trainer, batch())
    after = [value(v) for v in trainer.trm.trainable_variables]
    assert all((a != b).any() for a, b in zip(after, before, strict=True))
    np.testing.assert_array_equal(value(trainer.trm.inner.H_init), fixed)


def test_every_step_follows_its_own_gradient_alone() -> None:
    trainer = make_trainer()
    trainer.compile(optimizer=keras.optimizers.SGD(1e-4), jit_compile=WHOLE)
    trainer.limit.assign(1)
    weights = trainer.trm.trainable_variables
    seen = [[np.array(value(v), np.float64) for v in weights]]
    for _ in range(3):
        fit(trainer, batch())
        seen.append([np.array(value(v), np.float64) for v in weights])
    moves = [[b - a for a, b in zip(*pair, strict=True)] for pair in itertools.pairwise(seen)]
    for first, last in zip(moves[0], moves[-1], strict=True):
        assert np.linalg.norm(first - last) < 0.05 * np.linalg.norm(first)


def test_every_act_step_is_asked_for_its_own_goal() -> None:
    trainer = make_trainer(goals=2)
    data = batch()
    goals = np.stack([data["labels"], data["labels"] % 5 + 1], axis=1)
    found = []
    for _ in range(4):  # a row halts after three steps
        tensors = {"inputs": data["inputs"], "labels": goals}
        given = {name: keras.ops.convert_to_tensor(array) for name, array in tensors.items()}
        outputs = trainer(given, training=True)
        np.testing.assert_array_equal(value(outputs["solution"]), goals[:, 1])
        found.append(value(outputs["labels"]))
    for labels, goal in zip(found, (0, 1, 1, 0), strict=True):
        np.testing.assert_array_equal(labels, goals[:, goal])


def test_only_the_solution_is_worth_halting_for() -> None:
    trainer = make_trainer(goals=2)
    logits = np.full((ROWS, SEQ, VOCAB), -20, "float32")
    labels = batch()["labels"]
    np.put_along_axis(logits, labels[..., None], 20, -1)
    pred = {
        "labels": labels, "solution": labels % 5 + 1, "logits": logits,
        "q_halt_logits": np.full(ROWS, -9, "float32"), "steps": np.ones(ROWS, "int32"),
        "halted": np.ones(ROWS, "bool"),
    }  # fmt: skip
    trainer.compute_loss(y_pred={n: keras.ops.convert_to_tensor(x) for n, x in pred.items()})
    found = {name: float(tracker.result()) for name, tracker in trainer.trackers.items()}
    assert found["exact"] == 1
    assert found["q_loss"] < 0.001


def test_q_learning_trains_with_its_target() -> None:
    trainer = make_trainer(learning_rate=0.01, no_act_continue=False)
    data = {name: np.tile(rows, (10, 1)) for name, rows in batch().items()}
    start = value(trainer.trm.inner.q_head.bias)
    history = fit(trainer, data, epochs=2)
    assert np.isfinite(history["q_loss"]).all()
    bias = value(trainer.trm.inner.q_head.bias)
    assert (bias != start).all()


def log_stablemax(logits: Any) -> Any:
    x = np.asarray(logits, np.float64)
    s = np.where(x >= 0, x + 1, 1 / (1 - np.minimum(x, 0)))
    return np.log(s / s.sum(-1, keepdims=True))


def bce(target: Any, logit: Any) -> Any:
    p = 1 / (1 + np.exp(-np.asarray(logit, np.float64)))
    return -(target * np.log(p) + (1 - target) * np.log(1 - p))


@pytest.mark.parametrize("with_target", [False, True])
def test_the_loss_is_the_formula(with_target: bool) -> None:
    trainer = make_trainer(q_weight=0.7, ponder_cost=0.3)
    rng = np.random.default_rng(0)
    labels = batch()["labels"]
    labels[1, 2:] = 0  # padding
    logits = rng.normal(0, 3, (ROWS, SEQ, VOCAB)).astype("float32")
    logits[1, [0, 1], labels[1, :2]] = 50.0  # the one row that is right
    q = rng.normal(0, 2, (2, ROWS)).astype("float32")
    pred = {
        "labels": labels, "solution": labels, "logits": logits,
        "q_halt_logits": q[0], "q_continue_logits": q[1],
        "steps": np.ones(ROWS, "int32"), "halted": np.ones(ROWS, "bool"),
    }  # fmt: skip
    chosen = np.take_along_axis(log_stablemax(logits), labels[..., None], -1)[..., 0]
    ce = -(chosen * (labels > 0)).sum(1) / (labels > 0).sum(1)
    q_loss = bce(np.array([0, 1, 0, 0]), q[0])
    if with_target:
        pred["target_q_continue"] = rng.random(ROWS).astype("float32")
        q_loss = q_loss + bce(pred["target_q_continue"], q[1])
    ponder = 1 - 1 / (1 + np.exp(-q[0]))
    wanted = ce.mean() + 0.7 * q_loss.mean() + 0.3 * ponder.mean()
    tensors = {name: keras.ops.convert_to_tensor(item) for name, item in pred.items()}
    assert float(trainer.compute_loss(y_pred=tensors)) == pytest.approx(wanted, rel=1e-5)
    found = {name: float(tracker.result()) for name, tracker in trainer.trackers.items()}
    assert found["ce"] == pytest.approx(ce.mean(), rel=1e-5)
    assert found["q_loss"] == pytest.approx(q_loss.mean(), rel=1e-5)
    assert found["exact"] == 0.25


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="this is the outer run")
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_the_trainer_does_the_same_on_other_backends(backend: str) -> None:
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"the {backend} backend is not installed")
    paths = [str(ROOT), str(ROOT / "runtimes"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", ELSEWHERE, __file__],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(paths)},
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    assert "5 passed" in done.stdout
