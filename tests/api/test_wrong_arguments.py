"""Arguments of the public functions that make no sense are refused in a sentence, at once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import trm_export as te
from trm_export.errors import OtherWeightsError, RejectedInputError, UsageError

NONE = "none.onnx"  # a file that nobody opens, because the refusal comes first


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
        lambda model: te.compare(model, NONE, count=None),  # type: ignore[arg-type]
        lambda model: te.evaluate(model, count=None),  # type: ignore[arg-type]
        lambda model: te.record(model, output="g.npz", count=None),  # type: ignore[arg-type]
        lambda model: te.bench(model, count=None),  # type: ignore[arg-type]
        lambda model: te.tune(NONE, count=None),  # type: ignore[arg-type]
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
