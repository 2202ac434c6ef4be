from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from tests.runtime.fakes import FakeRunner, make_contract, make_puzzles
from tests.runtime.graphs import IR_VERSION, OPSET, build, rename_input, write
from trm_runtime import (
    ContractError,
    ContractMismatchError,
    MissingExtraError,
    RejectedInputError,
    UsageError,
    initial_carry,
    open_runner,
    solve,
)
from trm_runtime.drivers import onnxruntime as onnxruntime_driver
from trm_runtime.drivers.onnx_file import seal, sealed
from trm_runtime.drivers.onnx_wire import external_tensors
from trm_runtime.drivers.onnxruntime import OnnxRunner
from trm_runtime.file_kinds import TINY

pytest.importorskip("onnxruntime")


def test_a_step_is_the_fakes_step(toy_onnx: Path) -> None:
    runner, fake = OnnxRunner(toy_onnx, threads=1), FakeRunner()
    inputs = {"inputs": make_puzzles(3)}
    carry, wanted = initial_carry(runner.contract, 3), initial_carry(fake.contract, 3)
    for _ in range(10):  # two more than max_steps: the graph restarts rows by itself
        out, expected = runner.step(inputs, carry), fake.step(inputs, wanted)
        carry, wanted = out.carry, expected.carry
        for found, sure in ((out.carry, expected.carry), (out.outputs, expected.outputs)):
            assert found.keys() == sure.keys()
            for name, array in sure.items():
                np.testing.assert_array_equal(found[name], array)
                assert found[name].dtype == array.dtype


def test_the_contract_comes_from_the_file(toy_onnx: Path) -> None:
    assert open_runner(toy_onnx).contract == make_contract()
    assert isinstance(open_runner(str(toy_onnx)), OnnxRunner)


def test_the_graph_can_run_as_it_is_written(toy_onnx: Path) -> None:
    runner, puzzles = open_runner(toy_onnx, optimised=False), make_puzzles(6)
    np.testing.assert_array_equal(solve(runner, puzzles).steps, puzzles[:, 0])
    options = runner._session.get_session_options()  # type: ignore[attr-defined]
    assert options.graph_optimization_level.name == "ORT_DISABLE_ALL"


def test_tensors_are_bound_by_name(tmp_path: Path) -> None:
    model = build()
    for values in (model.graph.input, model.graph.output):
        backwards = list(values)[::-1]
        del values[:]
        values.extend(backwards)
    runner = open_runner(write(tmp_path / "toy.onnx", model))
    puzzles = make_puzzles(6)
    np.testing.assert_array_equal(solve(runner, puzzles).steps, puzzles[:, 0])


def test_other_integers_and_strides_are_accepted(toy_onnx: Path) -> None:
    runner = OnnxRunner(toy_onnx, threads=2)
    puzzles = np.asfortranarray(make_puzzles(5).astype(np.int64))
    carry = {name: array[::2] for name, array in initial_carry(runner.contract, 10).items()}
    out = runner.step({"inputs": puzzles}, carry)
    np.testing.assert_array_equal(out.carry["current_inputs"], puzzles)


# --- broken files --------------------------------------------------------------------------------


def metadata_missing(model: onnx.ModelProto) -> None:
    del model.metadata_props[:]


def metadata_newer(model: onnx.ModelProto) -> None:
    value = json.loads(model.metadata_props[0].value)
    model.metadata_props[0].value = json.dumps({**value, "schema_version": 3})


def metadata_damaged(model: onnx.ModelProto) -> None:
    model.metadata_props[0].value = model.metadata_props[0].value[:-5]


def input_renamed(model: onnx.ModelProto) -> None:
    rename_input(model.graph, "z_L", "z_l")


def wrong_dtype(model: onnx.ModelProto) -> None:
    value = next(value for value in model.graph.output if value.name == "logits")
    value.type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    node = next(node for node in model.graph.node if node.op_type == "OneHot")
    node.output[0] = "logits_32"
    cast = onnx.helper.make_node("Cast", ["logits_32"], ["logits"], to=onnx.TensorProto.DOUBLE)
    model.graph.node.append(cast)


