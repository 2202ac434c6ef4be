from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.fakes import FakeRunner, make_contract, make_puzzles
from tests.runtime.tf_graphs import write_saved_model
from trm_runtime import (
    ContractError,
    ContractMismatchError,
    MissingExtraError,
    RejectedInputError,
    TRMError,
    UsageError,
    initial_carry,
    open_runner,
    solve,
)
from trm_runtime.drivers.saved_model import SavedModelRunner
from trm_runtime.drivers.saved_model_folder import (
    CHECKSUM_FILE,
    CONTRACT_FILE,
    add_contract,
    seal,
)

tf = pytest.importorskip("tensorflow")


def test_a_step_is_the_fakes_step(toy_saved_model: Path) -> None:
    runner, fake = SavedModelRunner(toy_saved_model), FakeRunner()
    inputs = {"inputs": make_puzzles(3)}
    carry = wanted = initial_carry(runner.contract, 3)
    for _ in range(10):  # two more than max_steps: the graph restarts rows by itself
        out, expected = runner.step(inputs, carry), fake.step(inputs, wanted)
        carry, wanted = out.carry, expected.carry
        for found, sure in ((out.carry, expected.carry), (out.outputs, expected.outputs)):
            assert found.keys() == sure.keys()
            for name, array in sure.items():
                np.testing.assert_array_equal(found[name], array)
                assert found[name].dtype == array.dtype


def test_the_contract_comes_from_the_folder(toy_saved_model: Path) -> None:
    assert open_runner(toy_saved_model).contract == make_contract()
    assert isinstance(open_runner(str(toy_saved_model)), SavedModelRunner)


@pytest.mark.parametrize("name", ["model[1]", "a\\b"])
def test_a_name_may_have_what_a_pattern_has(
    name: str, toy_saved_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(toy_saved_model, name)
    runner = SavedModelRunner(name)
    out = runner.step({"inputs": make_puzzles(2)}, initial_carry(runner.contract, 2))
    wanted = FakeRunner().step({"inputs": make_puzzles(2)}, initial_carry(runner.contract, 2))
    for tensor, array in wanted.carry.items():
        np.testing.assert_array_equal(out.carry[tensor], array)


@pytest.mark.parametrize(("level", "silent"), [(None, True), ("0", False)])
def test_tensorflows_log_is_for_those_who_ask(
    toy_saved_model: Path, tmp_path: Path, level: str | None, silent: bool
) -> None:
    (tmp_path / "puzzles.txt").write_text("....\n")
    environment = {name: x for name, x in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    if level is not None:
        environment["TF_CPP_MIN_LOG_LEVEL"] = level
    done = subprocess.run(
        [sys.executable, "-m", "trm_runtime", str(toy_saved_model), str(tmp_path / "puzzles.txt")],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert (len(done.stderr.splitlines()) == 1) is silent
    assert "1 puzzle in " in done.stderr


# --- broken folders ------------------------------------------------------------------------------


def test_a_folder_is_always_optimised(toy_saved_model: Path) -> None:
    with pytest.raises(UsageError, match="tensorflow cannot run the folder of a Sav"):
        open_runner(toy_saved_model, optimised=False)


def refused(path: Path) -> RejectedInputError:
    with pytest.raises(RejectedInputError) as caught:
        SavedModelRunner(path)
    assert str(caught.value).startswith(str(path))
    return caught.value


def test_a_folder_without_a_contract_is_refused(toy_saved_model: Path) -> None:
    shutil.rmtree(toy_saved_model / CONTRACT_FILE.parent)
    assert f"has no step contract: {CONTRACT_FILE} is missing" in str(refused(toy_saved_model))
    assert "trm-export saved-model MODEL.keras" in str(refused(toy_saved_model))
    assert "has no step contract" in str(refused(toy_saved_model / "absent"))


def test_a_contract_that_is_no_text_or_no_json_is_refused(toy_saved_model: Path) -> None:
    file = toy_saved_model / CONTRACT_FILE
    file.write_bytes(b"\xff\xfe")
    assert "has no step contract" in str(refused(toy_saved_model))
    add_contract(toy_saved_model, make_contract().to_json()[:-5])
    error = refused(toy_saved_model)
    assert type(error) is ContractError
    assert "is not valid JSON" in str(error)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_a_truncated_graph_is_refused_in_one_sentence(toy_saved_model: Path, part: float) -> None:
    file = toy_saved_model / "saved_model.pb"
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * part)])
    seal(toy_saved_model)  # as if it had been written so
    error = refused(toy_saved_model)
    assert "TensorFlow cannot open it: " in str(error)
    assert "\n" not in str(error)


def test_lost_weights_are_refused(toy_saved_model: Path) -> None:
    shutil.rmtree(toy_saved_model / "variables")
    seal(toy_saved_model)
    assert "TensorFlow cannot open it: " in str(refused(toy_saved_model))


def test_a_missing_signature_names_the_ones_there_are(tmp_path: Path) -> None:
    contract = make_contract()
    path = write_saved_model(tmp_path / "toy", contract, "serving_default")
    assert "expected the signature 'act_step', got serving_default" in str(refused(path))


