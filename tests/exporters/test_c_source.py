"""C source of a model: every kind of model, both precisions, warnings and sanitizers as errors."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import trm_export as te
from tests.model.variants import VARIANTS, errors, random_model, random_step
from tests.model.variants import run as stepped
from trm_export.checkpoints.shipped import shipped_checkpoint
from trm_export.commands.support.app import run
from trm_export.errors import ParityError, TargetError, UsageError
from trm_export.exporters.c_source import write
from trm_export.exporters.c_source.arrays import dense_layers
from trm_export.exporters.c_source.compiled import compiled_server, compiler
from trm_export.exporters.c_source.fitting import Choice
from trm_export.exporters.c_source.source import ACTIVATIONS, number
from trm_export.exporters.kept_layers import layers
from trm_export.model import TRM, config
from trm_export.own_files import is_ours
from trm_export.own_folders import SOURCE_BUILT, foreign_files
from trm_export.step.keras_runner import KerasRunner
from trm_export.step.step_model import adapt
from trm_export.tasks import get_task
from trm_runtime import RejectedInputError, open_runner, solve
from trm_runtime.file_kinds import is_source
from trm_runtime.loop import STOP_REASONS
from trm_runtime.parity import record
from trm_runtime.servers.runner import LoopOptions, ServerRunner

pytestmark = pytest.mark.skipif(compiler() is None, reason="there is no C compiler")

WARNINGS = ("-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror")
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g")
ACTIVE = {
    "vocab_size": 7, "hidden_size": 12, "num_heads": 2, "expansion": 2.0, "seq_len": 5,
    "puzzle_emb_len": 1, "ffn_type": "mlp", "l_layers": 1, "h_layers": 1,
}  # fmt: skip


Source = Callable[..., Path]


def generated(
    model: TRM, folder: Path, precision: str = "fp32", keep: tuple[str, ...] = ()
) -> Path:
    """The source of a model; unchecked, because the tests check it more closely."""
    contract = write.contract_for(adapt(model), batch=1, precision=precision)
    folder.mkdir(parents=True)
    target = folder / "code"
    target.touch()
    write._write(model, contract, target, Choice(precision, keep=keep))
    return target


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The source of a model of `VARIANTS` in a precision, generated once."""

    @functools.cache
    def make(kind: str, precision: str = "fp32") -> Path:
        return generated(variant(kind), tmp_path_factory.mktemp("source") / "m", precision)

    return make


def served(folder: Path, *options: str) -> Any:
    """A runner of a folder, compiled with warnings as errors."""
    command = [str(compiler()), *WARNINGS, *options]
    server = compiled_server(folder, folder / "serve", command)
    return ServerRunner(shlex.quote(str(server)))


def one_row(arrays: dict[str, Any], row: int) -> dict[str, Any]:
    return {name: array[row : row + 1] for name, array in arrays.items()}


@functools.cache
def variant(kind: str) -> TRM:
    """The random model of `VARIANTS`, made once; no test changes it."""
    return random_model(VARIANTS[kind])


@functools.cache
def step_of(model: TRM) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """A batch, a carry in mid-flight, and every tensor of their step in Keras.

    Without `KerasRunner`, which traces each model: all of them take a single step here.
    """
    carry, batch = random_step(model)
    new, outputs = stepped(model, carry, batch)
    return batch, carry, new | outputs


def steps(model: TRM, runner: Any) -> Iterator[tuple[str, Any, Any]]:
    """Every tensor of a step in mid-flight, of Keras and of the code, which does row after row."""
    batch, carry, expected = step_of(model)
    rows = range(len(batch["inputs"]))
    found = [runner.step(one_row(batch, row), one_row(carry, row)).tensors for row in rows]
    for name, array in expected.items():
        yield name, array, np.concatenate([tensors[name] for tensors in found])


