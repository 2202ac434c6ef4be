"""What a file needs of a device for one puzzle at a time: flash, memory and multiply-accumulates.

Each size says how it is known: from the file itself, measured, or estimated from the graph. The
code of an interpreter, and what it allocates for itself, are in none of them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from trm_runtime.contract import StepContract
from trm_runtime.servers.messages import entering, leaving, size_of

EXACT = "exact"
ESTIMATED = "estimated: what is live at once in the graph"
AT_MOST = "at most"
COUNTED = "counted in the graph"
UNKNOWN = "not known, because the graph cannot be followed"


@dataclass(frozen=True)
class MemoryPart:
    """A named part of the memory."""

    name: str
    bytes: int | None  # None: not known
    how: str  # it is known


@dataclass(frozen=True)
class DeviceCost:
    """The needs of a file; a None is not known."""

    flash: int  # bytes that are stored
    flash_how: str
    ram: int | None  # bytes, all parts together
    parts: tuple[MemoryPart, ...]
    macs_step: int | None  # multiply-accumulates of matrix products, for one puzzle
    macs_puzzle: int | None  # of the most steps that a puzzle takes
    macs_how: str


@dataclass(frozen=True)
class Use:
    """One operator in the order of execution, by the names of its tensors."""

    reads: Collection[str]
    writes: Collection[str]
    inner: int = 0  # bytes that its own graphs need


def device_cost(
    flash: int,
    parts: Sequence[MemoryPart],
    macs_step: int | None,
    contract: StepContract,
    how: str = COUNTED,
    flash_how: str = "the file, without an interpreter",
) -> DeviceCost:
    """The needs, with the sums."""
    sizes = [part.bytes for part in parts]
    known = [size for size in sizes if size is not None]
    ram = sum(known) if len(known) == len(sizes) else None
    puzzle = None if macs_step is None else macs_step * contract.max_steps
    how = UNKNOWN if macs_step is None and how == COUNTED else how
    return DeviceCost(flash, flash_how, ram, tuple(parts), macs_step, puzzle, how)


def states_of(contract: StepContract) -> MemoryPart:
    """Inputs, carry and outputs of one row; an engine has the carry twice, going in and out."""
    size = size_of(entering(contract), 1) + size_of(leaving(contract), 1)
    return MemoryPart("states", size, EXACT)


def scratch_of(
    peak: int | None, states: MemoryPart, how: str = ESTIMATED, name: str = "scratch"
) -> MemoryPart:
    """What is left of a peak that has the states in it."""
    left = None if peak is None else max(peak - (states.bytes or 0), 0)
    return MemoryPart(name, left, UNKNOWN if left is None else how)


def of_a_row(macs_call: int | None, contract: StepContract) -> int | None:
    """The multiply-accumulates of a step of one puzzle from those of a call of the graph."""
    if macs_call is None:
        return None
    return macs_call * contract.passes // (contract.batch or 1)


def peak(uses: Sequence[Use], sizes: Mapping[str, int], held: Collection[str]) -> int:
    """The most bytes of tensors that are live at once; `held` ones are live all the time."""
    last: dict[str, int] = {}
    for number, use in enumerate(uses):
        last.update(dict.fromkeys((*use.reads, *use.writes), number))
    ending: dict[int, list[str]] = {}
    for name, number in last.items():
        ending.setdefault(number, []).append(name)
    always = sum(sizes.get(name, 0) for name in set(held))
    live, most, begun = 0, 0, set(held)
    for number, use in enumerate(uses):
        for name in use.writes:
            if name not in begun:
                begun.add(name)
                live += sizes.get(name, 0)
        most = max(most, live + use.inner)
        live -= sum(sizes.get(n, 0) for n in ending.get(number, ()) if n in begun - set(held))
    return always + most
