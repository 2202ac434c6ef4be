"""The one configuration behind both TRM families; knows nothing about tensors.

``family="seed"`` is the two-stack model of the user's API document, ``family="paper"`` the
single shared network of arXiv 2510.04871.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from trm_export.errors import ConfigurationError
from trm_runtime.contract_rules import alphabet_problems
from trm_runtime.message_text import shown
from trm_runtime.scalars import as_integer, as_real

ACTIVATIONS = (
    "gelu", "relu", "silu", "swish", "tanh", "sigmoid", "elu", "selu", "softplus", "leaky_relu",
    "relu6", "mish", "hard_silu",
)  # fmt: skip

LIMITS = {  # least, most; above the most, a small file would need too much memory or time
    "vocab_size": (2, 1 << 21), "hidden_size": (1, 1 << 16), "num_heads": (1, 1 << 16),
    "seq_len": (1, 1 << 17), "puzzle_emb_len": (0, 1 << 17), "puzzle_emb_ndim": (0, 1 << 20),
    "num_puzzle_identifiers": (1, 2**31 - 1), "h_layers": (1, 256), "l_layers": (1, 256),
    "h_cycles": (1, 256), "l_cycles": (1, 256), "halt_max_steps": (1, 1024),
}  # fmt: skip
POSITIVE = {"expansion": 1 << 10, "rope_theta": 1e12}  # their largest values
_SHARES = ("halt_exploration_prob", "dropout_rate")
_MOST_PASSES = 512  # of a step
_MOST_SCORES = 1 << 27  # of the attention of one row
_LARGEST_THRESHOLD = 1e30  # float32 goes further


@dataclasses.dataclass(frozen=True)
class TRMConfig:
    """Everything that defines a TRM apart from its weights.

    Attributes:
        vocab_size: number of token ids, padding (0) included.
        hidden_size: width ``D`` of the states and embeddings.
        num_heads: attention heads; ``hidden_size`` is a multiple of it.
        expansion: width of the feed-forward layers relative to their input.
        seq_len: tokens of one puzzle, ``S``.
        puzzle_emb_len: prefix positions ``P`` before the tokens; 0 means
            ``ceil(puzzle_emb_ndim / hidden_size)``. Zeros where there is no puzzle embedding.
        puzzle_emb_ndim: width of one puzzle-identifier embedding; 0 for none.
        num_puzzle_identifiers: rows of the puzzle-identifier table.
        h_layers, l_layers: blocks of the H and the L stack. The paper's family has one shared
            stack of ``l_layers`` blocks.
        h_cycles, l_cycles: one step runs ``h_cycles`` times (``l_cycles`` L updates, one H update).
        halt_max_steps: ACT steps after which every row halts.
        halt_exploration_prob: chance that a training row draws a minimum number of steps.
        no_act_continue: halt on ``q_halt > 0``; otherwise on ``q_halt > q_continue``.
        halt_threshold: replaces that 0 when a driver halts by the learned rule; tuned on
            validation puzzles after training. Training itself always uses 0.
        normalization_position: ``"pre"`` or ``"post"``.
        normalization_type: ``"rms_norm"`` or ``"layer_norm"``.
        ffn_type: ``"swiglu"`` or ``"mlp"``.
        ffn_activation: activation of the ``"mlp"`` feed-forward layer, one of `ACTIVATIONS`.
        mixer: ``"attention"``, or ``"mlp"`` for the SwiGLU over positions.
        pos_encodings: ``"rope"``, ``"learned"`` or ``"none"``.
        rope_theta: base of the rotary frequencies.
        dropout_rate: dropout after mixer and feed-forward layer, in training.
        alphabet: for each token id its characters in a puzzle file, of which the first is printed;
            it becomes part of the step contract.

    Raises:
        ConfigurationError: naming every field that is out of range.
    """

    vocab_size: int
    hidden_size: int
    num_heads: int
    expansion: float
    seq_len: int
    family: str = "seed"
    puzzle_emb_len: int = 16
    puzzle_emb_ndim: int = 0
    num_puzzle_identifiers: int = 1
    h_layers: int = 2
    l_layers: int = 2
    h_cycles: int = 1
    l_cycles: int = 1
    halt_max_steps: int = 16
    halt_exploration_prob: float = 0.1
    no_act_continue: bool = True
    halt_threshold: float = 0.0
    normalization_position: str = "post"
    normalization_type: str = "rms_norm"
    ffn_type: str = "swiglu"
    ffn_activation: str = "gelu"
    mixer: str = "attention"
    pos_encodings: str = "rope"
    rope_theta: float = 10000.0
    dropout_rate: float = 0.0
    alphabet: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.alphabet, list):
            object.__setattr__(self, "alphabet", tuple(self.alphabet))
        for name in (*LIMITS, *POSITIVE, *_SHARES, "halt_threshold"):
            object.__setattr__(self, name, _of_python(getattr(self, name)))
        problems = [*self._wrong_numbers(), *self._wrong_choices()]
        if not problems:
            problems = self._wrong_combinations()
        if problems:
            raise ConfigurationError(f"This TRM cannot be built: {'; '.join(problems)}.")

    def _wrong_numbers(self) -> list[str]:
        problems = []
        for name, (least, most) in LIMITS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                problems.append(
                    f"{name} must be an integer of at least {least}, got {shown(value)}"
                )
            elif value > most:
                problems.append(f"{name} must be at most {most:,}, got {shown(value)}")
        for name, largest in POSITIVE.items():
            value = getattr(self, name)
            if not _is_real(value) or value <= 0:
                problems.append(f"{name} must be a positive number, got {shown(value)}")
            elif value > largest:
                problems.append(f"{name} must be at most {largest:g}, got {shown(value)}")
        threshold = self.halt_threshold
        if not _is_real(threshold) or abs(threshold) > _LARGEST_THRESHOLD:
            problems.append(
                f"halt_threshold must be a number of -{_LARGEST_THRESHOLD:g} to "
                f"{_LARGEST_THRESHOLD:g}, got {shown(threshold)}"
            )
        for name in _SHARES:
            value = getattr(self, name)
            if not _is_real(value) or not 0 <= value < 1:
                problems.append(f"{name} must lie in [0, 1), got {shown(value)}")
        return problems

    def _wrong_choices(self) -> list[str]:
        choices = {
            "family": ("seed", "paper"),
            "normalization_position": ("pre", "post"),
            "normalization_type": ("rms_norm", "layer_norm"),
            "ffn_type": ("swiglu", "mlp"),
            "ffn_activation": ACTIVATIONS,
            "mixer": ("attention", "mlp"),
            "pos_encodings": ("rope", "learned", "none"),
            "no_act_continue": (True, False),
        }
        found = {name: getattr(self, name) for name in choices}
        problems = [
            f"{name} must be one of {', '.join(map(repr, allowed))}, got {shown(found[name])}"
            for name, allowed in choices.items()
            if not isinstance(found[name], type(allowed[0])) or found[name] not in allowed
        ]
        if self.alphabet is not None and not _are_strings(self.alphabet):
            problems.append(f"alphabet must be a list of strings, got {shown(self.alphabet)}")
        return problems

    def _wrong_combinations(self) -> list[str]:
        problems = []
        if self.mixer == "attention" and self.hidden_size % self.num_heads:
            problems.append(
                f"hidden_size {self.hidden_size} is not a multiple of num_heads {self.num_heads}"
            )
        elif self.pos_encodings == "rope" and self.mixer == "attention" and self.head_dim % 2:
            problems.append(f"rotary positions need an even head size, got {self.head_dim}")
        scores = self.num_heads * self.positions**2
        if self.mixer == "attention" and scores > _MOST_SCORES:
            problems.append(
                f"num_heads {self.num_heads} and seq_len {self.seq_len} need {scores:,} attention "
                f"scores, at most {_MOST_SCORES:,} are supported"
            )
        if self.mixer == "mlp" and self.pos_encodings == "rope":
            problems.append(
                'the "mlp" mixer has no queries to rotate: use pos_encodings="none" or "learned"'
            )
        if self.family == "paper" and self.h_layers != self.l_layers:
            problems.append(
                "the paper's family has one shared stack, so h_layers must equal l_layers, "
                f"got {self.h_layers} and {self.l_layers}"
            )
        if self.puzzle_emb_ndim > self.prefix_len * self.hidden_size:
            problems.append(
                f"puzzle_emb_ndim {self.puzzle_emb_ndim} does not fit into "
                f"{self.prefix_len} prefix positions of {self.hidden_size}"
            )
        if self.passes > _MOST_PASSES:
            problems.append(
                f"h_cycles {self.h_cycles} and l_cycles {self.l_cycles} are {self.passes} passes "
                f"in one step, at most {_MOST_PASSES} are supported"
            )
        return [*problems, *alphabet_problems(self.alphabet, self.vocab_size)]

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_heads

    @property
    def prefix_len(self) -> int:
        """Positions before the tokens, ``P``."""
        return self.puzzle_emb_len or math.ceil(self.puzzle_emb_ndim / self.hidden_size)

    @property
    def positions(self) -> int:
        """Positions of a state, ``L = P + S``."""
        return self.prefix_len + self.seq_len

    @property
    def passes(self) -> int:
        """Passes of a reasoning stack in one step."""
        return self.h_cycles * (self.l_cycles + 1)

    def to_dict(self) -> dict[str, Any]:
        """The configuration as JSON-ready keyword arguments."""
        config = dataclasses.asdict(self)
        config["alphabet"] = None if self.alphabet is None else list(self.alphabet)
        return config


def _are_strings(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(entry, str) for entry in value)


def _of_python(value: Any) -> Any:
    """A number of NumPy as one of Python, for JSON; anything else as it is."""
    if isinstance(value, (int, float)):
        return value
    number: float | None = as_integer(value)
    number = as_real(value) if number is None else number
    return value if number is None else number


def _is_real(value: object) -> bool:
    """Whether it is a finite number; an integer may be too large for a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < math.inf