@pytest.mark.parametrize("kind", VARIANTS)
def test_every_kind_of_model_computes_what_keras_computes(kind: str, source: Source) -> None:
    model = variant(kind)
    with served(source(kind), *SANITIZED) as runner:
        for name, expected, got in steps(model, runner):
            assert got.dtype == expected.dtype
            if got.dtype == np.float32:
                assert errors(got, expected)[0] < 1e-5, name
            else:
                np.testing.assert_array_equal(got, expected, name)


@pytest.mark.parametrize("kind", list(VARIANTS)[::3])
def test_bytes_are_near_it(kind: str, source: Source) -> None:
    model = variant(kind)
    with served(source(kind, "int8"), *SANITIZED) as runner:
        found = {name: (expected, got) for name, expected, got in steps(model, runner)}
    for state in ("z_H", "z_L"):
        assert 1e-5 < errors(*found[state])[0] < 0.04, state


@pytest.mark.parametrize("kind", list(VARIANTS)[1::3])
def test_layers_in_float_are_exact_and_nearer(kind: str, tmp_path: Path) -> None:
    model = variant(kind)
    names = tuple(dense_layers(model))
    assert set(names) <= set(layers(model))
    found = []
    for number_, keep in enumerate(((), names[::2], names[:-1])):
        folder = generated(model, tmp_path / str(number_), "int8", keep)
        with served(folder, *SANITIZED) as runner:
            states = {name: errors(got, want)[0] for name, want, got in steps(model, runner)}
        found.append(states["z_H"])
    assert found[2] < 1e-5 < found[0]
    assert found[1] < 0.04


def test_every_activation_is_there(tmp_path: Path) -> None:
    assert set(ACTIVATIONS) == set(config.ACTIVATIONS)
    for name in ACTIVATIONS:
        model = random_model({**ACTIVE, "ffn_activation": name})
        with served(generated(model, tmp_path / name), "-O1") as runner:
            for tensor, expected, got in steps(model, runner):
                np.testing.assert_allclose(got, expected, 1e-4, 1e-4, err_msg=f"{name} {tensor}")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_nan_stays_nan_and_a_reset_removes_it(precision: str, source: Source) -> None:
    model = variant("paper mlp mixer")
    with served(source("paper mlp mixer", precision), *SANITIZED) as runner:
        batch, carry = (one_row(part, 1) for part in step_of(model)[:2])
        for bad in (np.nan, np.inf):
            carry["z_H"] = np.full_like(carry["z_H"], bad)
            found = runner.step(batch, {**carry, "halted": np.array([False])})
            assert np.isnan(found.outputs["logits"]).any()
            found = runner.step(batch, {**carry, "halted": np.array([True])})
            assert all(np.isfinite(array).all() for array in found.tensors.values())


@pytest.mark.skipif(shutil.which("clang") is None, reason="there is no clang")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_clang_has_no_warning(precision: str, source: Source, tmp_path: Path) -> None:
    for kind in VARIANTS:
        compiled_server(source(kind, precision), tmp_path / "serve", ["clang", *WARNINGS, "-O0"])


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_cpp_compiler_has_no_warning(precision: str, source: Source) -> None:
    for kind in list(VARIANTS)[::2]:
        folder = source(kind, precision)
        command = ["g++", "-x", "c++", *WARNINGS, "-O0", "-c", "-o", os.devnull]
        for name in ("serve.c", "model.c", "weights.c"):
            done = subprocess.run([*command, str(folder / name)], capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[:400]


def test_constants_are_read_as_they_are() -> None:
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32) * np.float32(1e-3)
    values = np.concatenate([values, np.float32([0, -0.0, 1, 1e-45, 3.4e38, 5e20])])
    assert all(np.float32(number(v).removesuffix("f")) == v for v in values)
    assert all("." in number(v) or "e" in number(v) for v in values)


