"""Find the names, dtypes and shapes of a step's tensors by calling the model.

Eager calls on a few rows: the first as `initial_carry` makes it, the next two with garbage in
their carry. A row that enters halted starts a new puzzle, so all rows must have equal results.
Our own `TRM` is known to follow the protocol and is not called. Knows Keras and no file format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from keras import ops

from trm_export.errors import ProtocolError, reason_of
from trm_export.model import TRM, is_own
from trm_export.step.model_facts import ModelFacts, unknown_identifiers
from trm_export.step.nest import Path, flatten, rebuild, short_names
from trm_runtime.tensors import Scalar

Array = np.ndarray[Any, Any]

INPUTS, IDENTIFIERS = "inputs", "puzzle_identifiers"
EMBEDDING = "puzzle_embedding"  # in the place of identifiers, where the table is elsewhere
HEADS = ("logits", "q_halt_logits", "q_continue_logits")
_ROLES = {"steps": "int32", "halted": "bool"}  # with their dtypes in the contract
_LOOP = ("answers", "passes")  # tensors of the other granularities
_ROWS = 5
_STALE, _BROKEN = 1, 2  # rows whose carry is finite garbage, and NaN
_GARBAGE = 10.0
_LEAK = 1e-2  # of a tensor's largest value; equal rows differ by rounding alone


@dataclass(frozen=True)
class StepTensor:
    """One tensor of a model's carry or outputs."""

    path: Path
    name: str  # in the contract
    own: str  # the dtype that the model computes with
    dtype: str  # float32, int32 or bool: the dtype in the contract
    shape: tuple[int, ...]  # of a row, in the contract
    fill: Scalar = 0


@dataclass(frozen=True)
class StepTensors:
    """The tensors of one step."""

    inputs: tuple[str, ...]
    template: Any  # a carry, for its structure
    carry: tuple[StepTensor, ...]
    outputs: tuple[StepTensor, ...]
    left_out: tuple[str, ...]  # outputs without rows

    @property
    def held(self) -> tuple[str, ...]:
        """Inputs that are not in the model's carry, so that `StepModel` has to keep them."""
        carried = {leaf.name for leaf in self.carry}
        return tuple(name for name in self.inputs if f"current_{name}" not in carried)


def call_once(model: Any, facts: ModelFacts, rows: int = _ROWS) -> tuple[tuple[str, ...], Any]:
    """Calls a model on its initial carry, which builds it; returns its inputs and that carry.

    Raises:
        ProtocolError: it cannot be called as the protocol says.
        UsageError: it needs puzzle identifiers, and their number is not known.
    """
    batch = _batch(facts, rows)
    try:
        carry = model.initial_carry(batch)
        model(carry, batch, training=False)
    except Exception as error:  # a third-party class may raise anything
        if IDENTIFIERS in str(error) and IDENTIFIERS not in batch:
            raise unknown_identifiers(model) from error
        raise ProtocolError(f"{_kind(model)} does not follow the protocol:", [
            f"initial_carry(batch) and call(carry, batch, training=False) with a batch of "
            f"{' and '.join(batch)} raise {type(error).__name__}: {reason_of(error)}"
        ]) from error  # fmt: skip
    return tuple(batch), carry


