"""The weights of a TRM as the generated code stores them: names, order of the values, bytes.

A matrix is ``(outputs, inputs)``, its outputs filled up with zeros to whole groups of lanes. In
float32 a group stores its lanes side by side for each input. In int8 a row is an output, with a
scale of its own, and is filled up with zeros to a multiple of four bytes. Embeddings have the
factor that the model multiplies them by.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from trm_export.model import TRM

Array = np.ndarray[Any, Any]
LANES = {"fp32": 8, "int8": 2}
"""Outputs that are computed together, by precision."""


def whole(inputs: int) -> int:
    """The bytes of a row of an int8 matrix: a multiple of four."""
    return -(-inputs // 4) * 4


@dataclass(frozen=True)
class Matrix:
    """One matrix; `values` is float32 or int8, flat, in the order of the generated code."""

    name: str
    inputs: int
    outputs: int
    values: Array
    scales: Array | None  # (outputs,) float32 of int8
    bias: Array | None  # (outputs,) float32

    @property
    def bytes(self) -> int:
        """Of the values, scales and biases."""
        parts = (self.values, self.scales, self.bias)
        return sum(part.nbytes for part in parts if part is not None)


@dataclass(frozen=True)
class Vector:
    """A constant float32 array, flat."""

    name: str
    array: Array
    remark: str = ""


@dataclass(frozen=True)
class Block:
    """One layer of a stack: the fields of ``struct block``, in their order."""

    matrices: dict[str, Matrix]
    vectors: dict[str, Vector]


@dataclass(frozen=True)
class Stack:
    """The layers of one stack."""

    name: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Weights:
    """Everything that the generated code stores; the paper's family has one stack twice."""

    l_stack: Stack
    h_stack: Stack
    lm_head: Matrix
    vectors: tuple[Vector, ...]

    @property
    def stacks(self) -> tuple[Stack, ...]:
        """Every stack once."""
        return tuple({stack.name: stack for stack in (self.l_stack, self.h_stack)}.values())

    @property
    def matrices(self) -> tuple[Matrix, ...]:
        """Every matrix once."""
        blocks = (block for stack in self.stacks for block in stack.blocks)
        return (*(m for block in blocks for m in block.matrices.values()), self.lm_head)

    @property
    def bytes(self) -> int:
        """Of all constants."""
        vectors = [v for s in self.stacks for b in s.blocks for v in b.vectors.values()]
        floats = sum(v.array.nbytes for v in (*self.vectors, *vectors))
        return floats + sum(m.bytes for m in self.matrices)


def weights_of(model: TRM, precision: str) -> Weights:
    """The weights of a float32 model in a precision of `LANES`."""
    inner, shared = model.inner, model.config.family == "paper"
    l_stack = _stack(model, inner.L_level, "trm_layers" if shared else "trm_l_layers", precision)
    h_stack = l_stack if shared else _stack(model, inner.H_level, "trm_h_layers", precision)
    head = _matrix("trm_lm_head_weights", _kernel(inner.lm_head), None, precision)
    return Weights(l_stack, h_stack, head, tuple(_vectors(model)))


def _stack(model: TRM, level: Any, name: str, precision: str) -> Stack:
    rows = enumerate(level.blocks)
    return Stack(name, tuple(_block(model, layer, f"{name}_{i}", precision) for i, layer in rows))


def _block(model: TRM, layer: Any, name: str, precision: str) -> Block:
    matrices = {
        field: _matrix(f"{name}_{field}", weight, bias, precision)
        for field, weight, bias in _matrices(model, layer)
    }
    norms = {"mix": layer.mix_norm, "ffn": layer.ffn_norm}
    found = {
        f"{which}_{part}": getattr(norm, part)
        for part in ("gamma", "beta")
        for which, norm in norms.items()
    }
    vectors = {
        field: Vector(f"{name}_{field}", _array(value))
        for field, value in found.items()
        if value is not None
    }
    return Block(matrices, vectors)


def _matrices(model: TRM, layer: Any) -> Iterator[tuple[str, Array, Array | None]]:
    """Field, ``(outputs, inputs)`` and bias of every matrix of a layer."""
    c = model.config
    if c.mixer == "mlp":
        for field, weight in _swiglu(layer.mix.swiglu):
            yield f"mix_{field}", weight, None
    else:
        parts = np.split(_kernel(layer.mix.qkv), 3)
        yield from zip(("query", "key", "value"), parts, (None,) * 3, strict=True)
        yield "out", _kernel(layer.mix.out), None
    if c.ffn_type == "swiglu":
        for field, weight in _swiglu(layer.ffn):
            yield field, weight, None
    else:
        for field, dense in (("up", layer.ffn.up), ("down", layer.ffn.down)):
            yield field, _kernel(dense), _array(dense.bias)


def _swiglu(layer: Any) -> Iterator[tuple[str, Array]]:
    gate, up = np.split(_kernel(layer.gate_up), 2)
    yield from (("gate", gate), ("up", up), ("down", _kernel(layer.down)))


def _vectors(model: TRM) -> Iterator[Vector]:
    """Embeddings, scores, start states and rotary tables."""
    c, inner = model.config, model.inner
    factor = math.sqrt(c.hidden_size) if c.family == "paper" else 1.0
    if inner.embed_pos is not None:
        factor *= math.sqrt(0.5)
        yield Vector("trm_embed_pos", _array(inner.embed_pos) * np.float32(factor), "of a position")
    tokens = _array(inner.embed_tokens.embeddings) * np.float32(factor)
    yield Vector("trm_embed_tokens", tokens, "of a token id")
    if inner.puzzle_emb is not None:
        rows = _array(inner.puzzle_emb.embeddings) * np.float32(factor)
        yield Vector("trm_puzzle_emb", rows, "of a puzzle identifier")
    yield Vector("trm_q_head", _kernel(inner.q_head), "q_halt, then q_continue")
    yield Vector("trm_q_head_bias", _array(inner.q_head.bias))
    yield Vector("trm_H_init", _array(inner.H_init))
    yield Vector("trm_L_init", _array(inner.L_init))
    tables = getattr(inner.L_level.blocks[0].mix, "rope", None)
    if tables is not None:
        cosines, sines = (table[:, : c.head_dim // 2] for table in tables)
        yield Vector("trm_rope_cosines", cosines, "half a head, position by position")
        yield Vector("trm_rope_sines", sines)


def _matrix(name: str, weight: Array, bias: Array | None, precision: str) -> Matrix:
    outputs, inputs = weight.shape
    lanes = LANES[precision]
    padded = np.zeros((math.ceil(outputs / lanes) * lanes, inputs), np.float32)
    padded[:outputs] = weight
    if precision == "fp32":
        groups = padded.reshape(-1, lanes, inputs).transpose(0, 2, 1)
        return Matrix(name, inputs, outputs, groups.ravel(), None, bias)
    most = np.abs(padded).max(axis=1)
    scales = np.where(most > 0, most / np.float32(127), np.float32(1)).astype(np.float32)
    codes = np.zeros((len(padded), whole(inputs)), np.int8)
    codes[:, :inputs] = np.rint(padded / scales[:, None])
    return Matrix(name, inputs, outputs, codes.ravel(), scales, bias)


def _kernel(layer: Any) -> Array:
    """The kernel of a dense layer as ``(outputs, inputs)``."""
    return np.ascontiguousarray(_array(layer.kernel).T)


def _array(variable: Any) -> Array:
    return np.asarray(ops.convert_to_numpy(variable), np.float32)
