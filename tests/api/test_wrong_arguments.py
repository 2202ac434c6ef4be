"""Arguments of the public functions that make no sense are refused in a sentence, at once."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trm_export as te
from tests.importing.golden import GOLDEN
from trm_export.errors import OtherWeightsError, RejectedInputError, TRMError, UsageError
from trm_export.tasks import PuzzleSet
from trm_export.training.recipe import recipe_for

NONE = "none.onnx"  # a file that nobody opens, because the refusal comes first
ROWLESS = PuzzleSet(np.zeros((0, 16), np.int32), None, np.zeros(0, np.int32))
CHECKPOINT = GOLDEN / "rope" / "step_10.safetensors"


@pytest.mark.parametrize("count", [0, -5, True, "20", 1.5])
@pytest.mark.parametrize(
    "call",
    [
        lambda model, count: te.compare(model, NONE, count=count),
        lambda model, count: te.compare(model, NONE, jobs=count),
        lambda model, count: te.compare(model, NONE, batch_size=count),
        lambda model, count: te.evaluate(model, count=count),
        lambda model, count: te.record(model, output="g.npz", count=count),
        lambda model, count: te.bench(model, count=count),
        lambda model, count: te.profile(NONE, count=count),
        lambda model, count: te.profile(NONE, threads=count),
        lambda model, count: te.record(model, output="g.npz", states=count),
        lambda model, count: te.tune(NONE, count=count),
        lambda model, count: te.plan(NONE, deadline=1, count=count),
        lambda model, count: te.export_c(model, "c", tries=count),
        lambda model, count: te.export(
            model, "m.onnx", precision="int8", auto_keep=5, auto_keep_count=count
        ),
    ],
)
def test_counts(
    call: Callable[[Path, Any], object], count: Any, tiny_keras: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="must be a whole number, 1 or more, got"):
        call(tiny_keras, count)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda model: te.compare(model, NONE, jobs=None),  # type: ignore[arg-type]
        lambda model: te.evaluate(model, count=None),  # type: ignore[arg-type]
        lambda model: te.record(model, output="g.npz", count=None),  # type: ignore[arg-type]
        lambda model: te.bench(model, count=None),  # type: ignore[arg-type]
        lambda model: te.tune(NONE, count=None),  # type: ignore[arg-type]
        lambda model: te.profile(NONE, threads=None),  # type: ignore[arg-type]
        lambda model: te.compare(model, None),  # type: ignore[arg-type]
    ],
)
def test_none_is_no_number_of_puzzles_and_no_file(
    call: Callable[[Path], object], tiny_keras: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"1 or more, got None|give at least one exported file"):
        call(tiny_keras)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda model, two: te.compare(model, NONE, count=two, jobs=two, threads=two, tries=two),
        lambda model, two: te.evaluate(NONE, count=two, vote=two),
        lambda model, two: te.record(NONE, output="g.npz", count=two, states=two),
        lambda model, two: te.profile(NONE, count=two, threads=two),
        lambda model, two: te.tune(NONE, count=two, lose=np.float32(two)),
        lambda model, two: te.plan(NONE, deadline=np.float32(two), budget=two, memory=two),
        lambda model, two: te.bench(NONE, count=two, blanks=two),
        lambda model, two: te.compare(model, NONE, blanks=(two, two)),
    ],
)
def test_numbers_of_numpy_are_taken(
    call: Callable[[Path, Any], object], tiny_keras: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The next complaint is about the file, which does not exist."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TRMError, match=r"none\.onnx|--vote needs|ending"):
        call(tiny_keras, np.int64(2))


WRONG: dict[str, tuple[Callable[[Path], object], str]] = {
    "batch": (lambda model: te.export(model, "m.onnx", batch="2"), "or free, got '2'"),
    "true": (lambda model: te.export(model, "m.onnx", batch=True), "or free, got True"),
    "blanks": (lambda model: te.evaluate(model, blanks=8.0), "range, minimal or hard, got 8.0"),
    "range": (lambda model: te.bench(model, blanks=(3,)), r"or hard, got \(3,\)"),
    "deadline": (lambda model: te.plan(NONE, deadline="1"), "number above 0, got '1'"),
    "huge": (lambda model: te.plan(NONE, deadline=10**400), "number above 0, got 1000"),
    "hints": (lambda model: te.load(model, hints={"seq_len": 3}), "hints: expected a ModelHints, "),
    "hints to compare": (lambda model: te.compare(model, NONE, hints=3), "ModelHints.*, got 3"),
    "hint": (
        lambda model: te.load(model, hints=te.ModelHints(seq_len="3")),
        "whole number, 1 or more, got '3'",
    ),
    "trust": (lambda model: te.load(model, trust=3), "trust must be a name or several .*, got 3"),
    "trusted": (lambda model: te.load(model, trust=[3]), r"several names, got \[3\]"),
    "trust to inspect": (lambda model: te.inspect(model, trust=3), "several names, got 3"),
    "keep": (lambda model: te.export(model, "m.onnx", keep=3), "keep must be a name or .*, got 3"),
    "auto_keep": (
        lambda model: te.export(model, "m.onnx", precision="int8", auto_keep="20"),
        "The percent of bytes for auto_keep must be 0 to 1000, got '20'",
    ),
    "lose": (lambda model: te.tune(NONE, lose="1"), "--lose must be 0 to 100 .*, got '1'"),
    "gates": (
        lambda model: te.compare(model, NONE, gates={}),
        "gates: expected .*, got {}",
    ),
    "assumed": (
        lambda model: te.load(model, hints=te.ModelHints(assumed=3)),
        "hints: assumed: expected a StepContract, got 3",
    ),
    "settled": (lambda model: te.tune(NONE, settled="no"), "settled: expected True or .*'no'"),
    "dry run": (lambda model: te.tune(NONE, dry_run="x"), "dry_run: expected True or .*'x'"),
    "three": (lambda model: te.tune(NONE, puzzles=([], [], [])), "or a pair .*got a tuple of 3"),
    "no rows": (lambda model: te.evaluate(model, puzzles=ROWLESS), "at least one row, got a Puzz"),
    "golden": (lambda model: te.compare(model, NONE, golden=3), "golden must be the path .*got 3"),
    "report": (lambda model: te.compare(model, NONE, report=3), "report must be the path .*got 3"),
    "files": (lambda model: te.compare(model, 3), "files must be paths of .*, got 3"),
    "one of the files": (lambda model: te.compare(model, [NONE, None]), "files must be paths of"),
    "path": (lambda model: te.export(model, 3, format="onnx"), "path must be the path .*, got 3"),
    "rate": (
        lambda model: te.train("sudoku4", learning_rate="x", steps=2.5),
        "The steps must be an integer, got 2.5. The learning_rate must be a number, got 'x'.",
    ),
    "steps": (lambda model: te.train("sudoku4", steps=True), "steps must be an integer, got True"),
    "train": (lambda model: te.train("sudoku4", blanks=8.0), "blanks must be a number or .*8.0"),
    "verify": (lambda model: te.verify(3, "key.pem"), "path must be the path of .*, got 3"),
    "require sha256": (lambda model: te.require(model, sha256=3), "64 hexadecimal digits, got 3"),
    "require nothing": (lambda model: te.require(model), "Give sha256 or key; without them not"),
    "require none": (lambda model: te.require(model, sha256=iter(())), "Give sha256 or key"),
    "force": (lambda model: te.export(model, "m.onnx", force="no"), "True or False, got 'no'"),
    "progress": (
        lambda model: te.export(model, "m.onnx", progress=5),
        "progress: expected a function, got 5",
    ),
    "require one": (lambda model: te.require(model, sha256=[3]), "64 hexadecimal digits, got 3"),
    "fit": (lambda model: te.export_c(model, "d", fit=3), "--fit: expected flash and ram .*got 3"),
    "fit as a mapping": (
        lambda model: te.export_c(model, "d", fit={"flash": 100_000}),
        "--fit: expected flash and ram in bytes, .* got {'flash': 100000}",
    ),
    "given": (lambda model: te.import_checkpoint("none", given=[3]), r"given must be .*got \[3\]"),
    "one given": (
        lambda model: te.import_checkpoint(CHECKPOINT, given="colour=2"),
        "'colour=2' is not NAME=VALUE",
    ),
    "null": (lambda model: te.export(model, "a\0.onnx"), "path must be a path without a null "),
    "require": (lambda model: te.require(model, key=3), "key must be the path of .*, got 3"),
    "until": (lambda model: te.train("sudoku4", until=3), "--until 3: expected a time such as"),
    "recipe": (lambda model: te.train(["x"]), r"There is no recipe for \['x'\]; choose from"),
    "command": (
        lambda model: te.compare(model, NONE, command=3, report="q.html"),
        "command: expected the text of a command line, got 3",
    ),
    "control": (lambda model: te.compare(model, NONE, control="x"), "False or None, got 'x'"),
    "weights": (
        lambda model: te.compare(model, NONE, weights="x"),
        "weights: expected True or False, got 'x'",
    ),
    "control of a recording": (
        lambda model: te.record(model, output="g.npz", control="x"),
        "control: expected True, False or None, got 'x'",
    ),
    "null of puzzles": (
        lambda model: te.compare(model, NONE, puzzles="a\0b", report="q.html"),
        "puzzles must be a path without a null character",
    ),
    "stop": (lambda model: te.train("sudoku4", stop=3), "stop: expected a StopRequest, got 3"),
    "resume": (lambda model: te.train("sudoku4", resume="yes"), "resume: expected True or False"),
    "verbose": (lambda model: te.train("sudoku4", verbose="abc"), "verbose: expected 0, 1, 2 or"),
    "told": (lambda model: te.train("sudoku4", progress=3), "progress: expected a function, got 3"),
    "preset": (
        lambda model: te.train("sudoku4", "m.keras", preset="maze9"),
        r"The preset maze9 is not for the task sudoku4: .* are \(81, 6\), but .* are \(16, 6\)\.",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_another_kind_of_value(
    name: str, tiny_keras: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    call, complaint = WRONG[name]
    with pytest.raises(UsageError, match=complaint):
        call(tiny_keras)
    assert list(tmp_path.iterdir()) == []


def test_numbers_of_numpy_become_those_of_python(tiny_keras: Path, tmp_path: Path) -> None:
    found = te.export(tiny_keras, tmp_path / "m.onnx", batch=np.int64(2))  # type: ignore[arg-type]
    assert found.contract.batch == 2
    recipe = recipe_for(
        "sudoku4", steps=np.int64(3), ema=np.float32(0.5), blanks=(np.int8(4), 6),
        validation_blanks=np.int64(5),
    )  # fmt: skip
    assert recipe == recipe_for("sudoku4", steps=3, ema=0.5, blanks=(4, 6), validation_blanks=5)
    assert json.loads(json.dumps(dataclasses.asdict(recipe)))["blanks"] == [4, 6]


def test_a_batch_that_no_device_would_allocate_is_refused_before_it_is_converted(
    tiny_keras: Path, tmp_path: Path
) -> None:
    for name in ("m.onnx", "m.tflite"):
        with pytest.raises(RejectedInputError, match="for a batch of 100,000,000, more than"):
            te.export(tiny_keras, tmp_path / name, batch=100_000_000)
    assert list(tmp_path.iterdir()) == []


def test_one_layer_to_keep_may_be_given_as_it_is(tiny_keras: Path, tmp_path: Path) -> None:
    result = te.export(tiny_keras, tmp_path / "m.onnx", precision="fp16", keep="lm_head")
    assert result.kept == ("lm_head",)


@pytest.mark.parametrize("model", [None, 3, ["m.keras"], {}])
def test_what_is_no_model(model: Any, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"must be the path of a \.keras file or a Keras model, got"
    ):
        te.export(model, tmp_path / "m.onnx")
    with pytest.raises(
        UsageError, match=r"must be the path of a \.keras file or a Keras model, got"
    ):
        te.evaluate(model)


def test_a_recipe_has_no_such_field(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"A recipe has no field stepz; choose from task, .*steps"):
        te.train("sudoku4", tmp_path / "m.keras", stepz=3)


def test_a_file_of_slightly_other_weights_is_not_the_model(tmp_path: Path) -> None:
    from trm_export.checkpoints.shipped import shipped_checkpoint

    model = te.load(shipped_checkpoint("sudoku4"))
    te.export(model, tmp_path / "m.onnx", precision="int8")
    assert te.compare(model, tmp_path / "m.onnx", count=8).remarks == ()
    weight = model.trainable_variables[0]
    weight.assign(weight * 1.0001)
    with pytest.raises(OtherWeightsError, match=r"^Made from other weights: .*m\.onnx was not "):
        te.compare(model, tmp_path / "m.onnx", count=8)
    found = te.compare(model, tmp_path / "m.onnx", count=8, weights=True)
    assert not found
    assert found.results[0].verdict.startswith(
        "FAILED: made from other weights than the reference, which shows at weights: the file is "
        "not the model rounded to int8: "
    )


def test_another_checksum_alone_is_no_other_weights(tmp_path: Path) -> None:
    from trm_export.artifacts.contract_rewrite import embedded_contract, rewrite
    from trm_export.checkpoints.shipped import shipped_checkpoint

    path = tmp_path / "m.onnx"
    model = te.load(shipped_checkpoint("sudoku4"))
    contract = te.export(model, path).contract
    made_by = dataclasses.replace(contract.made_by, weights_sha256="0" * 64)
    rewrite(path, dataclasses.replace(contract, made_by=made_by), path)
    assert embedded_contract(path).made_by == made_by
    with pytest.raises(OtherWeightsError):
        te.compare(model, path, count=2)
    found = te.compare(model, path, count=2, weights=True)
    assert found
    assert "other weights" not in found.results[0].verdict
    (remark,) = found.remarks
    assert remark.startswith("m.onnx stores the weights of this model, but its contract records")
