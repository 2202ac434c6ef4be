"""What a model says of itself, and what must be asked for because it does not.

Attributes of the model come first, then those of its `config`, then its constructor arguments.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from trm_export.errors import UsageError
from trm_export.tasks import get_task
from trm_runtime.contract import HALT_KINDS, HaltRule, StepContract

_ATTRIBUTES = {
    "seq_len": ("seq_len", "sequence_length", "max_seq_len"),
    "max_steps": ("halt_max_steps", "max_steps"),
    "num_puzzle_identifiers": ("num_puzzle_identifiers",),
}
_OPTIONS = {
    "seq_len": ("--seq-len", "tokens of a puzzle"),
    "max_steps": ("--max-steps", "ACT steps after which a row halts"),
    "num_puzzle_identifiers": ("--puzzle-identifiers", "how many puzzle identifiers there are"),
    "halt_rule": ("--halt-rule", f"which of its scores halts a row, {' or '.join(HALT_KINDS)}"),
}


@dataclass(frozen=True)
class ModelHints:
    """What the caller says of a model. None leaves it to the model.

    Attributes:
        seq_len: tokens of a puzzle.
        max_steps: ACT steps after which a row halts.
        halt_rule: one of `HALT_KINDS`; wins over what the model says.
        halt_threshold: what the score of that rule must exceed; wins over what the model says.
        num_puzzle_identifiers: how many identifiers the model's table has.
        task: name of the task whose alphabet the tokens are of.
        assumed: stands in where both the caller and the model are silent.
    """

    seq_len: int | None = None
    max_steps: int | None = None
    halt_rule: str | None = None
    halt_threshold: float | None = None
    num_puzzle_identifiers: int | None = None
    task: str | None = None
    assumed: StepContract | None = None


@dataclass(frozen=True)
class ModelFacts:
    """What is known of a model before it runs."""

    seq_len: int
    max_steps: int
    halt: HaltRule | None  # None: it takes a look at the outputs to tell
    num_puzzle_identifiers: int | None  # None without identifiers
    alphabet: tuple[str, ...] | None


def facts_of(model: Any, asked: ModelHints) -> ModelFacts:
    """What the model and the caller say.

    Raises:
        UsageError: naming everything that neither of them says, or on which they disagree.
    """
    numbers = {name: _number(model, asked, name) for name in _ATTRIBUTES}
    if not _has_identifiers(model, asked):
        del numbers["num_puzzle_identifiers"]
    halt = halt_rule(model, asked)
    missing = [name for name, value in numbers.items() if value is None]
    if missing and halt is None:
        missing.append("halt_rule")
    problems = [*_contradictions(model, asked), *map(_question, missing)]
    if problems:
        raise UsageError(f"{type(model).__name__}: {'; '.join(problems)}.")
    return ModelFacts(
        seq_len=numbers["seq_len"] or 0,
        max_steps=numbers["max_steps"] or 0,
        halt=halt,
        num_puzzle_identifiers=numbers.get("num_puzzle_identifiers"),
        alphabet=_alphabet(model, asked),
    )


def halt_rule(model: Any, asked: ModelHints) -> HaltRule | None:
    """The rule that the caller names, that the model states, or that is assumed."""
    if asked.halt_rule is not None and asked.halt_rule not in HALT_KINDS:
        known = " or ".join(HALT_KINDS)
        raise UsageError(f"halt rule: expected {known}, got {asked.halt_rule!r}.")
    threshold = halt_threshold(model, asked)
    alone = _stated(model, "no_act_continue", (bool,))
    if asked.halt_rule is not None:
        return HaltRule(asked.halt_rule, threshold)
    if alone is not None:
        return HaltRule(HALT_KINDS[0 if alone else 1], threshold)
    if asked.assumed is None:
        return None
    assumed = asked.assumed.halt.untuned
    return HaltRule(assumed.kind, halt_threshold(model, asked, assumed.threshold))


def halt_threshold(model: Any, asked: ModelHints, usual: float = 0.0) -> float:
    """The threshold that the caller names, that the model states, or the usual one."""
    said = asked.halt_threshold
    if said is None:
        stated = _stated(model, "halt_threshold", (int, float))
        return usual if stated is None else float(stated)
    if not math.isfinite(said):
        raise UsageError(f"halt threshold: expected a finite number, got {said}.")
    return said


def halt_question(model: Any) -> UsageError:
    """What to say where the outputs leave the halt rule open."""
    return UsageError(f"{type(model).__name__}: {_question('halt_rule')}.")


def identifiers_question(model: Any) -> UsageError:
    """What to say of a model that turns out to want puzzle identifiers."""
    return UsageError(f"{type(model).__name__}: {_question('num_puzzle_identifiers')}.")


def _question(name: str) -> str:
    option, meaning = _OPTIONS[name]
    return f"it does not say its {name}; give {option} ({meaning})"


def _contradictions(model: Any, asked: ModelHints) -> Iterator[str]:
    for name in _ATTRIBUTES:
        said, stated = getattr(asked, name), _attribute(model, name)
        option = _OPTIONS[name][0]
        if said is not None and said < 1:
            yield f"{option} must be 1 or more, got {said}"
        elif said is not None and stated is not None and said != stated:
            yield f"{option} is {said}, but its own {name} is {stated}"
    alphabet = _stated(model, "alphabet", (tuple, list))
    if asked.task is not None and alphabet not in (None, get_task(asked.task).alphabet):
        yield f"--task is {asked.task}, but it has another alphabet of its own"


def _number(model: Any, asked: ModelHints, name: str) -> int | None:
    said: int | None = getattr(asked, name)
    if said is not None:
        return said
    stated = _attribute(model, name)
    if stated is not None or asked.assumed is None:
        return stated
    assumed: int | None = getattr(asked.assumed, name)
    return assumed


def _has_identifiers(model: Any, asked: ModelHints) -> bool:
    if asked.num_puzzle_identifiers is not None:
        return True
    width = _stated(model, "puzzle_emb_ndim", (int,))
    if width is not None:
        return bool(width > 0)
    return asked.assumed is not None and asked.assumed.num_puzzle_identifiers is not None


def _attribute(model: Any, name: str) -> int | None:
    found = (_stated(model, attribute, (int,)) for attribute in _ATTRIBUTES[name])
    return next((value for value in found if value is not None and value > 0), None)


def _alphabet(model: Any, asked: ModelHints) -> tuple[str, ...] | None:
    if asked.task is not None:
        return get_task(asked.task).alphabet
    stated = _stated(model, "alphabet", (tuple, list))
    if stated is None and asked.assumed is not None:
        return asked.assumed.alphabet
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
