from __future__ import annotations

import copy
import json
import pickle
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.runtime.fakes import make_contract
from trm_runtime import (
    CarrySpec,
    ContractError,
    HaltRule,
    RejectedInputError,
    StepContract,
    Symmetries,
    TensorSpec,
)
from trm_runtime.symmetries import symmetry_problems

Edit = Callable[[dict[str, Any]], object]


def edited(edit: Edit, **fields: Any) -> str:
    """The JSON of a sound contract after an edit of its parsed value."""
    value = json.loads(make_contract(**fields).to_json())
    edit(value)
    return json.dumps(value)


def tensor(value: dict[str, Any], name: str) -> dict[str, Any]:
    every = [*value["inputs"], *value["carry"], *value["outputs"]]
    return next(spec for spec in every if spec["name"] == name)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"batch": 3},
        {"num_puzzle_identifiers": 7},
        {"alphabet": None},
        {"alphabet": ("", "#", " ", "S", "G", "é")},
        {"halt": HaltRule("q_halt_minus_q_continue", -1.5)},
        {"halt": HaltRule("q_halt", 2.5, trained=0.0)},
    ],
)
def test_json_round_trip(fields: dict[str, Any]) -> None:
    contract = make_contract(**fields)
    again = StepContract.from_json(contract.to_json())
    assert again == contract
    assert again.to_json() == contract.to_json()


def test_json_is_plain_and_starts_with_its_schema() -> None:
    value = json.loads(make_contract().to_json())
    assert next(iter(value.items())) == ("schema_version", 2)
    assert tensor(value, "z_H")["shape"] == [None, 4, 3]
    assert tensor(value, "halted")["fill"] is True


def test_the_threshold_before_tuning_is_in_the_json_only_where_it_means_something() -> None:
    plain = make_contract(halt=HaltRule("q_halt", 3.0))
    assert json.loads(plain.to_json())["halt"] == {"kind": "q_halt", "threshold": 3.0}
    tuned = replace(plain, halt=plain.halt.tuned(1.0))
    assert json.loads(tuned.to_json())["halt"] == {
        "kind": "q_halt", "threshold": 1.0, "trained": 3.0,
    }  # fmt: skip
    null = edited(lambda value: value["halt"].update(trained=None), halt=plain.halt)
    assert StepContract.from_json(null) == plain


def test_tuning_again_keeps_what_the_model_has() -> None:
    rule = HaltRule("q_halt", 3.0)
    assert rule.untuned == rule
    twice = rule.tuned(1.0).tuned(2.0)
    assert twice == HaltRule("q_halt", 2.0, trained=3.0)
    assert twice.untuned == rule == twice.tuned(3.0)


def test_sizes_come_from_the_tensors() -> None:
    contract = make_contract()
    assert (contract.seq_len, contract.vocab_size) == (4, 6)


def test_another_writer_may_give_whole_numbers_for_floats() -> None:
    text = edited(lambda value: tensor(value, "z_H").update(fill=0))
    assert StepContract.from_json(text) == make_contract()


