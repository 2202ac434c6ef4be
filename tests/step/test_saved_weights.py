"""The weights are walked once an export, in memory, and are never those of yesterday."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest

from tests.third_party.oddities import Named
from trm_export.checkpoints.keras_file import inspect_keras
from trm_export.checkpoints.loading import load_model
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.errors import CheckpointError, UsageError
from trm_export.exporters.export import Choices, export, format_named
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.shared import Shared
from trm_export.model import TRM
from trm_export.step import saved_weights as module
from trm_export.step.saved_weights import SavedWeights, load_saved, saved_weights, weights_sha256
from trm_export.step.signature import contract_for
from trm_export.step.step_model import adapt
from trm_export.step.weights import digest, read_weights
from trm_export.training.trainer import ACTTrainer

KEPT = "H_level/block/ffn/down"
EXPORTS = [
    ("onnx", "m.onnx", Choices("int8", keep=(KEPT,))),
    ("onnx", "m.onnx", Choices("int8-static")),
    ("tflite", "m.tflite", Choices("int8", keep=(KEPT,))),
    ("tflite", "m.tflite", Choices("int8-static")),
    ("saved-model", "m", Choices()),
]


@keras.saving.register_keras_serializable(package="tests")
class Stored(keras.layers.Dense):
    """A layer that keeps its matrix in halves under names of its own, and a table besides."""

    def build(self, input_shape: Any) -> None:
        super().build(input_shape)
        self.table = np.arange(6, dtype="int16").reshape(2, 3)

    def save_own_variables(self, store: Any) -> None:
        left, right = np.split(np.asarray(keras.ops.convert_to_numpy(self.kernel)), 2, axis=1)
        store["left"], store["right"] = left, right
        store["bias"] = self.bias
        store["table"] = self.table
        assert "left" in store.keys()  # noqa: SIM118  a store is no dictionary

    def load_own_variables(self, store: Any) -> None:
        self.kernel.assign(np.concatenate([store["left"], store["right"]], axis=1))
        self.bias.assign(store["bias"])
        self.table = np.array(store["table"])


@keras.saving.register_keras_serializable(package="tests")
class OwnStore(Named):
    """Follows the protocol, with a layer that stores itself in its own way."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.extra = Stored(self.width)

    def think(self, x: Any) -> Any:
        return self.mix(self.extra(x))


def own_store() -> keras.Model:
    model = OwnStore()
    batch = {"inputs": np.zeros((2, 9), "int32")}
    model(model.initial_carry(batch), batch)
    return model


@pytest.fixture
def model(tiny_keras: Path) -> TRM:
    return load_model(tiny_keras)


@pytest.fixture
def walks(monkeypatch: pytest.MonkeyPatch) -> list[keras.Model]:
    """The models whose weights were walked since."""
    seen: list[keras.Model] = []

    def counted(model: keras.Model) -> Any:
        seen.append(model)
        return saved_weights(model)

    monkeypatch.setattr(module, "saved_weights", counted)
    return seen


