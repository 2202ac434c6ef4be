"""Untrusted `.keras` files: sound ones load exactly, every damaged or foreign one is refused."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from tests.keras_zoo import members, pack, replace, with_config, with_weights
from trm_export.checkpoints.keras_file import CONFIG, LIMITS, METADATA, WEIGHTS, inspect_keras
from trm_export.errors import CheckpointError, RejectedInputError, UsageError

LM_HEAD = "inner/lm_head/vars/0"
H_INIT = "inner/vars/0"


@pytest.fixture
def load() -> Callable[[Path], Any]:
    from trm_export.checkpoints.loading import load_model

    return load_model


def refusal(path: Path) -> CheckpointError:
    """How the file is refused without Keras."""
    with pytest.raises(CheckpointError) as caught:
        inspect_keras(path)
    assert caught.value.exit_code == 4
    assert str(path) in str(caught.value)
    return caught.value


# --- sound files ----------------------------------------------------------------------------------


def test_a_sound_file_is_described(tiny_keras: Path) -> None:
    info = inspect_keras(tiny_keras)
    assert info.config["vocab_size"] == 6
    assert info.dtype_policy == "float32"
    assert info.size == tiny_keras.stat().st_size
    assert next(t for t in info.tensors if t.path == LM_HEAD).shape == (16, 6)
    assert info.parameters == sum(int(np.prod(t.shape)) for t in info.tensors)
    assert json.loads(json.dumps(info.to_json()))["kind"] == "keras"


def test_a_sound_file_loads_exactly(tiny_keras: Path, load: Callable[[Path], Any]) -> None:
    from trm_export.step.saved_weights import weights_sha256

    model = load(tiny_keras)
    with zipfile.ZipFile(tiny_keras) as archive:
        file = h5py.File(io.BytesIO(archive.read(WEIGHTS)))
        np.testing.assert_array_equal(model.inner.lm_head.kernel.numpy(), file[LM_HEAD][()])
    assert weights_sha256(model) == inspect_keras(tiny_keras).weights_sha256


def test_the_digest_is_of_the_weights_alone(tiny_keras: Path, load: Callable[[Path], Any]) -> None:
    from trm_export.step.saved_weights import weights_sha256

    first, second = load(tiny_keras), load(tiny_keras)
    second.compile(optimizer="adam")
    second.optimizer.build(second.trainable_variables)
    assert weights_sha256(first) == weights_sha256(second)
    second.inner.lm_head.kernel.assign_add(np.full((16, 6), 1e-6, "float32"))
    assert weights_sha256(first) != weights_sha256(second)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16", "float16"])
def test_precisions_survive(tmp_path: Path, load: Callable[[Path], Any], policy: str) -> None:
    from trm_export import TRM

    path = tmp_path / "model.keras"
    TRM(6, 16, 2, 1.0, 16, dtype=policy).save(path)
    assert inspect_keras(path).dtype_policy == policy
    assert load(path).dtype_policy.name == policy


def test_a_compiled_model_loads_without_its_optimizer(
    tmp_path: Path, tiny_keras: Path, load: Callable[[Path], Any]
) -> None:
    model = load(tiny_keras)
    model.compile(optimizer="adam")
    model.optimizer.build(model.trainable_variables)
    path = tmp_path / "compiled.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        assert "optimizer" in h5py.File(io.BytesIO(archive.read(WEIGHTS)))
    assert not load(path).compiled
    assert inspect_keras(path).weights_sha256 == inspect_keras(tiny_keras).weights_sha256


@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends_load_the_same(tiny_keras: Path, backend: str) -> None:
    pytest.importorskip(backend)
    code = (
        "import sys; from trm_export.checkpoints.loading import load_model;"
        "from trm_export.step.saved_weights import weights_sha256;"
        "print(weights_sha256(load_model(sys.argv[1])))"
    )
    environment = {**os.environ, "KERAS_BACKEND": backend}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tiny_keras)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == inspect_keras(tiny_keras).weights_sha256


# --- the zip --------------------------------------------------------------------------------------


def test_missing(tmp_path: Path) -> None:
    assert "No such file" in str(refusal(tmp_path / "none.keras"))
    assert "a folder; name a .keras file in it" in str(refusal(tmp_path))


@pytest.mark.parametrize("keep", [0, 10, 0.3, 0.9, 0.999])
def test_truncated(tmp_path: Path, tiny_keras: Path, keep: float) -> None:
    data = tiny_keras.read_bytes()
    path = tmp_path / "cut.keras"
    path.write_bytes(data[: int(keep * len(data) if 0 < keep < 1 else keep)])
    assert "not a .keras file, or a damaged one" in str(refusal(path))


def test_flipped_bits_are_noticed_everywhere(tmp_path: Path, tiny_keras: Path) -> None:
    data = tiny_keras.read_bytes()
    sound = inspect_keras(tiny_keras)
    path = tmp_path / "flipped.keras"
    refused = 0
    for position in np.linspace(0, len(data) - 1, 60).astype(int):
        path.write_bytes(data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :])
        try:
            info = inspect_keras(path)
        except CheckpointError:
            refused += 1
        else:  # a byte of the zip that carries no meaning, a time stamp for one
            assert (info.config, info.weights_sha256) == (sound.config, sound.weights_sha256)
    assert refused > 50


def test_members_are_exactly_three(tmp_path: Path, tiny_keras: Path) -> None:
    contents = members(tiny_keras)
    extra = {**contents, "assets/../../evil.sh": b"", "assets/vocabulary.txt": b""}
    error = refusal(pack(tmp_path / "extra.keras", extra))
    assert len(error.problems) == 2
    assert "evil.sh" in str(error)
    for name in LIMITS:
        few = {key: value for key, value in contents.items() if key != name}
        assert refusal(pack(tmp_path / "few.keras", few)).problems == (f"{name}: missing",)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")  # zipfile, about our own zoo
def test_members_come_once(tmp_path: Path, tiny_keras: Path) -> None:
    path = pack(tmp_path / "twice.keras", members(tiny_keras))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(CONFIG, b"{}")
    assert "config.json: more than once" in str(refusal(path))


def test_zip_bombs(tmp_path: Path, tiny_keras: Path) -> None:
    contents = {**members(tiny_keras), WEIGHTS: bytes(1 << 24)}
    path = pack(tmp_path / "bomb.keras", contents, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 1 << 17
    assert "zip bomb" in str(refusal(path))
    contents = {**members(tiny_keras), METADATA: b" " * (LIMITS[METADATA] + 1)}
    assert "65,537 bytes, at most 65,536" in str(refusal(pack(tmp_path / "large.keras", contents)))


# --- the configuration ----------------------------------------------------------------------------


def lambda_layer(config: dict[str, Any]) -> None:
    config.update(module="keras.layers", class_name="Lambda", registered_name=None)


def nested_lambda(config: dict[str, Any]) -> None:
    body = {"class_name": "__lambda__", "config": {"value": "4wE="}}
    config["config"]["ffn_activation"] = body


def unknown_class(config: dict[str, Any]) -> None:
    config.update(module="evil", class_name="TRM", registered_name="evil>TRM")


def foreign_policy(config: dict[str, Any]) -> None:
    config["config"]["dtype"].update(module="evil", class_name="Policy", registered_name="x>y")


def no_object(config: dict[str, Any]) -> None:
    config["config"] = ["not", "an", "object"]


@pytest.mark.parametrize(
    ("edit", "named"),
    [
        (lambda_layer, "'Lambda'"),
        (nested_lambda, "config.ffn_activation names the class '__lambda__'"),
        (unknown_class, "'evil>TRM'"),
        (foreign_policy, "'x>y'"),
        (no_object, "expected 'trm_export>TRM'"),
    ],
)
def test_foreign_classes(
    tmp_path: Path, tiny_keras: Path, edit: Callable[[dict[str, Any]], None], named: str
) -> None:
    assert named in str(refusal(with_config(tiny_keras, tmp_path / "foreign.keras", edit)))


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"\xff\xfe", b'{"a": 1, "a": 2}', b"[" * 99999])
@pytest.mark.parametrize("name", [CONFIG, METADATA])
def test_bad_json(tmp_path: Path, tiny_keras: Path, name: str, text: bytes) -> None:
    path = pack(tmp_path / "bad.keras", {**members(tiny_keras), name: text})
    assert name in str(refusal(path))


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden_size": 1 << 20},
        {"hidden_size": 17},
        {"vocab_size": 1 << 30},
        {"vocab_size": "6"},
        {"expansion": 1e12},
        {"l_layers": 10_000, "h_layers": 10_000},
        {"seq_len": 10**9},
        {"h_cycles": 10**6},
        {"h_cycles": 30, "l_cycles": 30},
        {"halt_max_steps": 10**9},
        {"seq_len": 1 << 17},
        {"halt_threshold": 10**400},
        {"expansion": 1e308},
        {"rope_theta": 1e300},
        {"name": "\ud800"},
        {"no_such_option": 1},
        {"name": "a/b"},
        {"dtype": "float33"},
        {"dtype": {"class_name": "DTypePolicy", "module": "keras", "registered_name": None}},
    ],
    ids=str,
)
def test_configurations_that_cannot_be_built(
    tmp_path: Path, tiny_keras: Path, load: Callable[[Path], Any], changes: dict[str, Any]
) -> None:
    path = with_config(tiny_keras, tmp_path / "x.keras", lambda c: c["config"].update(changes))
    with pytest.raises(CheckpointError, match=r"x\.keras") as caught:
        load(path)
    assert len(str(caught.value)) < 500
    named = next(iter(changes))
    assert named in str(caught.value) or named in ("hidden_size", "name", "dtype")


# --- the weights ----------------------------------------------------------------------------------


def test_not_hdf5(tmp_path: Path, tiny_keras: Path) -> None:
    path = pack(tmp_path / "x.keras", {**members(tiny_keras), WEIGHTS: b"not HDF5"})
    assert "not an HDF5 file" in str(refusal(path))


def hard_links(file: h5py.File) -> None:
    """2^60 paths to one group."""
    group = file.create_group("deep")
    for _ in range(60):
        group["b"], group = group.create_group("a"), group["a"]


def many_names(file: h5py.File) -> None:
    """More bytes than the file has, of one dataset."""
    for number in range(3000):
        file[f"more/{number}"] = file[LM_HEAD]


@pytest.mark.parametrize("edit", [hard_links, many_names])
def test_an_object_of_several_names_is_visited_once(
    tmp_path: Path, tiny_keras: Path, edit: Callable[[h5py.File], None]
) -> None:
    path = with_weights(tiny_keras, tmp_path / "x.keras", edit)
    assert "a second link to the same object" in str(refusal(path))
    assert len(str(refusal(path))) < 500


def test_a_compressed_member_that_is_damaged(tmp_path: Path, tiny_keras: Path) -> None:
    path = pack(tmp_path / "x.keras", members(tiny_keras), zipfile.ZIP_DEFLATED)
    assert inspect_keras(path).parameters == inspect_keras(tiny_keras).parameters
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo(CONFIG).header_offset + 30 + len(CONFIG)
    data = bytearray(path.read_bytes())
    data[start] ^= 0xFF
    path.write_bytes(data)
    assert "not a .keras file, or a damaged one" in str(refusal(path))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_of_another_compression(tmp_path: Path, tiny_keras: Path, method: int) -> None:
    path = pack(tmp_path / "x.keras", members(tiny_keras), method)
    assert "expected stored or deflated" in str(refusal(path))


def test_a_file_that_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.keras")
    with pytest.raises(RejectedInputError, match="expected a regular file, got a FIFO"):
        inspect_keras(tmp_path / "x.keras")


def external_link(file: h5py.File) -> None:
    del file[LM_HEAD]
    file[LM_HEAD] = h5py.ExternalLink("/etc/passwd", "/")


def soft_link(file: h5py.File) -> None:
    del file[LM_HEAD]
    file[LM_HEAD] = h5py.SoftLink("/" + H_INIT)


def external_storage(file: h5py.File) -> None:
    del file[LM_HEAD]
    file.create_dataset(LM_HEAD, (16, 6), "float32", external=[("/etc/passwd", 0, 384)])


def virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((16, 6), "float32")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", (16, 6))
    del file[LM_HEAD]
    file.create_virtual_dataset(LM_HEAD, layout)


def compressed_bomb(file: h5py.File) -> None:
    replace(file, LM_HEAD, np.zeros((1000, 1000), "float32"), compression="gzip")


def declared_only(file: h5py.File) -> None:
    del file[LM_HEAD]
    file.create_dataset(LM_HEAD, (1 << 20, 1 << 20), "float32")


def text_weights(file: h5py.File) -> None:
    replace(file, LM_HEAD, np.array([b"pickle"] * 6, dtype="S6"))


def named_type(file: h5py.File) -> None:
    file["inner/type"] = np.dtype("float32")


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (external_link, "a link, not a dataset"),
        (soft_link, "a link, not a dataset"),
        (external_storage, "its data are in other files"),
        (virtual, "its data are in other files"),
        (compressed_bomb, "chunked or compressed"),
        (declared_only, "does not contain them"),
        (text_weights, "not numeric"),
        (named_type, "neither a group nor a dataset"),
    ],
)
def test_foreign_hdf5(
    tmp_path: Path, tiny_keras: Path, edit: Callable[[h5py.File], None], reason: str
) -> None:
    error = refusal(with_weights(tiny_keras, tmp_path / "foreign.keras", edit))
    assert len(error.problems) == 1
    assert reason in error.problems[0]


def test_values_that_are_not_finite(tmp_path: Path, tiny_keras: Path) -> None:
    def spoil(file: h5py.File) -> None:
        file[LM_HEAD][0, 0] = np.nan
        file[H_INIT][:2] = np.inf

    error = refusal(with_weights(tiny_keras, tmp_path / "spoilt.keras", spoil))
    assert error.summary.endswith(": weights contain NaN or Inf; train or save the model again:")
    assert len(error.problems) == 2
    assert f"{LM_HEAD}: 1 of 96 values are NaN or infinite" in error.problems


def test_every_difference_is_listed(
    tmp_path: Path, tiny_keras: Path, load: Callable[[Path], Any]
) -> None:
    def differ(file: h5py.File) -> None:
        del file["inner/q_head/vars/1"]
        file["inner/uninvited"] = np.zeros(3, "float32")
        replace(file, LM_HEAD, np.zeros((16, 7), "float32"))
        replace(file, H_INIT, file[H_INIT][()].astype("float64"))

    with pytest.raises(CheckpointError) as caught:
        load(with_weights(tiny_keras, tmp_path / "differs.keras", differ))
    assert caught.value.problems == (
        "inner/lm_head/vars/0 float32 [16, 7]: expected float32 [16, 6]",
        "inner/q_head/vars/1 float32 [2]: missing from the file, so it would keep random values",
        "inner/uninvited float32 [3]: the model has no such weight",
        "inner/vars/0 float64 [16]: expected float32 [16]",
    )


def test_a_model_that_keras_quantized_is_told_in_a_sentence(tmp_path: Path) -> None:
    from trm_export.checkpoints.loading import load_model
    from trm_export.exporters.c_source.write import refusals
    from trm_export.exporters.export import format_named, plan
    from trm_export.exporters.probe import probe_puzzles
    from trm_export.model import TRM
    from trm_export.step.step_model import adapt

    model = TRM(6, 16, 2, 1.0, 16)
    puzzles = probe_puzzles(model, 2)
    model.inner.lm_head.quantize("int8")
    with pytest.raises(UsageError, match=r"^The model is quantized by Keras .*the float model"):
        plan(model, puzzles, format_named("onnx"))
    assert "quantized by Keras" in next(iter(refusals(adapt(model), "int8")))
    model.save(tmp_path / "m.keras")
    with pytest.raises(CheckpointError, match=r"quantized by Keras .*--precision int8") as caught:
        load_model(tmp_path / "m.keras")
    assert not caught.value.problems


def test_a_missing_container_is_no_mere_warning(
    tmp_path: Path, tiny_keras: Path, load: Callable[[Path], Any]
) -> None:
    def drop(file: h5py.File) -> None:
        del file["inner/H_level"]

    with pytest.raises(CheckpointError) as caught:
        load(with_weights(tiny_keras, tmp_path / "dropped.keras", drop))
    assert len(caught.value.problems) >= 8
    assert all(
        problem.endswith("missing from the file, so it would keep random values")
        for problem in caught.value.problems
    )


def test_weights_that_keras_forgets_to_load_are_noticed(
    tiny_keras: Path, load: Callable[[Path], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from trm_export.checkpoints import loading

    monkeypatch.setattr(loading, "load_saved", lambda model, data: None)
    with pytest.raises(CheckpointError, match="differ from those in the file"):
        load(tiny_keras)


def test_a_small_file_cannot_ask_for_a_huge_model(
    tmp_path: Path, tiny_keras: Path, load: Callable[[Path], Any]
) -> None:
    path = with_config(
        tiny_keras, tmp_path / "x.keras", lambda c: c["config"].update(vocab_size=1 << 20)
    )
    with pytest.raises(CheckpointError, match=r"needs 33,\d+,\d+ weights, .* in the file"):
        load(path)


def test_a_refused_giant_is_forgotten(
    tmp_path: Path, tiny_keras: Path, load: Callable[[Path], Any]
) -> None:
    """Keras would allocate it when any other scope ends."""
    import keras

    giant = with_config(
        tiny_keras, tmp_path / "x.keras", lambda c: c["config"].update(hidden_size=1 << 20)
    )
    with pytest.raises(CheckpointError):
        load(giant)
    with keras.StatelessScope():
        pass
