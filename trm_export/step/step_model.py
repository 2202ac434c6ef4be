"""`adapt`: any Keras model that follows the seed's protocol, as flat tensors under short names.

Every exporter and the reference go through here, with our own `TRM` as with anybody else's model.
What only our own can do (a rolled recursion, a single pass) it says itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias, final

import keras
from keras import ops

from trm_export.errors import ProtocolError
from trm_export.model import TRM
from trm_export.step.model_facts import (
    ModelFacts,
    ModelHints,
    facts_of,
    halt_question,
    halt_rule,
    halt_threshold,
)
from trm_export.step.nest import flatten, rebuild
from trm_export.step.saved_weights import SavedWeights
from trm_export.step.step_tensors import (
    EMBEDDING,
    HEADS,
    INPUTS,
    StepTensor,
    StepTensors,
    form_of,
    with_embedding,
)
from trm_runtime.contract import CarrySpec, HaltRule, TensorSpec
from trm_runtime.tensors import Shape

_NEXT = "_next"


@final
class StepModel:
    """A Keras model and what is known of one step of it. `adapt` makes it.

    Attributes:
        keras: the model itself.
        halt: its learned halt rule.
        max_steps: ACT steps after which a row halts.
        alphabet: the characters of each token id, if known.
        num_puzzle_identifiers: how many there are, or None without that input.
        left_out: outputs that have no rows, and that no contract can hold.
        weights: what Keras saves of the model, as it is now.
    """

    def __init__(
        self, model: keras.Model, facts: ModelFacts, halt: HaltRule, form: StepTensors
    ) -> None:
        self.keras, self.halt, self.max_steps = model, halt, facts.max_steps
        self.alphabet, self.seq_len = facts.alphabet, facts.seq_len
        self.num_puzzle_identifiers = facts.num_puzzle_identifiers
        self.left_out = form.left_out
        self.weights = SavedWeights(model)
        self._form = form

    @property
    def name(self) -> str:
        """The Keras name of the model."""
        return str(self.keras.name)

    @property
    def vocab_size(self) -> int:
        """How many token ids there are."""
        return next(leaf.shape[1] for leaf in self._form.outputs if leaf.name == HEADS[0])

    @property
    def passes(self) -> int | None:
        """Passes of one shared stack in a step; None where a step cannot be told into such."""
        model = self.keras
        own = isinstance(model, TRM) and model.config.family == "paper"
        return model.config.passes if own else None

    def with_external_table(self) -> StepModel:
        """The same model, whose step takes rows of the puzzle table instead of identifiers.

        Only our own `TRM` can do that.
        """
        found = self.of(self.keras)
        found._form = with_embedding(self._form, self.keras.config.puzzle_emb_ndim)
        return found

    def of(self, twin: keras.Model) -> StepModel:
        """The same facts of another model of the same class and sizes."""
        found = StepModel.__new__(StepModel)
        vars(found).update(vars(self), keras=twin)
        if twin is not self.keras:
            found.weights = SavedWeights(twin)
        return found

    def inputs(self, batch: int | None) -> tuple[TensorSpec, ...]:
        """What a step is given besides its carry, for so many rows or any."""
        known: dict[str, tuple[str, Shape]] = {INPUTS: ("int32", (batch, self.seq_len))}
        for leaf in self._form.carry:
            if leaf.name == f"current_{EMBEDDING}":
                known[EMBEDDING] = (leaf.dtype, (batch, *leaf.shape))
        return tuple(
            TensorSpec(name, *known.get(name, ("int32", (batch,)))) for name in self._form.inputs
        )

    def carry(self, batch: int | None) -> tuple[CarrySpec, ...]:
        """The state between steps: the model's, and the inputs that it does not keep itself."""
        rows = [(leaf.name, leaf.dtype, leaf.shape, leaf.fill) for leaf in self._form.carry]
        shapes = {spec.name: spec.shape[1:] for spec in self.inputs(1)}
        for name in self._form.held:
            shape = tuple(size for size in shapes[name] if size is not None)
            rows.append((f"current_{name}", "int32", shape, 0))
        return tuple(
            CarrySpec(name, name + _NEXT, dtype, (batch, *shape), fill)
            for name, dtype, shape, fill in rows
        )

    def outputs(self, batch: int | None) -> tuple[TensorSpec, ...]:
        """What a step says: the three heads, and whatever else the model returns for each row."""
        found = {leaf.name: leaf for leaf in self._form.outputs}
        heads = [(name, "float32", found[name].shape if name in found else ()) for name in HEADS]
        extra = [(leaf.name, leaf.dtype, leaf.shape) for leaf in self._form.outputs]
        rows = [*heads, *(row for row in extra if row[0] not in HEADS)]
        return tuple(TensorSpec(name, dtype, (batch, *shape)) for name, dtype, shape in rows)

    def step(self, tensors: Mapping[str, Any], *, rolled: bool = False) -> dict[str, Any]:
        """One ACT step: inputs and carry by name -> outputs and ``<carry>_next`` by name.

        ``rolled`` see `TRMInner.recurse`; only where there are `passes`.
        """
        batch, carry, held = self._own(tensors)
        options = {"rolled": True} if rolled else {}
        new, outputs = self.keras(carry, batch, training=False, **options)
        return {**self._named(new, outputs), **held}

    def one_pass(self, tensors: Mapping[str, Any]) -> dict[str, Any]:
        """One of the `passes` that make up a step; `passes` is among the tensors."""
        batch, carry, held = self._own(tensors)
        new, outputs = self.keras.one_pass({**carry, "passes": tensors["passes"]}, batch)
        return {**self._named(new, outputs), **held, "passes_next": new["passes"]}

    def _own(self, tensors: Mapping[str, Any]) -> tuple[dict[str, Any], Any, dict[str, Any]]:
        """Batch and carry as the model wants them, and what is kept in its place."""
        batch = {name: tensors[name] for name in self._form.inputs}
        held = {}
        for name in self._form.held:
            batch[name] = select(tensors["halted"], batch[name], tensors[f"current_{name}"])
            held[f"current_{name}{_NEXT}"] = batch[name]
        leaves = {leaf.path: _cast(tensors[leaf.name], leaf.own) for leaf in self._form.carry}
        return batch, rebuild(self._form.template, leaves), held

    def _named(self, new: Any, outputs: Any) -> dict[str, Any]:
        carried, said = flatten(new), flatten(outputs)
        found = {leaf.name + _NEXT: _tensor(carried, leaf) for leaf in self._form.carry}
        found |= {leaf.name: _tensor(said, leaf) for leaf in self._form.outputs}
        halt, go_on = HEADS[1:]
        found.setdefault(go_on, ops.zeros_like(found[halt]))
        return found