def step_tensors(model: Any, facts: ModelFacts) -> StepTensors:
    """The tensors of a built model's step.

    Raises:
        ProtocolError: naming everything in which it does not follow the protocol.
    """
    if is_own(model):
        return _own_tensors(model, facts)
    names, template = call_once(model, facts)
    start = {path: _array(leaf) for path, leaf in flatten(template).items()}
    problems = [*_carry_problems(start)]
    if problems:
        raise ProtocolError(f"{_kind(model)} does not follow the protocol:", problems)
    named = _carry_names(start, names)
    problems = [*_name_problems(named, names)]
    if problems:
        raise ProtocolError(f"{_kind(model)} does not follow the protocol:", problems)
    garbage, batch = _with_garbage(start, named), _batch(facts, _ROWS)
    after, results = _returned(model, template, garbage, batch)
    problems = [*_lost(start, after), *_head_problems(results, facts.seq_len)]
    if not problems:
        first = {**_named(after, named), **_named(results, _joined(results))}
        problems = [*_nonfinite(first)]
    if not problems:
        after_again, again = _returned(model, template, garbage, batch)
        second = {**_named(after_again, named), **_named(again, _joined(again))}
        problems = [*_random(first, second)] or [*_leaks(first)]
    if problems:
        raise ProtocolError(f"{_kind(model)} does not follow the protocol:", problems)
    return _described(names, template, start, results)


def _own_tensors(model: TRM, facts: ModelFacts) -> StepTensors:
    """The tensors of our own model, whose step is not called; see `TRM.call`."""
    batch = _batch(facts, _ROWS)
    template = model.initial_carry(batch)
    start = {path: _array(leaf) for path, leaf in flatten(template).items()}
    results: dict[Path, Array] = {(name,): np.zeros(_ROWS, np.float32) for name in HEADS}
    shape = (_ROWS, facts.seq_len, model.config.vocab_size)
    results["logits",] = np.zeros(shape, np.float32)
    return _described(tuple(batch), template, start, results)


def _described(
    names: tuple[str, ...],
    template: Any,
    start: Mapping[Path, Array],
    results: Mapping[Path, Array],
) -> StepTensors:
    """Inputs, carry and outputs by their names in the contract."""
    named = _carry_names(start, names)
    return StepTensors(
        inputs=names,
        template=template,
        carry=tuple(_leaf(path, named[path], array) for path, array in start.items()),
        outputs=_output_leaves(results, names, named),
        left_out=tuple("/".join(path) for path, array in results.items() if not _has_rows(array)),
    )


def with_embedding(tensors: StepTensors, width: int) -> StepTensors:
    """The tensors of a `TRM` that is fed rows of its puzzle table, (batch, width) float32."""
    old, new = f"current_{IDENTIFIERS}", f"current_{EMBEDDING}"
    row = StepTensor((new,), new, "float32", "float32", (width,), 0.0)
    return replace(
        tensors,
        inputs=tuple(EMBEDDING if name == IDENTIFIERS else name for name in tensors.inputs),
        template={new if name == old else name: leaf for name, leaf in tensors.template.items()},
        carry=tuple(row if leaf.name == old else leaf for leaf in tensors.carry),
    )


def contract_dtype(dtype: str) -> str:
    """The dtype that a tensor of this dtype has in the contract: float32, int32 or bool."""
    if dtype == "bool":
        return "bool"
    return "int32" if dtype.startswith(("int", "uint")) else "float32"


def _batch(facts: ModelFacts, rows: int) -> dict[str, Any]:
    batch = {INPUTS: ops.zeros((rows, facts.seq_len), "int32")}
    if facts.num_puzzle_identifiers is not None:
        batch[IDENTIFIERS] = ops.zeros((rows,), "int32")
    return batch


def _call(model: Any, template: Any, carry: Mapping[Path, Array], batch: Any) -> Any:
    tensors = {path: ops.convert_to_tensor(array) for path, array in carry.items()}
    return model(rebuild(template, tensors), batch, training=False)


def _carry_problems(start: Mapping[Path, Array]) -> Iterator[str]:
    for role, dtype in _ROLES.items():
        path = _with_role(start, role)
        if path is None:
            yield f"the carry has no {role!r}, expected one value a row"
        elif contract_dtype(start[path].dtype.name) != dtype:
            yield f"carry {'/'.join(path)}: expected {dtype}, got {start[path].dtype.name}"
    halted = _with_role(start, "halted")
    if halted is not None and not start[halted].all():
        yield "initial_carry must start with every row halted, so that the first call resets it"
    for path, array in start.items():
        if not _has_rows(array):
            yield f"carry {'/'.join(path)}: expected rows on axis 0, got the shape {array.shape}"