def wrong_shape(model: onnx.ModelProto) -> None:
    value = next(value for value in model.graph.input if value.name == "z_L")
    value.type.tensor_type.shape.dim[2].dim_value = 7
    value = next(value for value in model.graph.output if value.name == "z_L_next")
    value.type.tensor_type.shape.dim[2].dim_value = 7
    init = np.zeros((1, 4, 7), np.float32)
    model.graph.initializer.append(onnx.numpy_helper.from_array(init, "init_7"))
    node = next(node for node in model.graph.node if "z_L" in node.input)
    node.input[1] = "init_7"


def fixed_batch(model: onnx.ModelProto) -> None:
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 2


def output_dropped(model: onnx.ModelProto) -> None:
    model.graph.output.pop()


def unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[0].op_type = "Telepathy"


def future_ir(model: onnx.ModelProto) -> None:
    model.ir_version = 99


def external(model: onnx.ModelProto) -> None:
    keep_outside(model.graph.initializer[-1])


def external_in_a_branch(model: onnx.ModelProto) -> None:
    tensor = onnx.numpy_helper.from_array(np.zeros(3, np.float32), "hidden")
    keep_outside(tensor)
    branch = onnx.helper.make_graph([], "branch", [], [], [tensor])
    attribute = onnx.helper.make_attribute("body", branch)
    model.graph.node[0].attribute.append(attribute)


def keep_outside(tensor: onnx.TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "weights.bin"


BROKEN: list[tuple[Callable[[onnx.ModelProto], None], type[Exception], str]] = [
    (
        metadata_missing,
        RejectedInputError,
        "has no step contract: no metadata key 'trm_contract'; export",
    ),
    (metadata_newer, ContractError, "its step contract has schema_version 3"),
    (metadata_damaged, ContractError, "its step contract is not valid JSON"),
    (input_renamed, ContractMismatchError, "input 'z_L': the engine has no such tensor"),
    (input_renamed, ContractMismatchError, "input 'z_l': the contract has no such tensor"),
    (wrong_dtype, ContractMismatchError, "'logits': expected dtype float32, got tensor(double)"),
    (wrong_shape, ContractMismatchError, "input 'z_L': expected shape (batch, 4, 3), got (batch,"),
    (wrong_shape, ContractMismatchError, "output 'z_L_next': expected shape"),
    (fixed_batch, ContractMismatchError, "'inputs': expected shape (batch, 4), got (2, 4)"),
    (output_dropped, ContractMismatchError, "'current_inputs_next': the engine has no such tensor"),
    (unknown_operator, RejectedInputError, "onnxruntime cannot open it: "),
    (future_ir, RejectedInputError, "onnxruntime cannot open it: Unsupported model IR version: 99"),
    (external, RejectedInputError, "has data in other files, which is refused"),
    (external, RejectedInputError, "\n  - init"),
    (external_in_a_branch, RejectedInputError, "\n  - hidden"),
]


@pytest.mark.parametrize(("spoil", "kind", "complaint"), BROKEN)
def test_a_broken_model_is_refused(
    tmp_path: Path, spoil: Callable[[Any], None], kind: type[Exception], complaint: str
) -> None:
    model = build()
    spoil(model)
    path = write(tmp_path / "toy.onnx", model)
    with pytest.raises(RejectedInputError) as caught:
        open_runner(path)
    assert type(caught.value) is kind
    assert complaint in str(caught.value)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize("part", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_truncated_file_is_refused_in_one_sentence(toy_onnx: Path, part: float) -> None:
    data = toy_onnx.read_bytes()
    toy_onnx.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(RejectedInputError, match=r"damaged|empty") as caught:
        open_runner(toy_onnx)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04 not a model", b"\x00" * 64, b"hello\n", b"\xff" * 40]
)
def test_another_kind_of_file_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "toy.onnx"
    path.write_bytes(data)
    with pytest.raises(RejectedInputError, match="not an ONNX file, or a damaged one"):
        open_runner(path)


def test_any_flipped_bit_is_refused_in_one_sentence(toy_onnx: Path) -> None:
    data, rng = toy_onnx.read_bytes(), np.random.default_rng(0)
    tail = range(len(data) - 100, len(data))  # the checksum itself, and some before
    for place in (*rng.integers(len(data), size=60).tolist(), *tail):
        flipped = data[place] ^ 1 << int(rng.integers(8))
        toy_onnx.write_bytes(data[:place] + bytes([flipped]) + data[place + 1 :])
        with pytest.raises(RejectedInputError) as caught:
            OnnxRunner(toy_onnx, threads=1)
        assert str(caught.value).startswith(str(toy_onnx))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_names_that_are_no_text(tmp_path: Path, engine: str) -> None:
    pytest.importorskip(engine)
    model = build()
    model.graph.input.add().CopyFrom(model.graph.input[0])
    model.graph.input[-1].name = "a spare input"
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "a spare size"
    for name in (b"a spare input", b"a spare size"):
        path = tmp_path / "toy.onnx"
        data = model.SerializeToString()
        path.write_bytes(sealed(data.replace(name, name.replace(b" ", b"\x80"))))
        with pytest.raises(RejectedInputError) as caught:
            open_runner(path, threads=1, engine=engine)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value).partition(":\n")[0]


