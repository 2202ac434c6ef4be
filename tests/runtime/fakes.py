"""A contract and a numpy runner whose every answer and halting step can be said beforehand.

A puzzle is S token ids; its first one is the step at which its halt logit turns positive. After
step k every cell of its answer is the puzzle's cell plus k, modulo the vocabulary. The answer is
read off the float carry, so that a state that is lost or mixed up shows.
"""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from trm_runtime import (
    CarrySpec,
    HaltRule,
    MadeBy,
    StepContract,
    StepOutput,
    TensorSpec,
)
from trm_runtime.checks import check_step_call

Array = np.ndarray[Any, Any]

SEQ, VOCAB, WIDTH, MAX_STEPS = 4, 6, 3, 8
ALPHABET = ("", ".0_", "1", "2", "3", "4")
Q_CONTINUE = 1.0


def make_contract(**changes: Any) -> StepContract:
    """The contract of the toy model, with some of its fields changed."""
    batch = changes.get("batch")
    vocab, seq = changes.pop("vocab", VOCAB), changes.pop("seq", SEQ)
    identifiers = changes.get("num_puzzle_identifiers") is not None
    names = ["inputs", *(["puzzle_identifiers"] if identifiers else [])]
    shapes = {"inputs": (batch, seq), "puzzle_identifiers": (batch,)}
    state = (batch, seq, WIDTH)
    carry = [CarrySpec(name, f"{name}_next", "float32", state, 0.0) for name in ("z_H", "z_L")]
    carry += [CarrySpec("steps", "steps_next", "int32", (batch,), 0)]
    carry += [CarrySpec("halted", "halted_next", "bool", (batch,), True)]
    for name in names:
        current = f"current_{name}"
        carry.append(CarrySpec(current, f"{current}_next", "int32", shapes[name], 0))
    fields: dict[str, Any] = {
        "model_name": "toy",
        "precision": "fp32",
        "batch": None,
        "inputs": tuple(TensorSpec(name, "int32", shapes[name]) for name in names),
        "carry": tuple(carry),
        "outputs": (
            TensorSpec("logits", "float32", (batch, seq, vocab)),
            TensorSpec("q_halt_logits", "float32", (batch,)),
            TensorSpec("q_continue_logits", "float32", (batch,)),
        ),
        "halt": HaltRule("q_halt", 0.0),
        "max_steps": MAX_STEPS,
        "alphabet": ALPHABET if vocab == VOCAB else None,
        "made_by": MadeBy("tests", {"numpy": "2"}, "0" * 64, "none"),
    }
    return StepContract(**{**fields, **changes})


def make_puzzles(count: int, seed: int = 0) -> Array:
    """(count, S) int32 puzzles; the first column, their halting step, runs through 1..5."""
    puzzles = np.random.default_rng(seed).integers(1, VOCAB, size=(count, SEQ), dtype=np.int32)
    puzzles[:, 0] = np.arange(count) % 5 + 1
    return puzzles


def expected_answers(puzzles: Array, steps: Array) -> Array:
    """What the toy model answers after that many steps: (N, S) int32."""
    return (puzzles + np.asarray(steps)[:, None]) % VOCAB


@dataclass
class FakeRunner:
    """The toy model in numpy, with a record of what it was asked to do.

    `poison` maps a puzzle's last cell to (tensor, step): there and then that tensor is NaN.
    `leaky` resets by multiplication, which lets a NaN of the last puzzle through.
    """

    contract: StepContract = field(default_factory=make_contract)
    poison: Mapping[int, tuple[str, int]] = field(default_factory=dict)
    leaky: bool = False
    always_halted: bool = False
    batches: list[int] = field(default_factory=list)
    resets: int = 0
    logits_seen: list[weakref.ref[Array]] = field(default_factory=list)

    def step(self, inputs: Mapping[str, Array], carry: Mapping[str, Array]) -> StepOutput:
        """One step of the toy model."""
        tokens = check_step_call(self.contract, inputs, carry)["inputs"]
        halted = carry["halted"]
        self.batches.append(len(halted))
        self.resets += int(halted.sum())
        current = np.where(halted[:, None], tokens, carry["current_inputs"])
        steps = (np.where(halted, 0, carry["steps"]) + 1).astype(np.int32)
        states = {name: self._reset(carry[name], halted) + np.float32(1) for name in ("z_H", "z_L")}
        outputs = self._heads(current, states["z_H"])
        done = np.full(len(halted), True) if self.always_halted else steps >= MAX_STEPS
        after = {**states, "steps": steps, "halted": done, "current_inputs": current}
        self._spoil({**outputs, **after}, current, steps)
        self.logits_seen.append(weakref.ref(outputs["logits"]))
        return StepOutput(carry=_frozen(after), outputs=_frozen(outputs))

    def _reset(self, state: Array, halted: Array) -> Array:
        mask = halted[:, None, None]
        if self.leaky:
            return (state * ~mask).astype(np.float32)
        return np.where(mask, np.float32(0), state)

    def _heads(self, current: Array, state: Array) -> dict[str, Array]:
        thought = np.nan_to_num(state[..., 0])
        answers = (current + thought.astype(np.int32)) % VOCAB
        return {
            "logits": np.eye(VOCAB, dtype=np.float32)[answers],
            "q_halt_logits": (thought[:, 0] - current[:, 0] + 0.5).astype(np.float32),
            "q_continue_logits": np.full(len(current), Q_CONTINUE, dtype=np.float32),
        }

    def _spoil(self, tensors: Mapping[str, Array], current: Array, steps: Array) -> None:
        for cell, (name, step) in self.poison.items():
            tensors[name][(current[:, -1] == cell) & (steps == step)] = np.nan


def _frozen(arrays: dict[str, Array]) -> dict[str, Array]:
    """Read-only arrays: the loop must not write into what an engine returned."""
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def assert_solved(solution: Any, puzzles: Any, steps: Any) -> None:
    """Every puzzle stopped after `steps` and has the answer of exactly that step."""
    np.testing.assert_array_equal(solution.steps, steps)
    np.testing.assert_array_equal(solution.answers, expected_answers(puzzles, solution.steps))
    np.testing.assert_allclose(solution.q_halt, solution.steps - puzzles[:, 0] + 0.5)
    assert solution.answers.dtype == solution.steps.dtype == np.int32
    assert solution.q_halt.dtype == solution.q_continue.dtype == np.float32
