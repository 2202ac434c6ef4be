"""The text of every generated file, by the templates in this package."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from trm_export.exporters.c_source.again import Again
from trm_export.exporters.c_source.arrays import CODES, LANES, Weights
from trm_export.exporters.c_source.layout import Layout
from trm_export.model import TRM
from trm_export.model.layers import NORM_EPSILON
from trm_runtime.alphabet import pads
from trm_runtime.contract import StepContract
from trm_runtime.message_text import counted
from trm_runtime.servers.messages import entering, leaving, size_of

_TEMPLATES = ("model.h", "model.c", "weights.h", "weights.c", "serve.c", "Makefile")
_WIDTH = 96  # characters of a line of numbers

ACTIVATIONS = {
    "gelu": "0.5f * x * (1.0f + erff(x * 0.70710678f))",
    "relu": "x > 0.0f ? x : 0.0f",
    "silu": "x / (1.0f + exponential(-x))",
    "swish": "x / (1.0f + exponential(-x))",
    "tanh": "tanhf(x)",
    "sigmoid": "1.0f / (1.0f + exponential(-x))",
    "elu": "x > 0.0f ? x : expm1f(x)",
    "selu": "1.05070099f * (x > 0.0f ? x : 1.67326324f * expm1f(x))",
    "softplus": "(x > 0.0f ? x : 0.0f) + log1pf(exponential(-fabsf(x)))",
    "leaky_relu": "x > 0.0f ? x : 0.2f * x",
    "relu6": "x < 0.0f ? 0.0f : x > 6.0f ? 6.0f : x",
    "mish": "x * tanhf((x > 0.0f ? x : 0.0f) + log1pf(exponential(-fabsf(x))))",
    "hard_silu": "x < -3.0f ? 0.0f : x > 3.0f ? x : x * (x + 3.0f) / 6.0f",
}
"""Every activation of `TRMConfig` as an expression of ``float x``."""


def source_files(
    model: TRM,
    weights: Weights,
    layout: Layout,
    contract: StepContract,
    again: Again | None = None,
) -> dict[str, str]:
    """Name -> text of the C files; without `again` it makes one try of a puzzle."""
    facts = {**_facts(model, weights, layout, contract), "again": again}
    environment = _environment()
    return {name: environment.get_template(f"{name}.j2").render(facts) for name in _TEMPLATES}


def _facts(model: TRM, weights: Weights, layout: Layout, contract: StepContract) -> dict[str, Any]:
    c = model.config
    return {
        "c": c,
        "made_by": contract.made_by.tool,
        "name": contract.model_name,
        "precision": contract.precision,
        "passes": c.passes,
        "layers": counted(c.l_layers, "layer"),
        "weights_sha256": contract.made_by.weights_sha256,
        "max_steps": contract.max_steps,
        "alphabet": _alphabet(contract),
        "padded": pads(contract.alphabet),
        "threshold": number(contract.halt.threshold),
        "difference": contract.halt.kind != "q_halt",
        "integer": contract.precision != "fp32",
        "mixed": bool(weights.kept),
        "operand": "void" if weights.kept else "float" if not weights.integers else "int16_t",
        "scaled": c.family == "seed",
        "centred": c.normalization_type == "layer_norm",
        "swiglu": c.mixer == "mlp" or c.ffn_type == "swiglu",
        "rope": c.mixer == "attention" and c.pos_encodings == "rope",
        "activation": ACTIVATIONS[c.ffn_activation],
        "epsilon": number(NORM_EPSILON),
        "root_of_head": number(np.sqrt(np.float32(c.head_dim))),
        "lanes": LANES[contract.precision],
        "rows": layout.rows,
        "middle": layout.middle,
        "coded": layout.coded,
        "widest": layout.coded,
        "code": number(_largest_code(layout.coded)),
        "stacks": weights.stacks,
        "l_stack": weights.l_stack,
        "h_stack": weights.h_stack,
        "matrices": weights.matrices,
        "head": weights.lm_head,
        "vectors": weights.vectors,
        "carry": contract.carry,
        "bytes_in": size_of(entering(contract), 1),
        "bytes_out": size_of(leaving(contract), 1),
        "contract_lines": _literals(contract.to_json()),
    }


def _alphabet(contract: StepContract) -> str | None:
    """A string literal of C with a character for each token id, `?` for one that has none."""
    if contract.alphabet is None:
        return None
    letters = "".join(entry[:1] or "?" for entry in contract.alphabet)
    return json.dumps(letters) if letters.isascii() and letters.isprintable() else None


def _largest_code(inputs: int) -> int:
    """Of an activation, so that so many products with int8 weights fit an int32."""
    return min(2**15 - 1, (2**31 - 1) // (CODES * max(inputs, 1)))


def _literals(text: str) -> list[str]:
    """A text as string literals of C, a line each; trigraphs cannot arise in ASCII JSON of ours."""
    ascii_only = json.dumps(json.loads(text), indent=2) + "\n"
    return [json.dumps(line) for line in ascii_only.splitlines(keepends=True)]


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("trm_export.exporters.c_source"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["numbers"] = numbers
    environment.filters["table"] = lambda row: "".join(
        f"        {line}\n" for line in _lines(map(str, row))
    )
    environment.filters["member"] = _member
    return environment


def _member(name: str) -> str:
    """The member of `trm_carry` that holds a tensor of the carry."""
    if not name.startswith("current_"):
        return name
    inner = name.removeprefix("current_")
    return f"current.{'puzzle_identifier' if inner == 'puzzle_identifiers' else inner}"


def number(value: Any) -> str:
    """A float constant of C that reads as exactly this float32."""
    text = str(np.float32(value))
    return f"{text}f" if "." in text or "e" in text else f"{text}.0f"


def numbers(array: np.ndarray[Any, Any]) -> str:
    """The values of an array as lines of constants."""
    flat = array.ravel()
    words = map(str, flat.tolist()) if flat.dtype == np.int8 else map(number, flat)
    return "".join(f"    {line}\n" for line in _lines(words))


def _lines(words: Iterator[str]) -> Iterator[str]:
    line: list[str] = []
    length = 0
    for word in words:
        if length + len(word) + 2 > _WIDTH:
            yield " ".join(line)
            line, length = [], 0
        line.append(f"{word},")
        length += len(word) + 2
    yield " ".join(line)
