"""Importing official checkpoints: what is read, where it comes from, and everything refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file, save_file

from tests.importing.golden import GOLDEN, checkpoint
from tests.importing.variants import VARIANTS
from trm_export.errors import CheckpointError, UsageError

Arrays = dict[str, Any]
HEAD, EMBED = "inner.lm_head.weight", "inner.embed_tokens.embedding_weight"
QKV = "inner.L_level.layers.0.self_attn.qkv_proj.weight"
GAPS = {"num_heads": 2, "h_cycles": 2, "l_cycles": 2, "halt_max_steps": 4, "no_act_continue": True}


def do(path: Path, *given: str, **options: Any) -> tuple[Any, Any]:
    from trm_export.importing import import_checkpoint

    return import_checkpoint(path, given=given, **options)


def refusal(path: Path, *given: str) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        do(path, *given)
    assert caught.value.exit_code == 4
    return caught.value


def copy(tmp_path: Path, name: str) -> Path:
    """A folder of its own to spoil; the checkpoint in it."""
    shutil.copytree(GOLDEN / name, tmp_path / name)
    return tmp_path / name / "step_10.safetensors"


def edit(path: Path, change: Callable[[Arrays], None]) -> Path:
    """Change the tensors under their plain names."""
    arrays = {name.partition("model.")[2]: array for name, array in load_file(path).items()}
    change(arrays)
    save_file(arrays, path)
    return path


def configure(path: Path, **arch: Any) -> Path:
    """Change all_config.yaml; None removes a key."""
    file = path.parent / "all_config.yaml"
    config = yaml.safe_load(file.read_text())
    config["arch"] = {k: v for k, v in {**config["arch"], **arch}.items() if v is not None}
    file.write_text(yaml.dump(config))
    return path


def options(**values: Any) -> list[str]:
    return [f"{name}={value}" for name, value in values.items()]


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", VARIANTS)
def test_every_tensor_arrives_and_the_report_says_from_where(name: str) -> None:
    variant, stored = VARIANTS[name], load_file(checkpoint(name))
    model, report = do(checkpoint(name))
    assert model.count_params() == report.parameters == sum(x.size for x in stored.values())
    assert report.tensors == len(stored) == len(model.inner.weights)
    assert report.dtypes == {"bfloat16" if variant.half else "float32": len(stored)}
    assert report.prefixes == (variant.prefix + "model.",)
    assert report.ema is variant.ema
    assert report.forward_dtype == "bfloat16"
    assert report.kind == "safetensors"
    config = model.config
    assert (config.h_cycles, config.l_cycles, config.halt_max_steps) == (2, 2, 4)
    assert config.no_act_continue is variant.arch["no_ACT_continue"]
    assert config.seq_len == variant.sizes["seq_len"]
    if variant.arch["puzzle_emb_ndim"]:
        assert config.num_puzzle_identifiers == variant.sizes["num_puzzle_identifiers"]
    sources = {setting.name: setting.source for setting in report.settings}
    assert sources["h_cycles"] == "all_config.yaml"
    assert sources["vocab_size"] == ("dataset.json" if variant.dataset else "tensors")
    table = np.asarray(model.inner.lm_head.kernel)
    np.testing.assert_array_equal(table, stored[f"{report.prefixes[0]}{HEAD}"].T.astype("float32"))
    assert json.loads(json.dumps(report.to_json()))["weights"] == report.weights


def test_it_says_whether_weights_are_averaged() -> None:
    words = {name: do(checkpoint(name))[1].weights for name in ("rope", "mixer_plain", "learned")}
    assert words["rope"].startswith("averaged (EMA)")
    assert words["mixer_plain"].startswith("raw")
    assert words["learned"].startswith("not known")


def test_a_prefix_of_zeros_is_told_of() -> None:
    (note,) = do(checkpoint("rope_plain"))[1].notes
    assert note.startswith("puzzle_emb_len is 3 without puzzle embeddings")
    assert do(checkpoint("rope"))[1].notes == ()


@pytest.mark.parametrize(
    "prefix", ["", "model.", "_orig_mod.", "model._orig_mod.", "_orig_mod.model."]
)
def test_prefixes(tmp_path: Path, prefix: str) -> None:
    path = edit(copy(tmp_path, "rope"), lambda arrays: None)
    save_file({prefix + name: array for name, array in load_file(path).items()}, path)
    assert do(path)[1].prefixes == (prefix,)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_dtypes_widen_exactly(tmp_path: Path, dtype: str) -> None:
    kind = np.dtype(getattr(ml_dtypes, dtype, dtype))

    def cast(arrays: Arrays) -> None:
        arrays.update({name: array.astype(kind) for name, array in arrays.items()})

    path = edit(copy(tmp_path, "rope"), cast)
    kernel = do(path)[0].inner.L_level.blocks[0].mix.qkv.kernel
    np.testing.assert_array_equal(np.asarray(kernel), load_file(path)[QKV].T.astype("float32"))


def test_shapes_alone_do_where_they_can(tmp_path: Path) -> None:
    path = copy(tmp_path, "mixer")
    (path.parent / "all_config.yaml").unlink()
    gaps = {**GAPS, "puzzle_emb_len": 2}
    gaps.pop("num_heads")
    model, report = do(path, *options(**gaps))
    assert model.config == _without_heads(do(checkpoint("mixer"))[0].config)
    assert report.ema is None
    assert {s.name for s in report.settings if s.source == "--set"} == set(gaps)
    assert "no all_config.yaml" in report.notes[0]
    seq_len = {**gaps, "seq_len": 9}
    seq_len.pop("puzzle_emb_len")
    assert do(path, *options(**seq_len))[0].config.prefix_len == 2


def _without_heads(config: Any) -> Any:
    import dataclasses

    return dataclasses.replace(config, num_heads=1)


def test_a_dataset_elsewhere_and_official_names_of_options(tmp_path: Path) -> None:
    path = configure(copy(tmp_path, "rope"), H_cycles=None)
    (tmp_path / "data").mkdir()
    shutil.move(path.parent / "dataset.json", tmp_path / "data" / "dataset.json")
    assert "seq_len" in str(refusal(path, "H_cycles=3"))
    model, report = do(path, "H_cycles=3", dataset=tmp_path / "data")
    assert (model.config.h_cycles, model.config.seq_len) == (3, 9)
    assert report.dataset_file == str(tmp_path / "data" / "dataset.json")


def test_options_win_over_the_documents() -> None:
    model, report = do(checkpoint("rope"), "halt_max_steps=9", "no_act_continue=false")
    assert (model.config.halt_max_steps, model.config.no_act_continue) == (9, False)
    assert {s.name for s in report.settings if s.source == "--set"} == {
        "halt_max_steps", "no_act_continue",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "given", "reason"),
    [
        ("rope_plain", "num_puzzle_identifiers=7", "the checkpoint has no puzzle table"),
        ("mixer", "pos_encodings=rope", "the token mixer has no rope"),
        ("mixer", "num_heads=4", "the token mixer has no heads"),
        ("learned", "rope_theta=500.0", "the model has no rope"),
    ],
)
def test_a_given_setting_without_effect_is_told(name: str, given: str, reason: str) -> None:
    assert f"--set {given} is not used, because {reason}" in do(checkpoint(name), given)[1].notes
    used = do(checkpoint("rope"), "num_heads=1", "rope_theta=500", "num_puzzle_identifiers=5")[1]
    assert used.notes == ()


def test_sudoku_gets_its_alphabet(tmp_path: Path) -> None:
    path = copy(tmp_path, "rope_plain")
    rng = np.random.default_rng(0)

    def sudoku(arrays: Arrays) -> None:
        arrays[EMBED] = arrays[HEAD] = rng.normal(size=(6, 16)).astype("float32")

    edit(path, sudoku)
    sizes = {"vocab_size": 6, "seq_len": 16, "num_puzzle_identifiers": 1}
    (path.parent / "dataset.json").write_text(json.dumps(sizes))
    assert do(path)[0].config.alphabet is None
    file = path.parent / "all_config.yaml"
    file.write_text(file.read_text().replace("data/tiny", "data/sudoku-4x4"))
    assert do(path)[0].config.alphabet == ("", ".0_", "1", "2", "3", "4")


# --- what is refused ------------------------------------------------------------------------------


def test_all_complaints_come_at_once(tmp_path: Path) -> None:
    def spoil(arrays: Arrays) -> None:
        del arrays["inner.q_head.bias"]
        arrays["inner.H_level.layers.0.mlp.down_proj.weight"] = arrays[HEAD]
        arrays[HEAD] = np.zeros((7, 15), "float32")
        arrays["inner.H_init"] = np.full(16, np.nan, "float32")

    path = configure(edit(copy(tmp_path, "rope"), spoil), num_heads=None, L_cycles="many")
    assert refusal(path).problems == (
        "all_config.yaml: arch.L_cycles: expected an integer, got 'many'",
        "num_heads: not known, and not in the tensors; put the run's all_config.yaml and "
        "dataset.json beside the checkpoint, or give: --set num_heads=...",
        "inner.H_level.layers.0.mlp.down_proj.weight [7, 16]: the network has no such weight",
        "inner.lm_head.weight [7, 15]: expected [7, 16]",
        "inner.q_head.bias: missing, expected [2]",
        "inner.H_init: 16 of 16 values are NaN or infinite",
    )


@pytest.mark.parametrize(
    ("arch", "reason"),
    [
        ({"hidden_size": 32}, "hidden_size: all_config.yaml has 32, but inner.embed_tokens"),
        ({"L_layers": 3}, "l_layers: all_config.yaml has 3, but inner.L_level.layers.* has 1"),
        ({"mlp_t": True}, "mixer: all_config.yaml has mlp, but inner.L_level.layers.*.self_attn"),
        ({"pos_encodings": "learned"}, "inner.embed_pos.embedding_weight: missing"),
        ({"pos_encodings": "alibi"}, "pos_encodings must be one of"),
        ({"puzzle_emb_ndim": 0}, "puzzle_emb_ndim: all_config.yaml has 0, but inner.puzzle_emb"),
        ({"puzzle_emb_ndim": "${.nowhere}"}, "arch.puzzle_emb_ndim: expected an integer"),
        ({"puzzle_emb_len": 1}, "puzzle_emb_ndim 21 does not fit into 1 prefix positions of 16"),
        ({"expansion": 100}, "mlp.down_proj.weight [16, 256]: expected [16, 1280]"),
        ({"expansion": 1e300}, "expansion: all_config.yaml has 1e+300, at most 1024 is"),
        ({"expansion": float("nan")}, "expansion must be a positive number"),
        ({"num_heads": 3}, "hidden_size 16 is not a multiple of num_heads 3"),
        ({"no_ACT_continue": "perhaps"}, "arch.no_ACT_continue: expected true or false"),
        ({"puzzle_emb_len": 10**9}, "puzzle_emb_len: all_config.yaml has 1000000000, at most"),
        ({"rms_norm_eps": 1e-6}, "arch.rms_norm_eps is 1e-06, only 1e-05"),
        ({"name": "recursive_reasoning.hrm@Model"}, "expected recursive_reasoning.trm"),
    ],
    ids=str,
)  # fmt: skip
def test_documents_that_contradict(tmp_path: Path, arch: dict[str, Any], reason: str) -> None:
    assert reason in str(refusal(configure(copy(tmp_path, "rope"), **arch)))


def test_the_norm_of_the_official_code_is_ours(tmp_path: Path) -> None:
    report = do(configure(copy(tmp_path, "rope"), rms_norm_eps="1e-05", frobnicate=3))[1]
    assert report.notes == ("all_config.yaml: unknown and not used: arch.frobnicate",)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.pop(EMBED), f"{EMBED}: missing"),
        (lambda a: a.pop("inner.puzzle_emb.weights"), "inner.puzzle_emb.weights: missing"),
        (lambda a: a.update({"model." + HEAD: a[HEAD]}), f"{HEAD}: in the file more than once"),
        (lambda a: a.update({QKV: a[QKV][:32]}), f"{QKV} [32, 16]: expected [48, 16]"),
        (lambda a: a.update({HEAD: a[HEAD][:, :, None]}), f"{HEAD} [7, 16, 1]: expected [7, 16]"),
        (lambda a: a.update({EMBED: a[EMBED][0]}), f"{EMBED} [16]: expected [7, 16]"),
        (lambda a: a.update({HEAD: a[HEAD].astype("int8")}), f"{HEAD}: dtype I8, expected F32"),
        (lambda a: a.clear(), "inner.q_head.bias: missing, expected [2]"),
    ],
    ids=range(8),
)
def test_tensors_that_do_not_fit(
    tmp_path: Path, change: Callable[[Arrays], None], reason: str
) -> None:
    refused = refusal(edit(copy(tmp_path, "rope"), change))
    assert reason in "\n".join((refused.summary, *refused.problems))


@pytest.mark.parametrize("keep", [0, 7, 100, 0.5, 0.999])
def test_truncated(tmp_path: Path, keep: float) -> None:
    path = copy(tmp_path, "rope")
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data) if 0 < keep < 1 else keep)])
    assert str(refusal(path)).endswith("not a safetensors file, or a damaged one; copy it again.")


BOMB = "a: &a [x, x, x, x]\n" + "".join(  # 4^15 texts
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}]\n"
    for old, new in zip("abcdefghijklmn", "bcdefghijklmno", strict=True)
)


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("all_config.yaml", "arch: [", "not plain YAML"),
        ("all_config.yaml", "a: !!python/object/apply:os.system ['true']", "not plain YAML"),
        ("all_config.yaml", "- 1", "expected keys and values, got a list"),
        ("all_config.yaml", "\x00", "not plain YAML"),
        ("dataset.json", "{", "not valid JSON"),
        ("dataset.json", "[" * 99999, "not valid JSON"),
        ("dataset.json", '{"vocab_size": true, "seq_len": 9}', "vocab_size: expected an integer"),
        ("dataset.json", '{"vocab_size": 8, "seq_len": 9}', "vocab_size: dataset.json has 8"),
        ("dataset.json", " " * (1 << 21), "at most 131,072"),
        ("all_config.yaml", BOMB, "its aliases stand for more than 1,048,576 characters"),
        ("all_config.yaml", f"arch: {{mlp_t: *h}}\n{BOMB}", "not plain YAML"),
        ("all_config.yaml", "a: &a [*a]", "an alias stands for a part of itself"),
        ("all_config.yaml", 'a: !!int ""', "not plain YAML"),
        ("all_config.yaml", "a: !!timestamp z", "not plain YAML"),
        ("all_config.yaml", f"arch: {{L_cycles: 0x{'f' * 9000}}}", "L_cycles: expected an integer"),
    ],
    ids=range(15),
)
def test_bad_documents(tmp_path: Path, name: str, text: str, reason: str) -> None:
    path = copy(tmp_path, "rope")
    (path.parent / name).write_text(text)
    assert reason in str(refusal(path))
    assert len(str(refusal(path))) < 500


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "empty.safetensors"
    save_file({}, path)
    assert f"{EMBED}: missing, so the sizes are not known" in str(refusal(path))
    assert "No such file" in str(refusal(tmp_path / "none.safetensors"))
    folder = copy(tmp_path, "rope").parent
    (folder / "step_20.pt").touch()
    assert "found: step_10.safetensors, step_20.pt" in str(refusal(folder))


def test_wrong_options_are_named_together() -> None:
    with pytest.raises(UsageError) as caught:
        do(checkpoint("rope"), "heads=8", "num_heads", "h_cycles=x", "no_act_continue=2")
    message = str(caught.value)
    assert all(
        text in message for text in ("'heads=8'", "'num_heads'", "h_cycles must be an integer")
    )
    assert "no_act_continue must be true or false, got '2'" in message


# --- the command ----------------------------------------------------------------------------------


def test_the_command_writes_a_model_and_says_what_it_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trm_export.checkpoints.loading import load_model
    from trm_export.commands.support.app import run
    from trm_export.step.saved_weights import weights_sha256

    target = tmp_path / "model.keras"
    assert run(["import", str(checkpoint("rope")), "-o", str(target)]) == 0
    shown = capsys.readouterr().out
    assert "averaged (EMA)" in shown
    assert shown.rstrip().endswith(str(target))
    model, _ = do(checkpoint("rope"))
    assert weights_sha256(load_model(target)) == weights_sha256(model)
    arguments = ["import", str(checkpoint("rope")), "-o", str(target), "--json"]
    assert run([*arguments, "--set", "halt_max_steps=7"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["path"] == str(target)
    assert {"name": "halt_max_steps", "value": 7, "source": "--set"} in document["settings"]
    folder = ["import", str(copy(tmp_path, "rope").parent), "-o", str(target)]
    for digest, code in ((document["sha256"], 0), (64 * "0", 4)):
        assert run([*folder, "--expect-sha256", digest]) == code
    shutil.rmtree(tmp_path / "rope")
    assert [file.name for file in tmp_path.iterdir()] == ["model.keras"]


def test_the_command_leaves_nothing_behind_when_it_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from trm_export.commands.support.app import run

    path = edit(copy(tmp_path, "rope"), lambda arrays: arrays.pop(HEAD))
    target = tmp_path / "out" / "model.keras"
    assert run(["import", str(path), "-o", str(target)]) == 4
    assert f"  - {HEAD}: missing" in capsys.readouterr().err
    assert run(["import", str(path), "-o", str(target), "--set", "x=1"]) == 2
    twice = ["--set", "num_heads=2", "--set", "num_heads=4"]
    assert run(["import", str(path), "-o", str(target), *twice]) == 2
    assert "--set: num_heads is given twice." in capsys.readouterr().err
    assert run(["import", str(checkpoint("rope")), "-o", str(target.with_suffix(".h5"))]) == 2
    assert "must end in .keras" in capsys.readouterr().err
    assert not target.parent.exists() or not list(target.parent.iterdir())
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(b"somebody else's")
    assert run(["import", str(checkpoint("rope")), "-o", str(target)]) == 1
    assert target.read_bytes() == b"somebody else's"