def test_a_changed_file_says_what_to_do(toy_onnx: Path) -> None:
    model = onnx.load(toy_onnx)
    model.graph.initializer[5].raw_data = bytes(4)
    onnx.save(model, toy_onnx)  # as a quantizer does: the metadata are kept
    with pytest.raises(RejectedInputError, match="does not match its checksum, so it is damaged"):
        open_runner(toy_onnx)
    seal(toy_onnx)
    assert open_runner(toy_onnx).contract == make_contract()


def test_a_file_without_a_checksum_is_refused(toy_onnx: Path) -> None:
    toy_onnx.write_bytes(build().SerializeToString())
    complaint = r"no checksum .*'trm_file.sha256'.*copy it again, or export it again with `trm-exp"
    with pytest.raises(RejectedInputError, match=complaint):
        open_runner(toy_onnx)


def test_a_seal_is_an_entry_that_other_readers_see(toy_onnx: Path) -> None:
    data, model = toy_onnx.read_bytes(), onnx.load(toy_onnx)
    onnx.checker.check_model(model)
    digest = {entry.key: entry.value for entry in model.metadata_props}["trm_file.sha256"]
    assert data.endswith(digest.encode())
    assert sealed(data) == data == sealed(build().SerializeToString())


def test_a_contract_of_bytes_or_of_megabytes_is_refused(tmp_path: Path) -> None:
    sound = build().SerializeToString()
    path = tmp_path / "toy.onnx"
    path.write_bytes(sealed(sound.replace(b'"toy"', b'"\xcf\xcf\xcf"')))
    with pytest.raises(RejectedInputError, match="contract is not UTF-8 text") as caught:
        open_runner(path)
    assert "\n" not in str(caught.value)
    model = build()
    model.metadata_props[0].value = " " * (1 << 20) + " "
    with pytest.raises(RejectedInputError, match="step contract is longer than 1,048,576 bytes"):
        open_runner(write(path, model))


