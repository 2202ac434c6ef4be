"""The ACT loop for all engines: an engine supplies `step`, everything else is here.

A batch has slots. A slot whose puzzle is done gets the next one: its input `halted` is True
together with the new tokens, so the graph resets that row. Answers are latched: they are read at
the step at which a puzzle stops and never later, because another call of the graph restarts a
halted row.

Knows numpy and the contract; knows no engine and no task.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Callable, Union

import numpy as np

from trm_runtime.asking import Asking
from trm_runtime.checks import check_inputs, with_identifiers
from trm_runtime.contract import StepContract
from trm_runtime.declared import check_calls, check_rows
from trm_runtime.errors import UsageError
from trm_runtime.halting import HaltPolicy
from trm_runtime.loop_graph import solve_batches
from trm_runtime.message_text import counted, shown
from trm_runtime.puzzles import as_tokens, refuse_padding
from trm_runtime.rollout import Rollout
from trm_runtime.runner import Arrays, StepOutput, StepRunner, initial_carry
from trm_runtime.scalars import as_real, positive
from trm_runtime.settling import settled_threshold
from trm_runtime.solution import STOP_REASONS, Solution, StepEvent
from trm_runtime.tries import plan_tries
from trm_runtime.try_options import CHOOSE, HALT, SIGMA, VARY

__all__ = [
    "DEFAULT_BATCH_SIZE",
    "STOP_REASONS",
    "Solution",
    "StepEvent",
    "StepOutput",
    "StepRunner",
    "initial_carry",
    "solve",
]

DEFAULT_BATCH_SIZE = 64

Inputs = Union[str, Sequence[Any], "np.ndarray[Any, Any]", Mapping[str, Any]]
Halt = Union[str, float]
OnStep = Callable[[StepEvent], object]


def solve(
    runner: StepRunner,
    inputs: Inputs,
    *,
    halt: Halt = "learned",
    max_steps: int | None = None,
    deadline: float | None = None,
    deadline_each: float | None = None,
    on_step: OnStep | None = None,
    batch_size: int | None = None,
    tries: int = 1,
    vary: str = VARY[0],
    choose: str = CHOOSE[0],
    seed: int = 0,
    sigma: float = SIGMA,
    settled: float | None = None,
    abstain: float | None = None,
) -> Solution:
    """Solve N puzzles and return the answer of each from the step at which it stopped.

    `inputs` is text, one string or several, with a puzzle a line in the alphabet of the contract;
    or token ids, (N, S) or (S,) integers; or a mapping with every input of the contract. Without a
    mapping, every puzzle for a model with `puzzle_identifiers` gets identifier 0.
    `halt` is "learned" (the contract's rule), "max_steps" (run all steps), or a number: the
    threshold for the contract's score, in logits; or "settled" (the states moved less in the last
    step than `settled`, by default the contract's threshold) or "both" (that, and the contract's
    rule). A number for `settled` measures this movement under the other rules as well. A puzzle
    also stops after `max_steps`, at most (and by default) the contract's, after which the graph
    itself restarts a row.
    `deadline` is in seconds from this call and checked before every engine call, so one step may
    exceed it; unfinished puzzles then keep their latest answer. `deadline_each` is the time of one
    puzzle in seconds, from when it first enters a slot, and checked after every engine call: each
    puzzle has at least one step, and no try begins when its time is over. Puzzles that were begun
    are then asked again before others are begun.
    `on_step` gets a StepEvent after every engine call; returning False cancels the rest.
    `batch_size` is the number of slots (default: 64 or N), only for a model with a dynamic batch.

    A model of granularity "loop" halts by the rule in its graph, so `halt` and `max_steps` cannot
    be chosen; there is one engine call and one event for each batch, and `deadline` is checked
    before each batch.

    `tries` above 1 asks a puzzle again whose answer is not sure: a try is confident if its score at
    its last step is above the threshold. The first try is the puzzle as it is; the others run in
    slots as they come free, and a confident one ends the others of its puzzle. They differ by
    `vary`: "symmetry" (another guise by the symmetries of the contract; there are at most as many
    tries as guises), "noise" (on the model's own states after every step, of deviation `sigma`) or
    "both", drawn from `seed`. `choose` is "score" (the answer of the highest score), "first" (of
    the first confident try, else of the first) or "vote" (the most frequent answer; every puzzle
    then gets all tries).

    With `abstain` (0 to below 1) each answer has the probability that it is right, by the
    coefficients in the contract (`trm-export tune --confidence`), and an answer below it is
    withheld; see Solution. 0 withholds none.

    Raises RejectedInputError for puzzles that do not fit the model, also those with padding inside
    (0 to 9 are not the ids of digits), UsageError for wrong options, ContractMismatchError if the
    engine returns other tensors than the contract has.
    """
    started = time.monotonic()
    contract = _contract(runner)
    tokens = check_inputs(contract, _as_mapping(contract, inputs))
    refuse_padding(contract, tokens["inputs"])
    policy = _policy(contract, halt, max_steps, settled)
    check_calls(contract, policy.max_steps)
    plan = plan_tries(contract, positive("tries", tries), vary, choose, seed, sigma)
    if on_step is not None and not callable(on_step):
        raise UsageError(f"on_step: expected a function, got {shown(on_step)}.")
    slots = _slots(contract, batch_size, len(tokens["inputs"]) * plan.count)
    check_rows(contract, slots)
    each = _seconds("deadline_each", deadline_each)
    asking = Asking(contract, tokens, policy, plan, each, abstain)
    limit = started + _seconds("deadline", deadline)
    if contract.granularity == "loop":
        _refuse_loop_options(halt, policy, contract)
        return solve_batches(runner, asking, slots, limit, on_step)
    rollout = Rollout(runner, asking, slots)
    while rollout.active:
        if time.monotonic() >= limit:
            return asking.stopped("deadline")
        rollout.advance()
        if on_step is not None and on_step(rollout.event()) is False:
            return asking.stopped("cancelled")
        rollout.refill()
    return asking.solution()


def _contract(runner: StepRunner) -> StepContract:
    contract = getattr(runner, "contract", None)
    if not isinstance(contract, StepContract):
        raise UsageError(f"runner: expected one of open_runner(path), got {shown(runner)}.")
    return contract


def _refuse_loop_options(halt: Halt, policy: HaltPolicy, contract: StepContract) -> None:
    if halt != "learned" or policy.max_steps != contract.max_steps:
        raise UsageError(
            "This model contains the complete loop and halts by its own rule (threshold "
            f"{contract.halt.threshold:g}, at most {counted(contract.max_steps, 'step')}); drop "
            "halt and max_steps, or export it with granularity step."
        )


def _as_mapping(contract: StepContract, inputs: Inputs) -> Arrays:
    if not isinstance(inputs, Mapping):
        return with_identifiers(contract, as_tokens(inputs, contract))
    if "inputs" not in inputs:
        return inputs
    return {**inputs, "inputs": as_tokens(inputs["inputs"], contract)}


def _policy(
    contract: StepContract, halt: Halt, max_steps: int | None, settled: float | None
) -> HaltPolicy:
    steps = contract.max_steps if max_steps is None else positive("max_steps", max_steps)
    if steps > contract.max_steps:
        raise UsageError(
            f"max_steps: expected at most {contract.max_steps}, after which this model restarts a "
            f"puzzle, got {steps}; give fewer, or export the model with more."
        )
    threshold = _threshold(contract, halt)
    least = settled_threshold(contract, settled, needed=halt in ("settled", "both"))
    measured = least is not None or settled is not None
    return HaltPolicy(contract.halt, threshold, steps, least, measured)


def _threshold(contract: StepContract, halt: Halt) -> float | None:
    rule = halt if isinstance(halt, str) else None  # an array has no truth value
    if rule in ("learned", "both"):
        return contract.halt.threshold
    if rule in ("max_steps", "settled"):
        return None
    number = as_real(halt)
    if number is None or not math.isfinite(number):
        known = ", ".join(map(repr, HALT))
        raise UsageError(f"halt: expected {known} or a finite number, got {shown(halt)}.")
    return number


def _slots(contract: StepContract, batch_size: int | None, count: int) -> int:
    if batch_size is not None:
        batch_size = positive("batch_size", batch_size)
    if contract.batch is None:
        return min(count, batch_size or DEFAULT_BATCH_SIZE)
    if batch_size not in (None, contract.batch):
        raise UsageError(
            f"batch_size: expected {contract.batch}, the fixed batch of this model, got "
            f"{batch_size}; drop it, or export the model with a dynamic batch."
        )
    return contract.batch


def _seconds(name: str, deadline: float | None) -> float:
    if deadline is None:
        return math.inf
    seconds = as_real(deadline)
    if seconds is None or not seconds >= 0:
        raise UsageError(f"{name}: expected seconds, 0 or more, got {shown(deadline)}.")
    return seconds