@pytest.fixture
def hdf5_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The HDF5 files on disk that were opened since."""
    seen: list[str] = []
    make = h5py.File.__init__

    def recorded(self: Any, name: Any, *arguments: Any, **options: Any) -> None:
        if isinstance(name, (str, bytes, os.PathLike)):
            seen.append(os.fsdecode(name))
        make(self, name, *arguments, **options)

    monkeypatch.setattr(h5py.File, "__init__", recorded)
    return seen


def assert_same(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


# --- the same as a file --------------------------------------------------------------------------


@pytest.mark.parametrize("make", [own_store, None])
@pytest.mark.parametrize("compiled", [False, True])
def test_names_values_and_digest_are_those_of_a_file(
    make: Any, compiled: bool, model: TRM, tmp_path: Path, hdf5_files: list[str]
) -> None:
    model = make() if make else model
    if compiled:
        model.compile(optimizer="adam")
        model.optimizer.build(model.trainable_variables)
    found = saved_weights(model)
    assert hdf5_files == []
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    assert hdf5_files == [str(path)], "the recorder would have seen it"
    assert_same(found, read_weights(path, "the file"))
    model.save(tmp_path / "model.keras")
    info = inspect_keras(tmp_path / "model.keras", ["tests"])
    assert weights_sha256(model) == digest(found) == info.weights_sha256


@pytest.mark.parametrize("policy", ["bfloat16", "float16", "mixed_bfloat16"])
def test_other_precisions_are_those_of_a_file(policy: str, tmp_path: Path) -> None:
    model = TRM(6, 16, 2, 1.0, 16, dtype=policy)
    path = tmp_path / "model.weights.h5"
    model.save_weights(path)
    assert_same(saved_weights(model), read_weights(path, "the file"))


def test_bytes_are_loaded_as_a_file_is(tmp_path: Path, hdf5_files: list[str]) -> None:
    source, target = own_store(), own_store()
    source.extra.table = source.extra.table + 1
    path = tmp_path / "model.weights.h5"
    source.save_weights(path)
    data = path.read_bytes()
    hdf5_files.clear()
    load_saved(target, data)
    assert hdf5_files == []
    assert_same(saved_weights(target), saved_weights(source))


def test_weights_that_do_not_fit_are_refused(model: TRM, tmp_path: Path) -> None:
    path = tmp_path / "model.weights.h5"
    own_store().save_weights(path)
    with pytest.raises(ValueError, match="could not be loaded"):
        load_saved(model, path.read_bytes())


def test_a_checkpoint_is_opened_without_a_file(tiny_keras: Path, hdf5_files: list[str]) -> None:
    model = load_model(tiny_keras)
    assert hdf5_files == []
    assert weights_sha256(model) == inspect_keras(tiny_keras).weights_sha256


def test_what_a_layer_stores_besides_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = own_store()
    monkeypatch.setattr(Stored, "save_own_variables", lambda _, store: store.update(note="text"))
    with pytest.raises(CheckpointError, match=r"^the model: unexpected contents") as caught:
        saved_weights(model)
    assert "extra/vars/note: dtype <U4 is not numeric" in str(caught.value)


def test_what_a_layer_changes_later_is_stored_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    def store_and_change(_: Any, store: Any) -> None:
        array = np.ones(3, np.float32)
        store["a"] = array
        array += 1
        store["b"] = store["a"] + array

    model = own_store()
    monkeypatch.setattr(Stored, "save_own_variables", store_and_change)
    found = saved_weights(model)
    assert found["extra/vars/a"].tolist() == [1, 1, 1]
    assert found["extra/vars/b"].tolist() == [3, 3, 3]


def test_the_weights_are_copies(model: TRM) -> None:
    found = saved_weights(model)
    before = {name: array.copy() for name, array in found.items()}
    for variable in model.trainable_variables:
        variable.assign_add(keras.ops.ones_like(variable))
    assert_same(found, before)


def test_a_model_that_is_not_built_has_none() -> None:
    with pytest.raises(UsageError, match="call it once"):
        saved_weights(OwnStore())


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_walk_the_same(backend: str, tmp_path: Path) -> None:
    pytest.importorskip(backend)
    model, path = own_store(), tmp_path / "model.weights.h5"
    model.save_weights(path)
    code = (
        "import sys, pathlib\n"
        "from tests.step.test_saved_weights import *\n"
        "model = own_store()\n"
        "known = SavedWeights(model)\n"
        "load_saved(model, pathlib.Path(sys.argv[1]).read_bytes())\n"
        "print(known.sha256, weights_sha256(model))\n"
        "model.extra.bias.assign(model.extra.bias + 1)\n"
        "print(known.sha256, weights_sha256(model))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env={**os.environ, "KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    before, after = (line.split() for line in done.stdout.splitlines())
    assert before == [weights_sha256(model)] * 2
    assert after[0] == after[1] != before[0]


# --- once ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "name", "choices"), EXPORTS)
def test_an_export_walks_the_weights_once_and_writes_no_hdf5(
    kind: str,
    name: str,
    choices: Choices,
    tmp_path: Path,
    walks: list[keras.Model],
    hdf5_files: list[str],
) -> None:
    model = load_model(shipped_checkpoint("sudoku4"))
    walks.clear()  # of opening it
    export(model, tmp_path / name, probe_puzzles(model), format_named(kind), choices)
    assert walks == [model]
    assert hdf5_files == []


def test_a_set_of_exports_walks_them_once(
    model: TRM, tmp_path: Path, walks: list[keras.Model]
) -> None:
    shared, puzzles = Shared(model), probe_puzzles(model)
    for name in ("a.onnx", "b.onnx"):
        export(model, tmp_path / name, puzzles, format_named("onnx"), shared=shared)
    assert walks == [model]


# --- and never stale -----------------------------------------------------------------------------


def test_a_changed_weight_is_seen(model: TRM, walks: list[keras.Model]) -> None:
    known = adapt(model)
    before = contract_for(known).made_by.weights_sha256
    assert contract_for(known).made_by.weights_sha256 == before
    kernel = model.inner.lm_head.kernel
    kernel.assign_add(np.full(kernel.shape, 1e-6, "float32"))
    after = contract_for(known).made_by.weights_sha256
    assert after != before
    assert after == weights_sha256(model)
    np.testing.assert_array_equal(
        known.weights.arrays["inner/lm_head/vars/0"], keras.ops.convert_to_numpy(kernel)
    )
    assert len(walks) == 3  # two here, one in `weights_sha256`


def test_training_is_seen(model: TRM, tmp_path: Path) -> None:
    shared, puzzles, kind = Shared(model), probe_puzzles(model), format_named("onnx")
    first = export(model, tmp_path / "a.onnx", puzzles, kind, shared=shared)
    trainer = ACTTrainer(model, 4)
    trainer.compile(optimizer=keras.optimizers.Adam(1e-2), run_eagerly=True)
    rows = np.ones((4, 16), "int32")
    trainer.fit({"inputs": rows, "labels": rows}, batch_size=4, verbose=0)
    second = export(model, tmp_path / "b.onnx", puzzles, kind)
    digests = [one.contract.made_by.weights_sha256 for one in (first, second)]
    assert digests[0] != digests[1] == weights_sha256(model) == shared.model.weights.sha256


def test_a_twin_has_weights_of_its_own(model: TRM, tiny_keras: Path) -> None:
    known, twin = adapt(model), load_model(tiny_keras)
    twin.inner.lm_head.kernel.assign(np.zeros(twin.inner.lm_head.kernel.shape))
    assert known.of(twin).weights.sha256 == weights_sha256(twin) != known.weights.sha256
    assert known.of(model).weights is known.weights


def test_callers_cannot_change_what_is_kept(model: TRM) -> None:
    known = SavedWeights(model)
    arrays = known.arrays
    name, array = arrays.popitem()
    with pytest.raises(ValueError, match="read-only"):
        array[...] = 0
    assert name in known.arrays
