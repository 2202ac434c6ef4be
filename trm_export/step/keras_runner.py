"""The reference as a runner: a Keras model behind the same step protocol as an engine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any, final

import keras
import numpy as np
from keras import ops

from trm_export.errors import ProtocolError
from trm_export.model import is_own
from trm_export.step.signature import contract_for, graph_function, incoming
from trm_export.step.step_model import AnyModel, StepModel, adapt
from trm_runtime.checks import check_step_call
from trm_runtime.contract import StepContract
from trm_runtime.runner import Arrays, StepOutput, step_output

TRACING = threading.RLock()
"""Held while a model is traced or converted, and while calls of its layers are replaced."""


@final
class KerasRunner:
    """A `trm_runtime.StepRunner` over a Keras model, on whatever backend Keras runs.

    Args:
        model: one that follows the protocol.
        batch: fixed number of rows, or None for any.
        granularity: ``"step"``, or ``"block"`` for a single pass a call.
        few: whether some tens of calls are all: the first one of a `TRM` then takes half of the
            time on TensorFlow (sudoku9: 0.4 s instead of 0.85 s), each of the others some 10 ms
            more; no bit of a result changes.
    """

    def __init__(
        self,
        model: AnyModel,
        *,
        batch: int | None = None,
        granularity: str = "step",
        few: bool = False,
    ) -> None:
        self._model, self._few = adapt(model), few
        self.contract = contract_for(self._model, batch=batch, granularity=granularity)

    @cached_property
    def _step(self) -> Callable[..., Any]:
        return _compiled(self._model, self.contract, self._few)

    def step(self, inputs: Arrays, carry: Arrays) -> StepOutput:
        """One call; arrays as in the contract, RejectedInputError for others."""
        feeds = {**check_step_call(self.contract, inputs, carry), **carry}
        given = {name: ops.convert_to_tensor(array) for name, array in feeds.items()}
        found = {name: np.array(ops.convert_to_numpy(x)) for name, x in self._step(**given).items()}
        return step_output(self.contract, found)


def _compiled(model: StepModel, contract: StepContract, few: bool) -> Callable[..., Any]:
    """A graph traced once for every batch size on TensorFlow, eager elsewhere.

    A model that reads the number of rows as a Python number gets one graph per batch size. For a
    few calls of a `TRM` only its stacks are graphs; others may use what is refused below.
    """
    step = graph_function(model, contract)
    if keras.backend.backend() != "tensorflow":
        return step
    import tensorflow as tf

    stacks = _graphs_of_stacks(model.keras)
    if few and is_own(model.keras):

        def with_graphs(**given: Any) -> dict[str, Any]:
            with _called(stacks):
                return step(**given)

        return with_graphs
    specs = {spec.name: tf.TensorSpec(spec.shape, spec.dtype) for spec in incoming(contract)}
    traced = tf.function(step, autograph=False)
    try:
        with _called(stacks):
            graph = traced.get_concrete_function(**specs)
    except (TypeError, ValueError, ProtocolError):
        if contract.batch is not None:
            raise
        return traced
    _refuse_foreign(model, graph.variables)
    return graph


def _graphs_of_stacks(model: keras.Model) -> dict[Any, Callable[..., Any]]:
    """Each stack of a `TRM` as a function that every pass calls; other models have none.

    TensorFlow then traces and optimises the operators of one pass instead of all, in a third of
    the time (sudoku9: 0.35 s instead of 0.95 s); no bit of a result changes.
    """
    import tensorflow as tf

    if not is_own(model):
        return {}
    apart = {"_noinline": True}
    return {
        stack: tf.function(stack.call, autograph=False, experimental_attributes=apart)
        for stack in (model.inner.L_level, model.inner.H_level)
    }


@contextmanager
def _called(graphs: Mapping[Any, Callable[..., Any]]) -> Iterator[None]:
    """While the block runs, these stacks are their graphs; one thread at a time."""
    with TRACING:
        for stack, graph in graphs.items():
            stack.call = graph
        try:
            yield
        finally:
            for stack in graphs:
                del stack.call


def _refuse_foreign(model: StepModel, used: Sequence[Any]) -> None:
    """A TensorFlow variable that Keras does not track is in no `.keras` file."""
    tracked = {
        id(part)
        for variable in model.keras.variables
        for part in getattr(variable.value, "values", [variable.value])  # one for each device
    }
    foreign = [variable.name for variable in used if id(variable) not in tracked]
    if foreign:
        raise ProtocolError(
            f"{type(model.keras).__name__} uses variables that are not Keras weights, so no file "
            "contains them; create them with add_weight:", foreign,
        )  # fmt: skip