def test_every_difference_from_the_contract_is_listed(toy_saved_model: Path) -> None:
    text = (
        (toy_saved_model / CONTRACT_FILE)
        .read_text()
        .replace('"z_L', '"z_X')
        .replace("      3\n", "      7\n")
    )
    add_contract(toy_saved_model, text)
    error = refused(toy_saved_model)
    assert type(error) is ContractMismatchError
    assert error.problems == (
        "input 'z_X': the engine has no such tensor",
        "input 'z_L': the contract has no such tensor",
        "input 'z_H': expected shape (batch, 4, 7), got (batch, 4, 3)",
        "output 'z_X_next': the engine has no such tensor",
        "output 'z_L_next': the contract has no such tensor",
        "output 'z_H_next': expected shape (batch, 4, 7), got (batch, 4, 3)",
    )


def test_the_checksums_are_what_sha256sum_reads(toy_saved_model: Path) -> None:
    lines = (toy_saved_model / CHECKSUM_FILE).read_text().splitlines()
    names = [line[66:] for line in lines]
    assert names == sorted(names)
    assert {"saved_model.pb", "assets.extra/trm_contract.json", "variables/variables.index"} < {
        *names
    }
    if shutil.which("sha256sum"):
        command = ["sha256sum", "--check", "--strict", "--quiet", str(CHECKSUM_FILE)]
        subprocess.run(command, cwd=toy_saved_model, check=True)


def test_any_changed_lost_or_added_file_is_refused_before_tensorflow(
    toy_saved_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    for file in sorted(toy_saved_model.rglob("*")):
        if file.is_file():
            data = file.read_bytes()
            file.write_bytes(data[:20] + bytes([data[20] ^ 1]) + data[21:])
            assert "copy it again, or export it again with `trm-export saved-model" in str(
                refused(toy_saved_model)
            )
            file.unlink()
            refused(toy_saved_model)
            file.write_bytes(data)
    (toy_saved_model / ".DS_Store").touch()
    with pytest.raises(MissingExtraError):  # whole again
        SavedModelRunner(toy_saved_model)
    (toy_saved_model / "saved_model.cpb").touch()
    assert refused(toy_saved_model).problems == ("saved_model.cpb: not a file of this export",)


def test_what_is_read_of_a_folder_is_bounded(toy_saved_model: Path) -> None:
    contract = (toy_saved_model / CONTRACT_FILE).read_bytes()
    for name in (CONTRACT_FILE, CHECKSUM_FILE):
        (toy_saved_model / CONTRACT_FILE).write_bytes(contract)
        (toy_saved_model / name).write_bytes(b" " * (1 << 20) + b" ")
        assert "longer than 1,048,576 bytes" in str(refused(toy_saved_model))
    (toy_saved_model / CONTRACT_FILE).write_bytes(contract)
    (toy_saved_model / CHECKSUM_FILE).unlink()
    (toy_saved_model / CHECKSUM_FILE).symlink_to("/dev/zero")
    assert "trm_contract.sha256: missing or not a text file" in str(refused(toy_saved_model))


WHERE = (
    "Graph execution error:\n\nDetected at node g defined at (most recent call last):\n"
    "<stack traces unavailable>\n"
)
GRAPH = "\t [[{{node g}}]]\nHint: none [Op:__inference_signature_wrapper_381]"


def failing(path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> SavedModelRunner:
    """A runner of which every step raises the error."""
    runner = SavedModelRunner(path)

    def fail(**_: Any) -> None:
        raise error

    monkeypatch.setattr(runner, "_call", fail)
    return runner


@pytest.mark.parametrize("before", ["", WHERE])
def test_a_failing_step_is_one_sentence(
    toy_saved_model: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    error = tf.errors.InvalidArgumentError(None, None, f"{before}indices out of range\n{GRAPH}")
    runner = failing(toy_saved_model, monkeypatch, error)
    with pytest.raises(RejectedInputError, match="could not run a step: indices") as caught:
        solve(runner, make_puzzles(3))
    assert "\n" not in str(caught.value)


def test_a_step_without_memory_is_told_as_that(
    toy_saved_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = tf.errors.ResourceExhaustedError(None, None, f"{WHERE}OOM when allocating\n{GRAPH}")
    runner = failing(toy_saved_model, monkeypatch, error)
    with pytest.raises(TRMError, match="TensorFlow has not enough memory for a step") as caught:
        solve(runner, make_puzzles(3))
    assert caught.value.exit_code == 1


# --- the engine itself ---------------------------------------------------------------------------


def test_threads(toy_saved_model: Path) -> None:
    with pytest.raises(UsageError, match="threads: expected 1 or more, got 0"):
        open_runner(toy_saved_model, threads=0)
    SavedModelRunner(toy_saved_model)  # from here on TensorFlow runs
    with pytest.raises(UsageError, match="already runs in this process with another number; use"):
        open_runner(toy_saved_model, threads=77)


def test_a_missing_engine_names_the_install_line(
    toy_saved_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(MissingExtraError, match=r'pip install "trm-runtime\[tensorflow\]"'):
        open_runner(toy_saved_model)