# --- the shipped models, as a user exports them ---------------------------------------------------


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Any]:
    folder = tmp_path_factory.mktemp("c")
    return {
        (name, precision): te.export_c(
            shipped_checkpoint(name), folder / f"{name}-{precision}", precision=precision
        )
        for name in ("sudoku4", "maze9")
        for precision in ("fp32", "int8")
    }


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("name", ["sudoku4", "maze9"])
def test_the_ladder_passes_with_the_codes_own_loop(
    exported: dict[tuple[str, str], Any], name: str, precision: str, tmp_path: Path
) -> None:
    from trm_runtime.parity.golden_file import write_golden

    result = exported[name, precision]
    assert result.verdict.startswith("PASSED")
    assert result.forced_error < 0.05
    golden = record(
        KerasRunner(te.load(shipped_checkpoint(name))), get_task(name).puzzles("test", count=6)
    )
    with (tmp_path / "golden.npz").open("wb") as file:
        write_golden(file, golden)
    server = compiled_server(result.path, tmp_path / "serve", [str(compiler()), "-O3"])
    done = subprocess.run(
        [sys.executable, "-m", "trm_runtime", "check", "--command", str(server),
         str(tmp_path / "golden.npz"), "--json"],
        capture_output=True, text=True,
    )  # fmt: skip
    rungs = {rung["name"]: rung["status"] for rung in json.loads(done.stdout)["rungs"]}
    assert done.returncode == 0, done.stdout
    assert rungs["driver's loop"] == rungs["refusals"] == "ok"


@pytest.mark.parametrize("name", ["sudoku4", "maze9"])
def test_the_code_asks_again_as_python_does(name: str, tmp_path: Path) -> None:
    result = te.export_c(shipped_checkpoint(name), tmp_path / "m", tries=16)
    puzzles = np.asarray(get_task(name).puzzles("test", count=2).inputs)
    assert result.contract.symmetries is not None
    with served(result.path, "-O2") as server:
        assert (server.tries, server.choose) == (16, ("score", "first"))
        for vary, choose, halt in (
            ("symmetry", "score", 50.0), ("noise", "score", 50.0), ("both", "score", 50.0),
            ("both", "first", "max_steps"), ("symmetry", "first", "learned"),
        ):  # fmt: skip
            options = LoopOptions(halt, 2, None, 1, 12, vary, choose, 4_000_000_000, 3.0)
            found = server.solve({"inputs": puzzles}, options)
            wanted = solve(
                server.whole, puzzles, halt=halt, max_steps=2, tries=12, vary=vary, choose=choose,
                seed=4_000_000_000, sigma=3.0,
            )  # fmt: skip
            np.testing.assert_array_equal(found.answers, wanted.answers)
            np.testing.assert_array_equal(found.steps, wanted.steps)
            assert found.stop_reasons == wanted.stop_reasons
            for key, values in wanted.about_tries.items():
                np.testing.assert_array_equal(found.about_tries[key], values, err_msg=key)
            if vary == "symmetry" and halt == 50.0:  # a maze has eight guises
                assert (found.about_tries["tries"] == (8 if name == "maze9" else 12)).all()
        once = server.solve({"inputs": puzzles}, LoopOptions("learned", 2, None, 1))
        alone = solve(server.whole, puzzles, max_steps=2)
        np.testing.assert_array_equal(once.answers, alone.answers)
        with pytest.raises(RejectedInputError, match="choose: expected score or first"):
            server.solve({"inputs": puzzles}, replace(options, choose="vote"))


@pytest.fixture(scope="module")
def with_tries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tries") / "m"
    return te.export_c(shipped_checkpoint("sudoku4"), folder, precision="int8", tries=5).path


def test_tries_are_found_by_the_sanitizers_to_be_clean(with_tries: Path) -> None:
    puzzles = np.asarray(get_task("sudoku4").puzzles("test", count=2).inputs)
    with served(with_tries, *SANITIZED) as server:
        options = LoopOptions(50.0, 2, None, 1, 5, "both", "score", 7, 0.2)
        assert server.solve({"inputs": puzzles}, options).about_tries["tries"].tolist() == [5, 5]


