"""What can be configured, what is refused and in which words, and how large the presets are."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.model.variants import VARIANTS, random_model, random_step, run
from trm_export.model import PRESETS, TRM, ConfigurationError, TRMConfig, preset
from trm_runtime.errors import UsageError

GOOD: dict[str, Any] = {
    "vocab_size": 5, "hidden_size": 8, "num_heads": 2, "expansion": 1.0, "seq_len": 4,
}  # fmt: skip
BAD: list[tuple[dict[str, Any], str]] = [
    ({"vocab_size": 1}, "vocab_size"),
    ({"vocab_size": 5.0}, "vocab_size"),
    ({"hidden_size": 0}, "hidden_size"),
    ({"num_heads": True}, "num_heads"),
    ({"seq_len": -3}, "seq_len"),
    ({"seq_len": "9"}, "seq_len"),
    ({"expansion": 0}, "expansion"),
    ({"expansion": float("nan")}, "expansion"),
    ({"puzzle_emb_len": -1}, "puzzle_emb_len"),
    ({"puzzle_emb_ndim": None}, "puzzle_emb_ndim"),
    ({"num_puzzle_identifiers": 0}, "num_puzzle_identifiers"),
    ({"h_layers": 0}, "h_layers"),
    ({"l_layers": 0}, "l_layers"),
    ({"h_cycles": 0}, "h_cycles"),
    ({"l_cycles": 1.5}, "l_cycles"),
    ({"halt_max_steps": 0}, "halt_max_steps"),
    ({"halt_exploration_prob": 1.0}, "halt_exploration_prob"),
    ({"halt_exploration_prob": -0.1}, "halt_exploration_prob"),
    ({"dropout_rate": 1}, "dropout_rate"),
    ({"rope_theta": -1.0}, "rope_theta"),
    ({"halt_threshold": float("inf")}, "halt_threshold"),
    ({"family": "hrm"}, "family"),
    ({"normalization_position": "middle"}, "normalization_position"),
    ({"normalization_type": "batch_norm"}, "normalization_type"),
    ({"ffn_type": "moe"}, "ffn_type"),
    ({"ffn_activation": "swoosh", "ffn_type": "mlp"}, "ffn_activation"),
    ({"ffn_activation": 3}, "ffn_activation"),
    ({"mixer": "conv"}, "mixer"),
    ({"pos_encodings": "alibi"}, "pos_encodings"),
    ({"no_act_continue": "yes"}, "no_act_continue"),
    ({"no_act_continue": 1}, "no_act_continue"),
    ({"num_heads": 3}, "num_heads"),
    ({"num_heads": 8}, "head size"),
    ({"mixer": "mlp"}, "pos_encodings"),
    ({"family": "paper", "h_layers": 1, "l_layers": 2}, "h_layers"),
    ({"puzzle_emb_ndim": 17, "puzzle_emb_len": 2}, "puzzle_emb_ndim"),
    ({"alphabet": ("a", "b")}, "alphabet"),
    ({"alphabet": 7}, "alphabet"),
    ({"alphabet": ("a", "b", "c", "d", "a")}, "alphabet: 'a' is in more than one entry"),
    ({"alphabet": ("a", "b", "c", "d", "\n")}, r"alphabet: '\n' is not a printable character"),
    ({"vocab_size": np.float64(5)}, "vocab_size"),
    ({"num_heads": np.True_}, "num_heads"),
    ({"alphabet": (1, 2, 3, 4, 5)}, "alphabet"),
]


@pytest.mark.parametrize(("changes", "named"), BAD, ids=lambda value: str(value))
def test_a_bad_configuration_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(named)):
        TRM(**{**GOOD, **changes})


def test_numbers_of_numpy_are_taken_as_numbers_of_python() -> None:
    sizes = {name: np.int64(value) for name, value in GOOD.items()}
    model = TRM(**{**sizes, "expansion": np.float32(1)}, halt_threshold=np.float32(0.5))
    assert model.config == TRMConfig(**GOOD, halt_threshold=0.5)
    types = {type(value) for value in model.config.to_dict().values()}
    assert types == {int, float, str, bool, type(None)}


def test_every_wrong_field_is_listed_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        TRM(**{**GOOD, "seq_len": 0, "mixer": "conv", "expansion": -1})
    assert all(name in str(caught.value) for name in ("seq_len", "mixer", "expansion"))


def test_an_unknown_option_is_named() -> None:
    with pytest.raises(ConfigurationError, match="l_cylces"):
        TRM(**GOOD, l_cylces=3)


def test_a_configuration_error_is_a_usage_error() -> None:
    assert issubclass(ConfigurationError, UsageError)
    assert issubclass(ConfigurationError, ValueError)


def test_the_configuration_round_trips_through_its_dictionary() -> None:
    config = TRMConfig(**GOOD, alphabet=("", "._", "1", "2", "3"), halt_threshold=0.5)
    assert TRMConfig(**config.to_dict()) == config


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("paper-sudoku-mlp", 5_020_000, 5_040_000),
        ("paper-sudoku-att", 6_800_000, 7_000_000),
        ("sudoku9", 100_000, 1_200_000),
        ("sudoku4", 10_000, 60_000),
    ],
)
def test_parameters_of_the_presets(name: str, least: int, most: int) -> None:
    with keras.StatelessScope(initialize_variables=False):
        model = TRM(**preset(name))
    parameters = sum(int(np.prod(tuple(v.shape))) for v in model.inner.weights)
    assert least <= parameters <= most, parameters


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_sound_configurations(name: str) -> None:
    config = TRMConfig(**preset(name, h_cycles=2))
    assert (config.family, config.h_cycles) == ("paper", 2)
    assert "hidden_size" in PRESETS[name]


def test_an_unknown_preset_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="sudoku4"):
        preset("sudoku16")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["paper mlp mixer", "paper rope + puzzle embedding", "seed"])
def test_carry_and_outputs_stay_float32(policy: str, name: str) -> None:
    model = random_model(VARIANTS[name], dtype=policy)
    carry, batch = random_step(model)
    new, outputs = run(model, carry, batch)
    states = [new["z_H"], new["z_L"], *outputs.values()]
    assert {str(value.dtype) for value in states} == {"float32"}
    assert {str(v.dtype) for v in model.inner.trainable_weights} == {"float32"}
    exact = random_model(VARIANTS[name])
    wanted = run(exact, carry, batch)[1]["logits"]
    difference = np.linalg.norm(outputs["logits"] - wanted) / np.linalg.norm(wanted)
    assert 1e-5 < difference < (0.03 if policy == "mixed_float16" else 0.2)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ["paper mlp mixer", "seed layer norm, gelu mlp"])
def test_a_saved_model_is_the_same_model(policy: str, name: str, tmp_path: Path) -> None:
    alphabet = ("", "._", *"12345")
    model = random_model(VARIANTS[name], dtype=policy, alphabet=alphabet, halt_threshold=0.25)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.config == model.config
    assert loaded.config.alphabet == alphabet
    assert loaded.dtype_policy.name == policy
    assert loaded.inner.L_level.blocks[0].ffn.dtype_policy.name == policy
    carry, batch = random_step(model)
    for found, wanted in zip(run(loaded, carry, batch), run(model, carry, batch), strict=True):
        assert found.keys() == wanted.keys()
        for key, value in wanted.items():
            np.testing.assert_array_equal(found[key], value, key)


def test_the_paper_family_shares_one_stack_and_fixes_its_start() -> None:
    paper, seed = TRM(**GOOD, family="paper"), TRM(**GOOD)
    assert paper.inner.H_level is paper.inner.L_level
    assert seed.inner.H_level is not seed.inner.L_level
    assert paper.inner.H_init.shape == (8,)
    assert seed.inner.H_init.shape == (20, 8)
    trained = {v.path for v in paper.trainable_variables}
    assert not {"inner/H_init", "inner/L_init"} & trained
    assert {"inner/H_init", "inner/L_init"} <= {v.path for v in seed.trainable_variables}


def test_weights_start_as_documented() -> None:
    config = {**GOOD, "hidden_size": 256, "vocab_size": 64, "family": "paper"}
    inner = TRM(**config).inner
    q = [np.asarray(keras.ops.convert_to_tensor(v)) for v in inner.q_head.weights]
    assert not q[0].any()
    assert (q[1] == -5).all()
    for variable, std in (
        (inner.embed_tokens.embeddings, 1 / 16),
        (inner.lm_head.kernel, 1 / 16),
        (inner.L_level.blocks[0].mix.qkv.kernel, 1 / 16),
        (inner.L_level.blocks[0].ffn.down.kernel, 1 / 16),
        (inner.H_init, 1.0),
    ):
        value = np.asarray(keras.ops.convert_to_tensor(variable))
        assert abs(value.std() / std - 1) < 0.2, variable.path
        assert abs(value).max() <= 2.3 * std, variable.path


def test_identifiers_without_embeddings_are_told() -> None:
    from trm_export.errors import ConfigurationWarning
    from trm_export.model import TRM

    sizes = {"num_puzzle_identifiers": 5, "puzzle_emb_len": 1, "halt_max_steps": 2}
    with pytest.warns(ConfigurationWarning, match="num_puzzle_identifiers 5 but no puzzle emb"):
        TRM(6, 16, 2, 1.0, 4, **sizes)
    assert TRM(6, 16, 2, 1.0, 4, **sizes, puzzle_emb_ndim=16).inner.puzzle_emb is not None
