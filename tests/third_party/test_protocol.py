"""What is inferred of a model, what is asked for, and which models are refused."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tests.third_party.conftest import ThirdPartyModel
from trm_export.errors import ProtocolError, UsageError
from trm_export.step.model_facts import ModelHints, halt_rule
from trm_export.step.step_model import adapt
from trm_runtime.contract import HaltRule

ASKED = ModelHints(seq_len=9, max_steps=3)


def odd(name: str, **options: Any) -> Any:
    from tests.third_party import oddities

    return getattr(oddities, name)(**options)


def test_names_come_from_the_paths_of_the_nest(their_model: ThirdPartyModel) -> None:
    model = their_model.model
    carry = {spec.name: (spec.dtype, spec.shape) for spec in model.carry(None)}
    assert list(carry)[:5] == ["z_H", "z_L", "steps", "halted", "current_inputs"]
    assert carry["current_inputs"] == ("int32", (None, 16))
    identifiers = {"current_puzzle_identifiers"} if model.num_puzzle_identifiers else set()
    assert set(carry) - set(list(carry)[:5]) == identifiers
    outputs = [spec.name for spec in model.outputs(None)]
    assert outputs[:3] == ["logits", "q_halt_logits", "q_continue_logits"]


def test_other_outputs_are_kept_where_they_have_rows(third_party: Any) -> None:
    model = third_party("gridthink").model
    assert [spec.name for spec in model.outputs(2)][3:] == ["confidence"]
    assert model.outputs(2)[3].shape == (2, 16)
    assert model.left_out == ("temperature",)


def test_the_halt_rule_and_the_steps_are_the_models_own(third_party: Any) -> None:
    from tests.third_party.gridthink import GridThinker

    model = third_party("gridthink").model
    assert model.halt == HaltRule("q_halt")
    assert (model.max_steps, model.seq_len, model.vocab_size) == (3, 16, 6)
    other = adapt(GridThinker(no_act_continue=False))
    assert other.halt == HaltRule("q_halt_minus_q_continue")
    assert adapt(GridThinker(), ModelHints(halt_rule="q_halt_minus_q_continue")).halt == other.halt


def test_a_threshold_that_is_asked_for_wins() -> None:
    from tests.third_party.gridthink import GridThinker
    from trm_export import TRM
    from trm_export.step.signature import contract_for

    found = adapt(GridThinker(), ModelHints(halt_threshold=1.5))
    assert found.halt == HaltRule("q_halt", 1.5)
    own = TRM(6, 16, 2, 1.0, 16, family="paper", halt_threshold=0.5, l_layers=1, h_layers=1)
    assert adapt(own).halt.threshold == 0.5
    assert adapt(own, ModelHints(halt_threshold=-2.0)).halt.threshold == -2.0
    with pytest.raises(UsageError, match="--halt-threshold must be a finite number, got nan"):
        adapt(own, ModelHints(halt_threshold=float("nan")))
    contract = contract_for(own)
    tuned = dataclasses.replace(contract, halt=contract.halt.tuned(3.0))
    assert halt_rule(object(), ModelHints(assumed=tuned)) == contract.halt


def test_what_cannot_be_inferred_is_asked_for_by_name() -> None:
    from tests.third_party.hierarchy import HRM

    with pytest.raises(UsageError, match=r"seq_len; give --seq-len.*max_steps; give --max-steps"):
        adapt(odd("Named"))
    with pytest.raises(
        UsageError, match=r"HRM: the model does not state its halt_rule; give --halt-rule"
    ):
        adapt(HRM())
    silent = HRM(num_puzzle_identifiers=3)
    del silent.settings["puzzle_emb_ndim"], silent.settings["num_puzzle_identifiers"]
    with pytest.raises(UsageError, match=r"give --puzzle-identifiers"):
        adapt(silent, ModelHints(halt_rule="q_halt"))
    with pytest.raises(UsageError, match=r"--seq-len is 9, but the model has seq_len 16; --max-st"):
        adapt(HRM(), ModelHints(seq_len=9, max_steps=5))
    with pytest.raises(UsageError, match=r"must be q_halt or q_halt_minus_q_continue, got 'max'"):
        adapt(HRM(), ModelHints(halt_rule="max"))


def test_an_exports_contract_answers_what_nobody_says() -> None:
    from tests.third_party.hierarchy import HRM
    from trm_export.step.signature import contract_for

    rule = "q_halt_minus_q_continue"
    contract = contract_for(adapt(HRM(), ModelHints(halt_rule=rule)))
    assert adapt(HRM(), ModelHints(assumed=contract)).halt.kind == rule


def test_a_task_gives_the_alphabet(third_party: Any) -> None:
    from trm_export.tasks import get_task

    model = third_party("gridthink").model.keras
    assert adapt(model).alphabet is None
    assert adapt(model, ModelHints(task="sudoku4")).alphabet == get_task("sudoku4").alphabet


def test_a_plain_model_is_completed() -> None:
    model = adapt(odd("Named"), ASKED)
    assert model.halt == HaltRule("q_halt")
    carry = {spec.name: spec.dtype for spec in model.carry(None)}
    assert carry == {
        "state": "float32", "steps": "int32", "halted": "bool", "current_inputs": "int32",
    }  # fmt: skip
    tensors = {
        "inputs": np.full((2, 9), 3, "int32"),
        "current_inputs": np.full((2, 9), 5, "int32"),
        "halted": np.array([True, False]),
        "steps": np.array([2, 1], "int32"),
        "state": np.ones((2, 9, 16), "float32"),
    }
    found = {name: np.array(value) for name, value in model.step(tensors).items()}
    assert found["current_inputs_next"][:, 0].tolist() == [3, 5]
    assert found["steps_next"].tolist() == [1, 2]
    assert found["steps_next"].dtype == np.int32
    assert found["q_halt_logits"].shape == (2,)
    assert found["q_continue_logits"].tolist() == [0, 0]


@pytest.mark.parametrize(("name", "what"), [("Arithmetic", "NaN"), ("Forgetful", "an old state")])
def test_a_stale_carry_that_leaks_is_told(name: str, what: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        adapt(odd(name), ASKED)
    (problem,) = caught.value.problems
    assert f"halted = True and {what} in its carry must be reset" in problem
    assert "these still depend on it: state, logits, q_halt_logits; select" in problem
    assert caught.value.exit_code == 4


def test_models_of_another_protocol_are_refused() -> None:
    import keras

    with pytest.raises(
        ProtocolError, match=r"^Sequential does not follow the protocol:\s+- it has no method init"
    ):
        adapt(keras.Sequential())
    with pytest.raises(ProtocolError, match="the carry has no 'halted'"):
        adapt(odd("Plain"), ASKED)
    with pytest.raises(ProtocolError, match=r"with a batch of inputs raise \w+: "):
        adapt(odd("Named"), ModelHints(seq_len=8, max_steps=3))


@pytest.mark.parametrize(
    ("name", "problem"),
    [("Integral", "carry halted: expected bool, got int32"),
     ("Twice", "carry steps_next: in a file, steps_next is the next value of steps; rename one"),
     ("Broken", "computes NaN or infinity for a row of tokens 0: state, logits, q_halt_logits;"),
     ("Silent", "with a batch of inputs raise AssertionError: no reason given")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")  # of Keras, whose build calls it too
def test_a_breach_is_told_with_what_is_wrong(name: str, problem: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        adapt(odd(name), ASKED)
    (found,) = caught.value.problems
    assert problem in found
    assert "tf.Tensor" not in found


def test_a_number_below_one_is_not_a_missing_one() -> None:
    model = odd("Named")
    model.seq_len, model.max_steps = 9, 0
    for hints in (ModelHints(), ModelHints(max_steps=8)):
        with pytest.raises(UsageError) as caught:
            adapt(model, hints)
        assert "Named: max_steps of the model must be 1 or more, got 0" in str(caught.value)
        assert "does not state its max_steps" not in str(caught.value)
    model.halt_max_steps = 3
    assert adapt(model).max_steps == 3


def test_our_own_model_takes_the_same_road() -> None:
    from trm_export import TRM

    own = TRM(6, 16, 2, 1.0, 16, family="paper", halt_threshold=0.5, l_layers=1, h_layers=1)
    model = adapt(own)
    assert model.passes == own.config.passes
    assert model.halt == HaltRule("q_halt", 0.5)
    assert [spec.name for spec in model.carry(1)] == list(
        own.initial_carry({"inputs": np.zeros((1, 16), "int32")})
    )
    with pytest.raises(UsageError, match="--max-steps is 4, but the model has max_steps 16"):
        adapt(own, ModelHints(max_steps=4))
