"""docs/contract.md is enough to write a driver from: its own driver runs, its tables are true.

The driver in the page knows nothing of trm-runtime. It is taken from the page and run on real
exports beside ours.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tests.runtime.fakes import FakeRunner, make_contract, make_puzzles
from trm_export.exporters.choices import Choices
from trm_runtime import RejectedInputError, StepRunner, initial_carry, open_runner, solve
from trm_runtime.__main__ import main as device
from trm_runtime.contract import (
    MAX_CONTRACT_BYTES,
    OPTIONAL_HALT_KEYS,
    OPTIONAL_KEYS,
    CarrySpec,
    Confidence,
    ContractError,
    HaltRule,
    MadeBy,
    StepContract,
    Symmetries,
    TensorSpec,
)
from trm_runtime.contract_rules import GRANULARITIES, INPUTS, required_carry, required_outputs
from trm_runtime.contract_schema import SCHEMA_FILE
from trm_runtime.drivers.onnx_file import seal
from trm_runtime.guises import draw_guises
from trm_runtime.randomness import noise, stream, words
from trm_runtime.solution import STOP_REASONS, StepEvent
from trm_runtime.tensors_json import GRID_KEYS

PAGE = (Path(__file__).parents[1] / "docs" / "contract.md").read_text(encoding="utf-8")
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = {"onnx": "sudoku4.onnx", "tflite": "sudoku4.tflite", "saved-model": "sudoku4_saved_model"}
PARTS: dict[str, tuple[Any, tuple[str, ...]]] = {
    "Contract": (StepContract, OPTIONAL_KEYS),
    "Tensor": (TensorSpec, GRID_KEYS),
    "Carry tensor": (CarrySpec, GRID_KEYS),
    "Halt rule": (HaltRule, OPTIONAL_HALT_KEYS),
    "Provenance": (MadeBy, ()),
    "Symmetries": (Symmetries, ()),
    "Confidence rule": (Confidence, ()),
}
TYPES = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "int | None": "whole number or null",
    "float | None": "number or null",
    "str | None": "text or null",
    "tuple[str, ...] | None": "list of texts, or null",
    "Mapping[str, str]": "object of texts",
    "Shape": "list",
    "Scalar": "boolean or number",
    "HaltRule": "halt rule",
    "MadeBy": "provenance",
    "Symmetries | None": "symmetries or null",
    "Confidence | None": "confidence rule or null",
    "tuple[tuple[int, ...], ...]": "list of lists of whole numbers",
    "tuple[TensorSpec, ...]": "list of tensors",
    "tuple[CarrySpec, ...]": "list of carry tensors",
}


def section(title: str) -> str:
    """What stands under a heading of the page, up to the next heading."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[1]


