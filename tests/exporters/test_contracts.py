"""Every contract that the exporters make is valid by the JSON Schema that the device wheel has."""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
from typing import Any

import jsonschema
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from trm_export import TRM
from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.errors import UsageError
from trm_export.exporters.choices import FORMATS, PRECISIONS, Choices
from trm_export.exporters.export import format_named, plan
from trm_export.exporters.integer_io import integer_contract
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_runtime import StepContract
from trm_runtime.contract import GRANULARITIES
from trm_runtime.contract_schema import SCHEMA_FILE

VALID = jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def shared() -> Shared:
    return Shared(load_model(shipped_checkpoint("sudoku4")))


def written(contract: StepContract) -> Any:
    """A contract as it lies in a file, which reads it back."""
    text = contract.to_json()
    assert StepContract.from_json(text) == contract
    return json.loads(text)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_choice(shared: Shared, kind: str) -> None:
    planned, model = 0, shared.model
    for precision, granularity, batch in itertools.product(
        PRECISIONS, GRANULARITIES, (None, 1, 7, "free")
    ):
        choices = Choices(precision, granularity=granularity, batch=batch)
        try:
            job = plan(model, probe_puzzles(model), format_named(kind), choices, shared)
        except UsageError:
            continue
        VALID.validate(written(job.contract))
        planned += 1
    assert planned >= 20


@pytest.mark.parametrize("granularity", ["step", "block"])
def test_int8_inputs_and_outputs(shared: Shared, granularity: str) -> None:
    choices = Choices("int8-static", granularity=granularity, integer_io=True)
    job = plan(shared.model, probe_puzzles(shared.model), format_named("tflite"), choices, shared)
    VALID.validate(written(integer_contract(job)))


@pytest.mark.parametrize("place", ["internal", "external"])
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_puzzle_identifiers(place: str, granularity: str) -> None:
    model = TRM(6, 16, 2, 1.0, 16, family="paper", puzzle_emb_ndim=8, num_puzzle_identifiers=9)
    choices = Choices(puzzle_table=place, granularity=granularity)
    job = plan(model, probe_puzzles(model), format_named("onnx"), choices)
    value = written(job.contract)
    assert value["num_puzzle_identifiers"] == 9
    assert ("puzzle_table_sha256" in value) == (place == "external")
    VALID.validate(value)


@pytest.mark.parametrize("continues", [True, False])
def test_a_tuned_threshold(continues: bool) -> None:
    model = TRM(6, 16, 2, 1.0, 16, no_act_continue=continues)
    contract = plan(model, probe_puzzles(model), format_named("onnx")).contract
    tuned = dataclasses.replace(contract, halt=contract.halt.tuned(1.5))
    assert written(tuned)["halt"]["trained"] == 0.0
    VALID.validate(written(tuned))
