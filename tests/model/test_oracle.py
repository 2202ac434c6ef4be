"""The Keras model against an independent float64 step (`tests/oracle.py`), variant by variant."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import oracle
from tests.model.variants import VARIANTS, errors, random_model, random_step, run

TOLERANCE = 1e-5
FLOATS = ("z_H", "z_L", "logits", "q_halt_logits", "q_continue_logits")
ROLLED = ["paper mlp mixer", "paper mlp mixer, learned, pre", "paper rope + puzzle embedding"]


def check(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].shape == value.shape, name
        if name in FLOATS:
            assert found[name].dtype == np.float32, name
            l2, largest = errors(found[name], value)
            assert l2 <= TOLERANCE, f"{name}: {l2:.1e}"
            assert largest <= TOLERANCE, f"{name}: {largest:.1e}"
        else:
            np.testing.assert_array_equal(found[name], value, name)


@pytest.mark.parametrize("name", VARIANTS)
def test_one_step_agrees_with_the_oracle(name: str) -> None:
    model = random_model(VARIANTS[name])
    carry, batch = random_step(model)
    config = model.config.to_dict()
    wanted = oracle.step(config, oracle.extract_weights(model), carry, batch)
    found = run(model, carry, batch, training=False)
    check(found[0] | found[1], wanted[0] | wanted[1])
    assert found[0]["halted"].tolist() == [False, True, False, False, False, False]
    assert found[0]["steps"].tolist()[::2] == [1, 1, 1]


@pytest.mark.parametrize("name", VARIANTS)
def test_a_first_step_agrees_with_the_oracle(name: str) -> None:
    model = random_model(VARIANTS[name])
    _, batch = random_step(model)
    carry = {key: np.array(value) for key, value in model.initial_carry(batch).items()}
    wanted = oracle.step(model.config.to_dict(), oracle.extract_weights(model), carry, batch)
    found = run(model, carry, batch, training=False)
    check(found[0] | found[1], wanted[0] | wanted[1])


@pytest.mark.parametrize("name", ROLLED)
def test_rolled_equals_unrolled(name: str) -> None:
    model = random_model(VARIANTS[name])
    carry, batch = random_step(model)
    unrolled, rolled = run(model, carry, batch), run(model, carry, batch, rolled=True)
    check(rolled[0] | rolled[1], unrolled[0] | unrolled[1])


@pytest.mark.parametrize("rolled", [False, True])
def test_a_nan_in_a_stale_carry_does_not_survive_the_reset(rolled: bool) -> None:
    model = random_model(VARIANTS["paper rope + puzzle embedding"])
    carry, batch = random_step(model)
    clean = run(model, carry, batch, rolled=rolled)
    for state in ("z_H", "z_L"):
        carry[state][carry["halted"]] = np.nan
    dirty = run(model, carry, batch, rolled=rolled)
    check(dirty[0] | dirty[1], clean[0] | clean[1])


def test_a_nan_in_a_running_row_stays_in_its_row() -> None:
    model = random_model(VARIANTS["paper mlp mixer"])
    carry, batch = random_step(model)
    carry["z_H"][1] = np.nan
    new, outputs = run(model, carry, batch)
    assert np.isnan(outputs["logits"][1]).all()
    assert np.isfinite(np.delete(new["z_H"], 1, 0)).all()


def test_the_target_of_q_continue_agrees_with_the_oracle() -> None:
    model = random_model(VARIANTS["seed q-learning, puzzle embedding"])
    carry, batch = random_step(model)
    config, weights = model.config.to_dict(), oracle.extract_weights(model)
    new, outputs = oracle.step(config, weights, carry, batch)
    found_new, found = run(model, carry, batch, training=True)
    wanted = oracle.target_q_continue(config, weights, new)
    assert 0.05 < wanted.min() < wanted.max() < 0.999
    assert max(errors(found.pop("target_q_continue"), wanted)) <= TOLERANCE
    check(found, outputs)
    for state in ("z_H", "z_L"):
        assert max(errors(found_new[state], new[state])) <= TOLERANCE


def test_the_target_uses_q_halt_alone_on_a_last_step() -> None:
    model = random_model({**VARIANTS["seed q-learning, puzzle embedding"], "halt_max_steps": 2})
    model.inner.q_head.bias.assign([-1.0, 3.0])
    carry, batch = random_step(model)
    carry["steps"][:] = 1
    new, _ = run(model, carry, batch)
    _, found = run(model, carry, batch, training=True)
    carry_on = {**new, "halted": np.zeros_like(new["halted"])}
    _, ahead = run(model, carry_on, batch)
    last = new["steps"] == 2
    value = np.where(last, ahead["q_halt_logits"], ahead["q_continue_logits"])
    assert last.tolist() == [False, True] * 3
    assert (ahead["q_continue_logits"] > ahead["q_halt_logits"]).all()
    np.testing.assert_allclose(found["target_q_continue"], 1 / (1 + np.exp(-value)), rtol=1e-5)
