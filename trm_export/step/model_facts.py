"""The facts about a model that its contract needs: from the model, or else from the caller.

Attributes of the model come first, then those of its `config`, then its constructor arguments.
Knows nothing about tensors.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trm_export.errors import ProtocolError, UsageError
from trm_export.tasks import get_task
from trm_runtime.contract import HALT_KINDS, HaltRule, StepContract
from trm_runtime.message_text import shown
from trm_runtime.scalars import as_integer, as_real

_ATTRIBUTES = {
    "seq_len": ("seq_len", "sequence_length", "max_seq_len"),
    "max_steps": ("halt_max_steps", "max_steps"),
    "num_puzzle_identifiers": ("num_puzzle_identifiers",),
}
_OPTIONS = {
    "seq_len": ("--seq-len", "tokens of a puzzle"),
    "max_steps": ("--max-steps", "ACT steps after which a row halts"),
    "num_puzzle_identifiers": ("--puzzle-identifiers", "how many puzzle identifiers there are"),
    "halt_rule": ("--halt-rule", f"the score that halts a row, {' or '.join(HALT_KINDS)}"),
}


@dataclass(frozen=True)
class ModelHints:
    """What the caller states about a model. None: the model states it.

    Attributes:
        seq_len: tokens of a puzzle.
        max_steps: ACT steps after which a row halts.
        halt_rule: one of `HALT_KINDS`; overrides the model.
        halt_threshold: what the score of that rule must exceed; overrides the model.
        num_puzzle_identifiers: how many identifiers the model's table has.
        task: name of the task whose alphabet the tokens use.
        assumed: a contract with the values to use where neither the caller nor the model has one.
    """

    seq_len: int | None = None
    max_steps: int | None = None
    halt_rule: str | None = None
    halt_threshold: float | None = None
    num_puzzle_identifiers: int | None = None
    task: str | None = None
    assumed: StepContract | None = None


def given_hints(hints: ModelHints | None) -> ModelHints:
    """The hints, or none of them; UsageError for anything else."""
    if hints is None:
        return ModelHints()
    if not isinstance(hints, ModelHints):
        raise UsageError(
            f"hints: expected a ModelHints, such as ModelHints(seq_len=81), got {shown(hints)}."
        )
    if not isinstance(hints.assumed, StepContract | None):
        raise UsageError(f"hints: assumed: expected a StepContract, got {shown(hints.assumed)}.")
    return hints


def hinted(hints: ModelHints) -> dict[str, bool]:
    """The options of the hints, and whether they were given."""
    options = {
        "--seq-len": hints.seq_len,
        "--max-steps": hints.max_steps,
        "--halt-rule": hints.halt_rule,
        "--halt-threshold": hints.halt_threshold,
        "--puzzle-identifiers": hints.num_puzzle_identifiers,
    }
    return {option: value is not None for option, value in options.items()}


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model before it runs."""

    seq_len: int
    max_steps: int
    halt: HaltRule | None  # None: decided by the outputs of a call
    num_puzzle_identifiers: int | None  # None without identifiers
    alphabet: tuple[str, ...] | None


def facts_of(model: Any, hints: ModelHints) -> ModelFacts:
    """The facts that the model and the caller state.

    Raises:
        ProtocolError: the model has no initial carry, whatever its facts are.
        UsageError: naming every fact that neither of them states, or on which they disagree.
    """
    if not callable(getattr(model, "initial_carry", None)):
        problem = "it has no method initial_carry(batch)"
        raise ProtocolError(f"{type(model).__name__} does not follow the protocol:", [problem])
    numbers = {name: _number(model, hints, name) for name in _ATTRIBUTES}
    if not _has_identifiers(model, hints):
        del numbers["num_puzzle_identifiers"]
    halt = halt_rule(model, hints)
    missing = [name for name, value in numbers.items() if value is None]
    if missing and halt is None:
        missing.append("halt_rule")
    problems = [*_contradictions(model, hints, numbers), *map(_missing_fact, missing)]
    if problems:
        raise UsageError(f"{type(model).__name__}: {'; '.join(problems)}.")
    return ModelFacts(
        seq_len=numbers["seq_len"] or 0,
        max_steps=numbers["max_steps"] or 0,
        halt=halt,
        num_puzzle_identifiers=numbers.get("num_puzzle_identifiers"),
        alphabet=_alphabet(model, hints),
    )