@pytest.mark.parametrize(
    "options",
    [
        ["-x", "c++"],
        ["-D__ARM_FEATURE_DSP", "-D__ARM_BIG_ENDIAN"],  # whose pairs lie the other way round
        ["-D__ARM_FEATURE_DSP", "-I", "{acle}"],
    ],
)
def test_tries_compile_for_other_cores(
    options: list[str], with_tries: Path, tmp_path: Path
) -> None:
    (tmp_path / "arm_acle.h").write_text(
        "#include <stdint.h>\ntypedef int32_t int16x2_t;\n"
        "int16x2_t __sxtb16(int32_t x);\n"
        "int32_t __smlad(int16x2_t x, int16x2_t y, int32_t sum);\n"
    )
    words = [option.format(acle=tmp_path) for option in options]
    command = [str(compiler()), *words, *WARNINGS, "-c", "-o", os.devnull]
    done = subprocess.run([*command, str(with_tries / "model.c")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[:400]


COUNTER = """
#include <stdio.h>
#include <string.h>
#include "model.h"

static bool before_the_last(const trm_solution *so_far, void *left)
{
    (void)so_far;
    return --*(int *)left > 0;
}

int main(int argc, char **argv)
{
    static trm_puzzle puzzle = { { %s } };
    trm_solution solution;
    trm_tries tries;
    const trm_again again = { 4, true, 0.0, TRM_BY_SCORE, 0 };
    for (int i = 1; i < argc; i++) {
        int left = 0;
        for (const char *digit = argv[i]; *digit; digit++)
            left = 10 * left + *digit - '0';
        const trm_options options = { 1000.0f, 3, before_the_last, &left };
        trm_solve_again(&puzzle, &options, &again, &solution, &tries);
        printf("%%d %%d %%d\\n", (int)solution.reason, (int)tries.tries, (int)tries.total_steps);
    }
    return 0;
}
"""


def test_a_cancelled_puzzle_is_not_asked_again(with_tries: Path, tmp_path: Path) -> None:
    puzzle = np.asarray(get_task("sudoku4").puzzles("test", count=1).inputs)
    (tmp_path / "main.c").write_text(COUNTER % ", ".join(map(str, puzzle[0].tolist())))
    sources = [tmp_path / "main.c", with_tries / "model.c", with_tries / "weights.c"]
    command = [str(compiler()), *WARNINGS, "-std=c99", "-I", str(with_tries), *map(str, sources)]
    subprocess.run([*command, "-lm", "-o", str(tmp_path / "solve")], check=True)
    counts = range(1, 14)  # four tries of three steps have 12
    done = subprocess.run(
        [tmp_path / "solve", *map(str, counts)], capture_output=True, text=True, check=True
    )
    found = [tuple(map(int, line.split())) for line in done.stdout.splitlines()]
    with served(with_tries, "-O2") as server:
        wanted = []
        for count in counts:
            left = iter(range(count - 1, -1, -1))
            solution = solve(
                server.whole, puzzle, halt=1000.0, max_steps=3, tries=4,
                on_step=lambda _, left=left: next(left, 0) > 0,
            )  # fmt: skip
            reason = STOP_REASONS.index(solution.stop_reasons[0])
            about = solution.about_tries
            wanted.append((reason, int(about["tries"][0]), int(about["total_steps"][0])))
    assert found == wanted
    assert wanted[2] == (STOP_REASONS.index("cancelled"), 1, 3)


def test_padding_is_refused_as_python_does(with_tries: Path) -> None:
    puzzle = np.asarray(get_task("sudoku4").puzzles("test", count=1).inputs)
    with served(with_tries, "-O2") as server:
        padded = puzzle.copy()
        padded[:, 14:] = 0  # behind the last cell
        server.solve({"inputs": padded}, LoopOptions("learned", 2, None, 1))
        again = server.solve({"inputs": padded}, LoopOptions(1000.0, 2, None, 1, 5))
        wanted = solve(server.whole, padded, halt=1000.0, max_steps=2, tries=5)
        np.testing.assert_array_equal(again.answers, wanted.answers)  # a guise may begin with it
        assert again.stop_reasons == wanted.stop_reasons
    for cells, tries in ((slice(0, 1), 1), (slice(3, 5), 3), (slice(None), 1)):
        padded = puzzle.copy()
        padded[:, cells] = 0
        with (
            ServerRunner(shlex.quote(str(with_tries / "serve"))) as server,
            pytest.raises(RejectedInputError, match="padding"),
        ):
            server.solve({"inputs": padded}, LoopOptions("learned", 2, None, 1, tries))


def test_a_server_refuses_what_is_no_request(with_tries: Path, tmp_path: Path) -> None:
    command = [str(compiler()), *WARNINGS, *SANITIZED]
    server = compiled_server(with_tries, tmp_path / "serve", command)
    puzzle = np.asarray(get_task("sudoku4").puzzles("test", count=1).inputs).tobytes()
    usual = {"request": "solve", "rows": 1, "halt": "learned", "max_steps": 2, "bytes": 64}

    def replies(*requests: bytes) -> list[dict[str, Any]]:
        done = subprocess.run([server], input=b"".join(requests), capture_output=True, timeout=60)
        assert b"ERROR" not in done.stderr + done.stdout, done.stderr[:400]
        found, rest = [], done.stdout
        while rest:
            line, _, rest = rest.partition(b"\n")
            found.append(json.loads(line))
            rest = rest[found[-1]["bytes"] :]
        return found[1:]  # without the first message

    def request(**changes: Any) -> bytes:
        line = json.dumps({**usual, **changes}).encode()
        return line + b"\n" + (puzzle * 2000)[: {**usual, **changes}["bytes"]]

    refused = (
        {"rows": (1 << 62) + 1}, {"rows": (1 << 58) + 1}, {"rows": -1}, {"rows": 2}, {"rows": 1.5},
        {"request": "solver"}, {"request": ["solve"]},
    )  # fmt: skip
    found = replies(*(request(**changes) for changes in refused), request())
    assert [one.get("exit_code") for one in found] == [4] * len(refused) + [None]
    spaced = b' \t{\t"x": {"bytes": 3, "rows": ["}", "\\"", 9]} ,' + request()[1:]
    longest = json.dumps({**usual, "x": ""})
    longest = json.dumps({**usual, "x": "y" * ((1 << 16) - 1 - len(longest))})
    about = {"tries": 2, "vary": "both", "choose": "first", "seed": (1 << 32) - 1, "sigma": 0.1}
    numbered = request(halt=-1e30, max_steps=1, deadline=1e9, **about)
    good = replies(spaced, longest.encode() + b"\n" + puzzle, numbered)
    assert [one.get("reply") for one in good] == ["solve"] * 3
    for wrong in (
        longest.replace("y", "yy", 1).encode(), b"[1]", b"{}", b'{"bytes": 64} x', b'{"bytes": -1}',
        b'{"bytes": 99999999999999999999}', b'{"bytes": 64', b'{"bytes": "64"}', b'"bytes": 64',
        b" " * ((1 << 16) - 1), b"",
    ):  # fmt: skip
        assert [one["exit_code"] for one in replies(wrong + b"\n" + puzzle)] == [4], wrong


def test_without_tries_the_code_has_nothing_for_them(
    exported: dict[tuple[str, str], Any], tmp_path: Path
) -> None:
    plain, again = exported["sudoku4", "fp32"], tmp_path / "again"
    te.export_c(shipped_checkpoint("sudoku4"), again, tries=2)
    for name in ("model.c", "model.h", "serve.c"):
        assert "again(" in (again / name).read_text()
        assert "trm_tries" not in (plain.path / name).read_text()
    sizes = [json.loads((path / "memory.json").read_text()) for path in (plain.path, again)]
    assert 4000 < sizes[1]["flash"] - sizes[0]["flash"] < 6000
    assert 100 < sizes[1]["ram"] - sizes[0]["ram"] < 400


@pytest.mark.parametrize(
    ("tries", "words"),
    [(2, "the puzzles of this model have no other guise"), (0, "1 or more, got 0")],
)
def test_tries_that_cannot_be_are_refused(tries: int, words: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=words):
        te.export_c(random_model(ACTIVE), tmp_path / "m", tries=tries)
    assert not (tmp_path / "m").exists()


def test_what_is_written(exported: dict[tuple[str, str], Any]) -> None:
    result = exported["sudoku4", "int8"]
    assert result.contract.precision == "int8"
    assert result.contract.batch == 1
    assert {path.name for path in result.path.iterdir()} == {
        "Makefile", "memory.json", "model.c", "model.h", "serve.c", "trm_contract.json",
        "weights.c", "weights.h",
    }  # fmt: skip
    assert result.sidecar.read_text() == (result.path / "trm_contract.json").read_text()
    memory = json.loads((result.path / "memory.json").read_text())
    assert memory["constants"] < 50_000
    assert memory["carry"] + memory["scratch"] < 10_000
    assert is_source(result.path)
    assert is_ours(result.path)


def test_inspect_shows_the_memory_and_what_was_changed(
    exported: dict[tuple[str, str], Any], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(exported["maze9", "int8"].path, tmp_path / "m"))
    shutil.copy(exported["maze9", "int8"].sidecar, tmp_path / "m.json")
    found = te.inspect(folder)
    assert found
    assert "undamaged" in found.summary
    assert found.to_json()["memory"]["flash"] < 170_000
    rows = dict(found.tables()[0].rows)
    assert rows["contract beside"] == "same"
    assert rows["work"].startswith("24,969,728 multiply-accumulates a step, 399,515,648 a puzzle")
    with (folder / "model.c").open("a") as file:
        file.write("/* mine */\n")
    (folder / "serve.c").unlink()
    assert te.inspect(folder).problems == ("'model.c' was changed", "'serve.c' is missing")
    (folder / "memory.json").write_text("{}")
    with pytest.raises(te.errors.RejectedInputError, match="does not have the sizes"):
        te.inspect(folder)


@pytest.mark.parametrize(
    ("fit", "precision", "rows"),
    [("flash=1M", "fp32", 2), ("ram=7200", "fp32", 1), ("flash=60k,ram=16k", "int8", 2)],
)
def test_what_fits_is_chosen(fit: str, precision: str, rows: int, tmp_path: Path) -> None:
    result = te.export_c(shipped_checkpoint("sudoku4"), tmp_path / "m", fit=fit)
    assert result.contract.precision == precision
    assert result.verdict.startswith("PASSED")
    assert f"#define ROWS {rows}\n" in (result.path / "model.c").read_text()


def test_room_is_used_for_layers_in_float(
    exported: dict[tuple[str, str], Any], tmp_path: Path
) -> None:
    result = te.export_c(shipped_checkpoint("sudoku4"), tmp_path / "m", fit="flash=100k,ram=16k")
    assert result.kept == result.fit.kept
    assert result.kept
    assert 60 << 10 < result.fit.flash <= 100 << 10
    assert result.verdict.startswith("PASSED on 64 puzzles")
    assert tuple(te.inspect(result.path).to_json()["kept_in_float"]) == result.kept
    again = te.export_c(
        shipped_checkpoint("sudoku4"), tmp_path / "n", precision="int8", keep=result.kept
    )
    assert (again.path / "weights.c").read_text() == (result.path / "weights.c").read_text()
    assert again.forced_error < 0.8 * exported["sudoku4", "int8"].forced_error


def test_what_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    for keep, precision, reason in (
        ("*", "int8", "keep every layer"),
        ("lm_head", "fp32", "only in int8"),
        ("nothing", "int8", "its layers are: H_level"),
    ):
        with pytest.raises(UsageError, match=reason):
            te.export_c(
                shipped_checkpoint("sudoku4"), tmp_path / "m", precision=precision, keep=keep
            )


def test_what_fits_but_fails_a_gate_is_not_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("trm_export.exporters.c_source.arrays.CODES", 3)
    with pytest.raises(ParityError, match=r"was not written.* fp32 needs [\d,]+ bytes of flash"):
        te.export_c(shipped_checkpoint("sudoku4"), tmp_path / "m", fit="flash=60k")
    assert list(tmp_path.iterdir()) == []


def test_what_does_not_fit_is_said_in_bytes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"fp32 needs [\d,]+ bytes of flash \([\d,]+ too many\)"):
        te.export_c(shipped_checkpoint("sudoku4"), tmp_path / "m", fit="flash=20k")
    with pytest.raises(UsageError, match="does not fit: int8 needs") as error:
        te.export_c(shipped_checkpoint("sudoku4"), tmp_path / "m", precision="int8", fit="ram=1k")
    assert "fp32" not in str(error.value)
    for wrong in ("", "flash", "flash=1k,flash=2k", "rom=1k", "flash=-1", "flash=1.5k"):
        with pytest.raises(UsageError, match="expected flash and ram in bytes"):
            te.export_c(shipped_checkpoint("sudoku4"), tmp_path / "m", fit=wrong)
    assert list(tmp_path.iterdir()) == []


def test_twice_the_same_and_only_ours_is_replaced(
    exported: dict[tuple[str, str], Any], tmp_path: Path
) -> None:
    first = exported["sudoku4", "fp32"].path
    again = te.export_c(shipped_checkpoint("sudoku4"), tmp_path / "m").path
    again = te.export_c(shipped_checkpoint("sudoku4"), again).path
    assert {p.name: p.read_bytes() for p in first.iterdir()} == {
        p.name: p.read_bytes() for p in again.iterdir()
    }
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "model.c").write_text("int main(void) { return 0; }\n")
    with pytest.raises(te.errors.TargetError, match="is a directory that trm-export did not make"):
        te.export_c(shipped_checkpoint("sudoku4"), tmp_path / "theirs")


