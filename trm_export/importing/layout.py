"""Map official tensors to weights of the Keras model, and check that the two sets match.

Official matrices are (out, in), Keras kernels (in, out).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from trm_export.importing.shapes import EMBED, LAYERS, POSITION, PUZZLE
from trm_export.model import TRM
from trm_export.step.weights import Arrays

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Place:
    """The weight that gets a tensor."""

    variable: Any  # keras.Variable
    transposed: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the official tensor."""
        shape = tuple(int(size) for size in self.variable.shape)
        return shape[::-1] if self.transposed else shape

    def assign(self, array: Array) -> None:
        """Assign the official tensor; bfloat16 and float16 convert to float32 exactly."""
        values = array.astype(np.float32)
        self.variable.assign(np.ascontiguousarray(values.T) if self.transposed else values)


def places(model: TRM) -> dict[str, Place]:
    """Official name -> its place, for every weight of a model of the paper's family."""
    inner = model.inner
    mapping = {
        EMBED: Place(inner.embed_tokens.embeddings),
        "inner.lm_head.weight": Place(inner.lm_head.kernel, True),
        "inner.q_head.weight": Place(inner.q_head.kernel, True),
        "inner.q_head.bias": Place(inner.q_head.bias),
        "inner.H_init": Place(inner.H_init),
        "inner.L_init": Place(inner.L_init),
    }
    if inner.puzzle_emb is not None:
        mapping[PUZZLE] = Place(inner.puzzle_emb.embeddings)
    if inner.embed_pos is not None:
        mapping[POSITION] = Place(inner.embed_pos)
    for i, block in enumerate(inner.L_level.blocks):
        for name, dense in _matrices(block):
            mapping[f"{LAYERS}{i}.{name}.weight"] = Place(dense.kernel, True)
    return mapping


def _matrices(block: Any) -> Iterator[tuple[str, Any]]:
    if block.transposed:
        yield "mlp_t.gate_up_proj", block.mix.swiglu.gate_up
        yield "mlp_t.down_proj", block.mix.swiglu.down
    else:
        yield "self_attn.qkv_proj", block.mix.qkv
        yield "self_attn.o_proj", block.mix.out
    yield "mlp.gate_up_proj", block.ffn.gate_up
    yield "mlp.down_proj", block.ffn.down


def differences(wanted: Mapping[str, Place], arrays: Arrays) -> Iterator[str]:
    """Every tensor that is missing, unexpected or of another shape."""
    for name in sorted({*wanted, *arrays}):
        if name not in arrays:
            yield f"{name}: missing, expected {list(wanted[name].shape)}"
        elif name not in wanted:
            yield f"{name} {list(arrays[name].shape)}: the network has no such weight"
        elif arrays[name].shape != wanted[name].shape:
            yield f"{name} {list(arrays[name].shape)}: expected {list(wanted[name].shape)}"