def halt_rule(model: Any, hints: ModelHints) -> HaltRule | None:
    """The rule that the caller names, that the model states, or that is assumed."""
    if hints.halt_rule is not None and hints.halt_rule not in HALT_KINDS:
        known = " or ".join(HALT_KINDS)
        raise UsageError(f"--halt-rule must be {known}, got {hints.halt_rule!r}.")
    threshold = halt_threshold(model, hints)
    alone = _stated(model, "no_act_continue", (bool,))
    if hints.halt_rule is not None:
        return HaltRule(hints.halt_rule, threshold)
    if alone is not None:
        return HaltRule(HALT_KINDS[0 if alone else 1], threshold)
    if hints.assumed is None:
        return None
    assumed = hints.assumed.halt.untuned
    return HaltRule(assumed.kind, halt_threshold(model, hints, assumed.threshold))


def halt_threshold(model: Any, hints: ModelHints, default: float = 0.0) -> float:
    """The threshold that the caller names, that the model states, or the default."""
    threshold = hints.halt_threshold
    if threshold is None:
        stated = _stated(model, "halt_threshold", (int, float))
        return default if stated is None else float(stated)
    number = as_real(threshold)
    if number is None or not math.isfinite(number):
        raise UsageError(f"--halt-threshold must be a finite number, got {shown(threshold)}.")
    return number


def unknown_halt_rule(model: Any) -> UsageError:
    """The error for a model whose outputs allow either halt rule."""
    return UsageError(f"{type(model).__name__}: {_missing_fact('halt_rule')}.")


def unknown_identifiers(model: Any) -> UsageError:
    """The error for a model that needs puzzle identifiers and does not state how many."""
    return UsageError(f"{type(model).__name__}: {_missing_fact('num_puzzle_identifiers')}.")


def _missing_fact(name: str) -> str:
    option, meaning = _OPTIONS[name]
    return f"the model does not state its {name}; give {option} ({meaning})"


def _contradictions(model: Any, hints: ModelHints, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        hint, stated = getattr(hints, name), _attribute(model, name)
        option = _OPTIONS[name][0]
        if stated is not None and stated < 1:
            yield f"{name} of the model must be 1 or more, got {stated}"
        elif hint is not None and (as_integer(hint) or 0) < 1:
            yield f"{option} must be a whole number, 1 or more, got {shown(hint)}"
        elif hint is not None and stated is not None and hint != stated:
            yield f"{option} is {hint}, but the model has {name} {stated}"
    alphabet = _stated(model, "alphabet", (tuple, list))
    if hints.task is not None and alphabet not in (None, get_task(hints.task).alphabet):
        yield f"--task is {hints.task}, but the model has another alphabet"


def _number(model: Any, hints: ModelHints, name: str) -> int | None:
    hint = getattr(hints, name)
    if hint is not None:
        return as_integer(hint)
    stated = _attribute(model, name)
    if stated is not None or hints.assumed is None:
        return stated
    assumed: int | None = getattr(hints.assumed, name)
    return assumed


def _has_identifiers(model: Any, hints: ModelHints) -> bool:
    if hints.num_puzzle_identifiers is not None:
        return True
    width = _stated(model, "puzzle_emb_ndim", (int,))
    if width is not None:
        return bool(width > 0)
    return hints.assumed is not None and hints.assumed.num_puzzle_identifiers is not None


def _attribute(model: Any, name: str) -> int | None:
    """The first number above 0 that the model states, or else the first one; None without any."""
    stated = [_stated(model, attribute, (int,)) for attribute in _ATTRIBUTES[name]]
    values = [value for value in stated if value is not None]
    return next((value for value in values if value > 0), values[0] if values else None)


def _alphabet(model: Any, hints: ModelHints) -> tuple[str, ...] | None:
    if hints.task is not None:
        return get_task(hints.task).alphabet
    stated = _stated(model, "alphabet", (tuple, list))
    if stated is None and hints.assumed is not None:
        return hints.assumed.alphabet
    return None if stated is None else tuple(map(str, stated))


def _stated(model: Any, name: str, kinds: tuple[type, ...]) -> Any:
    """The first value of that name and kind among the model's attributes and configurations."""
    for source in _sources(model):
        value = source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)
        if isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)):
            return value
    return None


def _sources(model: Any) -> Iterator[Any]:
    yield model
    yield getattr(model, "config", None)
    try:
        yield model.get_config()
    except (NotImplementedError, TypeError, AttributeError):
        return