def test_what_a_user_keeps_in_the_folder_is_not_lost(
    exported: dict[tuple[str, str], Any], tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(exported["sudoku4", "fp32"].path, folder)
    for name in SOURCE_BUILT:
        (folder / name).write_bytes(b"built")
    assert foreign_files(folder) == []
    own = {"main.c": "int main", "sub/.notes": "mine", "Makefile": "all: main\n"}
    for name, text in own.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "board").symlink_to(tmp_path)
    assert foreign_files(folder) == ["Makefile", "board", "main.c", "sub/.notes"]
    with pytest.raises(te.errors.OverwriteError, match=r"Makefile, board, main\.c and 1 more;"):
        te.export_c("never opened.keras", folder)
    assert {name: (folder / name).read_text() for name in own} == own
    te.export_c(shipped_checkpoint("sudoku4"), folder, force=True)
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        path.name for path in exported["sudoku4", "fp32"].path.iterdir()
    )


def test_the_makefile_builds_what_does_not_count(
    exported: dict[tuple[str, str], Any], tmp_path: Path
) -> None:
    folder = tmp_path / "m"
    shutil.copytree(exported["sudoku4", "fp32"].path, folder)
    before = sorted(path.name for path in folder.iterdir())
    size = te.inspect(folder).to_json()["size"]
    for goal in ("libtrm.a", "serve"):
        subprocess.run(["make", "-C", str(folder), goal], check=True, capture_output=True)
    built = {path.name for path in folder.iterdir()} - set(before)
    assert sorted(built) == sorted(SOURCE_BUILT)
    assert foreign_files(folder) == []
    assert te.inspect(folder).to_json()["size"] == size


