"""Small models of every kind, with weights and carries in which nothing is zero by accident."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

from trm_export.model import TRM
from trm_export.model.weightless import to_be_filled

_BASE: dict[str, Any] = {
    "vocab_size": 7, "hidden_size": 16, "num_heads": 2, "expansion": 2.0, "seq_len": 9,
    "halt_max_steps": 5,
}  # fmt: skip
_PAPER: dict[str, Any] = {**_BASE, "family": "paper", "h_cycles": 2, "l_cycles": 3}
_MIXER: dict[str, Any] = {**_PAPER, "mixer": "mlp", "pos_encodings": "none"}

VARIANTS: dict[str, dict[str, Any]] = {
    "paper mlp mixer": {**_MIXER, "puzzle_emb_len": 3},
    "paper mlp mixer, no prefix": {**_MIXER, "puzzle_emb_len": 0, "h_cycles": 3, "l_cycles": 1},
    "paper mlp mixer, learned, pre": {
        **_MIXER, "pos_encodings": "learned", "puzzle_emb_len": 2, "normalization_position": "pre",
    },
    "paper attention rope": {**_PAPER, "puzzle_emb_len": 4, "rope_theta": 500.0},
    "paper rope + puzzle embedding": {
        **_PAPER, "puzzle_emb_ndim": 37, "puzzle_emb_len": 0, "num_puzzle_identifiers": 5,
    },
    "paper learned + wide puzzle prefix": {
        **_PAPER, "pos_encodings": "learned", "puzzle_emb_ndim": 21, "puzzle_emb_len": 4,
        "num_puzzle_identifiers": 3, "num_heads": 4,
    },
    "paper no positions": {**_PAPER, "pos_encodings": "none", "puzzle_emb_len": 1},
    "seed": {**_BASE, "h_layers": 1, "l_layers": 2},
    "seed pre": {**_BASE, "normalization_position": "pre", "puzzle_emb_len": 1, "h_layers": 3},
    "seed layer norm, gelu mlp": {
        **_BASE, "normalization_type": "layer_norm", "ffn_type": "mlp", "puzzle_emb_len": 2,
    },
    "seed pre layer norm, learned": {
        **_BASE, "normalization_type": "layer_norm", "normalization_position": "pre",
        "pos_encodings": "learned", "h_cycles": 2, "l_cycles": 2,
    },
    "seed q-learning, puzzle embedding": {
        **_BASE, "no_act_continue": False, "puzzle_emb_ndim": 16, "puzzle_emb_len": 1,
        "num_puzzle_identifiers": 4,
    },
    "seed mlp mixer": {**_BASE, "mixer": "mlp", "pos_encodings": "none", "puzzle_emb_len": 2},
}  # fmt: skip


def random_model(options: dict[str, Any], seed: int = 0, **more: Any) -> TRM:
    """A TRM in which every weight is random: none keeps the zero or one it starts from.

    The matrices are a little small, or the recursion amplifies the rounding of float32 tenfold.
    """
    rng = np.random.default_rng(seed)
    with to_be_filled():
        model = TRM(**options, **more)
    for variable in model.inner.weights:
        shape = tuple(variable.shape)
        spread = 1.0 if len(shape) < 2 or "init" in variable.path else 0.7 * shape[0] ** -0.5
        if "embeddings" in variable.path:
            spread = shape[1] ** -0.5
        centre = 1.0 if "gamma" in variable.path else 0.0
        spread = 0.3 if centre else spread
        variable.assign(rng.normal(centre, spread, shape).astype("float32"))
    return model


def random_step(model: TRM, rows: int = 6, seed: int = 1) -> tuple[dict[str, Any], dict[str, Any]]:
    """A carry in mid-flight, half of its rows halted, and the batch that meets it (numpy)."""
    rng, c = np.random.default_rng(seed), model.config
    tokens = (rows, c.seq_len)
    state = (rows, c.positions, c.hidden_size)
    carry: dict[str, Any] = {
        "z_H": rng.normal(size=state).astype("float32"),
        "z_L": rng.normal(size=state).astype("float32"),
        "steps": (1 + np.arange(rows) % 3).astype("int32"),
        "halted": np.arange(rows) % 2 == 0,
        "current_inputs": rng.integers(0, c.vocab_size, tokens).astype("int32"),
    }
    carry["steps"][1] = c.halt_max_steps - 1  # this row reaches its last step now
    batch: dict[str, Any] = {"inputs": rng.integers(0, c.vocab_size, tokens).astype("int32")}
    if c.puzzle_emb_ndim:
        ids = rng.integers(0, c.num_puzzle_identifiers, (2, rows)).astype("int32")
        carry["current_puzzle_identifiers"], batch["puzzle_identifiers"] = ids
    return carry, batch


def run(
    model: TRM, carry: dict[str, Any], batch: dict[str, Any], **options: Any
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One step on numpy arrays -> numpy arrays."""
    as_tensors = keras.tree.map_structure(keras.ops.convert_to_tensor, (carry, batch))
    found = model(*as_tensors, **options)
    new, outputs = keras.tree.map_structure(keras.ops.convert_to_numpy, found)
    return new, outputs


def errors(found: Any, wanted: Any) -> tuple[float, float]:
    """Relative L2 error, and largest error over the largest value, in float64."""
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    difference = found - wanted
    l2 = np.linalg.norm(difference) / max(np.linalg.norm(wanted), 1e-30)
    return float(l2), float(np.abs(difference).max() / max(np.abs(wanted).max(), 1e-30))
