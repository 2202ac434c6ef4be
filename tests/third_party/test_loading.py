"""Opening a third-party `.keras` file: who is trusted, and no weight that is not the file's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tests.keras_zoo import members, pack, with_config, with_weights
from tests.third_party.conftest import PACKAGES, ThirdPartyModel, saved
from tests.third_party.test_protocol import ASKED, odd
from trm_export.checkpoints.keras_file import inspect_keras
from trm_export.errors import CheckpointError, UsageError
from trm_runtime.runner import initial_carry

ODDITIES = f"{PACKAGES}.oddities"


def refusal(path: Path, *trusted: str) -> str:
    from trm_export.checkpoints.opening import open_model

    with pytest.raises(CheckpointError) as caught:
        open_model(path, trusted, ASKED if trusted == (ODDITIES,) else None)
    assert caught.value.exit_code == 4
    return str(caught.value)


def test_an_unknown_class_is_refused_and_told_what_to_do(their_model: ThirdPartyModel) -> None:
    text = refusal(their_model.file)
    assert "expected 'trm_export>TRM'" in text
    assert "if you trust that package, pass --trust-module tests to a command that has this" in text
    assert "expected one of some.other or of Keras" in refusal(their_model.file, "some.other")


def test_inspection_imports_nothing(their_model: ThirdPartyModel) -> None:
    info = inspect_keras(their_model.file, [their_model.package])
    assert info.model_class.startswith(f"{their_model.package.rpartition('.')[2]}>")
    assert info.parameters == their_model.model.keras.count_params()


def test_a_third_party_model_is_evaluated_once_it_is_trusted(
    third_party: Callable[[str], ThirdPartyModel], capsys: pytest.CaptureFixture[str]
) -> None:
    from trm_export.commands.support.app import run

    their_model = third_party("hierarchy")
    command = ["evaluate", str(their_model.file), "--task", "sudoku4", "--count", "3", "--json"]
    assert run(command) == 4
    command += ["--trust-module", their_model.package, "--halt-rule", "q_halt_minus_q_continue"]
    capsys.readouterr()
    assert run(command) == 0
    assert json.loads(capsys.readouterr().out)["puzzles"] == 3


def test_a_package_that_is_not_there(their_model: ThirdPartyModel, tmp_path: Path) -> None:
    from trm_export.checkpoints.opening import open_model

    path = with_config(their_model.file, tmp_path / "m.keras", _elsewhere)
    with pytest.raises(
        UsageError, match=r"nowhere cannot be imported .* add its folder to PYTHONPATH"
    ):
        open_model(path, ["nowhere"])


def _elsewhere(config: dict[str, Any]) -> None:
    config["module"] = "nowhere"
    config["build_config"] = {}


@pytest.mark.parametrize(
    ("planted", "complaint"),
    [
        (
            {"module": "os", "class_name": "system", "config": {}},
            "names the class 'system' of 'os'",
        ),
        ({"module": "keras.utils", "class_name": "get_file", "config": {}}, "of 'keras.utils'"),
        ({"module": "keras.layers", "class_name": "Lambda", "config": {}}, "Lambda contains code"),
        ({"class_name": "__lambda__", "config": {}}, "__lambda__ contains code"),
        ({"module": "tests.third_party.oddities2", "class_name": "X", "config": {}}, "oddities2"),
    ],
)
def test_trust_in_one_package_is_no_trust_in_others(
    tmp_path: Path, planted: dict[str, Any], complaint: str
) -> None:
    source = saved(odd("Tuned"), tmp_path / "sound.keras", inputs=np.zeros((1, 9)))

    def plant(config: dict[str, Any]) -> None:
        config["config"]["extra"] = [planted]

    path = with_config(source, tmp_path / "planted.keras", plant)
    assert complaint in refusal(path, ODDITIES)


def test_the_archive_is_checked_all_the_same(their_model: ThirdPartyModel, tmp_path: Path) -> None:
    contents = {**members(their_model.file), "assets/evil.py": b""}
    path = pack(tmp_path / "m.keras", contents)
    assert "unexpected member" in refusal(path, their_model.package)


def test_every_weight_is_the_files(their_model: ThirdPartyModel) -> None:
    from trm_export.step.saved_weights import weights_sha256

    info = inspect_keras(their_model.file, [their_model.package])
    assert weights_sha256(their_model.model.keras) == info.weights_sha256


def test_a_class_without_an_initial_carry_is_asked_for_nothing_else(tmp_path: Path) -> None:
    from trm_export.checkpoints.opening import open_model
    from trm_export.errors import ProtocolError

    model, path = odd("Carryless"), tmp_path / "m.keras"
    model(np.zeros((1, 9)))
    model.save(path)
    with pytest.raises(ProtocolError, match=r"- it has no method initial_carry\(batch\)$"):
        open_model(path, [ODDITIES])


def test_a_variable_that_keras_does_not_know_is_told() -> None:
    from trm_export.errors import ProtocolError
    from trm_export.step.keras_runner import KerasRunner
    from trm_export.step.step_model import adapt

    runner = KerasRunner(adapt(odd("Raw"), ASKED), batch=2)
    tokens = np.zeros((2, runner.contract.seq_len), np.int32)
    with pytest.raises(ProtocolError, match="Raw uses variables that are not Keras weights"):
        runner.step({"inputs": tokens}, initial_carry(runner.contract, 2))


def test_a_missing_container_is_no_warning(third_party: Any, tmp_path: Path) -> None:
    from trm_export.checkpoints.opening import open_model

    their_model = third_party("gridthink")
    found = [t.path for t in inspect_keras(their_model.file, [their_model.package]).tensors]
    container = next(path.split("/")[0] for path in found if "/block_1/" in path)

    def drop(file: Any) -> None:
        del file[container]

    path = with_weights(their_model.file, tmp_path / "m.keras", drop)
    text = refusal(path, their_model.package)
    assert "the weights do not fit the model" in text
    assert "missing from the file, so it would keep random values" in text
    with pytest.raises(CheckpointError) as caught:
        open_model(path, (their_model.package,), None)
    assert len(caught.value.problems) == len(
        [path for path in found if path.startswith(f"{container}/")]
    )


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("Unsaved", "kernel float32 [16, 16]: not saved"),
     ("Untracked", "kernel float32 [16, 16]: used, but not a part of the model")],
)  # fmt: skip
def test_weights_that_keras_does_not_save_are_told(
    tmp_path: Path, name: str, complaint: str
) -> None:
    path = saved(odd(name), tmp_path / "m.keras", inputs=np.zeros((1, 9)))
    text = refusal(path, ODDITIES)
    assert complaint in text
    assert "Keras does not save every weight of this model" in text