REFUSED: dict[str, tuple[Edit, str]] = {
    "unknown key": (lambda v: v.update(colour="red"), "colour: unknown key"),
    "unknown tensor key": (lambda v: v["inputs"][0].update(scale=1), "inputs[0].scale: unknown"),
    "missing key": (lambda v: v.pop("halt"), "halt: missing"),
    "missing tensor key": (lambda v: v["carry"][1].pop("fill"), "carry[1].fill: missing"),
    "no schema": (lambda v: v.pop("schema_version"), "schema_version: expected 1 or 2, got None"),
    "old schema": (lambda v: v.update(schema_version=0), "schema_version: expected 1 or 2, got 0"),
    "schema is text": (lambda v: v.update(schema_version="1"), "schema_version: expected 1 or"),
    "schema is true": (lambda v: v.update(schema_version=True), "schema_version: expected 1 or"),
    "name is a number": (lambda v: v.update(model_name=7), "model_name: expected a string"),
    "steps is a float": (lambda v: v.update(max_steps=8.0), "max_steps: expected an integer"),
    "steps is true": (lambda v: v.update(max_steps=True), "max_steps: expected an integer"),
    "no steps": (lambda v: v.update(max_steps=0), "max_steps: expected 1 or more"),
    "batch is text": (lambda v: v.update(batch="4"), "batch: expected an integer or null"),
    "batch is zero": (lambda v: v.update(batch=0), "batch: expected 1 or more"),
    "batch differs": (
        lambda v: v.update(batch=2),
        "inputs: axis 0 is dynamic (null), but the batch",
    ),
    "inputs is an object": (lambda v: v.update(inputs={}), "inputs: expected a list"),
    "tensor is text": (lambda v: v["carry"].append("z"), "carry[5]: expected an object"),
    "dtype": (lambda v: tensor(v, "logits").update(dtype="float16"), "outputs[0].dtype: expected"),
    "dtype is null": (lambda v: tensor(v, "logits").update(dtype=None), "dtype: expected a string"),
    "empty name": (lambda v: tensor(v, "z_L").update(name=""), "a tensor has an empty name"),
    "duplicate name": (lambda v: tensor(v, "z_L").update(name="z_H"), "'z_H': more than one"),
    "name of a next": (
        lambda v: v["outputs"].append({"name": "z_H_next", "dtype": "bool", "shape": [None]}),
        "'z_H_next': more than one",
    ),
    "next": (lambda v: tensor(v, "z_L").update(next="z_L_out"), "z_L: next must be 'z_L_next'"),
    "size is text": (lambda v: tensor(v, "z_H").update(shape=[None, "4", 3]), "expected integers"),
    "size is zero": (lambda v: tensor(v, "z_H").update(shape=[None, 0, 3]), "must be 1 or more"),
    "free size": (lambda v: tensor(v, "z_H").update(shape=[None, None, 3]), "must be 1 or more"),
    "scalar": (lambda v: tensor(v, "z_H").update(shape=[]), "z_H: expected a shape that starts"),
    "fill": (lambda v: tensor(v, "steps").update(fill=0.5), "fill: expected an integer"),
    "fill is wide": (lambda v: tensor(v, "steps").update(fill=2**31), "steps: fill 2147483648"),
    "fill beyond float32": (lambda v: tensor(v, "z_H").update(fill=1e39), "z_H: fill 1e+39 is out"),
    "input of int8": (
        lambda v: v["inputs"][0].update(dtype="int8", scale=1.0, zero_point=0),
        "inputs: expected int32 (batch, 4), got int8",
    ),
    "fill of halted": (lambda v: tensor(v, "halted").update(fill=False), "halted: fill must be"),
    "no logits": (lambda v: v["outputs"].pop(0), "logits: the contract has no such output"),
    "no steps tensor": (lambda v: v["carry"].pop(2), "steps: the contract has no such carry"),
    "no current inputs": (lambda v: v["carry"].pop(4), "current_inputs: the contract has no such"),
    "no inputs": (lambda v: v["inputs"].clear(), "inputs: the contract has no such input"),
    "strange input": (
        lambda v: v["inputs"].append({"name": "clock", "dtype": "int32", "shape": [None]}),
        "clock: unknown input; expected one of",
    ),
    "shape of a head": (
        lambda v: tensor(v, "q_halt_logits").update(shape=[None, 1]),
        "q_halt_logits: expected float32 (batch,), got float32 (batch, 1)",
    ),
    "shape of current": (
        lambda v: tensor(v, "current_inputs").update(shape=[None, 5]),
        "current_inputs: expected int32 (batch, 4), got int32 (batch, 5)",
    ),
    "identifiers without input": (
        lambda v: v.update(num_puzzle_identifiers=3),
        "num_puzzle_identifiers: expected null without that input, got 3",
    ),
    "halt kind": (lambda v: v["halt"].update(kind="vibes"), "halt.kind: expected one of q_halt"),
    "threshold is text": (lambda v: v["halt"].update(threshold="0"), "halt.threshold: expected a"),
    "threshold is huge": (lambda v: v["halt"].update(threshold=10**400), "is out of range"),
    "trained is text": (lambda v: v["halt"].update(trained="0"), "halt.trained: expected a number"),
    "trained is huge": (lambda v: v["halt"].update(trained=1e301), "halt.trained: 1e+301 is out"),
    "halt is text": (lambda v: v.update(halt="q_halt"), "halt: expected an object"),
    "granularity": (lambda v: v.update(granularity="x"), "granularity: expected one of step, loop"),
    "carry of a loop": (lambda v: v.update(granularity="loop"), "z_H: a loop has no carry"),
    "answers of a loop": (lambda v: v.update(granularity="loop"), "answers: the contract has no"),
    "passes of a block": (
        lambda v: v.update(granularity="block"),
        "passes: the contract has no such carry",
    ),
    "passes of a step": (lambda v: v.update(passes=8), "passes: expected 1 in a step, got 8"),
    "alphabet is text": (lambda v: v.update(alphabet="abc"), "alphabet: expected a list"),
    "alphabet of numbers": (lambda v: v.update(alphabet=[1, 2]), "alphabet: expected strings"),
    "short alphabet": (lambda v: v.update(alphabet=["a"]), "alphabet: expected 6 entries, one a"),
    "ambiguous alphabet": (
        lambda v: v.update(alphabet=["a", "b", "c", "d", "e", "fa"]),
        "alphabet: 'a' is in more than one entry",
    ),
    "alphabet with a line end": (
        lambda v: v.update(alphabet=["a", "b", "c", "d", "e", "\n"]),
        "alphabet: '\\n' is not a printable",
    ),
    "name with an escape": (
        lambda v: v.update(model_name="\x1b[2J"),
        "model_name: expected printable characters, got '\\x1b[2J'",
    ),
    "precision with half a pair": (lambda v: v.update(precision="\ud800"), "half of a surrogate"),
    "tool of two lines": (lambda v: v["made_by"].update(tool="a\nb"), "made_by.tool: expected"),
    "tensor with a line end": (
        lambda v: v["outputs"].append({**v["outputs"][0], "name": "a\nb"}),
        "the names of tensors: expected printable characters",
    ),
    "versions": (lambda v: v["made_by"]["versions"].update(x=1), "versions.x: expected a string"),
}


