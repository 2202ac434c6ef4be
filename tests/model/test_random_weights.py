"""A test of a model with random weights has the same model in every run."""

from __future__ import annotations

import random

import numpy as np
import pytest

from trm_export import TRM


def weights() -> list[np.ndarray]:
    model = TRM(6, 16, 2, 1.0, 16, family="paper", puzzle_emb_len=1)
    return [weight.numpy() for weight in model.weights]


@pytest.fixture
def drawn() -> list[np.ndarray]:
    return weights()


def test_random_weights_are_those_of_the_fixture_or_the_test(
    drawn: list[np.ndarray], request: pytest.FixtureRequest
) -> None:
    mine = weights()
    for name, found in (("drawn", drawn), (request.node.nodeid, mine)):
        random.seed(name)
        assert all(map(np.array_equal, weights(), found))
    assert not all(map(np.array_equal, drawn, mine))
