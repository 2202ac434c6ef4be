"""Read the recorded PyTorch rollouts, and roll out a runner of ours beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from trm_runtime.runner import StepRunner, initial_carry

GOLDEN = Path(__file__).parent / "golden"
FLOATS = ("z_H", "z_L", "logits", "q_halt_logits", "q_continue_logits")
TOLERANCE = 1e-5  # relative, of the norm and of the largest value


def checkpoint(name: str) -> Path:
    return GOLDEN / name / "step_10.safetensors"


def recorded(name: str) -> dict[str, Any]:
    with np.load(GOLDEN / name / "rollout.npz") as file:
        return dict(file)


def errors(runner: StepRunner, golden: dict[str, Any], steps: int = 2) -> dict[str, float]:
    """By step and tensor, the larger of the relative L2 error and the largest error over the
    largest value; the runner feeds itself."""
    known = {spec.name for spec in runner.contract.inputs}
    inputs = {name: golden[name] for name in ("inputs", "puzzle_identifiers") if name in known}
    rows, found = len(golden["inputs"]), {}
    width = runner.contract.batch or rows
    for start in range(0, rows, width):
        part = {name: array[start : start + width] for name, array in inputs.items()}
        carry = initial_carry(runner.contract, width)
        for step in range(1, steps + 1):
            output = runner.step(part, carry)
            carry = output.carry
            for name, array in {**output.carry, **output.outputs}.items():
                if name in FLOATS:
                    found.setdefault(f"{step}.{name}", []).append(array)
    return {key: _error(np.concatenate(parts), golden[key]) for key, parts in found.items()}


def _error(found: Any, wanted: Any) -> float:
    gap = found.astype(np.float64) - wanted.astype(np.float64)
    l2 = np.linalg.norm(gap) / np.linalg.norm(wanted)
    return float(max(l2, np.abs(gap).max() / np.abs(wanted).max()))