AnyModel: TypeAlias = keras.Model | StepModel


def adapt(model: AnyModel, asked: ModelHints | None = None) -> StepModel:
    """The model behind flat names; a `StepModel` comes back as it is.

    Raises:
        ProtocolError: it does not follow the protocol, every reason listed.
        UsageError: something must be known of it that it does not say.
    """
    if isinstance(model, StepModel):
        return model
    if not callable(getattr(model, "initial_carry", None)):
        problem = f"{type(model).__name__} has no method initial_carry(batch)"
        raise ProtocolError("the model does not follow the protocol:", [problem])
    asked = asked or ModelHints()
    facts = facts_of(model, asked)
    form = form_of(model, facts)
    halt = facts.halt or halt_rule(model, asked)
    says_continue = any(leaf.name == HEADS[2] for leaf in form.outputs)
    if halt is None and says_continue:
        raise halt_question(model)
    usual = HaltRule(threshold=halt_threshold(model, asked))
    return StepModel(model, facts, halt or usual, form)


def _tensor(found: Mapping[Any, Any], leaf: StepTensor) -> Any:
    """One value of the model in the contract's dtype, q values one a row."""
    value = _cast(found[leaf.path], leaf.dtype)
    return ops.reshape(value, (-1,)) if leaf.name in HEADS[1:] and len(value.shape) > 1 else value


def _cast(value: Any, dtype: str) -> Any:
    same = keras.backend.standardize_dtype(value.dtype) == dtype
    return value if same else ops.cast(value, dtype)


def select(rows: Any, new: Any, old: Any) -> Any:
    """``new`` where ``rows`` (batch,) bool, else ``old``, in one shape as TFLite wants it."""
    mask = ops.reshape(rows, (-1, *(1 for _ in new.shape[1:])))
    return ops.where(ops.broadcast_to(mask, ops.shape(new)), new, old)