def rows(title: str) -> list[list[str]]:
    """The cells of the last table under a heading, its head left out."""
    lines = [line for line in section(title).splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return [[cell.strip().replace(r"\|", "|") for cell in row] for row in cells[2:]]


def code(text: str) -> str:
    """What stands in the backticks of a cell."""
    return text.strip("`")


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the three files that the page speaks of."""
    from trm_export.commands.support.app import run

    folder = tmp_path_factory.mktemp("exports")
    documented = re.findall(r"^trm-export (\S+) (\S+) -o (\S+)$", PAGE, re.MULTILINE)
    assert {name for _, _, name in documented} == set(FILES.values())
    root = Path(__file__).parents[1]
    for command, source, name in documented:
        assert run([command, str(root / source), "-o", str(folder / name)]) == 0
    return folder


@pytest.fixture(scope="module")
def page(exports: Path) -> dict[str, Any]:
    """All names of the page's Python, after its own example has run."""
    names: dict[str, Any] = {}
    before = Path.cwd()
    os.chdir(exports)
    try:
        for block in CODE.findall(PAGE):
            exec(compile(block, "docs/contract.md", "exec"), names)
    finally:
        os.chdir(before)
    return names


Exported = Callable[..., Path]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Makes an ONNX file of the shipped 4x4 model, with a threshold that takes several steps."""
    from trm_export.checkpoints.loading import load_model
    from trm_export.checkpoints.shipped import shipped_checkpoint
    from trm_export.exporters.export import export, format_named
    from trm_export.exporters.probe import probe_puzzles
    from trm_export.exporters.shared import Shared
    from trm_export.model import TRM

    shipped = load_model(shipped_checkpoint("sudoku4"))
    model = TRM.from_config({**shipped.get_config(), "halt_threshold": 8.0})
    model.set_weights(shipped.get_weights())
    shared, folder = Shared(model), tmp_path_factory.mktemp("onnx")

    def make(*precision: str, **choices: Any) -> Path:
        path = folder / f"{len(list(folder.iterdir()))}.onnx"
        wanted = Choices(*precision, **choices)
        export(model, path, probe_puzzles(model), format_named("onnx"), wanted, shared=shared)
        return path

    return make


@pytest.fixture(scope="module")
def boards() -> np.ndarray[Any, Any]:
    """(40, 16) tokens without meaning, of which the model makes 1 to 8 steps."""
    return np.random.default_rng(0).integers(1, 6, (40, 16), dtype=np.int32)


# --- the driver ----------------------------------------------------------------------------------


def test_its_example_solves_the_boards(page: Mapping[str, Any]) -> None:
    texts = ["".join(page["contract"]["alphabet"][i][:1] for i in row) for row in page["answers"]]
    assert texts == ["3412214343211234", "3214142341322341"]
    assert page["steps"].tolist() == [1, 1]
    assert page["reasons"] == ["halted", "halted"]


def test_it_finds_the_contract_in_every_format(exports: Path, page: Mapping[str, Any]) -> None:
    page["check_onnx"](exports / FILES["onnx"])
    found = {
        "tflite": page["tflite_contract"](exports / FILES["tflite"]),
        "saved-model": page["saved_model_contract"](exports / FILES["saved-model"]),
    }
    for kind, text in found.items():
        assert text == (exports / f"{FILES[kind]}.json").read_text(encoding="utf-8")
        assert StepContract.from_json(text) == open_runner(exports / FILES[kind]).contract


def test_it_refuses_damage(exports: Path, page: Mapping[str, Any], tmp_path: Path) -> None:
    for kind, check in (("onnx", "check_onnx"), ("tflite", "tflite_contract")):
        for place in (40, 5000):
            data = bytearray((exports / FILES[kind]).read_bytes())
            data[place] ^= 1
            (tmp_path / kind).write_bytes(data)
            with pytest.raises(ValueError, match=r"checksum|damaged"):
                page[check](tmp_path / kind)
    folder = exports / FILES["saved-model"]
    extra = folder / "more.txt"
    extra.write_text("more")
    with pytest.raises(ValueError, match="checksums"):
        page["saved_model_contract"](folder)
    extra.unlink()
    page["saved_model_contract"](folder)


def test_it_lists_every_difference(exports: Path, page: Mapping[str, Any], tmp_path: Path) -> None:
    import onnx

    model = onnx.load(exports / FILES["onnx"])
    model.graph.output[0].name = "other"
    model.graph.node.append(onnx.helper.make_node("Identity", ["logits"], ["other"]))
    path = tmp_path / "other.onnx"
    path.write_bytes(model.SerializeToString())
    seal(path)
    with pytest.raises(ValueError, match="logits: the engine lacks it\nother: the contract lacks"):
        page["open_onnx"](str(path))


@pytest.mark.parametrize("slots", [1, 7, 64])
def test_it_answers_as_ours_does(
    exported: Exported, page: Mapping[str, Any], boards: np.ndarray[Any, Any], slots: int
) -> None:
    found, steps = both(page, exported(), boards, slots)
    assert len(set(steps)) > 4
    assert set(found[2]) == {"halted", "max_steps"}


@pytest.mark.parametrize(
    ("precision", "choices"),
    [
        ("fp32", {"batch": 7}),
        ("fp32", {"granularity": "block"}),
        ("int8-static", {"integer_io": True}),
    ],
)
def test_it_runs_blocks_fixed_batches_and_int8(
    exported: Exported,
    page: Mapping[str, Any],
    boards: np.ndarray[Any, Any],
    precision: str,
    choices: dict[str, Any],
) -> None:
    both(page, exported(precision, **choices), boards, 8)


def both(
    page: Mapping[str, Any], path: Path, boards: np.ndarray[Any, Any], slots: int
) -> tuple[Any, Any]:
    """What the page's driver and ours make of the boards, which is the same."""
    contract, call = page["open_onnx"](str(path))
    step = page["whole_step"](contract, call)
    found = page["solve"](contract, step, {"inputs": boards}, slots)
    ours = solve(open_runner(path), boards)
    np.testing.assert_array_equal(found[0], ours.answers)
    np.testing.assert_array_equal(found[1], ours.steps)
    assert tuple(found[2]) == ours.stop_reasons
    return found, ours.steps


def test_a_loop_is_one_call(
    exported: Exported, page: Mapping[str, Any], boards: np.ndarray[Any, Any]
) -> None:
    path = exported(granularity="loop", batch="free")
    contract, call = page["open_onnx"](str(path))
    outputs, carry = call({"inputs": boards}, {})
    ours = solve(open_runner(path), boards)
    assert carry == {}
    np.testing.assert_array_equal(outputs["answers"], ours.answers)
    np.testing.assert_array_equal(outputs["steps"], ours.steps)
    halted = page["scores"](contract, outputs) > contract["halt"]["threshold"]
    np.testing.assert_array_equal(halted, [reason == "halted" for reason in ours.stop_reasons])


def stepped(runner: StepRunner) -> Callable[..., Any]:
    """One of our runners as a step of the page."""

    def step(inputs: Any, carry: Any) -> tuple[Any, Any]:
        output = runner.step(inputs, carry)
        return output.outputs, output.carry

    return step


@pytest.mark.parametrize("tensor", ["logits", "q_continue_logits", "z_L"])
@pytest.mark.parametrize("batch", [None, 3])
def test_it_traps_what_is_not_finite(
    page: Mapping[str, Any], tensor: str, batch: int | None
) -> None:
    contract, puzzles = make_contract(batch=batch), make_puzzles(20)
    puzzles[:, -1] = np.arange(20) % 5
    poison = {2: (tensor, 1), 3: (tensor, 3)}

    def runner() -> FakeRunner:
        return FakeRunner(contract, poison=poison, leaky=True)

    value = json.loads(contract.to_json())
    found = page["solve"](value, stepped(runner()), {"inputs": puzzles}, 3)
    ours = solve(runner(), puzzles)
    assert "nonfinite" in ours.stop_reasons
    np.testing.assert_array_equal(found[0], ours.answers)
    np.testing.assert_array_equal(found[1], ours.steps)
    assert tuple(found[2]) == ours.stop_reasons


def test_its_deadline(page: Mapping[str, Any]) -> None:
    value, puzzles = json.loads(make_contract().to_json()), make_puzzles(4)
    found = page["solve"](value, stepped(FakeRunner()), {"inputs": puzzles}, 2, seconds=0)
    assert found[1].tolist() == [0, 0, 0, 0]
    assert set(found[2]) == {"deadline"}
    assert not found[0].any()


# --- the worked example --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FILES)
def test_the_worked_example(exports: Path, kind: str) -> None:
    runner = open_runner(exports / FILES[kind])
    contract = runner.contract
    assert (contract.seq_len, contract.vocab_size, contract.max_steps) == (16, 6, 8)
    assert contract.halt == HaltRule("q_halt", -6.0)
    ids = {c: i for i, entry in enumerate(contract.alphabet or ()) for c in entry}
    carry, calls = initial_carry(contract, 1), rows("A worked example")
    assert [code(row[2]) for row in calls] == ["true", "false", "true", "false"]
    for _, board, halted, steps, *numbers, answer in calls:
        inputs = np.array([[ids[c] for c in code(board)]], np.int32)
        output = runner.step({"inputs": inputs}, {**carry, "halted": np.array([halted == "true"])})
        carry, heads = output.carry, output.outputs
        assert carry["steps"].tolist() == [int(steps)]
        found = [
            np.abs(carry["z_H"]).mean(),
            np.abs(carry["z_L"]).mean(),
            heads["q_halt_logits"][0],
            heads["q_continue_logits"][0],
            heads["logits"][0, 0].max(),
        ]
        np.testing.assert_allclose(found, [float(x) for x in numbers], rtol=0, atol=1e-3)
        text = "".join((contract.alphabet or ())[i][:1] for i in heads["logits"][0].argmax(-1))
        assert text == code(answer)


# --- the tables ----------------------------------------------------------------------------------


@pytest.mark.parametrize("title", PARTS)
def test_its_fields_are_those_of_the_code(title: str) -> None:
    kind, optional = PARTS[title]
    documented = {code(key): text for key, text, _ in rows(title)}
    expected = {}
    for field in fields(kind):
        text = TYPES[str(field.type)]
        if field.name in GRID_KEYS:
            text = text.replace(" or null", "")  # None means that there is no such key
        expected[field.name] = f"{text}, optional" if field.name in optional else text
    assert documented == expected


def test_its_tensors_are_those_of_the_rules() -> None:
    documented = [
        (role, code(name), dtype, re.sub(r"[(), ]", "", axes))
        for role, name, dtype, axes, _ in rows("Tensors that are always there")
    ]
    wanted: dict[tuple[str, str, str, str], None] = {}
    for role, found in tensors():
        wanted.update(dict.fromkeys((role, name, *kind) for name, kind in found.items()))
    assert set(documented) == set(wanted)
    assert len(documented) == len(wanted)


def tensors() -> Iterator[tuple[str, Mapping[str, tuple[str, str]]]]:
    yield "inputs", INPUTS
    for granularity in GRANULARITIES:
        yield "carry", required_carry(granularity, INPUTS)
        yield "outputs", required_outputs(granularity)


def test_its_stop_reasons_and_limits_are_those_of_the_code() -> None:
    assert {code(reason) for reason, _, _ in rows("The loop")} == set(STOP_REASONS)
    assert f"{MAX_CONTRACT_BYTES:,} bytes" in PAGE


# --- step servers and vectors --------------------------------------------------------------------

EXAMPLE = re.compile(r"^contract, call = open_onnx\(.*", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page's own step server as a program; its example, which prints, is left out."""
    path = tmp_path_factory.mktemp("page") / "server.py"
    blocks = [EXAMPLE.sub("", block) for block in CODE.findall(PAGE)]
    path.write_text("\n".join([*blocks, "serve(*open_onnx(sys.argv[1]))\n"]), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def golden(exports: Path) -> Path:
    import trm_export as te

    model = Path(__file__).parents[1] / "artifacts" / "sudoku4.keras"
    te.export(model, exports / "int32.onnx", ports="int32")
    te.export(model, exports / "int8.onnx", precision="int8-static", integer_io=True)
    te.export(model, exports / "block.onnx", granularity="block", batch=3)
    te.export(model, exports / "loop.onnx", granularity="loop")
    return te.record(model, output=exports / "golden.npz", count=60, control=False).path


@pytest.mark.parametrize("name", [FILES["onnx"], "int32.onnx", "int8.onnx", "block.onnx"])
def test_its_server_climbs_the_ladder(
    exports: Path, golden: Path, server: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another program than ours, written from the page alone."""
    command = shlex.join([sys.executable, str(server), str(exports / name)])
    assert device(["check", "--json", "--command", command, str(golden)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["driver"] == "onnxruntime (page)"
    assert all(rung["status"] in ("ok", "reported") for rung in found["rungs"])
    assert [rung["name"] for rung in found["rungs"]][-2:] == ["driver's loop", "refusals"]


@pytest.mark.parametrize("name", [*FILES.values(), "int32.onnx", "block.onnx", "loop.onnx"])
def test_a_server_has_the_verdict_of_its_file(
    exports: Path, golden: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [sys.executable, "-m", "trm_runtime", "serve", str(exports / name)]
    assert device(["check", "--json", "--command", shlex.join(words), str(golden)]) == 0
    served = json.loads(capsys.readouterr().out)
    assert device(["check", "--json", str(exports / name), str(golden)]) == 0
    own = json.loads(capsys.readouterr().out)
    assert served["forced_error"] == own["forced_error"]
    assert served["verdict"] == own["verdict"]
    assert served["rungs"][:8] == own["rungs"]


@pytest.fixture(scope="module")
def vectors(exports: Path) -> Path:
    from trm_export.commands.support.app import run

    model = Path(__file__).parents[1] / "artifacts" / "sudoku4.keras"
    folders = [exports / "vectors", exports / "again"]
    for folder in (*folders, folders[1]):
        assert run(["vectors", str(model), "-o", str(folder)]) == 0
    for name in FOLDER:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    assert sorted(path.name for path in folders[0].iterdir()) == sorted(FOLDER)
    return folders[0]


def test_vectors_are_written_again_unless_other_files_lie_there(
    vectors: Path, exports: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trm_export.commands.support.app import run

    folder, model = tmp_path / "vectors", tmp_path / "m.keras"
    exported = tmp_path / "sudoku4_saved_model"
    shutil.copytree(exports / exported.name, exported)
    shutil.copytree(vectors, folder)
    shutil.copyfile(Path(__file__).parents[1] / "artifacts" / "sudoku4.keras", model)
    before = model.read_bytes()
    (folder / "mine.txt").write_text("mine")
    for target, said in (
        (folder, "did not write, or that were"),
        (model, "is the model itself"),
        (exported, "is an exported model; choose another name, or replace it with --force"),
    ):
        assert run(["vectors", str(model), "-o", str(target)]) != 0
        assert said in " ".join(capsys.readouterr().err.split())
    assert (folder / "mine.txt").read_text() == "mine"
    assert model.read_bytes() == before


FOLDER = ("README.md", "contract.json", "vectors.json", "tensors.bin")


def read_vectors(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The index, and the tensors by name: as the page says, with JSON and bytes."""
    index = json.loads((folder / "vectors.json").read_text(encoding="utf-8"))
    data = (folder / "tensors.bin").read_bytes()
    assert (index["format"], index["version"]) == ("trm-vectors", 1)
    assert len(data) == index["bytes"]
    assert hashlib.sha256(data).hexdigest() == index["sha256"]
    kinds = {"float32": "<f4", "int32": "<i4", "bool": "?"}
    tensors = {
        name: np.frombuffer(data, kinds[t["dtype"]], math.prod(t["shape"]), t["offset"]).reshape(
            t["shape"]
        )
        for name, t in index["tensors"].items()
    }
    assert all(tensor["offset"] % 8 == 0 for tensor in index["tensors"].values())
    return index, tensors


def named(tensors: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return {name: tensors[full] for name, full in names.items()}


def test_the_driver_of_the_page_computes_the_vectors(
    page: Mapping[str, Any], vectors: Path
) -> None:
    index, tensors = read_vectors(vectors)
    contract, call = page["contract"], page["call"]
    assert index["weights_sha256"] == contract["made_by"]["weights_sha256"]
    step, worst = page["whole_step"](contract, call), 0.0
    steps = set()
    for case in (case for case in index["cases"] if case["kind"] == "solve"):
        request = {key: case[key] for key in ("slots", "halt", "max_steps", "deadline")}
        inputs = named(tensors, case["inputs"])
        data = inputs["inputs"].tobytes()
        request["rows"] = len(inputs["inputs"])
        found = page["answer_solve"](contract, call, request, data)
        for name, array in zip(("answers", "steps", "stop_reasons"), found, strict=True):
            np.testing.assert_array_equal(array, tensors[case[name]], err_msg=case["name"])
        steps |= set(found[1].tolist())
    assert len(steps) > 3
    for case in (case for case in index["cases"] if case["kind"] == "step"):
        outputs, carry = step(named(tensors, case["inputs"]), named(tensors, case["carry"]))
        for got, names in ((outputs, case["outputs"]), (carry, case["next"])):
            assert list(got) == list(names)
            for name, wanted in named(tensors, names).items():
                if wanted.dtype != np.float32:
                    np.testing.assert_array_equal(got[name], wanted, err_msg=case["name"])
                    continue
                error = np.linalg.norm((got[name] - wanted).astype(np.float64).ravel())
                worst = max(worst, error / np.linalg.norm(wanted.astype(np.float64).ravel()))
    assert worst <= index["gates"]["fp32"]["relative_l2"]


def test_every_driver_refuses_what_the_vectors_refuse(exports: Path, vectors: Path) -> None:
    index, tensors = read_vectors(vectors)
    refused = [case for case in index["cases"] if case["kind"] == "refuse"]
    assert len(refused) == 14
    runner = open_runner(exports / FILES["onnx"])
    for case in refused:
        inputs, carry = (named(tensors, case[key]) for key in ("inputs", "carry"))
        with pytest.raises(RejectedInputError) as caught:
            runner.step(inputs, carry)
        assert list(caught.value.problems) == case["problems"]


def test_the_vectors_are_those_of_the_page(vectors: Path) -> None:
    index, _ = read_vectors(vectors)
    kinds = ["solve", "step", "refuse"]
    firsts = re.findall(r"^\| (`[^|]*`) \|", section("Vectors"), re.MULTILINE)
    flat = [key.strip("`") for entry in firsts for key in entry.split(", ")]
    assert flat == [*FOLDER, *index, *kinds]
    assert [case["kind"] for case in index["cases"]] == sorted(
        (case["kind"] for case in index["cases"]), key=kinds.index
    )
    contract = StepContract.from_json((vectors / "contract.json").read_text(encoding="utf-8"))
    assert (contract.granularity, contract.batch, contract.precision) == ("step", None, "fp32")


def spoilt(edit: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The contract of a fake with a fixed batch of 4, edited."""
    value: dict[str, Any] = json.loads(make_contract(batch=4).to_json())
    edit(value)
    return value


IN_WORDS: dict[str, Callable[[dict[str, Any]], object]] = {
    "the first size": lambda v: v.update(batch=3),
    "S is the same": lambda v: v["carry"][4].update(shape=[4, 3]),
    "`next` is": lambda v: v["carry"][0].update(next="z_L_next_next"),
    "no two tensors": lambda v: v["outputs"].append(dict(v["outputs"][0])),
    "`alphabet` has V": lambda v: v.update(alphabet=["1"]),
    "no character": lambda v: v.update(alphabet=["", "1", "12", "3", "4", "5"]),
    "every character": lambda v: v.update(alphabet=["", "1", "2", "3", "4", "\n"]),
    "so can": lambda v: v.update(model_name="\x1b[2J"),
    "whole numbers": lambda v: v.update(max_steps=8.0),
}


def test_its_rules_in_words_are_no_rules_of_the_schema() -> None:
    schema = jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
    documented = [rule for rule, _ in rows("Rules in words")]
    assert len(documented) == len(IN_WORDS)
    for rule, (start, edit) in zip(documented, IN_WORDS.items(), strict=True):
        assert rule.startswith(start)
        value = spoilt(edit)
        assert schema.is_valid(value), rule
        with pytest.raises(ContractError):
            StepContract.from_json(json.dumps(value))


def test_the_page_draws_the_tries_of_the_runtime(page: dict[str, Any]) -> None:
    contract = page["contract"]
    whole = StepContract.from_json(json.dumps(contract))
    drawn = draw_guises(whole, 9, 5)
    wanted = page["guises"](contract, 9, 5)
    assert [(c.tolist(), t.tolist()) for c, t in zip(drawn.cells, drawn.tokens, strict=True)] == [
        (list(cells), list(tokens)) for cells, tokens in wanted
    ]
    few = {**contract, "symmetries": {"positions": [[1, 0, *range(2, 16)]], "tokens": []}}
    assert len(page["guises"](few, 9, 0)) == 2
    got = noise(stream(5, 3, 1), 2 * 10, 10, 0.3)
    np.testing.assert_array_equal(page["noise"](5, 3, 3, 10, 0.3), got)


def test_the_page_measures_how_far_states_move_as_the_runtime_does(
    page: dict[str, Any], exports: Path
) -> None:
    runner = open_runner(exports / FILES["onnx"])
    before: list[Mapping[str, Any]] = [initial_carry(runner.contract, 2)]
    found = []

    def compare(event: StepEvent) -> None:
        wanted = [page["moved"](before[-1], event.carry, ("z_H", "z_L"), slot) for slot in (0, 1)]
        found.append(wanted)
        np.testing.assert_allclose(event.moved, wanted, rtol=1e-6)
        before.append({**event.carry, "halted": np.zeros(2, bool)})

    boards = ["341221.3.3.1123.", ".2..1..3413..3.1"]
    solve(runner, boards, halt="max_steps", settled=0.5, on_step=compare)
    assert len(found) == runner.contract.max_steps
    assert np.isposinf(found[0]).all()
    assert np.isfinite(found[1:]).all()


def test_the_vectors_of_the_page_are_those_of_its_code(page: dict[str, Any]) -> None:
    values = [[int(number) for number in row[1].split(", ")] for row in rows("Trying again")]
    cells, tokens = page["guises"](page["contract"], 2, 0)[1]
    scale = np.float32(0.2 / 21845**0.5)
    assert values == [
        [page["mix"](1), page["mix"](0xFFFFFFFF)],
        words(0, 0, 4).tolist(),
        [stream(0, 1, 0), stream(7, 3, 1)],
        cells,
        tokens,
        np.rint(noise(stream(0, 1, 1), 0, 4, 0.2) / scale).astype(int).tolist(),
    ]