@pytest.mark.parametrize(("edit", "complaint"), REFUSED.values(), ids=REFUSED.keys())
def test_refused(edit: Edit, complaint: str) -> None:
    with pytest.raises(ContractError) as caught:
        StepContract.from_json(edited(edit), "toy.onnx: its step contract")
    assert complaint in str(caught.value)
    assert str(caught.value).startswith("toy.onnx: its step contract")
    assert caught.value.exit_code == 4


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('{"a": 1, "a": 2}', "the key 'a' appears twice"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"a": -Infinity}', "-Infinity is not a JSON number"),
        ("[]", "schema_version: expected 1"),
        ("null", "schema_version: expected 1"),
    ],
)
def test_bad_json_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(ContractError, match=complaint):
        StepContract.from_json(text)


def test_an_older_schema_is_read_and_written_as_the_newest() -> None:
    old = edited(lambda value: value.update(schema_version=1))
    assert StepContract.from_json(old) == make_contract()
    assert StepContract.from_json(old).to_json() == make_contract().to_json()


def test_a_newer_schema_is_the_only_complaint() -> None:
    text = edited(lambda value: value.update(schema_version=3, colour="red"))
    with pytest.raises(ContractError, match="pip install --upgrade trm-runtime") as caught:
        StepContract.from_json(text)
    assert "colour" not in str(caught.value)


def test_all_complaints_come_at_once() -> None:
    def spoil(value: dict[str, Any]) -> None:
        value.update(colour="red", max_steps="8")
        value.pop("precision")
        tensor(value, "logits").update(dtype="int64")
        tensor(value, "z_L").update(name="z_H")
        tensor(value, "z_H").update(shape=[9, 4, 3])

    with pytest.raises(ContractError) as caught:
        StepContract.from_json(edited(spoil))
    text = "\n".join(caught.value.problems)
    for complaint in ("colour", "max_steps", "precision", "outputs[0].dtype", "'z_H'", "axis 0"):
        assert complaint in text


def test_an_unreadable_batch_blames_no_tensor() -> None:
    with pytest.raises(ContractError) as caught:
        StepContract.from_json(edited(lambda value: value.update(batch="4")))
    assert len(caught.value.problems) == 1


