"""Records `tests/importing/golden/`; needs PyTorch.

Run it as `python -m tests.importing.make_golden`.

A folder a variant holds what the official code would leave (weights as `.safetensors`) and in
`rollout.npz` two steps of the PyTorch network of `official.py` in float32.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from tests.importing.official import Official
from tests.importing.variants import ROWS, STEPS, VARIANTS, Variant, write_folder

GOLDEN = Path(__file__).parent / "golden"


def puzzles(variant: Variant) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens (rows, seq) and identifiers (rows,), int32."""
    sizes = variant.sizes
    generator = torch.Generator().manual_seed(1)
    shape = (ROWS, sizes["seq_len"])
    tokens = torch.randint(0, sizes["vocab_size"], shape, generator=generator, dtype=torch.int32)
    return tokens, (torch.arange(ROWS) % sizes["num_puzzle_identifiers"]).int().flip(0)


def record(name: str, variant: Variant, number: int) -> None:
    folder = GOLDEN / name
    folder.mkdir(parents=True, exist_ok=True)
    network = Official(variant.arch, variant.sizes, seed=number)
    dtype = torch.bfloat16 if variant.half else torch.float32
    state = {variant.prefix + key: x.to(dtype) for key, x in network.state_dict().items()}
    save_file(state, folder / "step_10.safetensors")
    write_folder(folder, variant)
    tokens, identifiers = puzzles(variant)
    arrays = {"inputs": tokens.numpy(), "puzzle_identifiers": identifiers.numpy()}
    for step, found in enumerate(network.rollout(tokens, identifiers, STEPS), start=1):
        arrays.update({f"{step}.{key}": x.numpy() for key, x in found.items()})
    np.savez(folder / "rollout.npz", **arrays)


if __name__ == "__main__":
    for number, (name, variant) in enumerate(VARIANTS.items()):
        record(name, variant, number)
