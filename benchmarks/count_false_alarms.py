"""How many clean exports are refused: random models, and trained ones, on two engines.

    python benchmarks/count_false_alarms.py [--count 200] [--folder FOLDER] [--onnx PYTHON]
        [--tflite PYTHON]

Every second model is one of the shipped, trained checkpoints, the others are random configurations
of both families (tests/fuzz/random_models.py); the format, precision, granularity and other choices
are random for all, but a TFLite file is made for tflite-runtime where that is possible. Each file
is checked on its engine when it is exported; here it is opened again, with a model that is loaded
again, compared with a new export, and recorded (a file golden). PYTHON has numpy and another
engine of a format, and no more: there `python -m trm_runtime check` compares each file with its
recording. Finished rows and files are kept in FOLDER, so that the same command resumes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tests.fuzz.random_models import Drawn, _tame, draw
from trm_export.checkpoints.shipped import shipped_checkpoint

TRAINED = ("sudoku4", "maze9", "sudoku4", "maze11")
SUFFIXES = {"onnx": ".onnx", "tflite": ".tflite", "saved-model": ""}
UNREAD = "C source: its weights are not read back"
REFUSED = "refused"  # by the exporter, in a sentence
ROOT = Path(__file__).parents[1]
PUZZLES = 16  # in a recording
CODES = {0: "passed", 3: "refused by the engine", 4: "refused by the engine", 5: "false alarm"}
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "alarms")
    for name in ("onnx", "tflite"):
        parser.add_argument(f"--{name}", type=Path, metavar="PYTHON")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    kept = options.folder / "rows.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    seed = max((row["seed"] for row in rows), default=-1) + 1
    while sum(row["status"] != REFUSED for row in rows) < options.count:
        folder = options.folder / str(seed)
        folder.mkdir(exist_ok=True)
        row = judged(draw(seed), folder)
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
        with kept.open("a") as file:
            file.write(json.dumps(row) + "\n")
        seed += 1
    made = [row for row in rows if row["status"] != REFUSED]
    show(made)
    for name in ("onnx", "tflite"):
        python = getattr(options, name)
        if python is not None:
            again = [row for row in made if row["format"] == name]
            show_second(name, [elsewhere(row, options.folder, python) for row in again])


def judged(drawn: Drawn, folder: Path) -> Row:
    """One clean export and what the rung says of it."""
    import keras

    import trm_export as te
    from trm_export.errors import TRMError
    from trm_export.explain.weights_rung import weights_report
    from trm_export.exporters.shared import Shared

    keras.utils.clear_session()
    keras.utils.set_random_seed(drawn.seed)
    options, trained = dict(drawn.options), drawn.seed % 2 == 1
    if options["format"] == "tflite":  # int8 of another kind does not run there at a useful speed
        options["target"] = "litert" if options["precision"] == "int8" else "tflite-runtime"
    row: Row = {"seed": drawn.seed, "trained": trained, **options}
    if options["format"] not in SUFFIXES:
        return {**row, "status": REFUSED, "words": UNREAD}
    path = folder / f"made{SUFFIXES[options['format']]}"
    try:
        if trained:
            model = shipped_checkpoint(TRAINED[drawn.seed // 2 % len(TRAINED)])
        else:
            model = folder / "model.keras"
            _tame(te.TRM(**drawn.config)).save(model)
        te.export(model, path, **options)
    except TRMError as error:
        return {**row, "status": REFUSED, "words": str(error)[:200]}
    report = weights_report(Shared(te.load(model)), path)
    row |= {"status": report.status, "words": report.summary, "inexact": report.inexact}
    try:
        te.record(path, count=PUZZLES)
    except TRMError as error:
        return {**row, "unrecorded": str(error)[:200]}
    return row


def elsewhere(row: Row, folder: Path, python: Path) -> Row:
    """What the other engine says of a file and its recording."""
    if "unrecorded" in row:
        return {**row, "second": "not recorded", "says": row["unrecorded"]}
    path = folder / str(row["seed"]) / f"made{SUFFIXES[row['format']]}"
    line = [python, "-m", "trm_runtime", "check", path, f"{path}.golden.npz", "--json"]
    place = {**os.environ, "PYTHONPATH": str(ROOT / "runtimes")}
    done = subprocess.run(line, env=place, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout or "{}")
    limit = found.get("engine_hop", {}).get("gates", {}).get("relative_l2")
    says = found.get("verdict") or found.get("error") or done.stderr[-500:]
    second = CODES.get(done.returncode, f"ended with {done.returncode}")
    row = {**row, "second": second, "says": says}
    row |= {"forced": found.get("forced_error"), "limit": limit}
    print(row, file=sys.stderr, flush=True)
    return row


def show(rows: list[Row]) -> None:
    """The counts by format and precision."""
    counts = Counter((f"{row['format']} {row['precision']}", row["status"]) for row in rows)
    statuses = sorted({status for _, status in counts})
    print("| clean exports | " + " | ".join(statuses) + " |\n" + "|---" * (len(statuses) + 1) + "|")
    for name in sorted({name for name, _ in counts}):
        print("|", " | ".join([name, *(str(counts[name, s]) for s in statuses)]), "|")
    wrong = [row for row in rows if row["status"] != "ok"]
    print(f"\n{len(rows)} clean exports, {sum(row['trained'] for row in rows)} of trained models: "
          f"{len(wrong)} false alarms.")  # fmt: skip
    for row in wrong:
        print(row)


def show_second(name: str, rows: list[Row]) -> None:
    """The counts of one format by precision, and all that did not pass."""
    results = ["passed", *sorted({row["second"] for row in rows} - {"passed"})]
    print(f"\n| {name} on another engine | " + " | ".join(results) + " |")
    print("|---" * (len(results) + 1) + "|")
    for precision in sorted({row["precision"] for row in rows}):
        found = Counter(row["second"] for row in rows if row["precision"] == precision)
        print("|", " | ".join([precision, *(str(found[one]) for one in results)]), "|")
    for row in rows:
        if row["second"] != "passed":
            about = [row[key] for key in ("seed", "precision", "granularity", "second", "says")]
            print(*about, row.get("forced"), row.get("limit"), sep="; ")


if __name__ == "__main__":
    main()
