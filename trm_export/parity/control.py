"""The control: the reference compared with itself in float64, the noise floor of a model.

Only the carry between steps stays float32, as in every file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, final

import keras
import numpy as np

from trm_export.errors import NoControlError, reason_of
from trm_export.model.weightless import to_be_filled
from trm_export.parity.checking import Measured, Units, all_parts
from trm_export.parity.parts import Parts
from trm_export.step.keras_runner import KerasRunner
from trm_export.step.step_model import AnyModel, StepModel, adapt
from trm_runtime.parity import Gates, ParityResult
from trm_runtime.parity.golden import Golden
from trm_runtime.parity.ladder import conclude, measure
from trm_runtime.runner import StepOutput, StepRunner, initial_carry

Array = np.ndarray[Any, Any]

_PLAIN, _WIDE = "float32", "float64"


def _float64_allowed() -> AbstractContextManager[Any]:
    """A context in which JAX computes in float64; other backends need none."""
    if keras.backend.backend() != "jax":
        return nullcontext()
    import jax

    allow = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    allowed: AbstractContextManager[Any] = allow(True)
    return allowed


@final
class _NarrowedRunner:
    """A runner whose float64 outputs are rounded to the dtypes of its contract."""

    def __init__(self, runner: KerasRunner) -> None:
        self.contract, self._runner = runner.contract, runner

    def step(self, inputs: Mapping[str, Array], carry: Mapping[str, Array]) -> StepOutput:
        """One ACT step; see `StepRunner.step`."""
        with _float64_allowed():
            output = self._runner.step(inputs, carry)
        return StepOutput(
            {s.name: output.carry[s.name].astype(s.dtype) for s in self.contract.carry},
            {s.name: output.outputs[s.name].astype(s.dtype) for s in self.contract.outputs},
        )


def float64_runner(model: AnyModel) -> StepRunner:
    """A runner of the same weights, computed in float64.

    Raises NoControlError, with the reason, for a model that cannot be computed in float64.
    """
    step = adapt(model)
    with _refused(step):
        twin = _twin(step)
    narrow = [w.path for w in twin.weights if _PLAIN in (w.dtype, _stored(w))]
    if narrow:
        raise NoControlError(
            f"{type(step.keras).__name__} cannot be computed in float64: the weight {narrow[0]} "
            "stays float32."
        )
    with _refused(step):
        runner = _NarrowedRunner(KerasRunner(step.of(twin)))
        contract = runner.contract
        zeros = {s.name: np.zeros([n or 1 for n in s.shape], s.dtype) for s in contract.inputs}
        runner.step(zeros, initial_carry(contract, 1))
    return runner


@contextmanager
def _refused(step: StepModel) -> Iterator[None]:
    """NoControlError for any exception of a third-party class."""
    try:
        yield
    except Exception as error:
        name = type(step.keras).__name__
        raise NoControlError(
            f"{name} cannot be computed in float64: {reason_of(error)}."
        ) from error


def _twin(step: StepModel) -> keras.Model:
    """The same model with the same weights in float64."""
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(_WIDE)
        with _float64_allowed():
            twin = _rebuilt(step)
            for weight, value in zip(twin.weights, step.keras.weights, strict=True):
                weight.assign(keras.ops.cast(value.value, weight.dtype))
    finally:
        keras.config.set_dtype_policy(before)
    return twin


def _stored(weight: keras.Variable) -> str:
    """The dtype of the values, which a backend may have narrowed."""
    return str(keras.backend.standardize_dtype(weight.value.dtype))


def _rebuilt(step: StepModel) -> keras.Model:
    """The same model with float64 instead of float32."""
    config = _widened(step.keras.get_config())
    with to_be_filled():
        twin = type(step.keras).from_config(config)
    if not twin.built:
        carry = twin.initial_carry({"inputs": keras.ops.zeros((1, step.seq_len), "int32")})
        twin(carry, {"inputs": keras.ops.zeros((1, step.seq_len), "int32")}, training=False)
    return twin


def _widened(config: Any) -> Any:
    """A configuration in which every float32 dtype and policy is float64."""
    if isinstance(config, dict):
        return {key: _widened(value) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(_widened(item) for item in config)
    return _WIDE if isinstance(config, str) and config == _PLAIN else config


def controlled(
    golden: Golden,
    model: AnyModel,
    *,
    batch_size: int,
    parts: Parts,
    progress: Callable[[float], object],
) -> dict[str, Any]:
    """How far the recorded reference is from its float64 control, in plain JSON types.

    Raises NoControlError for a model without one.
    """
    runner = float64_runner(model)

    def measured(numbers: Sequence[int], units: Units) -> Measured:
        for number in numbers:
            yield number, measure(golden, number, runner, batch_size, units).arrays()

    finished = all_parts(
        golden, runner.contract, parts, lambda n: f"control/part-{n + 1:05d}", measured, progress
    )
    return _summary(conclude(golden, runner.contract, Gates(), finished))


def _summary(result: ParityResult) -> dict[str, Any]:
    """The part of the comparison that is stored."""
    what = f"the same weights in float64 on {keras.backend.backend()}"
    document = result.to_json()
    left_out = ("differences", "unlisted")
    decisions = {k: v for k, v in document["decisions"].items() if k not in left_out}
    stored = ("puzzles", "followed", "forced_error", "forced_steps", "free", "growth", "accuracy")
    return {"what": what, **{name: document[name] for name in stored}, "decisions": decisions}