def _carry_names(start: Mapping[Path, Array], inputs: tuple[str, ...]) -> dict[Path, str]:
    """The names of the protocol for its own tensors, short ones for the rest."""
    named: dict[Path, str] = {}
    for role in _ROLES:
        named[_with_role(start, role) or ()] = role
    for name in inputs:
        path = _with_role(start, f"current_{name}") or _with_role(start, name)
        if path is not None:
            named[path] = f"current_{name}"
    held = (f"current_{name}" for name in inputs)
    taken = {*inputs, *HEADS, *_LOOP, *named.values(), *held}
    rest = [path for path in start if path not in named]
    return {**named, **short_names(rest, taken, arguments=True)}


def _name_problems(named: Mapping[Path, str], inputs: tuple[str, ...]) -> Iterator[str]:
    """Names that a file already needs for the next value of another tensor."""
    carried = {*named.values(), *(f"current_{name}" for name in inputs)}
    for path, name in named.items():
        before = name.removesuffix("_next")
        if before != name and before in carried:
            yield (
                f"carry {'/'.join(path)}: in a file, {name} is the next value of {before}; rename "
                "one of them"
            )


def _with_role(paths: Mapping[Path, Array], role: str) -> Path | None:
    """The path that ends so, the shortest of several."""
    return min((path for path in paths if path and path[-1] == role), key=len, default=None)


def _with_garbage(start: Mapping[Path, Array], named: Mapping[Path, str]) -> dict[Path, Array]:
    """The initial carry with garbage in two rows, which are still halted."""
    carry = {}
    for path, array in start.items():
        array = array.copy()
        if named[path] != "halted":
            is_float = contract_dtype(array.dtype.name) == "float32"
            array[_STALE] = _GARBAGE if is_float else 1
            array[_BROKEN] = np.nan if is_float else 1
        carry[path] = array
    return carry


def _lost(start: Mapping[Path, Array], after: Mapping[Path, Array]) -> Iterator[str]:
    for path, array in start.items():
        where = "/".join(path)
        if path not in after:
            yield f"carry {where}: missing from the carry that call returns"
        elif after[path].shape != array.shape:
            yield f"carry {where}: expected {array.shape} from call, got {after[path].shape}"


def _head_problems(outputs: Mapping[Path, Array], seq_len: int) -> Iterator[str]:
    shapes = {_with_role(outputs, name): name for name in HEADS[:2]}
    for path, name in shapes.items():
        if path is None:
            listed = ", ".join("/".join(other) for other in outputs) or "none"
            yield f"the outputs have no {name!r}; they are {listed}"
        elif name == "logits":
            if outputs[path].ndim != 3 or outputs[path].shape[1] != seq_len:
                shape = ", ".join(map(str, outputs[path].shape[1:]))
                wanted = f"(batch, {seq_len}, vocabulary)"
                yield f"logits: expected the shape {wanted}, got (batch, {shape})"
        elif outputs[path].size != _ROWS:
            yield f"{name}: expected one value a row, got the shape {outputs[path].shape}"


def _returned(
    model: Any, template: Any, carry: Mapping[Path, Array], batch: Any
) -> tuple[dict[Path, Array], dict[Path, Array]]:
    """The carry and the outputs of one call, as arrays."""
    new, outputs = _call(model, template, carry, batch)
    after = {path: _array(leaf) for path, leaf in flatten(new).items()}
    return after, {path: _array(leaf) for path, leaf in flatten(outputs).items()}


def _nonfinite(tensors: Mapping[str, Array]) -> Iterator[str]:
    """What is NaN or infinite in a row that enters with the initial carry."""
    rows = {name: array[0] for name, array in tensors.items() if _has_rows(array)}
    names = [name for name, row in rows.items() if not np.isfinite(row.astype(np.float64)).all()]
    if names:
        yield (
            f"it computes NaN or infinity for a row of tokens 0: {', '.join(names)}; compute "
            "finite numbers only, and mask with a large negative number instead of -inf"
        )


