"""The first three rungs: do two contracts describe the same step? Values are not compared here.

A file whose halting threshold was tuned after its export also has the model's own in its contract,
and that one is compared. The order of tensors may differ (they are bound by name), and a dynamic
batch fits any fixed one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import zip_longest

from trm_runtime.contract import CarrySpec, StepContract
from trm_runtime.tensors import AnySpec, Scalar, shape_text

SIZES = ("seq_len", "vocab_size", "hidden_size")  # of a puzzle, and of a state
OTHER_MODEL = "the file is of another model"  # how such a problem begins
_STATE = "z_L"  # a state of our own models, (B, P, hidden_size)
_DIGITS = 16  # of a SHA-256, in words
_RULES = ("granularity", "max_steps", "num_puzzle_identifiers")


def name_problems(reference: StepContract, candidate: StepContract) -> list[str]:
    """The file of another model; other names or roles of tensors; another halt rule or alphabet."""
    expected, found = _specs(reference), _specs(candidate)
    problems = [*_other_model(reference, candidate)]
    problems += [f"{name}: missing" for name in expected if name not in found]
    problems += [f"{name}: not in the reference" for name in found if name not in expected]
    problems += [
        f"{spec.name}: expected next {spec.next!r}, got {other.next!r}"
        for spec, other in _pairs(reference, candidate)
        if isinstance(spec, CarrySpec) and isinstance(other, CarrySpec) and spec.next != other.next
    ]
    return [*problems, *_rule_problems(reference, candidate)]


def dtype_problems(reference: StepContract, candidate: StepContract) -> list[str]:
    """Tensors of another dtype or, in the carry, of another fill."""
    problems = []
    for spec, other in _pairs(reference, candidate):
        if spec.dtype != other.dtype:
            problems.append(f"{spec.name}: expected {spec.dtype}, got {other.dtype}")
        elif _fill(spec) != _fill(other):
            problems.append(f"{spec.name}: expected fill {_fill(spec)}, got {_fill(other)}")
    return problems


def shape_problems(reference: StepContract, candidate: StepContract) -> list[str]:
    """Tensors of another shape; axis 0 differs only if both batches are fixed and different."""
    return [
        f"{spec.name}: expected {shape_text(spec.shape)}, got {shape_text(other.shape)}"
        for spec, other in _pairs(reference, candidate)
        if spec.shape[1:] != other.shape[1:] or not _fits(spec.shape[0], other.shape[0])
    ]


def weights_problems(reference: StepContract, candidate: StepContract) -> list[str]:
    """The checksum of other weights than those of the reference."""
    wanted, got = reference.made_by.weights_sha256, candidate.made_by.weights_sha256
    if wanted == got:
        return []
    return [
        f"its contract records the SHA-256 {got[:_DIGITS]}... of them, the reference "
        f"{wanted[:_DIGITS]}..., so nothing was computed"
    ]


Check = Callable[[StepContract, StepContract], list[str]]
CHECKS: dict[str, Check] = {
    "names": name_problems,
    "dtypes": dtype_problems,
    "shapes": shape_problems,
}


def _fill(spec: AnySpec) -> Scalar | None:
    return spec.fill if isinstance(spec, CarrySpec) else None


def _fits(one: int | None, other: int | None) -> bool:
    return one is None or other is None or one == other


def _specs(contract: StepContract) -> dict[str, AnySpec]:
    """Every tensor by its role and name."""
    roles: dict[str, tuple[AnySpec, ...]] = {
        "input": contract.inputs,
        "carry": contract.carry,
        "output": contract.outputs,
    }
    return {f"{role} {spec.name}": spec for role, specs in roles.items() for spec in specs}


def _pairs(reference: StepContract, candidate: StepContract) -> Iterator[tuple[AnySpec, AnySpec]]:
    found = _specs(candidate)
    for name, spec in _specs(reference).items():
        if name in found:
            yield spec, found[name]


def sizes_of(contract: StepContract) -> dict[str, int]:
    """The `SIZES` that the contract states; a loop, or another class, has no state to show its."""
    states = (spec.shape[-1] for spec in contract.carry if spec.name == _STATE)
    found = zip(SIZES, (contract.seq_len, contract.vocab_size, next(states, None)))
    return {name: size for name, size in found if size is not None}


def other_sizes(ours: Mapping[str, int], theirs: Mapping[str, int]) -> list[str]:
    """Where the sizes of a file are not those of the model: `seq_len 16 instead of 81`."""
    both = [name for name in ours if name in theirs]
    return [
        f"{name} {theirs[name]} instead of {ours[name]}"
        for name in both
        if theirs[name] != ours[name]
    ]


def _other_model(reference: StepContract, candidate: StepContract) -> Iterator[str]:
    """Problems that show, besides other weights, that a file is not of the reference."""
    wanted, got = reference.made_by.weights_sha256, candidate.made_by.weights_sha256
    sizes = other_sizes(sizes_of(reference), sizes_of(candidate))
    if wanted != got and sizes:
        yield f"{OTHER_MODEL}: {', '.join(sizes)}"
        yield f"weights sha256: expected {wanted}, got {got}"


def _rule_problems(reference: StepContract, candidate: StepContract) -> Iterator[str]:
    for name in _RULES:
        expected, got = getattr(reference, name), getattr(candidate, name)
        if expected != got:
            yield f"{name}: expected {expected}, got {got}"
    ours, theirs = reference.halt.untuned, candidate.halt.untuned
    for name in ("kind", "threshold"):
        expected, got = getattr(ours, name), getattr(theirs, name)
        if expected != got:
            yield f"halt rule, {name}: expected {expected}, got {got}"
    pairs = zip_longest(reference.alphabet or (), candidate.alphabet or ())
    for token, (characters, other) in enumerate(pairs):
        if characters != other:
            yield f"alphabet, token {token}: expected {characters!r}, got {other!r}"
