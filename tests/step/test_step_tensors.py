"""The tensors of our own model, which are stated, are those that a call of it returns."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.model.variants import VARIANTS
from trm_export.model import TRM
from trm_export.step.model_facts import ModelHints, facts_of
from trm_export.step.step_tensors import StepTensors, step_tensors


class Called(TRM):
    """A TRM with a step of its own, which is called."""

    def call(self, *given: Any, **options: Any) -> Any:
        return super().call(*given, **options)


def _tensors(model: TRM) -> StepTensors:
    return step_tensors(model, facts_of(model, ModelHints()))


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("kind", list(VARIANTS))
def test_the_stated_tensors_are_those_of_a_call(kind: str, policy: str) -> None:
    own, other = (_tensors(made(**VARIANTS[kind], dtype=policy)) for made in (TRM, Called))
    assert (own.inputs, own.left_out) == (other.inputs, other.left_out)
    assert own.carry == other.carry
    assert own.outputs == tuple(replace(leaf, fill=0.0) for leaf in other.outputs)
