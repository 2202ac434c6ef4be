"""The facts about the network that follow from the names and shapes of the tensors alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trm_export.step.weights import Arrays

EMBED, PUZZLE, POSITION = (
    "inner.embed_tokens.embedding_weight",
    "inner.puzzle_emb.weights",
    "inner.embed_pos.embedding_weight",
)
LAYERS = "inner.L_level.layers."
_LAYER = re.compile(re.escape(LAYERS) + r"(\d{1,4})\.(self_attn|mlp_t|mlp)\.")
_MULTIPLE = 256  # inner widths of a SwiGLU are rounded up to it
_LIKELY = (4.0, 2.0, 3.0, 1.0)


@dataclass(frozen=True)
class ShapeFact:
    """One fact that follows from a tensor."""

    value: Any
    where: str  # the tensor and its shape

    def __str__(self) -> str:
        return f"{self.where} has {self.value}"


def facts(arrays: Arrays) -> dict[str, ShapeFact]:
    """Facts by name of the `TRMConfig` field, and ``positions``; unknown ones are left out.

    ``puzzle_emb_ndim`` and ``pos_encodings="learned"`` follow from tensors that exist; if these are
    absent nothing follows, because they may be missing.
    """
    found: dict[str, ShapeFact] = {}
    axes = {"vocab_size": (EMBED, 0), "hidden_size": (EMBED, 1), "positions": (POSITION, 0),
            "num_puzzle_identifiers": (PUZZLE, 0), "puzzle_emb_ndim": (PUZZLE, 1)}  # fmt: skip
    for name, (tensor, axis) in axes.items():
        if tensor in arrays and arrays[tensor].ndim == 2:
            found[name] = ShapeFact(arrays[tensor].shape[axis], _text(tensor, arrays))
    if POSITION in arrays:
        found["pos_encodings"] = ShapeFact("learned", _text(POSITION, arrays))
    layers = [match for name in arrays if (match := _LAYER.match(name))]
    if layers:
        found["l_layers"] = ShapeFact(1 + max(int(match[1]) for match in layers), f"{LAYERS}*")
    mixed = f"{LAYERS}0.mlp_t.down_proj.weight"
    if any(match[2] == "mlp_t" for match in layers):
        found["mixer"] = ShapeFact("mlp", f"{LAYERS}*.mlp_t")
        if mixed in arrays and arrays[mixed].ndim == 2:
            found.setdefault("positions", ShapeFact(arrays[mixed].shape[0], _text(mixed, arrays)))
    elif any(match[2] == "self_attn" for match in layers):
        found["mixer"] = ShapeFact("attention", f"{LAYERS}*.self_attn")
    expansion = _expansion(_widths(arrays))
    if expansion is not None:
        found["expansion"] = ShapeFact(expansion, f"{LAYERS}0.*.down_proj.weight")
    return found


def _text(tensor: str, arrays: Arrays) -> str:
    return f"{tensor} {list(arrays[tensor].shape)}"


def _widths(arrays: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(outer, inner) size of each kind of SwiGLU."""
    names = (f"{LAYERS}0.{part}.down_proj.weight" for part in ("mlp", "mlp_t"))
    return [arrays[name].shape for name in names if name in arrays and arrays[name].ndim == 2]


def _expansion(widths: Sequence[tuple[int, int]]) -> float | None:
    """An expansion that gives all these widths, of several the most usual; None without one."""
    if not widths or any(not n or not w or w % _MULTIPLE for n, w in widths):
        return None
    least = max((width - _MULTIPLE + 0.5) * 1.5 / n for n, width in widths)
    most = min((width + 0.5) * 1.5 / n for n, width in widths)
    if least >= most:
        return None
    likely = (x for x in _LIKELY if least < x < most)
    return next(likely, (least + most) / 2)
