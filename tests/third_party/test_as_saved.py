"""Models of other people's classes as they save them: from notebooks, in mixed precision."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tests.keras_zoo import members, pack
from tests.third_party.conftest import PACKAGES, saved
from tests.third_party.test_protocol import ASKED
from trm_export.errors import CheckpointError, ProtocolError, UsageError

ODDITIES = f"{PACKAGES}.oddities"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.third_party.oddities import Named

    return saved(Named(), tmp_path_factory.mktemp("plain") / "plain.keras", inputs=np.zeros((2, 9)))


def renamed(source: Path, target: Path, **fields: Any) -> Path:
    """The same file with other names of its class."""
    parts = dict(members(source))
    config = json.loads(parts["config.json"])
    parts["config.json"] = json.dumps({**config, **fields}).encode()
    return pack(target, parts)


@pytest.mark.parametrize("module", [None, "__main__"])
@pytest.mark.parametrize("registered", ["Named", "Custom>Named", "oddities>Careful"])
def test_a_class_of_a_notebook_is_found_in_a_trusted_package(
    plain: Path, tmp_path: Path, module: str | None, registered: str
) -> None:
    from trm_export.checkpoints.opening import open_model

    name = "Named" if registered.endswith("Named") else "AnyName"
    file = renamed(
        plain, tmp_path / "m.keras", module=module, class_name=name, registered_name=registered
    )
    found = open_model(file, [ODDITIES], ASKED).keras
    assert type(found).__name__ == registered.rpartition(">")[2]


def test_a_class_of_a_notebook_that_nobody_has(plain: Path, tmp_path: Path) -> None:
    from trm_export.checkpoints.opening import open_model

    file = renamed(
        plain, tmp_path / "m.keras", module=None, class_name="Thinker", registered_name="Thinker"
    )
    for trusted in ([], [ODDITIES]):
        with pytest.raises(CheckpointError) as caught:
            open_model(file, trusted, ASKED)
        said = str(caught.value)
        assert "the class 'Thinker' was saved from a notebook or a script" in said
        assert (
            "pass --trust-module MODULE, or import it from there and save the model again" in said
        )
    assert f"({ODDITIES} have 0 classes of that name)" in said


def test_code_in_a_file_is_refused_whatever_its_module(plain: Path, tmp_path: Path) -> None:
    from trm_export.checkpoints.opening import open_model

    file = renamed(
        plain, tmp_path / "m.keras", module=None, class_name="Lambda", registered_name="Lambda"
    )
    with pytest.raises(CheckpointError, match="Lambda contains code"):
        open_model(file, [ODDITIES], ASKED)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("kind", ["Named", "Careful"])
def test_a_model_of_mixed_precision_is_exported_in_float32(
    tmp_path: Path, policy: str, kind: str
) -> None:
    import keras

    import trm_export as te
    from tests.third_party import oddities

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        model = getattr(oddities, kind)()
        if kind == "Careful":  # the others cannot be called in the precision they are saved in
            saved(model, tmp_path / "m.keras", inputs=np.zeros((2, 9)))
        else:
            model.look.build((None, 9))
            model.mix.build((None, 9, 16))
            model.say.build((None, 9, 16))
            model.stop.build((None, 16))
            model.built = True
            model.save(tmp_path / "m.keras")
    finally:
        keras.config.set_dtype_policy(before)
    found = te.export(
        str(tmp_path / "m.keras"), tmp_path / "m.onnx", trust=[ODDITIES], hints=ASKED, batch=4
    )
    assert found.contract.precision == "fp32"
    assert found.forced_error < 1e-5
    assert keras.config.dtype_policy() == before
    own = te.load(tmp_path / "m.keras", trust=[ODDITIES], hints=ASKED)
    for weight, stored in zip(own.weights, model.weights, strict=True):
        assert np.array_equal(np.asarray(weight), np.asarray(stored))


def test_a_model_that_is_random_at_inference_is_called_that(tmp_path: Path) -> None:
    from tests.third_party.oddities import Noisy
    from trm_export.checkpoints.opening import open_model

    file = saved(Noisy(), tmp_path / "m.keras", inputs=np.zeros((2, 9)))
    with pytest.raises(ProtocolError) as caught:
        open_model(file, [ODDITIES], ASKED)
    assert "it is random at inference: two equal calls with training=False" in str(caught.value)
    assert "stale" not in str(caught.value)


@pytest.mark.parametrize("name", ["m.h5", "m.weights.h5", "saved_model"])
def test_other_files_of_keras_are_named(tmp_path: Path, name: str) -> None:
    import trm_export as te

    path = tmp_path / name
    if "." in name:
        path.write_bytes(b"\x89HDF\r\n\x1a\n")
    else:
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"")
    with pytest.raises((CheckpointError, UsageError), match=r"model\.save\('model\.keras'\)"):
        te.export(path, tmp_path / "m.onnx")
