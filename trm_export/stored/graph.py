"""A graph as a set of digests: two files compute the same if their outputs have equal digests.

The digest of a constant is that of its dtype, shape and bytes; the digest of an operator's result
is that of the operator, its attributes and the digests of what it reads, so that the digest of an
output depends on everything that the output is computed from, and on nothing else: not on names,
nor on the order of nodes, nor on what no output needs. (A Merkle tree, R. Merkle 1987.)

Knows no file format.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Arrays = Mapping[str, Array]
Key = str

NEAR = 1e-6  # relative to the largest value of a constant; see `Keys`


@dataclass(frozen=True)
class Operator:
    """One operator of a file, on which an output depends."""

    op: str
    name: str  # of its first result
    key: Key
    reads: tuple[Key, ...]


@dataclass(frozen=True)
class StoredGraph:
    """What a file computes, as digests.

    Attributes:
        outputs: the digest of each output, by its name in the contract.
        operators: all, those inside of loops included.
        constants: the digest of each stored tensor, by its name in the file.
        unread: names of stored tensors that no output depends on.
        inexact: names of constants that are within `NEAR` of a known one, but not equal to it.
    """

    outputs: Mapping[str, Key]
    operators: tuple[Operator, ...]
    constants: Mapping[str, Key]
    unread: tuple[str, ...] = ()
    inexact: tuple[str, ...] = ()

    def differences(self, other: StoredGraph) -> tuple[str, ...]:
        """Where `other` first differs from this graph, a line each; empty if they are the same.

        Constants are left out; they are compared by name. An operator differs first if all that it
        reads is in this graph.
        """
        if self.outputs == other.outputs:
            return ()
        known = self.keys
        lines = [
            f"operator {one.op}, which computes {one.name}, is not in a new export"
            for one in other.operators
            if one.key not in known and known.issuperset(one.reads)
        ]
        lines += [
            f"output {name} is another tensor of the graph than in a new export"
            for name, key in other.outputs.items()
            if self.outputs.get(name) != key and key.partition(":")[0] in known
        ]
        return tuple(dict.fromkeys(lines))

    @property
    def keys(self) -> set[Key]:
        """The digests of everything in it, and that of no tensor."""
        read = (key for one in self.operators for key in one.reads)
        return {"", *self.constants.values(), *read, *(one.key for one in self.operators)}


@dataclass(frozen=True)
class Known:
    """The constants of a correct graph.

    Attributes:
        constants: all.
        computed: those that are no weights, and may be computed by a converter, with the
            instructions of its processor.
    """

    constants: tuple[Array, ...] = ()
    computed: tuple[Array, ...] = ()


class Keys:
    """Makes digests, and remembers the operators.

    A float constant that is not equal to any known one, but within `NEAR` of a computed one, gets
    the digest of that.
    """

    def __init__(self, known: Known) -> None:
        self._exact = {constant_key(array) for array in known.constants}
        self._near = [(x, constant_key(x)) for x in known.computed if x.dtype.kind == "f"]
        self.operators: dict[Key, Operator] = {}
        self.constants: dict[str, Key] = {}
        self.inexact: list[str] = []

    def constant(self, name: str, array: Array, more: str = "") -> Key:
        """The digest of a stored tensor; `more` is what else its meaning depends on."""
        key = constant_key(array)
        if array.dtype.kind == "f" and key not in self._exact:
            near = next((k for other, k in self._near if _is_near(other, array)), None)
            if near is not None:
                self.inexact.append(name)
                key = near
        key = made("stored", key, more) if more else key
        self.constants[name] = key
        return key

    def operator(self, op: str, name: str, reads: Sequence[Key], *facts: str) -> Key:
        """The digest of an operator on what it reads."""
        key = made(op, *reads, *facts)
        self.operators.setdefault(key, Operator(op, name, key, tuple(map(_base, reads))))
        return key

    def graph(self, outputs: Mapping[str, Key]) -> StoredGraph:
        """The finished graph, without operators and constants that no output needs."""
        needed: set[Key] = set()
        waiting = [_base(key) for key in outputs.values()]
        while waiting:
            key = waiting.pop()
            if key not in needed:
                needed.add(key)
                one = self.operators.get(key)
                waiting += one.reads if one else ()
        used = {name: key for name, key in self.constants.items() if key in needed}
        return StoredGraph(
            outputs,
            tuple(one for one in self.operators.values() if one.key in needed),
            used,
            tuple(name for name in self.constants if name not in used),
            tuple(name for name in self.inexact if name in used),
        )


def made(*parts: str) -> Key:
    """The digest of several texts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def argument(depth: int, position: int) -> Key:
    """The digest of an argument of a loop body, with `depth` bodies around it."""
    return made("argument", str(depth), str(position))


def constant_key(array: Array) -> Key:
    """The digest of an array: dtype, shape and bytes."""
    content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
    return made(array.dtype.str, str(array.shape), content)


def _base(key: Key) -> Key:
    """The digest of the operator, given that of one of its results."""
    return key.partition(":")[0]


def _is_near(known: Array, array: Array) -> bool:
    if known.shape != array.shape or known.dtype != array.dtype or not known.size:
        return False
    most = float(np.abs(known).max())
    return bool((np.abs(array.astype(np.float64) - known) <= NEAR * most).all())
