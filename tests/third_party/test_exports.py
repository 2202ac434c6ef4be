"""Third-party models in every format: the files think what their Keras models think."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from keras import ops

import trm_export as te
from tests.tensorflow_version import VERSION
from tests.third_party.conftest import PACKAGES, ThirdPartyModel, saved
from tests.third_party.test_protocol import ASKED, odd
from trm_export.artifacts.inspection import inspect_file
from trm_export.commands.support.app import run
from trm_export.errors import OutputWarning, ProtocolError, RejectedInputError, UsageError
from trm_export.explain.weights_rung import weights_report
from trm_export.exporters.c_source.write import refusals as c_refusals
from trm_export.exporters.export import Choices, export, format_named, plan
from trm_export.exporters.portable_ops import _functions_of, portable_for_onnx, portable_signs
from trm_export.exporters.probe import probe_puzzles
from trm_export.exporters.puzzle_table_file import table_of
from trm_export.exporters.shared import Shared
from trm_export.files import CALIBRATION, sidecar
from trm_export.step.keras_runner import KerasRunner
from trm_export.step.model_facts import ModelHints
from trm_export.step.step_model import adapt
from trm_runtime import solve
from trm_runtime.limits import CALLS
from trm_runtime.open import open_runner
from trm_runtime.parity import compare, record
from trm_runtime.runner import initial_carry

FILES = [("onnx", "fp32"), ("onnx", "int8"), ("tflite", "fp32"), ("tflite", "int8"),
         ("saved-model", "fp32")]  # fmt: skip

PAPER = {"vocab_size": 6, "hidden_size": 16, "num_heads": 2, "expansion": 1.0, "seq_len": 16,
         "family": "paper"}  # fmt: skip


@pytest.mark.parametrize(("kind", "precision"), FILES)
def test_every_format_is_right(
    their_model: ThirdPartyModel, kind: str, precision: str, tmp_path: Path
) -> None:
    known, puzzles = format_named(kind), probe_puzzles(their_model.model)
    assert puzzles.labels is not None  # its vocabulary and length are those of sudoku4
    path = tmp_path / f"file{known.suffix}"
    choices = Choices(precision)
    made = export(their_model.model, path, puzzles, known, choices, shared=their_model.shared)
    assert made.recursion == "unrolled"
    if precision == "fp32":
        assert made.forced_error < 1e-4
        result = compare(their_model.shared.runner, open_runner(path), puzzles)
        assert result.passed, result.verdict
    else:
        stored = inspect_file(path).weight_bytes  # type: ignore[union-attr]
        assert stored["int8"] > 0.7 * _matrices(their_model)
    if (kind, precision) == ("onnx", "int8"):
        assert not sidecar(path, CALIBRATION).exists()  # every row has a scale of its own
        assert weights_report(their_model.shared, path).status == "ok"


@pytest.mark.parametrize("kind", ["onnx", "tflite", "saved-model"])
@pytest.mark.parametrize(
    ("form", "names"),
    [("list", ["z_0", "z_1"]), ("tuple", ["state_0_0", "state_0_1"]), ("nested", ["z_0", "x_0"]),
     ("underscore", ["state_h", "h"]), ("digit", ["state_0h", "h_1"]),
     ("keyword", ["state_class", "state_self"]), ("case", ["state_0_G", "state_0_g_2"]),
     ("input", ["state_0_Inputs", "marks"])],
)  # fmt: skip
def test_a_carry_of_any_form_has_names_that_every_format_takes(
    form: str, names: list[str], kind: str, tmp_path: Path
) -> None:
    model, known = adapt(odd("Shaped", form=form), ASKED), format_named(kind)
    path, puzzles = tmp_path / f"file{known.suffix}", probe_puzzles(model, 4)
    made = export(model, path, puzzles, known, Choices(batch=2))
    assert made.forced_error < 1e-5
    runner = open_runner(path)
    carry = {spec.name: spec.dtype for spec in runner.contract.carry}
    assert [*carry.items()][:2] == [*zip(names, ["float32", "int32"], strict=True)]
    solved, wanted = (solve(r, puzzles.inputs) for r in (runner, KerasRunner(model, batch=2)))
    assert (solved.answers == wanted.answers).all()
    assert (solved.steps == wanted.steps).all()


@pytest.mark.parametrize("layer", ["SimpleRNN", "GRU", "LSTM"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_recurrent_layers_of_keras_go_into_onnx(layer: str, precision: str, tmp_path: Path) -> None:
    model, known = adapt(odd("Recurrent", layer=layer), ASKED), format_named("onnx")
    path, puzzles = tmp_path / "m.onnx", probe_puzzles(model, 4)
    export(model, path, puzzles, known, Choices(precision, batch=2))
    for _ in range(3):  # tf2onnx writes now this and now that
        assert weights_report(Shared(model), path).status == "ok"


def _of_last(function: str) -> Any:
    return lambda x: getattr(ops, function)(x, axis=-1, keepdims=True)


HAS_SIGNBIT = hasattr(ops, "signbit")  # Keras 3.9 and later


@pytest.mark.skipif(not HAS_SIGNBIT, reason="Keras 3.8 has no signbit")
@pytest.mark.parametrize("kind", ["onnx", "tflite"])
def test_functions_that_look_at_bits_go_into_every_format(kind: str, tmp_path: Path) -> None:
    def signs(x: Any) -> Any:
        places = ops.cast(_of_last("argmax")(x) - _of_last("argmin")(x), "float32")
        return 0.01 * places + 0.1 * ops.cast(ops.signbit(x), "float32")  # the state stays small

    model = adapt(odd("Computed", function=signs), ASKED)
    path = tmp_path / f"m{format_named(kind).suffix}"
    export(model, path, probe_puzzles(model, 4), format_named(kind), Choices(batch=2))


@pytest.mark.skipif(not HAS_SIGNBIT, reason="Keras 3.8 has no signbit")
def test_the_sign_of_a_number_needs_no_bits() -> None:
    import tensorflow as tf

    for dtype, values in (("float32", [-0.0, 0.0, 1e-3, -1e-3, np.inf, -np.inf, 3e38, -3e38]),
                          ("float64", [-0.0, 0.0, -2.0]), ("int32", [-1, 0, 1])):  # fmt: skip
        x = tf.constant(values, dtype)
        wanted = ops.signbit(x).numpy()
        with portable_signs():
            assert (ops.signbit(x).numpy() == wanted).all()
            found = ops.argmax(x), ops.argmin(x)
        assert found == (ops.argmax(x), ops.argmin(x))


def _logarithms(x: Any) -> Any:
    """Of small numbers, whose digits 1 + x would lose, of large ones, and of infinity."""
    positive = ops.abs(x)
    large = ops.log1p(1e37 * (1 + positive)) / 100 + ops.tanh(ops.log1p(ops.exp(200 + positive)))
    wide = ops.log1p(ops.cast(positive, "float64"))
    return 1e5 * ops.log1p(1e-5 * x) + ops.log1p(3 * positive) + large + ops.cast(wide, "float32")


def _exponentials(x: Any) -> Any:
    """Of small numbers, whose digits exp(x) - 1 would lose, of others, and in float64."""
    wide = ops.expm1(ops.cast(x, "float64"))
    return 1e5 * ops.expm1(1e-5 * x) + ops.expm1(-3 * x) + ops.cast(wide, "float32")


@pytest.mark.parametrize("function", [_logarithms, _exponentials])
def test_functions_that_are_exact_near_zero_stay_so_in_onnx(function: Any, tmp_path: Path) -> None:
    model, path = adapt(odd("Computed", function=function), ASKED), tmp_path / "m.onnx"
    export(model, path, probe_puzzles(model, 4), format_named("onnx"), Choices(batch=2))


def _repeated(x: Any, **options: Any) -> Any:
    """A scan over the cells; its last carry, and what it wrote at each of them."""
    cells = ops.transpose(x, (1, 0, 2))
    last, written = ops.scan(lambda c, a: (ops.tanh(c + a), c - a), cells[0], cells, **options)
    thrice, _ = ops.scan(lambda c, _: (ops.tanh(2 * c), None), last, length=3)
    return ops.transpose(written, (1, 0, 2)) + thrice[:, None]


def _divided(x: Any) -> Any:
    """Quotients and remainders of numbers of both signs, integers and floats."""
    whole = ops.cast(9 * x, "int32")
    integers = ops.floor_divide(whole, -4) + ops.mod(whole, 4)
    return ops.cast(integers, "float32") / 9 + ops.floor_divide(x, 0.3) + ops.mod(x, -0.3)


FUNCTIONS = {
    "scan": lambda x: _repeated(x) + _repeated(x, reverse=True),
    "slice_update": lambda x: ops.slice_update(  # the second start is moved, so that all fits
        ops.slice_update(x, (0, 2, 3), -x[:, :4, :5]), (0, 8, 3), 2 * x[:, :4, :5]
    ),
    "mod and floor_divide": _divided,
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_that_tf2onnx_does_not_follow_go_into_onnx(function: str, tmp_path: Path) -> None:
    model, path = adapt(odd("Computed", function=FUNCTIONS[function]), ASKED), tmp_path / "m.onnx"
    export(model, path, probe_puzzles(model, 4), format_named("onnx"), Choices(batch=2))


@pytest.mark.parametrize("length", [0, None])
def test_a_scan_of_unknown_length_stays_a_loop(length: int | None) -> None:
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([length, 2], "float32")])
    def last(x: Any) -> Any:
        return ops.scan(lambda c, a: (c + a, c), ops.zeros(2), x)[0]

    with portable_for_onnx():
        graph = last.get_concrete_function()
    assert any("While" in operation.type for operation in graph.graph.get_operations())


def test_a_dtype_that_tflite_does_not_compute_in_is_named(tmp_path: Path) -> None:
    half = adapt(odd("Computed", function=lambda x: 2 * ops.cast(x, "float16")), ASKED)
    said = None
    try:
        export(half, tmp_path / "m.tflite", probe_puzzles(half, 4), format_named("tflite"))
    except UsageError as error:
        said = str(error)
    if said is None:
        assert VERSION >= (2, 22)  # 2.23 has it
    else:
        assert "TFLite does not have: Mul of float16; export it" in said


def test_a_long_scan_is_refused_by_onnx(tmp_path: Path) -> None:
    def last(x: Any) -> Any:
        return ops.scan(lambda c, _: (ops.tanh(c + x), None), x, length=257)[0]

    model = adapt(odd("Computed", function=last), ASKED)
    with pytest.raises(UsageError, match=r"onnx: a scan of 257 is too long.*tflite or saved-model"):
        export(model, tmp_path / "m.onnx", probe_puzzles(model, 4), format_named("onnx"),
               Choices(batch=2))  # fmt: skip


def test_two_threads_put_the_functions_of_keras_back() -> None:
    core = _functions_of("core")
    before, inside = core.scan, threading.Event()

    def first() -> None:
        with portable_for_onnx():
            inside.set()
            time.sleep(0.2)

    def second() -> None:
        inside.wait()
        with portable_for_onnx():
            time.sleep(0.4)

    threads = [threading.Thread(target=one) for one in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert core.scan is before


@pytest.mark.filterwarnings("ignore:Setting the dtype on a NumPy array:DeprecationWarning")
def test_what_the_engine_refuses_is_refused_in_a_sentence(tmp_path: Path) -> None:
    model = adapt(odd("Computed", function=lambda x: 2 * ops.cast(x, "bfloat16")), ASKED)
    sentence = r"Computed cannot be converted to onnx: onnxruntime cannot open it: .*; try another "
    with pytest.raises(UsageError, match=sentence) as caught:
        export(model, tmp_path / "m.onnx", probe_puzzles(model, 4), format_named("onnx"),
               Choices(batch=2))  # fmt: skip
    assert ".part" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_operators_that_onnx_does_not_have_are_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    model = adapt(odd("Computed", function=lambda x: ops.switch(0, [ops.tanh, ops.exp], x)), ASKED)
    with pytest.raises(UsageError, match=r"onnx: the model uses operators .*: Merge, _SwitchN;"):
        export(model, tmp_path / "m.onnx", probe_puzzles(model, 4), format_named("onnx"),
               Choices(batch=2))  # fmt: skip
    assert caplog.text == ""
    out, errors = capfd.readouterr()
    assert out == ""
    assert "Tensorflow op" not in errors  # TensorFlow 2.18 writes lines of its own
    assert "Traceback" not in errors


def _matrices(their_model: ThirdPartyModel) -> int:
    """Weights of the two stacks."""
    words = ("low", "high", "level")
    weights = their_model.model.keras.weights
    stacks = (w for w in weights if any(word in w.path for word in words) and len(w.shape) > 1)
    return sum(int(np.prod(w.shape)) for w in stacks)


def test_other_outputs_reach_the_device(third_party: Any, tmp_path: Path) -> None:
    their_model = third_party("gridthink")
    path, puzzles = tmp_path / "m.onnx", probe_puzzles(their_model.model)
    export(their_model.model, path, puzzles, format_named("onnx"), shared=their_model.shared)
    seen: list[Any] = []
    solution = solve(
        open_runner(path), puzzles.inputs, on_step=lambda event: seen.append(event.outputs)
    )
    assert set(solution.stop_reasons) <= {"halted", "max_steps"}
    assert seen[0]["confidence"].shape == puzzles.inputs.shape


def test_only_what_a_traced_call_has(third_party: Any, tmp_path: Path) -> None:
    their_model, kind = third_party("hierarchy"), format_named("tflite")
    puzzles = probe_puzzles(their_model.model)
    for choices in (Choices(recursion="rolled"), Choices(granularity="block")):
        with pytest.raises(UsageError, match="one shared stack, and HRM has a step of its own"):
            export(their_model.model, tmp_path / "m.tflite", puzzles, kind, choices)


def test_a_subclass_of_ours_with_a_call_of_its_own_is_exported_as_it_computes(
    tmp_path: Path,
) -> None:
    ours = odd("Doubled", **PAPER)
    model, kind = adapt(ours), format_named("onnx")
    puzzles = probe_puzzles(model, 2)
    assert model.passes is None
    made = export(model, tmp_path / "m.onnx", puzzles, kind)
    assert made.recursion == "unrolled"
    assert made.forced_error < 1e-4
    for choices in (Choices(recursion="rolled"), Choices(granularity="block")):
        with pytest.raises(UsageError, match="one shared stack, and Doubled has a step of its own"):
            plan(model, puzzles, kind, choices)
    (reason,) = c_refusals(model, "fp32")
    assert reason.startswith("c: Doubled has a step of its own")
    with pytest.raises(UsageError, match="and Doubled has its own; drop --puzzle-table external"):
        table_of(ours)


def test_a_subclass_of_ours_without_a_step_of_its_own_is_ours() -> None:
    ours = odd("Renamed", **PAPER)
    model = adapt(ours)
    assert model.passes == ours.config.passes
    assert not [*c_refusals(model, "fp32")]


def test_the_whole_loop_goes_into_a_graph(third_party: Any, tmp_path: Path) -> None:
    their_model = third_party("hierarchy")
    puzzles, path = probe_puzzles(their_model.model), tmp_path / "loop"
    kind, choices = format_named("saved-model"), Choices(granularity="loop")
    export(their_model.model, path, puzzles, kind, choices, shared=their_model.shared)
    inside = solve(open_runner(path), puzzles.inputs)
    outside = solve(their_model.shared.runner, puzzles.inputs)
    assert inside.steps.tolist() == outside.steps.tolist()
    assert (inside.answers == outside.answers).all()


def test_a_plain_model_needs_a_fixed_batch_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = saved(odd("Tuned"), tmp_path / "tuned.keras", inputs=np.zeros((1, 9)))
    words = [str(source), "--trust-module", f"{PACKAGES}.oddities", "-o", str(tmp_path / "t.onnx")]
    assert run(["onnx", *words]) == 4
    assert "if it reads the number of rows as a Python number" in capsys.readouterr().err
    assert run(["onnx", *words, "--batch", "2", "--json"]) == 0
    assert "random tokens, which are no puzzles" in capsys.readouterr().out
    del words[-2:]
    assert run(["parity", words[0], str(tmp_path / "t.onnx"), *words[1:], "--count", "9"]) == 0
    verdict = " ".join(capsys.readouterr().out.split())
    assert "9 rows of random tokens, which are no puzzles" in verdict


def test_a_model_that_computes_with_numpy_cannot_be_traced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = saved(odd("Numpy"), tmp_path / "numpy.keras", inputs=np.zeros((1, 9)))
    trust = ["--trust-module", f"{PACKAGES}.oddities"]
    for kind in ("onnx", "tflite"):
        target = str(tmp_path / f"file.{kind}")
        assert run([kind, str(source), *trust, "-o", target, "--batch", "1"]) == 4
        text = capsys.readouterr().err
        assert "Error: Numpy cannot be traced: its call raises NotImplementedError: " in text
        assert text.endswith("; compute with keras.ops only.\n")
        assert "\x1b" not in text
        assert "Arguments" not in text
    runner = KerasRunner(te.load(source, trust=trust[1]))
    with pytest.raises(ProtocolError, match="cannot be traced"):
        runner.step({"inputs": np.zeros((1, 9), np.int32)}, initial_carry(runner.contract, 1))


def test_more_steps_than_a_device_accepts_are_refused_before_the_conversion(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = format_named("onnx")
    for steps in (20_000, 10**9):
        model = adapt(odd("Named"), ModelHints(seq_len=9, max_steps=steps))
        puzzles = probe_puzzles(model)
        with pytest.raises(RejectedInputError, match=r"more than 10,000; .* TRM_MAX_CALLS"):
            plan(model, puzzles, kind)
        with pytest.raises(RejectedInputError, match="TRM_MAX_CALLS"):
            record(KerasRunner(model), puzzles)
    monkeypatch.setenv(CALLS.variable, str(10**9))
    assert plan(model, puzzles, kind).contract.max_steps == 10**9


def test_the_command_line_from_refusal_to_parity(
    third_party: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    their_model, target = third_party("hierarchy"), str(tmp_path / "hrm.onnx")
    source, trust = str(their_model.file), ["--trust-module", their_model.package]
    assert run(["onnx", source, "-o", target]) == 4
    assert "--trust-module tests" in capsys.readouterr().err
    assert run(["onnx", source, *trust, "-o", target]) == 2
    assert "give --halt-rule" in capsys.readouterr().err
    rule = ["--halt-rule", "q_halt_minus_q_continue", "--task", "sudoku4"]
    assert run(["onnx", source, *trust, *rule, "-o", target]) == 0
    assert run(["parity", source, target, *trust, "--count", "8"]) == 0
    assert "PASSED" in capsys.readouterr().out
    assert run(["inspect", source, *trust]) == 0
    assert "hierarchy>HRM" in capsys.readouterr().out


def test_outputs_that_are_left_out_are_a_warning_and_a_remark(
    third_party: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    theirs = third_party("gridthink")
    with pytest.warns(OutputWarning, match="Outputs without rows are left out, .*: temperature"):
        te.load(theirs.file, trust=theirs.package)
    words = ["onnx", str(theirs.file), "--trust-module", theirs.package]
    assert run([*words, "-o", str(tmp_path / "m.onnx")]) == 0
    assert "describe them: temperature.\n" in capsys.readouterr().err