def _random(first: Mapping[str, Array], second: Mapping[str, Array]) -> Iterator[str]:
    """What differs between two equal calls."""
    rows = {name: array for name, array in first.items() if _has_rows(array)}
    names = [name for name, array in rows.items() if not _close(array[0], second[name][0])]
    if names:
        yield (
            "it is random at inference: two equal calls with training=False give different values "
            f"of {', '.join(names)}; pass training on to layers such as Dropout, and draw random "
            "numbers only while it is True"
        )


def _leaks(tensors: Mapping[str, Array]) -> Iterator[str]:
    """Outputs of a row that enters halted and still depend on its old carry."""
    for row, what in ((_STALE, "an old state"), (_BROKEN, "NaN")):
        leaking = [name for name, array in tensors.items() if _differs(array, row)]
        if leaking:
            yield (
                f"it leaks a stale carry: a row that enters with halted = True and {what} in its "
                f"carry must be reset, but these still depend on it: {', '.join(leaking)}; select "
                "the new state with keras.ops.where, not by arithmetic"
            )
            return


def _differs(array: Array, row: int) -> bool:
    if not _has_rows(array):
        return False
    return not _close(array[0], array[row])


def _close(clean: Array, other: Array) -> bool:
    one, two = (np.asarray(array, np.float64) for array in (clean, other))
    limit = _LEAK * max(float(np.abs(one).max(initial=0.0)), 1e-6)
    return bool(np.all(np.abs(one - two) <= limit))


def _named(arrays: Mapping[Path, Array], names: Mapping[Path, str]) -> dict[str, Array]:
    return {names[path]: array for path, array in arrays.items() if path in names}


def _joined(arrays: Mapping[Path, Array]) -> dict[Path, str]:
    return {path: "/".join(path) for path in arrays}


def _output_leaves(
    outputs: Mapping[Path, Array], inputs: tuple[str, ...], carry: Mapping[Path, str]
) -> tuple[StepTensor, ...]:
    """The heads in the contract's order, then whatever else has rows."""
    heads = {_with_role(outputs, name): name for name in HEADS}
    taken = {*inputs, *HEADS, *_LOOP, *carry.values(), *(f"{name}_next" for name in carry.values())}
    held = (f"current_{name}{end}" for name in inputs for end in ("", "_next"))
    extra = [path for path, array in outputs.items() if path not in heads and _has_rows(array)]
    named = {path: name for path, name in heads.items() if path is not None}
    named |= short_names(extra, {*taken, *held})
    leaves = []
    for path, name in named.items():
        array = outputs[path]
        leaf = _leaf(path, name, array.reshape(_ROWS) if name in HEADS[1:] else array)
        leaves.append(leaf)
    return tuple(leaves)


def _leaf(path: Path, name: str, array: Array) -> StepTensor:
    own = array.dtype.name
    dtype = contract_dtype(own)
    return StepTensor(path, name, own, dtype, array.shape[1:], _fill(name, dtype, array))


def _fill(name: str, dtype: str, array: Array) -> Scalar:
    """The fill value of a tensor of the initial carry; 0 where it has several values."""
    value = array.flat[0] if array.size else 0
    constant = bool((array == value).all())
    if dtype == "bool":
        return bool(value) if constant else name == "halted"
    if dtype == "int32":
        return int(value) if constant else 0
    return float(value) if constant and np.isfinite(float(value)) else 0.0


def _has_rows(array: Array) -> bool:
    return array.ndim > 0 and array.shape[0] == _ROWS


def _array(tensor: Any) -> Array:
    return np.array(ops.convert_to_numpy(tensor))


def _kind(model: Any) -> str:
    return type(model).__name__
