"""The paper's four configurations and those of the shipped checkpoints (arXiv 2510.04871)."""

from __future__ import annotations

from typing import Any

from trm_export.errors import refuse_unknown

_PAPER: dict[str, Any] = {
    "family": "paper", "hidden_size": 512, "num_heads": 8, "expansion": 4.0, "h_cycles": 3,
    "l_cycles": 6, "h_layers": 2, "l_layers": 2, "halt_max_steps": 16, "puzzle_emb_len": 16,
    "pos_encodings": "rope",
}  # fmt: skip
_SMALL: dict[str, Any] = {
    **_PAPER, "mixer": "mlp", "pos_encodings": "none", "h_cycles": 2, "l_cycles": 3,
    "puzzle_emb_len": 1, "num_heads": 4,
}  # fmt: skip

_SMALL_MAZE: dict[str, Any] = {
    **_SMALL, "mixer": "attention", "pos_encodings": "rope", "vocab_size": 6, "hidden_size": 64,
    "h_cycles": 1, "l_cycles": 1,
    "rope_theta": 0.3,  # below 1: wavelengths of 2 to 6 cells, which resolve single cells
}  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {
    "paper-sudoku-mlp": {
        **_PAPER, "mixer": "mlp", "pos_encodings": "none", "vocab_size": 11, "seq_len": 81,
    },
    "paper-sudoku-att": {**_PAPER, "vocab_size": 11, "seq_len": 81},
    "paper-maze": {**_PAPER, "l_cycles": 4, "vocab_size": 6, "seq_len": 900},
    "paper-arc": {
        **_PAPER, "l_cycles": 4, "vocab_size": 12, "seq_len": 900, "puzzle_emb_ndim": 512,
    },
    "sudoku9": {**_SMALL, "vocab_size": 11, "seq_len": 81, "hidden_size": 128},
    "sudoku4": {
        **_SMALL, "vocab_size": 6, "seq_len": 16, "hidden_size": 32, "expansion": 1.0,
        "l_layers": 1, "h_layers": 1, "halt_max_steps": 8,
    },
    "maze9": {**_SMALL_MAZE, "seq_len": 81},
    "maze11": {**_SMALL_MAZE, "seq_len": 121},
}  # fmt: skip


def preset(name: str, **changes: Any) -> dict[str, Any]:
    """The constructor arguments of a named configuration, with ``changes`` on top.

    Raises:
        UsageError: for an unknown name, listing the known ones.
    """
    refuse_unknown("preset", name, PRESETS)
    return {**PRESETS[name], **changes}
