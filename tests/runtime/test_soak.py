"""A driver keeps nothing of the steps that are over."""

from __future__ import annotations

import pytest

from tests.runtime.conftest import MakeRunner
from tests.runtime.fakes import make_puzzles
from tests.runtime.soaking import Leaking, in_use, soak

STEPS, LIMIT, LEAK = 600, 300, 1000  # bytes a step

pytestmark = pytest.mark.skipif(in_use() is None, reason="mallinfo2 needs glibc 2.33")


def test_no_engine_keeps_anything_of_a_step(make_runner: MakeRunner) -> None:
    runner, tokens = make_runner(), make_puzzles(4)
    assert soak(runner, tokens, STEPS).within(LIMIT)


def test_a_leak_is_seen(make_runner: MakeRunner) -> None:
    runner, tokens = make_runner(), make_puzzles(4)
    assert not soak(Leaking(runner, LEAK), tokens, STEPS).within(LIMIT)
