"""What the generated code needs to ask a puzzle again: the symmetries of its task as tables."""

from __future__ import annotations

from dataclasses import dataclass, replace

from trm_export.exporters.c_source.layout import Layout
from trm_export.exporters.c_source.limits import Limits
from trm_runtime.contract import StepContract
from trm_runtime.guises import WALK
from trm_runtime.settling import own_states
from trm_runtime.tries import MAX_TRIES

_CODE = 5120  # bytes of the compiled functions: Cortex-M4, gcc -O3


@dataclass(frozen=True)
class Again:
    """At most so many tries of a puzzle."""

    most: int
    positions: tuple[tuple[int, ...], ...]  # permutations of the cells
    tokens: tuple[tuple[int, ...], ...]  # classes of token ids
    states: tuple[str, ...]  # that noise is added to, in the order of the contract
    cells: int
    vocab: int

    @property
    def cell(self) -> str:
        """The type of C that holds a cell."""
        return _type(self.cells)

    @property
    def token(self) -> str:
        """The type of C that holds a token id."""
        return _type(self.vocab)

    @property
    def taken(self) -> int:
        """Random words of a guise."""
        return WALK + sum(len(ids) - 1 for ids in self.tokens)

    @property
    def root(self) -> str:
        """The deviation of the sum of four bytes, as a double of C."""
        return repr(21845**0.5)

    @property
    def flash(self) -> int:
        """Bytes of the tables and of the code, at most."""
        tables = len(self.positions) * self.cells * _bytes(self.cells)
        return _CODE + tables + sum(map(len, self.tokens)) * _bytes(self.vocab)

    @property
    def ram(self) -> int:
        """Bytes of static memory."""
        guise = self.cells * _bytes(self.cells) + self.vocab * _bytes(self.vocab)
        return 4 * guise + self.most + 4 * (2 * self.cells + 16)

    def within(self, limits: Limits | None) -> Limits | None:
        """What these limits leave for the model."""
        if limits is None:
            return None
        left = ((limits.flash, self.flash), (limits.ram, self.ram))
        return Limits(*(None if most is None else max(most - need, 0) for most, need in left))

    def added_to(self, layout: Layout) -> Layout:
        """The layout of a model that can be asked again."""
        constants, scratch = layout.constants + self.flash, layout.scratch + self.ram
        return replace(layout, constants=constants, scratch=scratch)


def again_of(contract: StepContract, tries: int) -> Again | None:
    """What a model needs for so many tries; None for one."""
    if tries == 1 or contract.symmetries is None:
        return None
    return Again(
        tries, contract.symmetries.positions, contract.symmetries.tokens,
        tuple(own_states(contract)), contract.seq_len, contract.vocab_size,
    )  # fmt: skip


def refusal(contract: StepContract, tries: int) -> str | None:
    """Why a model cannot have so many tries; None if it can."""
    if not 1 <= tries <= MAX_TRIES:
        return f"c: tries must be 1 to {MAX_TRIES}, got {tries}."
    if tries > 1 and (contract.symmetries is None or (contract.num_puzzle_identifiers or 0) > 1):
        return (
            "c: the puzzles of this model have no other guise, because its contract lists no "
            "symmetries or a puzzle identifier is their rule; leave out tries."
        )
    return None


def _bytes(count: int) -> int:
    return 1 if count <= 1 << 8 else 2


def _type(count: int) -> str:
    return f"uint{8 * _bytes(count)}_t"