def test_a_contract_cannot_be_built_broken() -> None:
    contract = make_contract()
    with pytest.raises(RejectedInputError, match="max_steps: expected 1 or more") as caught:
        replace(contract, max_steps=0, halt=HaltRule("vibes", float("nan")))
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"inputs": (TensorSpec("inputs", "int64", (None, 4)),)}, "'int64' is not one of"),
        ({"carry": (CarrySpec("steps", "steps_next", "int32", (None,), True),)}, "fill True"),
        ({"granularity": "half"}, "granularity: 'half'"),
        ({"schema_version": 1}, "schema_version: expected 2, got 1"),
        ({"num_puzzle_identifiers": 0}, "expected null without that input, got 0"),
        (
            {"halt": HaltRule("q_halt", 0.0, trained=float("inf"))},
            "halt.trained: expected a finite",
        ),
        (
            {"granularity": "loop", "halt": HaltRule("q_halt", 1.0, trained=0.0)},
            "halt.trained: expected null, because a loop halts by its own threshold",
        ),
    ],
)
def test_parts_that_json_could_not_hold(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ContractError) as caught:
        replace(make_contract(), **change)
    assert complaint in str(caught.value)


SYMMETRIES = Symmetries(((1, 0, 3, 2),), ((2, 3), (4, 5)))


def test_symmetries_are_in_the_json_only_where_they_are_known_each_list_on_a_line() -> None:
    contract = make_contract(symmetries=SYMMETRIES)
    text = contract.to_json()
    assert StepContract.from_json(text) == contract
    assert text.endswith(
        '  "symmetries": {\n    "positions": [\n      [1, 0, 3, 2]\n    ],\n'
        '    "tokens": [\n      [2, 3],\n      [4, 5]\n    ]\n  }\n}\n'
    )
    without = make_contract()
    assert "symmetries" not in json.loads(without.to_json())
    null = json.dumps({**without.document(), "symmetries": None})
    assert StepContract.from_json(null) == without
    assert text.partition('"alphabet"')[0] == without.to_json().partition('"alphabet"')[0]


@pytest.mark.parametrize(
    ("symmetries", "complaint"),
    [
        (Symmetries(((0, 1, 2),)), "symmetries.positions[0]: expected a permutation of 0 to 3"),
        (Symmetries(((0, 1, 2, 3), (0, 1, 2, 2))), "symmetries.positions[1]: expected a perm"),
        (Symmetries((), ((2,),)), "symmetries.tokens[0]: expected 2 or more token ids of 0 to 5"),
        (Symmetries((), ((2, 6),)), "symmetries.tokens[0]: expected 2 or more token ids of 0 to 5"),
        (Symmetries((), ((2, 3), (3, 4))), "symmetries.tokens: id 3 is there twice"),
    ],
)
def test_symmetries_fit_the_puzzles(symmetries: Symmetries, complaint: str) -> None:
    with pytest.raises(ContractError) as caught:
        make_contract(symmetries=symmetries)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ([], "symmetries: expected an object"),
        ({"positions": []}, "symmetries.tokens: missing"),
        ({"positions": [], "tokens": [], "turns": 4}, "symmetries.turns: unknown key"),
        ({"positions": [[0, 1, 2, 3.0]], "tokens": []}, "positions[0]: expected integers, got"),
        ({"positions": [[0, 1, 2, True]], "tokens": []}, "positions[0]: expected integers, got"),
        ({"positions": [4], "tokens": []}, "positions[0]: expected integers, got"),
    ],
)
def test_symmetries_of_another_form_are_refused(value: Any, complaint: str) -> None:
    with pytest.raises(ContractError) as caught:
        StepContract.from_json(edited(lambda contract: contract.update(symmetries=value)))
    assert complaint in str(caught.value)


def test_symmetries_of_a_contract_with_millions_of_cells_take_no_memory() -> None:
    tracemalloc.start()
    try:
        problems = symmetry_problems(Symmetries(((1, 0),)), 100_000_000, 6)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert problems == ["symmetries.positions[0]: expected a permutation of 0 to 99999999"]
    assert peak < 100_000


def test_a_spec_knows_the_sizes_of_a_row() -> None:
    assert TensorSpec("logits", "float32", (None, 16, 6)).row == (16, 6)
    assert CarrySpec("steps", "steps_next", "int32", (7,), 0).row == ()


def test_use_changes_neither_its_pickle_nor_its_copies() -> None:
    contract = make_contract()
    assert contract.by_name
    before = pickle.dumps(contract)
    contract.memo["a module"] = object()
    assert pickle.dumps(contract) == before
    assert copy.copy(contract).memo == {}
    assert copy.deepcopy(contract) == contract