def test_missing_files_and_folders(tmp_path: Path) -> None:
    with pytest.raises(RejectedInputError, match=r"none\.onnx: cannot be read: No such file"):
        open_runner(tmp_path / "none.onnx")
    (tmp_path / "folder.onnx").mkdir()
    with pytest.raises(RejectedInputError, match=r"folder\.onnx: cannot be read"):
        open_runner(tmp_path / "folder.onnx")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("model.xyz", r"\.xyz is not a known kind of model file"),
        ("model", "there is no such file or folder"),
        ("file", "a file without a suffix is not a known kind of model file"),
        ("folder", r"a folder without saved_model\.pb is not a model"),
        ("folder.1", r"a folder without saved_model\.pb is not a model"),
    ],
)
def test_unknown_kinds_of_file(tmp_path: Path, name: str, reason: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder.1").mkdir()
    wanted = "expected an .onnx file, a .tflite file or the folder of a SavedModel"
    with pytest.raises(RejectedInputError, match=f"/{name}: {reason}; {wanted}"):
        open_runner(tmp_path / name)


@pytest.mark.parametrize("optimised", ["no", 0, None])
def test_optimised_is_a_flag(toy_onnx: Path, optimised: Any) -> None:
    with pytest.raises(UsageError, match=r"^optimised: expected True or False, got "):
        open_runner(toy_onnx, optimised=optimised)


@pytest.mark.parametrize("path", [None, 3, b"toy.onnx"])
def test_what_is_no_path(path: Any) -> None:
    with pytest.raises(UsageError, match=f"path: expected the path of an exported .*got {path}"):
        open_runner(path)


@pytest.mark.parametrize(
    ("threads", "complaint"),
    [
        (0, "1 or more, got 0"),
        (1.5, "an integer, got 1.5"),
        ("2", "an integer, got '2'"),
        (True, "an integer, got True"),
    ],
)
def test_bad_threads(toy_onnx: Path, threads: Any, complaint: str) -> None:
    with pytest.raises(UsageError, match=f"threads: expected {complaint}"):
        open_runner(toy_onnx, threads=threads)


def test_threads_of_numpy(toy_onnx: Path) -> None:
    assert len(solve(open_runner(toy_onnx, threads=np.uint8(1)), make_puzzles(1))) == 1  # type: ignore[arg-type]


def test_a_failing_step_is_one_sentence(tmp_path: Path) -> None:
    model = build()
    table = onnx.numpy_helper.from_array(np.array([0, 1], np.int32), "table")
    model.graph.initializer.append(table)
    place = next(i for i, node in enumerate(model.graph.node) if "goal" in node.output) + 1
    model.graph.node.insert(place, onnx.helper.make_node("Gather", ["table", "goal"], ["looked"]))
    model.graph.node[place + 1].input[1] = "looked"
    runner = open_runner(write(tmp_path / "toy.onnx", model))
    with pytest.raises(RejectedInputError, match="onnxruntime could not run a step") as caught:
        solve(runner, make_puzzles(3))
    assert "\n" not in str(caught.value)


# --- the engine itself ---------------------------------------------------------------------------


def test_a_missing_engine_names_the_install_line(
    toy_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr("importlib.import_module", absent)
    with pytest.raises(MissingExtraError) as caught:
        OnnxRunner(toy_onnx)
    line = 'onnxruntime is not installed; install it with `pip install "trm-runtime[onnx]"`.'
    assert str(caught.value) == line
    assert caught.value.exit_code == 3


def absent(name: str) -> None:
    raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def test_a_broken_engine_says_why(toy_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> None:
        raise ImportError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr("importlib.import_module", broken)
    with pytest.raises(MissingExtraError, match=r"cannot be loaded .libgomp"):
        OnnxRunner(toy_onnx)


def test_external_tensors_are_found_in_every_corner() -> None:
    def tensor(name: str) -> onnx.TensorProto:
        made = onnx.numpy_helper.from_array(np.zeros(3, np.float32), name)
        keep_outside(made)
        return made

    helper = onnx.helper
    model = build()
    node = model.graph.node[0]
    node.attribute.append(helper.make_attribute("value", tensor("attribute")))
    node.attribute.append(helper.make_attribute("values", [tensor("list")]))
    inner = helper.make_node("Constant", [], ["x"], value=tensor("deep"))
    graph = helper.make_graph([inner], "g", [], [])
    node.attribute.append(helper.make_attribute("graphs", [graph]))
    model.functions.append(
        helper.make_function("d", "f", [], [], [inner], [helper.make_opsetid("", 17)])
    )
    sparse = onnx.SparseTensorProto(values=tensor("values"), indices=tensor("indices"))
    model.graph.sparse_initializer.append(sparse)
    model.training_info.add().initialization.initializer.append(tensor("training"))
    flagged = model.graph.initializer.add(name="flagged")  # no place given, but not here either
    flagged.data_location = onnx.TensorProto.EXTERNAL
    wanted = ["attribute", "deep", "deep", "flagged", "indices", "list", "training", "values"]
    assert external_tensors(model.SerializeToString()) == wanted
    assert external_tensors(build().SerializeToString()) == []


def products() -> onnx.ModelProto:
    """The file by which the engine's products of 8 bits are tried."""
    helper, types = onnx.helper, onnx.TensorProto
    x = helper.make_tensor_value_info("x", types.UINT8, [32, 4])
    y = helper.make_tensor_value_info("y", types.INT32, [32, 31])
    values = (np.arange(4 * 31) * 7 % 127 - 63).astype(np.int8).reshape(4, 31)
    weights = onnx.numpy_helper.from_array(values, "w")
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "products", [x], [y], [weights])
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)


def test_the_products_that_are_tried_are_right() -> None:
    stored = (TINY / "products.onnx").read_bytes()
    assert stored == products().SerializeToString()
    assert onnxruntime_driver.multiplies_bytes()


@pytest.mark.parametrize(("precision", "runs"), [("fp32", True), ("int8", False), ("int4", False)])
def test_an_engine_that_multiplies_wrongly_runs_no_integers(
    precision: str, runs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(engine: Any, path: Path, *rest: Any, **options: Any) -> Any:
        session = opened(engine, path, *rest, **options)
        if path.name != "products.onnx":
            return session
        (sums,) = session.run(None, {"x": np.arange(128, dtype=np.uint8).reshape(32, 4)})
        sums[31, 16:] = 667638944  # as onnxruntime 1.23 has them on a Xeon with AMX
        return SimpleNamespace(run=lambda *_: [sums])

    opened = onnxruntime_driver._open
    monkeypatch.setattr(onnxruntime_driver, "_open", wrong)
    monkeypatch.setattr(
        onnxruntime_driver, "multiplies_bytes", onnxruntime_driver.multiplies_bytes.__wrapped__
    )
    contract = dataclasses.replace(make_contract(), precision=precision)
    file = write(tmp_path / "m.onnx", build(contract))
    if runs:
        OnnxRunner(file)
        return
    with pytest.raises(MissingExtraError, match=r"multiplies 8-bit .* AMX.*onnxruntime>=1\.25"):
        OnnxRunner(file)


OPENS = """
import sys
import {first}
from trm_runtime import open_runner
open_runner(sys.argv[1], engine="onnxruntime")
"""


@pytest.mark.parametrize("first", ["trm_runtime", "trm_export"])
def test_nothing_is_reported_to_the_makers_of_the_engine(
    first: str, toy_onnx: Path, tmp_path: Path
) -> None:
    """Since 1.29 onnxruntime keeps a database and an identifier, to report from."""
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    home.mkdir()
    temporary.mkdir()
    code = OPENS.format(first=first) + "import onnxruntime.capi"
    subprocess.run(
        [sys.executable, "-c", code, str(toy_onnx)], check=True,
        env={  # without CI, where it reports nothing
            "PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path),
            "HOME": str(home), "TMPDIR": str(temporary),
        },
    )  # fmt: skip
    assert [*home.iterdir(), *temporary.iterdir()] == []


def test_an_engine_that_a_program_has_imported_before_reports_no_more(
    toy_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    calls: list[int] = []
    monkeypatch.setattr(onnxruntime, "disable_telemetry_events", lambda: calls.append(1))
    open_runner(toy_onnx)
    assert calls
