"""One ACT step in float64 numpy, written from the papers' formulas and not from the model's code.

Facts: arXiv 2510.04871 (figure 1, pseudocode) and its public code for the paper family; the
project's API document for the seed family. Shares no code with `trm_export.model`: the
configuration is a plain dictionary, the weights are plain arrays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
_erf = np.vectorize(math.erf, otypes=[np.float64])


def extract_weights(model: Any) -> dict[str, Array]:
    """The weights of a Keras TRM in float64, by part: ``"L.0.mix.qkv/kernel"``, ``"H_init"``..."""
    import keras

    found: dict[str, Any] = {}
    inner = model.inner
    for part in ("embed_tokens", "puzzle_emb", "lm_head", "q_head"):
        for variable in getattr(getattr(inner, part), "weights", ()):
            found[f"{part}.{variable.name}"] = variable
    for name in ("embed_pos", "H_init", "L_init"):
        if getattr(inner, name) is not None:
            found[name] = getattr(inner, name)
    for letter in "HL":
        for i, block in enumerate(getattr(inner, f"{letter}_level").blocks):
            for part in ("mix", "ffn", "mix_norm", "ffn_norm"):
                for variable in getattr(block, part).weights:
                    found[f"{letter}.{i}.{part}.{variable.path}"] = variable
    return {
        name: np.asarray(keras.ops.convert_to_tensor(variable), np.float64)
        for name, variable in found.items()
    }


def step(
    config: Mapping[str, Any],
    weights: Mapping[str, Array],
    carry: Mapping[str, Array],
    batch: Mapping[str, Array],
) -> tuple[dict[str, Array], dict[str, Array]]:
    """One inference step: ``(carry, batch) -> (next carry, outputs)``, floats in float64."""
    fresh = np.asarray(carry["halted"], bool)
    tokens = np.where(fresh[:, None], batch["inputs"], carry["current_inputs"])
    new: dict[str, Array] = {"current_inputs": tokens}
    ids = None
    if config["puzzle_emb_ndim"]:
        old = carry["current_puzzle_identifiers"]
        ids = np.where(fresh, batch["puzzle_identifiers"], old)
        new["current_puzzle_identifiers"] = ids
    states = []
    for name in ("H", "L"):
        state = np.array(carry[f"z_{name}"], np.float64)
        state[fresh] = weights[f"{name}_init"]
        states.append(state)
    states, outputs = think(config, weights, *states, tokens, ids)
    new["z_H"], new["z_L"] = states
    new["steps"] = np.where(fresh, 0, carry["steps"]) + 1
    new["halted"] = new["steps"] >= config["halt_max_steps"]
    return new, outputs


def target_q_continue(
    config: Mapping[str, Any], weights: Mapping[str, Array], new: Mapping[str, Array]
) -> Array:
    """The bootstrapped value of going on from the carry that a step left, ``(batch,)``."""
    ids = new.get("current_puzzle_identifiers")
    _, ahead = think(config, weights, new["z_H"], new["z_L"], new["current_inputs"], ids)
    halt, go_on = ahead["q_halt_logits"], ahead["q_continue_logits"]
    at_limit = new["steps"] >= config["halt_max_steps"]
    return 1 / (1 + np.exp(-np.where(at_limit, halt, np.maximum(halt, go_on))))


def think(
    config: Mapping[str, Any], weights: Mapping[str, Array], high: Array, low: Array,
    tokens: Array, ids: Array | None,
) -> tuple[tuple[Array, Array], dict[str, Array]]:  # fmt: skip
    """All cycles of one step on states that are already reset, and the two heads."""
    x = embed(config, weights, tokens, ids)
    paper = config["family"] == "paper"
    for _ in range(config["h_cycles"]):
        for _ in range(config["l_cycles"]):
            low = _level("L", config, weights, low + x + (high if paper else 0))
        high = _level("L" if paper else "H", config, weights, high + low)
    prefix = high.shape[1] - tokens.shape[1]
    q = high[:, 0] @ weights["q_head.kernel"] + weights["q_head.bias"]
    logits = high[:, prefix:] @ weights["lm_head.kernel"]
    return (high, low), {
        "logits": logits, "q_halt_logits": q[:, 0], "q_continue_logits": q[:, 1],
    }  # fmt: skip


def embed(
    config: Mapping[str, Any], weights: Mapping[str, Array], tokens: Array, ids: Array | None
) -> Array:
    """Prefix and token embeddings, ``(batch, prefix + seq, hidden)``."""
    d, ndim, n = config["hidden_size"], config["puzzle_emb_ndim"], config["puzzle_emb_len"]
    prefix = n if n else -(-ndim // d)
    x = np.zeros((len(tokens), prefix + tokens.shape[1], d))
    x[:, prefix:] = weights["embed_tokens.embeddings"][tokens]
    if ids is not None:
        flat = np.zeros((len(tokens), prefix * d))
        flat[:, :ndim] = weights["puzzle_emb.embeddings"][ids]
        x[:, :prefix] = flat.reshape(len(tokens), prefix, d)
    if config["pos_encodings"] == "learned":
        x = (x + weights["embed_pos"]) / math.sqrt(2)
    return x * math.sqrt(d) if config["family"] == "paper" else x


def _level(letter: str, config: Mapping[str, Any], weights: Mapping[str, Array], x: Array) -> Array:
    for i in range(config["h_layers" if letter == "H" else "l_layers"]):
        own = {
            name.removeprefix(f"{letter}.{i}."): value
            for name, value in weights.items()
            if name.startswith(f"{letter}.{i}.")
        }
        x = _block(config, own, x)
    return x


def _block(config: Mapping[str, Any], own: Mapping[str, Array], x: Array) -> Array:
    if config["mixer"] == "mlp":  # the mixer sees, and its norm normalises, the positions
        t = np.swapaxes(x, 1, 2)
        t = _sublayer(config, own, "mix_norm", t, lambda y: _swiglu(own, "mix", y))
        x = np.swapaxes(t, 1, 2)
    else:
        x = _sublayer(config, own, "mix_norm", x, lambda y: _attention(config, own, y))
    if config["ffn_type"] == "swiglu":
        return _sublayer(config, own, "ffn_norm", x, lambda y: _swiglu(own, "ffn", y))
    return _sublayer(config, own, "ffn_norm", x, lambda y: _classic(own, y))


def _sublayer(
    config: Mapping[str, Any], own: Mapping[str, Array], norm: str, x: Array, f: Any
) -> Array:
    def normalise(y: Array) -> Array:
        if config["normalization_type"] == "layer_norm":
            y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-5)
        else:
            y = y / np.sqrt((y * y).mean(-1, keepdims=True) + 1e-5)
        scale = own.get(f"{norm}.{norm}/gamma", 1.0)
        return y * scale + own.get(f"{norm}.{norm}/beta", 0.0)

    if config["normalization_position"] == "pre":
        return x + f(normalise(x))
    return normalise(x + f(x))


def _swiglu(own: Mapping[str, Array], part: str, x: Array) -> Array:
    gate, up = np.split(x @ own[f"{part}.gate_up/kernel"], 2, axis=-1)
    return (gate / (1 + np.exp(-gate)) * up) @ own[f"{part}.down/kernel"]


def _classic(own: Mapping[str, Array], x: Array) -> Array:
    h = x @ own["ffn.up/kernel"] + own["ffn.up/bias"]
    h = h / 2 * (1 + _erf(h / math.sqrt(2)))  # exact GELU
    return h @ own["ffn.down/kernel"] + own["ffn.down/bias"]


def _attention(config: Mapping[str, Any], own: Mapping[str, Array], x: Array) -> Array:
    rows, length, d = x.shape
    heads, size = config["num_heads"], d // config["num_heads"]
    projected = x @ own["mix.qkv/kernel"]  # q heads, then k heads, then v heads
    mixed = np.empty((rows, length, d))
    for h in range(heads):
        columns = slice(h * size, (h + 1) * size)
        q, k, v = (projected[..., part * d : (part + 1) * d][..., columns] for part in range(3))
        if config["pos_encodings"] == "rope":
            q, k = _turn(q, config["rope_theta"]), _turn(k, config["rope_theta"])
        scores = np.einsum("bid,bjd->bij", q, k) / math.sqrt(size)
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        mixed[..., columns] = shares @ v
    return mixed @ own["mix.out/kernel"]


def _turn(x: Array, theta: float) -> Array:
    """RoPE (arXiv 2104.09864), rotate-half: complex numbers pair element i with i + size/2."""
    half = x.shape[-1] // 2
    frequencies = theta ** (-np.arange(half) / half)
    turns = np.exp(1j * np.outer(np.arange(x.shape[1]), frequencies))
    turned = (x[..., :half] + 1j * x[..., half:]) * turns
    return np.concatenate([turned.real, turned.imag], axis=-1)
