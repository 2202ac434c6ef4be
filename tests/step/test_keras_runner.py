"""The Keras model as a runner: its graph is small, and its numbers are those of the plain model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf

import trm_export as te
from tests.tensorflow_version import NEW
from trm_export.errors import ProtocolError
from trm_export.model.presets import preset
from trm_export.step.keras_runner import KerasRunner
from trm_export.step.signature import graph_function, incoming
from trm_export.step.step_model import adapt
from trm_runtime import initial_carry


def _model(family: str) -> Any:
    return te.TRM(**preset("sudoku4", family=family, l_layers=2, h_layers=2))


def _plain(model: Any, contract: Any) -> Any:
    specs = {spec.name: tf.TensorSpec(spec.shape, spec.dtype) for spec in incoming(contract)}
    step = tf.function(graph_function(model, contract), autograph=False)
    return step.get_concrete_function(**specs)


def _same(found: np.ndarray, wanted: np.ndarray) -> None:
    """To the last bit, but older versions of TensorFlow fuse other operators in a function."""
    if NEW:
        np.testing.assert_array_equal(found, wanted)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.parametrize("few", [False, True])
@pytest.mark.parametrize("family", ["paper", "seed"])
def test_a_stack_is_traced_once_and_computes_the_same_bits(family: str, few: bool) -> None:
    model = adapt(_model(family))
    runner = KerasRunner(model, few=few)
    plain = _plain(model, runner.contract)
    rng = np.random.default_rng(1)
    tokens = rng.integers(1, 6, (3, 16)).astype(np.int32)
    carry = initial_carry(runner.contract, 3)
    for _ in range(3):
        wanted = plain(**{n: tf.constant(x) for n, x in {"inputs": tokens, **carry}.items()})
        found = runner.step({"inputs": tokens}, carry)
        for spec in runner.contract.carry:
            _same(found.carry[spec.name], wanted[spec.next].numpy())
        for spec in runner.contract.outputs:
            _same(found.outputs[spec.name], wanted[spec.name].numpy())
        carry = found.carry
    assert "call" not in vars(model.keras.inner.L_level)
    if few:
        return
    graph: Any = runner._step
    kinds = [node.op for node in graph.graph.as_graph_def().node]
    calls = [kind for kind in kinds if kind.endswith("PartitionedCall")]
    assert len(calls) == model.keras.config.h_cycles * (model.keras.config.l_cycles + 1)


class Adjusted(te.TRM):
    """Has a variable that Keras does not track."""

    def call(self, carry: Any, batch: Any, training: bool = False, **options: Any) -> Any:
        new, outputs = super().call(carry, batch, training=training, **options)
        return new, {**outputs, "logits": outputs["logits"] + self.__dict__["shift"]}


def test_a_subclass_with_a_variable_of_its_own_is_refused_for_few_calls_too() -> None:
    model = Adjusted(**preset("sudoku4"))
    model.__dict__["shift"] = tf.Variable(0.5)
    for few in (False, True):
        runner = KerasRunner(adapt(model), few=few)
        tokens = np.ones((1, 16), np.int32)
        with pytest.raises(ProtocolError, match="variables that are not Keras weights"):
            runner.step({"inputs": tokens}, initial_carry(runner.contract, 1))


def test_a_model_of_a_distribution_strategy_is_exported(tmp_path: Any) -> None:
    """Its variables are one for each device; a graph reads that of its own."""
    with tf.distribute.MirroredStrategy(["/cpu:0"]).scope():
        model = te.TRM(**preset("sudoku4"))
    te.export(model, tmp_path / "m.onnx")  # and its first steps are compared
    plain = te.TRM(**preset("sudoku4"))
    plain.set_weights(model.get_weights())
    tokens = np.ones((2, 16), np.int32)
    runners = [KerasRunner(adapt(one)) for one in (plain, model)]
    carry = initial_carry(runners[0].contract, 2)
    wanted, found = (runner.step({"inputs": tokens}, carry).outputs for runner in runners)
    np.testing.assert_array_equal(found["logits"], wanted["logits"])
