"""How much memory and work the generated code needs, known before it is compiled."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from trm_export.exporters.c_source.arrays import Weights, whole
from trm_export.model import TRM
from trm_export.model.config import TRMConfig

ROWS = 2
"""Rows of a tile: with more a weight is read less often, and tiles need more memory."""
_CODE = 10 * 1024  # bytes of compiled functions and those they call: Cortex-M with an FPU, -O3
_STACK = 1024  # bytes; 656 were used


@dataclass(frozen=True)
class Layout:
    """Sizes of the static memory, in bytes, and the work of a step."""

    rows: int
    middle: int  # values of a row of the widest layer inside
    coded: int  # integers of the widest row that is quantised
    constants: int  # weights, in flash
    carry: int  # both states, and the puzzle
    outputs: int
    scratch: int
    macs: int  # multiply-accumulates of a step

    @property
    def memory(self) -> int:
        """Static memory of the complete loop: one carry, its outputs, the scratch."""
        return self.carry + self.outputs + self.scratch

    @property
    def flash(self) -> int:
        """Constants and code, at most."""
        return self.constants + _CODE

    @property
    def ram(self) -> int:
        """Static memory and stack, at most."""
        return self.memory + _STACK

    def document(self) -> dict[str, int]:
        """Everything by name, for `memory.json`."""
        return {**asdict(self), "flash": self.flash, "ram": self.ram}


def layout_of(model: TRM, weights: Weights, rows: int = ROWS) -> Layout:
    """The layout of a model for tiles of so many rows."""
    c = model.config
    inner = [m.outputs for m in weights.matrices]
    middle = max(*inner, c.hidden_size)
    coded = max((whole(m.inputs) for m in weights.integers), default=0)
    return Layout(
        rows=rows,
        middle=middle,
        coded=coded,
        constants=weights.bytes,
        carry=4 * (2 * c.positions * c.hidden_size + c.seq_len + 2 + bool(c.puzzle_emb_ndim)),
        outputs=4 * (c.seq_len * c.vocab_size + 2),
        scratch=_scratch(c, rows, middle, coded),
        macs=_macs(c, weights),
    )


def _scratch(c: TRMConfig, rows: int, middle: int, coded: int) -> int:
    floats = rows * (max(c.positions, c.hidden_size) + middle + bool(coded))
    if c.mixer == "attention":
        padded = -(-c.positions // rows) * rows
        floats += 2 * padded * c.hidden_size + rows * c.hidden_size + c.positions
    return 4 * floats + 2 * rows * coded


def _macs(c: TRMConfig, weights: Weights) -> int:
    """Of all passes of a step, logits and scores; the tiles that are not full are left out."""
    of_l, of_h = (
        sum(_block_macs(c, field, m.inputs * m.outputs) for field, m in block.matrices.items())
        + _attention_macs(c)
        for block in (weights.l_stack.blocks[0], weights.h_stack.blocks[0])
    )
    stacks = c.l_cycles * of_l * c.l_layers + of_h * c.h_layers
    return c.h_cycles * stacks + c.hidden_size * (c.seq_len * c.vocab_size + 2)


def _block_macs(c: TRMConfig, field: str, size: int) -> int:
    return size * (c.hidden_size if field.startswith("mix_") else c.positions)


def _attention_macs(c: TRMConfig) -> int:
    return 2 * c.positions**2 * c.hidden_size if c.mixer == "attention" else 0
