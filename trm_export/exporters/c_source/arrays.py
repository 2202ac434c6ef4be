"""The weights of a TRM as the generated code stores them: names, order of the values, bytes.

A matrix is ``(outputs, inputs)``, its outputs filled up with zeros to whole groups of lanes. In
float32 a group stores its lanes side by side for each input. In int8 a row is an output, with a
scale of its own, and is filled up with zeros to a multiple of four bytes; layers can be kept in
float32. Embeddings have the factor that the model multiplies them by.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from trm_export.model import TRM

Array = np.ndarray[Any, Any]
LANES = {"fp32": 8, "int8": 2}
"""Outputs that are computed together, by precision."""
CODES = 127  # the largest code of an int8 weight
HEAD = "lm_head"  # the layer of the logits


def whole(inputs: int) -> int:
    """The bytes of a row of an int8 matrix: a multiple of four."""
    return -(-inputs // 4) * 4


@dataclass(frozen=True)
class Matrix:
    """One matrix; `values` is float32 or int8, flat, in the order of the generated code."""

    name: str
    layer: str  # of Keras, by the name of `kept_layers`; several matrices can be of one
    inputs: int
    outputs: int
    values: Array
    scales: Array | None  # (outputs,) float32 of int8; None for float32 values
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
    def integers(self) -> tuple[Matrix, ...]:
        """The matrices in int8."""
        return tuple(m for m in self.matrices if m.scales is not None)

    @property
    def kept(self) -> tuple[str, ...]:
        """The layers of an int8 model that are float32."""
        layers = (m.layer for m in self.matrices if m.scales is None) if self.integers else ()
        return tuple(dict.fromkeys(layers))

    @property
    def bytes(self) -> int:
        """Of all constants."""
        vectors = [v for s in self.stacks for b in s.blocks for v in b.vectors.values()]
        floats = sum(v.array.nbytes for v in (*self.vectors, *vectors))
        return floats + sum(m.bytes for m in self.matrices)


def weights_of(model: TRM, precision: str, keep: Collection[str] = ()) -> Weights:
    """The weights of a float32 model in a precision of `LANES`; the layers of `keep` in float32."""
    chosen = _Chosen(precision, keep)
    inner, shared = model.inner, model.config.family == "paper"
    h_stack = _stack(model, "H_level", "trm_layers" if shared else "trm_h_layers", chosen)
    l_stack = h_stack if shared else _stack(model, "L_level", "trm_l_layers", chosen)
    head = _matrix("trm_lm_head_weights", HEAD, _kernel(inner.lm_head), None, chosen)
    return Weights(l_stack, h_stack, head, tuple(_vectors(model)))


def dense_layers(model: TRM) -> dict[str, Any]:
    """Every Keras layer whose kernel is stored as matrices, by the name of `kept_layers`."""
    levels = ("H_level",) if model.config.family == "paper" else ("H_level", "L_level")
    found = {
        f"{name}/{part}": dense
        for level in levels
        for name, block in _blocks(model, level)
        for part, dense, _ in _parts(model, block)
    }
    return {**found, HEAD: model.inner.lm_head}


def rounded(weight: Array) -> tuple[Array, Array]:
    """``(outputs, inputs)`` as int8 codes, and the scale of each output: code x scale."""
    most = np.abs(weight).max(axis=1)
    scales = np.where(most > 0, most / np.float32(CODES), np.float32(1)).astype(np.float32)
    return np.rint(weight / scales[:, None]).astype(np.int8), scales


@dataclass(frozen=True)
class _Chosen:
    """The precision of the model, and the layers of an int8 model that stay float32."""

    precision: str
    keep: Collection[str]

    def integer(self, layer: str) -> bool:
        return self.precision != "fp32" and layer not in self.keep

    @property
    def lanes(self) -> int:
        return LANES[self.precision]


def _blocks(model: TRM, level: str) -> Iterator[tuple[str, Any]]:
    """The layers of a stack by the names that Keras saves them under, as `layer_name` has them."""
    for number, block in enumerate(getattr(model.inner, level).blocks):
        yield f"{level}/block{f'_{number}' if number else ''}", block


def _stack(model: TRM, level: str, name: str, chosen: _Chosen) -> Stack:
    blocks = enumerate(_blocks(model, level))
    made = (_block(model, block, f"{name}_{n}", layer, chosen) for n, (layer, block) in blocks)
    return Stack(name, tuple(made))


def _block(model: TRM, block: Any, name: str, layer: str, chosen: _Chosen) -> Block:
    matrices = {}
    for part, dense, fields in _parts(model, block):
        bias = None if getattr(dense, "bias", None) is None else _array(dense.bias)
        for field, weight in zip(fields, np.split(_kernel(dense), len(fields)), strict=True):
            entry = f"{layer}/{part}"
            matrices[field] = _matrix(f"{name}_{field}", entry, weight, bias, chosen)
    norms = {"mix": block.mix_norm, "ffn": block.ffn_norm}
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


def _parts(model: TRM, block: Any) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
    """Name, Keras layer and fields of ``struct block``, in their order, of the matrices."""
    if model.config.mixer == "mlp":
        mixer = block.mix.swiglu
        yield "mix/swiglu/gate_up", mixer.gate_up, ("mix_gate", "mix_up")
        yield "mix/swiglu/down", mixer.down, ("mix_down",)
    else:
        yield "mix/qkv", block.mix.qkv, ("query", "key", "value")
        yield "mix/out", block.mix.out, ("out",)
    if model.config.ffn_type == "swiglu":
        yield "ffn/gate_up", block.ffn.gate_up, ("gate", "up")
    else:
        yield "ffn/up", block.ffn.up, ("up",)
    yield "ffn/down", block.ffn.down, ("down",)


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


def _matrix(name: str, layer: str, weight: Array, bias: Array | None, chosen: _Chosen) -> Matrix:
    outputs, inputs = weight.shape
    lanes = chosen.lanes
    padded = np.zeros((math.ceil(outputs / lanes) * lanes, inputs), np.float32)
    padded[:outputs] = weight
    if not chosen.integer(layer):
        groups = padded.reshape(-1, lanes, inputs).transpose(0, 2, 1)
        return Matrix(name, layer, inputs, outputs, groups.ravel(), None, bias)
    found, scales = rounded(padded)
    codes = np.zeros((len(padded), whole(inputs)), np.int8)
    codes[:, :inputs] = found
    return Matrix(name, layer, inputs, outputs, codes.ravel(), scales, bias)


def _kernel(layer: Any) -> Array:
    """The kernel of a dense layer as ``(outputs, inputs)``."""
    return np.ascontiguousarray(_array(layer.kernel).T)


def _array(variable: Any) -> Array:
    return np.asarray(ops.convert_to_numpy(variable), np.float32)
