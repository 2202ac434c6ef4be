"""Random configurations of both model families, each exported in a random way.

An export must pass its check against Keras, or be refused in a sentence. The check compares names,
shapes and single steps, which untrained weights can pass; then the file must solve random boards.

    python -m tests.fuzz.random_models --count 200 --log build/random_models.jsonl

prints a table of format and precision against what happened, and every failure with its seed. The
same command goes on with a log that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

RESULTS = ("passed", "refused", "false alarm", "long message", "traceback", "crash")
PASSED, REFUSED, ALARM, LONG, OTHER, CRASH = RESULTS
FINE = (PASSED, REFUSED)
MOST_CHARACTERS = 500  # of a refusal
QUICK = (5, 7, 17, 27, 30, 31, 65, 68, 72, 132, 151)  # seeds that `make test` tries
MICRO_SEED, SOURCE_SEED = 8, 3  # seeds for tflite-micro by modulo 11, for C by modulo 13
_UNCALIBRATED = "Calibration failed"  # a model of one token has too few values to calibrate on
_SEEDS_A_PROCESS = 10
_MOST_SECONDS = 900  # of one process
_ENDED = -1  # the exit code of one that was late


@dataclass(frozen=True)
class Drawn:
    """One random model and one way to export it."""

    seed: int
    config: dict[str, Any]  # constructor arguments of a TRM
    options: dict[str, Any]  # of `trm_export.export`, without the path
    saved: bool  # exported from a `.keras` file


@dataclass(frozen=True)
class Outcome:
    """What happened to it."""

    seed: int
    format: str
    precision: str
    granularity: str
    result: str  # one of FINE, or a failure
    text: str = ""


def draw(seed: int) -> Drawn:
    """The model and the options of a seed; about one in eight configurations cannot be built."""
    rng = np.random.default_rng(seed)

    def one_of(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    def whole(least: int, most: int) -> int:
        return int(rng.integers(least, most + 1))

    family, mixer = one_of("seed", "paper"), one_of("attention", "mlp")
    heads, width = whole(1, 4), whole(1, 9)
    hidden = heads * width * 2 if rng.random() < 0.9 else whole(1, 40)
    prefix, layers = whole(0, 3), whole(1, 2)
    table = one_of(0, 0, whole(1, hidden * max(prefix, 1)))
    config = {
        "vocab_size": whole(2, 20), "hidden_size": hidden, "num_heads": heads,
        "expansion": one_of(0.1, 0.5, 1.0, 2.0, 8 / 3, 4.0), "seq_len": whole(1, 25),
        "family": family, "puzzle_emb_len": prefix, "puzzle_emb_ndim": table,
        "num_puzzle_identifiers": whole(1, 6) if table else 1, "l_layers": layers,
        "h_layers": layers if family == "paper" else whole(1, 2),
        "h_cycles": whole(1, 2), "l_cycles": whole(1, 3), "halt_max_steps": whole(1, 6),
        "no_act_continue": one_of(True, True, False),
        "halt_threshold": one_of(0.0, 0.0, float(rng.normal()), 1e9),
        "normalization_position": one_of("pre", "post"),
        "normalization_type": one_of("rms_norm", "layer_norm"),
        "ffn_type": one_of("swiglu", "swiglu", "mlp"),
        "ffn_activation": one_of("gelu", "relu", "silu", "tanh", "elu", "selu", "softplus",
                                 "leaky_relu", "relu6", "mish", "hard_silu", "sigmoid"),
        "mixer": mixer,
        "pos_encodings": one_of("none", "learned", *(["rope"] * 2 if mixer == "attention" else [])),
        "rope_theta": one_of(10000.0, 0.3, 500.0), "dropout_rate": one_of(0.0, 0.1),
    }  # fmt: skip
    if rng.random() < 0.3:
        config["alphabet"] = [chr(0x61 + token) for token in range(config["vocab_size"])]
    if rng.random() < 0.05:
        config["dtype"] = one_of("mixed_bfloat16", "float64", "float16")
    options = {
        "format": one_of("onnx", "tflite", "saved-model"),
        "precision": one_of("fp32", "fp16", "int8", "int8-static"),
        "granularity": one_of("step", "step", "block", "loop"),
        "batch": one_of(None, None, "free", 1, 2, 5),
        "recursion": one_of(None, None, "rolled", "unrolled"),
        "puzzle_table": "external" if table and rng.random() < 0.4 else "internal",
        "integer_io": bool(rng.random() < 0.15),
        "ports": "int32" if seed % 4 == 1 else "bool",
        "keep": one_of((), (), (), "*down", ("lm_head", "*gate_up"), "nowhere"),
    }  # fmt: skip
    if options["format"] == "tflite":
        options["target"] = one_of(None, "litert", "tflite-runtime")
        if seed % 11 == MICRO_SEED:
            options["target"] = "tflite-micro"
    if seed % 13 == SOURCE_SEED:
        options |= {"format": "c", "granularity": "step"}
    if rng.random() < 0.8:
        options |= _supported(config, options)
    return Drawn(seed, config, options, saved=bool(rng.random() < 0.3))


def _supported(config: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
    """Other values of the options that are known to be refused with this model."""
    changed, chosen = dict[str, Any](), {**options}

    def change(name: str, value: Any) -> None:
        changed[name] = chosen[name] = value

    if chosen["format"] == "saved-model":
        change("keep", ())
        if chosen["precision"].startswith("int8"):
            change("precision", "fp32")
    if chosen["format"] == "c":
        change("precision", "int8" if chosen["precision"].startswith("int8") else "fp32")
    if chosen.get("target") == "tflite-micro":
        change("precision", "int8-static" if chosen["precision"] == "int8-static" else "fp32")
        change("granularity", "step" if chosen["granularity"] == "loop" else chosen["granularity"])
        change("batch", 1 if chosen["batch"] == "free" else chosen["batch"])
    if config["family"] == "seed" and chosen["granularity"] == "block":
        change("granularity", "step")
    if config["family"] == "seed" or chosen["granularity"] == "block":
        change("recursion", None)
    if chosen["precision"] == "fp32" or "nowhere" in chosen["keep"]:
        change("keep", ())
    static = chosen["precision"] == "int8-static"
    if not static or chosen["granularity"] == "loop":
        change("integer_io", False)
    if static:
        change("puzzle_table", "internal")
        change("batch", 1 if chosen["batch"] == "free" else chosen["batch"])
    elif chosen["precision"] == "int8" and chosen.get("target") == "tflite-runtime":
        change("target", None)
    return changed


def tried(drawn: Drawn, folder: Path) -> Outcome:
    """Builds, exports and runs it."""
    import keras

    from trm_export.errors import ParityError, TRMError

    keras.utils.clear_session()
    keras.utils.set_random_seed(drawn.seed)
    about = [drawn.options[name] for name in ("format", "precision", "granularity")]
    try:
        return Outcome(drawn.seed, *about, PASSED, _exported(drawn, folder))
    except ParityError as error:
        result = REFUSED if str(error).startswith(_UNCALIBRATED) else ALARM
        return Outcome(drawn.seed, *about, result, str(error))
    except TRMError as error:
        result = REFUSED if len(str(error)) < MOST_CHARACTERS else LONG
        return Outcome(drawn.seed, *about, result, str(error))
    except Exception:
        return Outcome(drawn.seed, *about, OTHER, traceback.format_exc())


def _exported(drawn: Drawn, folder: Path) -> str:
    import trm_export as te
    from trm_export.exporters.probe import probe_puzzles
    from trm_runtime import open_runner, solve

    model: Any = _tame(te.TRM(**drawn.config))
    boards = probe_puzzles(model, 3)
    many = probe_puzzles(model, 64) if drawn.options["precision"] == "int8-static" else None
    if drawn.saved:
        model.save(folder / "model.keras")
        model = folder / "model.keras"
    if drawn.options["format"] == "c":
        options = {name: drawn.options[name] for name in ("precision", "keep")}
        return str(te.export_c(model, folder / "made", **options).verdict)
    suffix = {"onnx": ".onnx", "tflite": ".tflite", "saved-model": ""}[drawn.options["format"]]
    made = te.export(model, folder / f"made{suffix}", puzzles=many, **drawn.options)
    solved = solve(open_runner(made.path), boards.inputs)
    if solved.answers.shape != boards.inputs.shape or solved.steps.max() > made.contract.max_steps:
        raise AssertionError(f"answers {solved.answers.shape}, steps {solved.steps}")
    return str(made.verdict)


def _tame(model: Any) -> Any:
    """The model with half of each matrix: whole ones amplify the rounding of int8 in each pass."""
    for weight in model.inner.weights:
        if len(weight.shape) == 2:
            weight.assign(0.5 * weight)
    return model


def outcomes(seeds: Iterable[int]) -> Iterator[Outcome]:
    """The outcome of each seed, in this process."""
    for seed in seeds:
        with tempfile.TemporaryDirectory() as folder:
            yield tried(draw(seed), Path(folder))


def table(found: Iterable[Outcome]) -> str:
    """Format and precision against results, with sums."""
    counts = Counter((f"{o.format} {o.precision}", o.result) for o in found)
    rows = sorted({row for row, _ in counts})
    lines = ["| export | " + " | ".join(RESULTS) + " |", "|" + " --- |" * (len(RESULTS) + 1)]
    for row in rows:
        lines.append(f"| {row} | " + " | ".join(str(counts[row, r]) for r in RESULTS) + " |")
    sums = [sum(counts[row, r] for row in rows) for r in RESULTS]
    return "\n".join([*lines, "| all | " + " | ".join(map(str, sums)) + " |"])


def _child(first: int, after: int, log: Path) -> None:
    for outcome in outcomes(range(first, after)):
        with log.open("a") as file:
            file.write(json.dumps(asdict(outcome)) + "\n")


def _logged(log: Path) -> list[Outcome]:
    lines = log.read_text().splitlines() if log.exists() else []
    return [Outcome(**json.loads(line)) for line in lines]


def _in_children(seeds: range, log: Path, minutes: float) -> list[Outcome]:
    """Every seed not in the log yet; a process that ends early has crashed at its next seed.

    One that is late goes on in a new process, unless it has not finished a single seed.
    """
    until = time.monotonic() + 60 * minutes
    while left := [seed for seed in seeds if seed not in {o.seed for o in _logged(log)}]:
        if time.monotonic() > until:
            break
        first = left[0]
        after = min(first + _SEEDS_A_PROCESS, seeds.stop)
        line = [sys.executable, "-m", __spec__.name, "--child", f"{first}:{after}", "--log", log]
        try:
            code = subprocess.run(line, timeout=_MOST_SECONDS, stderr=subprocess.DEVNULL).returncode
        except subprocess.TimeoutExpired:
            code = _ENDED
        done = {o.seed for o in _logged(log)}
        stopped = next((seed for seed in range(first, after) if seed not in done), None)
        if stopped is not None and (code != _ENDED or stopped == first):
            drawn = draw(stopped)
            about = [drawn.options[name] for name in ("format", "precision", "granularity")]
            crash = Outcome(stopped, *about, CRASH, f"the process ended with {code}")
            with log.open("a") as file:
                file.write(json.dumps(asdict(crash)) + "\n")
    return [o for o in _logged(log) if o.seed in seeds]


def main() -> int:
    """The command at the top of this module; 1 if anything failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=600.0, help="begin no process later")
    parser.add_argument("--log", type=Path)
    parser.add_argument("--child")
    given = parser.parse_args()
    if given.child:
        _child(*map(int, given.child.split(":")), given.log)
        return 0
    seeds = range(given.first, given.first + given.count)
    with tempfile.TemporaryDirectory() as folder:
        log = given.log or Path(folder) / "log.jsonl"
        log.parent.mkdir(parents=True, exist_ok=True)
        found = _in_children(seeds, log, given.minutes)
    bad = [o for o in found if o.result not in FINE]
    told = [f"\nseed {o.seed}: {o.result}\n{o.text}\n" for o in bad]
    sys.stdout.write("".join([table(found), "\n", *told]))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
