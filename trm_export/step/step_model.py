"""`adapt`: any Keras model that follows the step protocol, as flat tensors with short names.

Every exporter and the reference use it, for our own `TRM` and for third-party models alike. Only
a `TRM` with the step of `TRM` (`is_own`) has `passes`, and with them a rolled recursion and single
passes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, final

import keras
from keras import ops

from trm_export.errors import ProtocolError, TRMError, reason_of
from trm_export.model import is_own
from trm_export.step.model_facts import (
    ModelFacts,
    ModelHints,
    facts_of,
    given_hints,
    halt_rule,
    halt_threshold,
    unknown_halt_rule,
)
from trm_export.step.nest import flatten, rebuild
from trm_export.step.saved_weights import SavedWeights
from trm_export.step.step_tensors import (
    EMBEDDING,
    HEADS,
    INPUTS,
    StepTensor,
    StepTensors,
    step_tensors,
    with_embedding,
)
from trm_runtime.contract import CarrySpec, HaltRule, TensorSpec
from trm_runtime.tensors import Shape

_NEXT = "_next"


@final
class StepModel:
    """A Keras model and the facts about one step of it. `adapt` makes it.

    Attributes:
        keras: the model itself.
        halt: its learned halt rule.
        max_steps: ACT steps after which a row halts.
        alphabet: the characters of each token id, if known.
        num_puzzle_identifiers: how many there are, or None without that input.
        left_out: outputs without a batch axis, which no contract can describe.
        weights: what Keras saves of the model, as it is now.
    """

    def __init__(
        self, model: keras.Model, facts: ModelFacts, halt: HaltRule, tensors: StepTensors
    ) -> None:
        self.keras, self.halt, self.max_steps = model, halt, facts.max_steps
        self.alphabet, self.seq_len = facts.alphabet, facts.seq_len
        self.num_puzzle_identifiers = facts.num_puzzle_identifiers
        self.left_out = tensors.left_out
        self.weights = SavedWeights(model)
        self._tensors = tensors

    @property
    def name(self) -> str:
        """The Keras name of the model."""
        return str(self.keras.name)

    @property
    def vocab_size(self) -> int:
        """How many token ids there are."""
        return next(leaf.shape[1] for leaf in self._tensors.outputs if leaf.name == HEADS[0])

    @property
    def passes(self) -> int | None:
        """Passes of one shared stack in a step; None where a step has no such passes."""
        model = self.keras
        own = is_own(model) and model.config.family == "paper"
        return model.config.passes if own else None

    @property
    def multiplications(self) -> int:
        """Of one row's step, about: every matrix with every position, in every pass.

        Attention and what a model of another class repeats within a step are not in it.
        """
        identifiers = self.num_puzzle_identifiers or 0
        shapes = [tuple(variable.shape) for variable in self.keras.weights]
        body = [n * k for n, k in (s for s in shapes if len(s) == 2) if n not in (identifiers,)]
        return sum(body) * self.seq_len * (self.passes or 1)

    def with_external_table(self) -> StepModel:
        """The same model, whose step takes rows of the puzzle table instead of identifiers.

        Only our own `TRM` can do that.
        """
        other = self.of(self.keras)
        other._tensors = with_embedding(self._tensors, self.keras.config.puzzle_emb_ndim)
        return other

    def of(self, twin: keras.Model) -> StepModel:
        """The same facts of another model of the same class and sizes."""
        found = StepModel.__new__(StepModel)
        vars(found).update(vars(self), keras=twin)
        if twin is not self.keras:
            found.weights = SavedWeights(twin)
        return found

    def inputs(self, batch: int | None) -> tuple[TensorSpec, ...]:
        """The inputs of a step besides its carry, for so many rows or a dynamic batch."""
        known: dict[str, tuple[str, Shape]] = {INPUTS: ("int32", (batch, self.seq_len))}
        for leaf in self._tensors.carry:
            if leaf.name == f"current_{EMBEDDING}":
                known[EMBEDDING] = (leaf.dtype, (batch, *leaf.shape))
        return tuple(
            TensorSpec(name, *known.get(name, ("int32", (batch,)))) for name in self._tensors.inputs
        )

    def carry(self, batch: int | None) -> tuple[CarrySpec, ...]:
        """The state between steps: the model's carry, and the inputs that are not in it."""
        rows = [(leaf.name, leaf.dtype, leaf.shape, leaf.fill) for leaf in self._tensors.carry]
        shapes = {spec.name: spec.shape[1:] for spec in self.inputs(1)}
        for name in self._tensors.held:
            shape = tuple(size for size in shapes[name] if size is not None)
            rows.append((f"current_{name}", "int32", shape, 0))
        return tuple(
            CarrySpec(name, name + _NEXT, dtype, (batch, *shape), fill)
            for name, dtype, shape, fill in rows
        )

    def outputs(self, batch: int | None) -> tuple[TensorSpec, ...]:
        """The outputs of a step: the three heads, and what else the model returns for each row."""
        known = {leaf.name: leaf for leaf in self._tensors.outputs}
        heads = [(name, "float32", known[name].shape if name in known else ()) for name in HEADS]
        extra = [(leaf.name, leaf.dtype, leaf.shape) for leaf in self._tensors.outputs]
        rows = [*heads, *(row for row in extra if row[0] not in HEADS)]
        return tuple(TensorSpec(name, dtype, (batch, *shape)) for name, dtype, shape in rows)

    def step(self, tensors: Mapping[str, Any], *, rolled: bool = False) -> dict[str, Any]:
        """One ACT step: inputs and carry by name -> outputs and ``<carry>_next`` by name.

        ``rolled`` see `TRMInner.recurse`; only where there are `passes`. Raises ProtocolError for a
        third-party model that cannot be traced.
        """
        batch, carry, held = self._nested(tensors)
        options = {"rolled": True} if rolled else {}
        try:
            new, outputs = self.keras(carry, batch, training=False, **options)
        except (TRMError, MemoryError):
            raise
        except Exception as error:  # a third-party class may raise anything
            if is_own(self.keras) or keras.backend.backend() != "tensorflow":
                raise
            raise _untraceable(self.keras, error, batch[INPUTS].shape[0]) from error
        return {**self._flat(new, outputs), **held}

    def one_pass(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """One of the `passes` that make up a step; `passes` is among the tensors."""
        batch, carry, held = self._nested(tensors)
        new, outputs = self.keras.one_pass({**carry, "passes": tensors["passes"]}, batch)
        return {**self._flat(new, outputs), **held, "passes_next": new["passes"]}

    def _nested(self, tensors: Mapping[str, Any]) -> tuple[dict[str, Any], Any, dict[str, Any]]:
        """Batch and carry in the model's own structure, and the next values of `held` inputs."""
        batch = {name: tensors[name] for name in self._tensors.inputs}
        held = {}
        for name in self._tensors.held:
            batch[name] = select(tensors["halted"], batch[name], tensors[f"current_{name}"])
            held[f"current_{name}{_NEXT}"] = batch[name]
        leaves = {leaf.path: _cast(tensors[leaf.name], leaf.own) for leaf in self._tensors.carry}
        return batch, rebuild(self._tensors.template, leaves), held

    def _flat(self, new: Any, outputs: Any) -> dict[str, Any]:
        """The next carry and the outputs by their names in the contract."""
        carry_leaves, output_leaves = flatten(new), flatten(outputs)
        tensors = {leaf.name + _NEXT: _tensor(carry_leaves, leaf) for leaf in self._tensors.carry}
        tensors |= {leaf.name: _tensor(output_leaves, leaf) for leaf in self._tensors.outputs}
        q_halt, q_continue = HEADS[1:]
        tensors.setdefault(q_continue, ops.zeros_like(tensors[q_halt]))
        return tensors


AnyModel: TypeAlias = keras.Model | StepModel


def adapt(model: AnyModel, hints: ModelHints | None = None) -> StepModel:
    """The model with flat tensors; a `StepModel` is returned unchanged.

    Raises:
        ProtocolError: it does not follow the protocol, every reason listed.
        UsageError: neither the model nor the hints state a fact that is needed.
    """
    if isinstance(model, StepModel):
        return model
    hints = given_hints(hints)
    facts = facts_of(model, hints)
    tensors = step_tensors(model, facts)
    halt = facts.halt or halt_rule(model, hints)
    has_q_continue = any(leaf.name == HEADS[2] for leaf in tensors.outputs)
    if halt is None and has_q_continue:
        raise unknown_halt_rule(model)
    default = HaltRule(threshold=halt_threshold(model, hints))
    return StepModel(model, facts, halt or default, tensors)


def _untraceable(model: keras.Model, error: Exception, rows: int | None) -> ProtocolError:
    """The error for a third-party model whose call fails on symbolic tensors."""
    counts = (
        "; if it reads the number of rows as a Python number, pass a fixed --batch and, for onnx, "
        "neither int8-static nor int4"
    )
    return ProtocolError(
        f"{type(model).__name__} cannot be traced: its call raises {type(error).__name__}: "
        f"{reason_of(error)}; compute with keras.ops only{counts if rows is None else ''}."
    )


def _tensor(leaves: Mapping[Any, Any], leaf: StepTensor) -> Any:
    """One value of the model in the contract's dtype, q values with shape (batch,)."""
    value = _cast(leaves[leaf.path], leaf.dtype)
    return ops.reshape(value, (-1,)) if leaf.name in HEADS[1:] and len(value.shape) > 1 else value


def _cast(value: Any, dtype: str) -> Any:
    same = keras.backend.standardize_dtype(value.dtype) == dtype
    return value if same else ops.cast(value, dtype)


def select(rows: Any, new: Any, old: Any) -> Any:
    """``new`` where ``rows`` (batch,) bool, else ``old``; the mask broadcast as TFLite needs."""
    mask = ops.reshape(rows, (-1, *(1 for _ in new.shape[1:])))
    return ops.where(ops.broadcast_to(mask, ops.shape(new)), new, old)
