"""What the model's API document shows, written as tests: only the import differs.

Sizes are smaller where the document's would be slow here; the arguments are the same.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import ops

from tests.model.variants import VARIANTS, random_model, random_step
from trm_export import TRM, TRMInner, TRMReasoningModule

tf = pytest.importorskip("tensorflow")
pytestmark = [
    pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the document uses tf"),
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]


def tiny(**options: Any) -> TRM:
    sizes = {"vocab_size": 12, "hidden_size": 16, "num_heads": 2, "expansion": 2.0, "seq_len": 10}
    return TRM(**{**sizes, "halt_max_steps": 3, **options})


def some_batch(rows: int = 4, seq: int = 10) -> dict[str, Any]:
    return {"inputs": np.random.default_rng(0).integers(0, 12, (rows, seq))}


def test_quick_start() -> None:
    model = TRM(
        vocab_size=12, hidden_size=256, num_heads=4, expansion=4.0, seq_len=100, halt_max_steps=8
    )
    model.compile(optimizer="adam")
    lines: list[str] = []
    model.summary(print_fn=lambda text, line_break=False: lines.append(text))
    assert "inner" in "".join(lines)
    batch = some_batch(16, 100)
    carry = model.initial_carry(batch)
    assert carry["steps"][0].numpy() == 0
    new_carry, outputs = model(carry, batch, training=True)
    assert new_carry["steps"][0].numpy() == 1
    assert outputs["logits"].shape == (16, 100, 12)
    assert not new_carry["halted"].numpy().any()
    assert set(outputs) == {"logits", "q_halt_logits", "q_continue_logits"}


def test_the_parts_are_those_of_the_document() -> None:
    model = tiny(h_layers=1, l_layers=3)
    assert isinstance(model.inner, TRMInner)
    assert isinstance(model.inner.H_level, TRMReasoningModule)
    assert (model.inner.H_level.depth, model.inner.L_level.depth) == (1, 3)
    assert {"inner/H_init", "inner/L_init"} <= {v.path for v in model.trainable_variables}


def test_its_unit_tests() -> None:
    model = TRM(vocab_size=12, hidden_size=64, num_heads=2, expansion=2.0, seq_len=50)
    assert model is not None
    batch = {"inputs": tf.zeros((4, 50), dtype=tf.int32)}
    carry = model.initial_carry(batch)
    assert tf.reduce_all(carry["halted"])
    assert tf.reduce_all(carry["steps"] == 0)
    new_carry, outputs = model(carry, batch, training=False)
    assert not tf.reduce_all(new_carry["halted"])
    assert tf.reduce_all(new_carry["steps"] == 1)
    assert outputs["logits"].shape == (4, 50, 12)


@pytest.mark.parametrize("no_act_continue", [True, False])
def test_its_external_training_loop(no_act_continue: bool) -> None:
    model, batch = tiny(no_act_continue=no_act_continue), some_batch()
    optimizer = keras.optimizers.Adam(1e-2)
    loss_fn = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    losses = []
    for _ in range(3):
        with tf.GradientTape() as tape:
            carry, every = model.initial_carry(batch), []
            for _ in range(model.halt_max_steps):
                carry, outputs = model(carry, batch, training=True)
                every.append(outputs)
                if tf.reduce_all(carry["halted"]):
                    break
            total, going = 0.0, 1.0
            for outputs in every:
                q = ops.stack([outputs["q_halt_logits"], outputs["q_continue_logits"]], axis=-1)
                halting = ops.softmax(q)[:, 0]
                loss = loss_fn(batch["inputs"], outputs["logits"])
                total += tf.reduce_mean(going * halting * loss)
                going = going * (1.0 - halting)
                if not no_act_continue:
                    total += tf.reduce_mean(keras.losses.binary_crossentropy(
                        outputs["target_q_continue"][:, None],
                        outputs["q_continue_logits"][:, None], from_logits=True,
                    ))  # fmt: skip
        gradients = tape.gradient(total, model.trainable_variables)
        assert all(g is not None for g in gradients)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
        losses.append(float(total))
    assert len(every) == 3
    assert losses[-1] < losses[0]


def test_its_q_learning_pattern() -> None:
    model = tiny(no_act_continue=False)
    carry, outputs = model(model.initial_carry(some_batch()), some_batch(), training=True)
    target = outputs["target_q_continue"].numpy()
    assert target.shape == outputs["q_continue_logits"].shape == (4,)
    assert ((target > 0) & (target < 1)).all()
    _, outputs = model(carry, some_batch(), training=False)
    assert "target_q_continue" not in outputs


def test_its_mixed_precision_note() -> None:
    before = keras.mixed_precision.dtype_policy()
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        model = tiny()
    finally:
        keras.mixed_precision.set_global_policy(before)
    assert model.dtype_policy.name == "mixed_float16"
    assert model.inner.L_level.blocks[0].mix.qkv.compute_dtype == "float16"
    carry, outputs = model(model.initial_carry(some_batch()), some_batch(), training=True)
    assert outputs["logits"].dtype == carry["z_H"].dtype == tf.float32
    assert np.isfinite(outputs["logits"]).all()


@pytest.mark.parametrize(
    "options",
    [
        {"expansion": 2.66, "normalization_position": "pre", "normalization_type": "rms_norm",
         "ffn_type": "swiglu"},
        {"expansion": 4.0, "normalization_position": "post", "normalization_type": "layer_norm",
         "ffn_type": "mlp"},
    ],
    ids=["llama", "classic"],
)  # fmt: skip
def test_its_variants(options: dict[str, Any]) -> None:
    model = TRM(vocab_size=320, hidden_size=32, num_heads=8, seq_len=64, **options)
    assert model.halt_max_steps == 16
    assert model.config.ffn_activation == "gelu"
    _, outputs = model(model.initial_carry(some_batch(2, 64)), some_batch(2, 64))
    assert outputs["logits"].shape == (2, 64, 320)


@pytest.mark.filterwarnings("ignore:Skipping variable loading for optimizer:UserWarning")
def test_saving_and_loading(tmp_path: Path) -> None:
    model = tiny()
    model.compile(optimizer="adam")
    model.save(tmp_path / "my_trm_model.keras")
    loaded = keras.models.load_model(tmp_path / "my_trm_model.keras")
    assert loaded.hidden_size == model.hidden_size
    batch = some_batch()
    wanted = model(model.initial_carry(batch), batch)[1]["logits"].numpy()
    found = loaded(loaded.initial_carry(batch), batch)[1]["logits"].numpy()
    np.testing.assert_array_equal(found, wanted)


def test_inference_halts_at_the_last_step_only_and_training_by_the_learned_rule() -> None:
    model, batch = tiny(halt_exploration_prob=0.0), some_batch()
    model.inner.q_head.bias.assign([9.0, -9.0])
    carry = model.initial_carry(batch)
    for expected in (False, False, True):
        carry, _ = model(carry, batch, training=False)
        assert carry["halted"].numpy().tolist() == [expected] * 4
    carry, _ = model(carry, batch, training=False)
    assert carry["steps"].numpy().tolist() == [1] * 4
    carry, _ = model(model.initial_carry(batch), batch, training=True)
    assert carry["halted"].numpy().all()


def test_the_rule_without_no_act_continue_compares_the_two_values() -> None:
    model = tiny(halt_exploration_prob=0.0, no_act_continue=False)
    for bias, halts in (([2.0, 3.0], False), ([-2.0, -3.0], True)):
        model.inner.q_head.bias.assign(bias)
        carry, _ = model(model.initial_carry(some_batch()), some_batch(), training=True)
        assert carry["halted"].numpy().all() == carry["halted"].numpy().any() == halts


def test_exploration_keeps_some_rows_going() -> None:
    keras.utils.set_random_seed(0)
    model, batch = tiny(halt_exploration_prob=0.5), some_batch(400)
    model.inner.q_head.bias.assign([9.0, -9.0])
    carry, _ = model(model.initial_carry(batch), batch, training=True)
    assert 0.4 < carry["halted"].numpy().mean() < 0.6


def test_no_gradient_flows_through_the_carry() -> None:
    model, batch = tiny(), some_batch()
    with tf.GradientTape() as tape:
        carry, _ = model(model.initial_carry(batch), batch, training=True)
        total = ops.sum(carry["z_H"]) + ops.sum(carry["z_L"])
    assert all(g is None for g in tape.gradient(total, model.trainable_variables))


def gradients(model: TRM, carry: dict[str, Any], batch: dict[str, Any]) -> list[Any]:
    carry, batch = keras.tree.map_structure(ops.convert_to_tensor, (carry, batch))
    with tf.GradientTape() as tape:
        _, outputs = model(carry, batch, training=True)
        total = ops.sum(ops.square(outputs["logits"])) + ops.sum(outputs["q_halt_logits"])
    found = tape.gradient(total, model.trainable_variables)
    return [ops.convert_to_numpy(ops.convert_to_tensor(g)) for g in found]


def test_only_the_last_h_cycle_carries_gradient() -> None:
    """Two cycles give the gradient of one cycle from the state that the first cycle left."""
    options = {**VARIANTS["paper attention rope"], "h_cycles": 2}
    two, one = random_model(options), random_model({**options, "h_cycles": 1})
    one.set_weights(two.get_weights())
    carry, batch = random_step(two)
    carry["halted"][:] = False
    carry["steps"][:] = 1
    tensors = keras.tree.map_structure(ops.convert_to_tensor, (carry, batch))
    middle, _ = one(*tensors, training=False)
    states = {name: ops.convert_to_numpy(middle[name]) for name in ("z_H", "z_L")}
    wanted = gradients(one, {**carry, **states}, batch)
    found = gradients(two, carry, batch)
    for g, w in zip(found, wanted, strict=True):
        assert np.linalg.norm(w) > 0
        assert np.linalg.norm(g - w) <= 1e-4 * np.linalg.norm(w)
    full = gradients(one, carry, batch)
    moved = [np.linalg.norm(f - w) / np.linalg.norm(w) for f, w in zip(full, wanted, strict=True)]
    assert max(moved) > 0.01
