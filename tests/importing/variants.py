"""The official networks of these tests: tiny, and one of every kind.

Shared by the tests and by `make_golden.py`; needs neither PyTorch nor Keras.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

_ARCH: dict[str, Any] = {
    "name": "recursive_reasoning.trm@TinyRecursiveReasoningModel_ACTV1",
    "loss": {"name": "losses@ACTLossHead", "loss_type": "stablemax_cross_entropy"},
    "H_cycles": 2, "L_cycles": 2, "H_layers": 0, "L_layers": 1, "hidden_size": 16, "num_heads": 2,
    "expansion": 4, "puzzle_emb_ndim": 16, "puzzle_emb_len": 2, "pos_encodings": "rope",
    "mlp_t": False, "halt_max_steps": 4, "halt_exploration_prob": 0.1,
    "forward_dtype": "bfloat16", "no_ACT_continue": True,
}  # fmt: skip
STEPS, ROWS = 2, 3


@dataclass(frozen=True)
class Variant:
    """One network, and how its checkpoint is written."""

    arch: dict[str, Any]
    sizes: dict[str, int] = field(
        default_factory=lambda: {"vocab_size": 7, "seq_len": 9, "num_puzzle_identifiers": 1}
    )
    prefix: str = ""  # before the names of the tensors, besides "model."
    half: bool = True  # stored in bfloat16
    dataset: bool = True  # a dataset.json lies beside it
    ema: bool | None = True


def _variant(changes: dict[str, Any], identifiers: int = 1, **options: Any) -> Variant:
    sizes = {"vocab_size": 7, "seq_len": 9, "num_puzzle_identifiers": identifiers}
    return Variant({**_ARCH, **changes}, sizes, **options)


VARIANTS = {
    "mixer": _variant({"mlp_t": True, "pos_encodings": "none"}, prefix="_orig_mod.", dataset=False),
    "mixer_plain": _variant(
        {"mlp_t": True, "puzzle_emb_ndim": 0, "puzzle_emb_len": 0, "L_layers": 2}, dataset=False,
        ema=False,
    ),
    "rope": _variant({"puzzle_emb_ndim": 21, "puzzle_emb_len": 3}, 5, half=False),
    "rope_plain": _variant({"puzzle_emb_ndim": 0, "puzzle_emb_len": 3, "no_ACT_continue": False}),
    "learned": _variant(
        {"pos_encodings": "learned", "puzzle_emb_ndim": 37, "puzzle_emb_len": 0}, 4, dataset=False,
        ema=None,
    ),
    "learned_mixer": _variant({"pos_encodings": "learned", "mlp_t": True, "puzzle_emb_ndim": 5}, 2),
    "none": _variant({"pos_encodings": "none", "puzzle_emb_len": 0}, 3, prefix="_orig_mod."),
}  # fmt: skip


def write_folder(folder: Path, variant: Variant) -> None:
    """The documents that the official code leaves beside a checkpoint."""
    config = {"arch": variant.arch, "data_paths": ["data/tiny"], "global_batch_size": 8, "lr": 1e-4}
    if variant.ema is not None:
        config.update(ema=variant.ema, ema_rate=0.999)
    (folder / "all_config.yaml").write_text(yaml.dump(config), encoding="utf-8")
    if variant.dataset:
        known = {**variant.sizes, "pad_id": 0, "ignore_label_id": 0, "sets": ["all"]}
        (folder / "dataset.json").write_text(json.dumps(known), encoding="utf-8")
