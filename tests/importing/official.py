"""The paper's network in PyTorch, written from the specification of the official code.

Facts: arXiv 2510.04871 and what its public code stores (names, orientation, prefixes). Shares no
code with `trm_export`. Needs PyTorch; `tests/importing/make_golden.py` records it for machines
without.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

Arch = dict[str, Any]


def rms(x: Tensor) -> Tensor:
    """Without a scale, over the last axis."""
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)


def width(size: int, expansion: float) -> int:
    inner = round(expansion * size * 2 / 3)
    return -(-inner // 256) * 256


class Matrix(nn.Module):
    """``x @ weight.T``; the weight is (out, in)."""

    def __init__(self, inputs: int, outputs: int, bias: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs))
        if bias:
            self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(x, self.weight, getattr(self, "bias", None))


class Table(nn.Module):
    """An embedding under the official name of its weight."""

    def __init__(self, rows: int, size: int, name: str) -> None:
        super().__init__()
        self.name = name
        self.register_buffer(name, torch.zeros(rows, size))

    def rows(self) -> Tensor:
        table: Tensor = getattr(self, self.name)
        return table


class SwiGLU(nn.Module):
    def __init__(self, size: int, expansion: float) -> None:
        super().__init__()
        inner = width(size, expansion)
        self.gate_up_proj, self.down_proj = Matrix(size, 2 * inner), Matrix(inner, size)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(functional.silu(gate) * up)


class Attention(nn.Module):
    def __init__(self, arch: Arch) -> None:
        super().__init__()
        size = arch["hidden_size"]
        self.heads, self.rotates = arch["num_heads"], arch["pos_encodings"] == "rope"
        self.qkv_proj, self.o_proj = Matrix(size, 3 * size), Matrix(size, size)

    def forward(self, x: Tensor) -> Tensor:
        rows, length, size = x.shape
        head = size // self.heads
        q, k, v = (
            part.reshape(rows, length, self.heads, head).transpose(1, 2)
            for part in self.qkv_proj(x).split(size, dim=-1)
        )
        if self.rotates:
            q, k = turned(q), turned(k)
        shares = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(head), dim=-1)
        return self.o_proj((shares @ v).transpose(1, 2).reshape(rows, length, size))


def turned(x: Tensor) -> Tensor:
    """Rotate-half RoPE, theta 10000, over all positions of (batch, heads, positions, size)."""
    half = x.shape[-1] // 2
    speeds = 10000.0 ** (-torch.arange(half, dtype=torch.float32) / half)
    angles = torch.outer(torch.arange(x.shape[-2], dtype=torch.float32), speeds)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


class Block(nn.Module):
    def __init__(self, arch: Arch, length: int) -> None:
        super().__init__()
        self.mixes_tokens = arch["mlp_t"]
        if self.mixes_tokens:
            self.mlp_t = SwiGLU(length, arch["expansion"])
        else:
            self.self_attn = Attention(arch)
        self.mlp = SwiGLU(arch["hidden_size"], arch["expansion"])

    def forward(self, x: Tensor) -> Tensor:
        if self.mixes_tokens:
            t = x.transpose(1, 2)
            x = rms(t + self.mlp_t(t)).transpose(1, 2)
        else:
            x = rms(x + self.self_attn(x))
        return rms(x + self.mlp(x))


class Level(nn.Module):
    def __init__(self, arch: Arch, length: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Block(arch, length) for _ in range(arch["L_layers"]))

    def forward(self, state: Tensor, injection: Tensor) -> Tensor:
        x = state + injection
        for block in self.layers:
            x = block(x)
        return x


class Inner(nn.Module):
    """The network of one step. ``sizes``: vocab_size, seq_len, num_puzzle_identifiers."""

    def __init__(self, arch: Arch, sizes: dict[str, int]) -> None:
        super().__init__()
        self.arch, size, ndim = arch, arch["hidden_size"], arch["puzzle_emb_ndim"]
        self.prefix = arch["puzzle_emb_len"] or math.ceil(ndim / size)
        length = self.prefix + sizes["seq_len"]
        self.embed_tokens = Table(sizes["vocab_size"], size, "embedding_weight")
        self.lm_head = Matrix(size, sizes["vocab_size"])
        self.q_head = Matrix(size, 2, bias=True)
        if ndim:
            self.puzzle_emb = Table(sizes["num_puzzle_identifiers"], ndim, "weights")
        if arch["pos_encodings"] == "learned":
            self.embed_pos = Table(length, size, "embedding_weight")
        self.L_level = Level(arch, length)
        self.register_buffer("H_init", torch.zeros(size))
        self.register_buffer("L_init", torch.zeros(size))

    def embedded(self, tokens: Tensor, identifiers: Tensor | None) -> Tensor:
        size, ndim = self.arch["hidden_size"], self.arch["puzzle_emb_ndim"]
        x = self.embed_tokens.rows()[tokens]
        if self.prefix:
            flat = x.new_zeros(len(x), self.prefix * size)
            if ndim:
                flat[:, :ndim] = self.puzzle_emb.rows()[identifiers]
            x = torch.cat([flat.reshape(len(x), self.prefix, size), x], dim=1)
        if self.arch["pos_encodings"] == "learned":
            x = (x + self.embed_pos.rows()) / math.sqrt(2)
        return x * math.sqrt(size)

    def forward(
        self, high: Tensor, low: Tensor, tokens: Tensor, identifiers: Tensor | None
    ) -> dict[str, Tensor]:
        x = self.embedded(tokens, identifiers)
        for _ in range(self.arch["H_cycles"]):
            for _ in range(self.arch["L_cycles"]):
                low = self.L_level(low, high + x)
            high = self.L_level(high, low)
        q = self.q_head(high[:, 0])
        return {
            "z_H": high, "z_L": low, "logits": self.lm_head(high)[:, self.prefix :],
            "q_halt_logits": q[:, 0], "q_continue_logits": q[:, 1],
        }  # fmt: skip


class Official(nn.Module):
    """Wrapped as the official loss head and model wrap it: names begin with ``model.inner.``."""

    def __init__(self, arch: Arch, sizes: dict[str, int], seed: int = 0) -> None:
        super().__init__()
        self.model = nn.Module()
        self.model.inner = Inner(arch, sizes)
        fill(self, seed)

    @torch.no_grad()
    def rollout(
        self, tokens: Tensor, identifiers: Tensor | None, steps: int
    ) -> list[dict[str, Tensor]]:
        """What each of the first steps leaves behind, from a fresh carry."""
        inner = self.model.inner
        state = (len(tokens), inner.prefix + tokens.shape[1], inner.arch["hidden_size"])
        high, low = inner.H_init.expand(state), inner.L_init.expand(state)
        found = []
        for _ in range(steps):
            found.append(inner(high, low, tokens, identifiers))
            high, low = found[-1]["z_H"], found[-1]["z_L"]
        return found


@torch.no_grad()
def fill(model: nn.Module, seed: int) -> None:
    """Random weights everywhere, in values that bfloat16 holds; nothing stays at zero.

    The matrices are a little small, or the recursion amplifies the rounding of float32 tenfold.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        spread = 1.0 if tensor.ndim == 1 else 0.7 * tensor.shape[1] ** -0.5
        values = torch.randn(tensor.shape, generator=generator) * spread
        if "q_head.bias" in name:
            values = values - 1.0
        tensor.copy_(values.bfloat16().float())


def save(model: Official, path: Path, prefix: str = "", half: bool = False) -> None:
    """A ``step_<N>`` file as the official code writes it."""
    state = {prefix + name: x.bfloat16() if half else x for name, x in model.state_dict().items()}
    torch.save(state, path)