def test_a_wrong_product_is_not_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("trm_export.exporters.c_source.source.NORM_EPSILON", 0.5)
    with pytest.raises(ParityError, match="was not written"):
        te.export_c(shipped_checkpoint("sudoku4"), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("trm_export.exporters.c_source.write.compiler", lambda: None)
    result = te.export_c(shipped_checkpoint("sudoku4"), tmp_path / "m")
    assert result.verdict.startswith("Not checked")
    assert result.path.is_dir()


def test_a_temporary_folder_that_runs_no_programs_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As where /tmp is mounted with noexec."""
    monkeypatch.setattr("os.access", lambda path, mode: not str(path).endswith("serve"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with pytest.raises(TargetError, match=r"runs no programs.* Set TMPDIR to another\."):
        te.export_c(shipped_checkpoint("sudoku4"), tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_code_is_refused(tmp_path: Path) -> None:
    half = TRM(**ACTIVE, dtype="bfloat16")
    with pytest.raises(UsageError, match="computes in bfloat16, but only float32"):
        te.export_c(half, tmp_path / "m")
    with pytest.raises(UsageError, match="precision must be fp32 or int8, got 'fp16'"):
        te.export_c(shipped_checkpoint("sudoku4"), tmp_path / "m", precision="fp16")
    with pytest.raises(UsageError, match=r"drop \.onnx"):
        te.export_c(shipped_checkpoint("sudoku4"), tmp_path / "m.onnx")
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_what_it_wrote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["c", str(shipped_checkpoint("sudoku4")), "--fit", "flash=60k,ram=16k"]
    command += ["-o", str(tmp_path / "m")]
    assert run(command) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [str(tmp_path / "m"), str(tmp_path / "m.json")]
    told = " ".join(said.err.split())
    assert "PASSED on 64 puzzles" in told
    assert "Chosen to fit: int8, tiles of 2 rows; " in told
    assert re.search(r"flash 5\d,\d{3} of 61,440 bytes \(\d,\d{3} left\), RAM", told)
    assert run([*command, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["format"] == "c"
    assert found["contract"]["precision"] == "int8"
    assert found["fit"]["rows"] == 2
    assert found["fit"]["flash"] < found["fit"]["limits"]["flash"] == 60 << 10


def test_the_next_commands_judge_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a folder"
    monkeypatch.setenv("COLUMNS", "1000")
    assert run(["c", str(shipped_checkpoint("sudoku4")), "-o", str(folder)]) == 0
    said = capsys.readouterr().err
    following = next(line for line in said.splitlines() if line.startswith("Next: "))
    record, *check = following.removeprefix("Next: ").split(" && ")
    assert shlex.split(record)[:2] == ["trm-export", "reference"]
    assert run([*shlex.split(record)[1:], "--count", "8"]) == 0
    for line in check:
        words = shlex.split(line)
        words[0] = sys.executable if words[0] == "python" else words[0]
        done = subprocess.run(words, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "PASSED" in done.stdout


def test_an_engine_that_is_given_a_folder_names_the_way_to_check_it(
    exported: dict[tuple[str, str], Any], tmp_path: Path
) -> None:
    folder = exported["sudoku4", "fp32"].path
    build = f"`make -C {folder} serve`"
    check = f"`python -m trm_runtime check --command {folder}/serve golden.npz`"
    for call in (
        lambda: te.compare(shipped_checkpoint("sudoku4"), folder),
        lambda: te.evaluate(folder),
        lambda: open_runner(folder),
    ):
        with pytest.raises(
            te.errors.RejectedInputError, match="C source, which no engine"
        ) as error:
            call()
        assert build in str(error.value)
        assert check in str(error.value)
