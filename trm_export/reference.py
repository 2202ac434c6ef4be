"""The reference is just another runner: a Keras TRM behind the device's step protocol."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, final

import keras
import numpy as np
from keras import ops

from trm_export.export.signature import contract_for, graph_function, incoming
from trm_export.model import TRM
from trm_runtime.checks import check_step_call
from trm_runtime.contract import StepContract
from trm_runtime.runner import StepOutput, StepRunner


@final
class KerasRunner:
    """A `trm_runtime.StepRunner` over a Keras model, on whatever backend Keras runs.

    Args:
        model: the TRM.
        batch: fixed number of rows, or None for any.
    """

    def __init__(self, model: TRM, *, batch: int | None = None) -> None:
        self.contract = contract_for(model, batch=batch)
        self._model = model

    @cached_property
    def _step(self) -> Callable[..., Any]:
        return _compiled(self._model, self.contract)

    def step(
        self,
        inputs: Mapping[str, np.ndarray[Any, Any]],
        carry: Mapping[str, np.ndarray[Any, Any]],
    ) -> StepOutput:
        """One ACT step; arrays as in the contract, RejectedInputError for others."""
        feeds = {**check_step_call(self.contract, inputs, carry), **carry}
        given = {name: ops.convert_to_tensor(array) for name, array in feeds.items()}
        found = {name: np.array(ops.convert_to_numpy(x)) for name, x in self._step(**given).items()}
        return StepOutput(
            carry={spec.name: found[spec.next] for spec in self.contract.carry},
            outputs={spec.name: found[spec.name] for spec in self.contract.outputs},
        )


def _compiled(model: TRM, contract: StepContract) -> Callable[..., Any]:
    """A graph traced once for every batch size on TensorFlow, eager elsewhere."""
    step = graph_function(model, contract)
    if keras.backend.backend() != "tensorflow":
        return step
    import tensorflow as tf

    specs = {spec.name: tf.TensorSpec(spec.shape, spec.dtype) for spec in incoming(contract)}
    return tf.function(step).get_concrete_function(**specs)


@final
class Remembered:
    """A runner that knows the steps it was asked for before: one reference for many candidates.

    Memory grows with every new step; keep it for a few puzzles.
    """

    def __init__(self, runner: StepRunner) -> None:
        self.contract = runner.contract
        self._runner, self._known = runner, dict[bytes, StepOutput]()

    def step(
        self,
        inputs: Mapping[str, np.ndarray[Any, Any]],
        carry: Mapping[str, np.ndarray[Any, Any]],
    ) -> StepOutput:
        """One ACT step, remembered or new; see `StepRunner.step`."""
        digest = hashlib.sha256()
        for name, array in sorted({**inputs, **carry}.items()):
            digest.update(f"{name} {array.shape}".encode() + array.tobytes())
        key = digest.digest()
        if key not in self._known:
            self._known[key] = self._runner.step(inputs, carry)
        return self._known[key]
