"""How many clean exports the rung `weights` refuses: random models, and trained ones.

    python benchmarks/count_false_alarms.py [--count 200] [--folder FOLDER]

Every second model is one of the shipped, trained checkpoints, the others are random configurations
of both families (tests/fuzz/random_models.py); the format, precision, granularity and other choices
are random for all. Each file is checked on its engine when it is exported; here it is opened again,
with a model that is loaded again, and compared with a new export. Finished rows are kept in
FOLDER/rows.jsonl, so that the same command resumes.
"""

from __future__ import annotations

import argparse
import json
import os
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
REFUSED = "refused"  # by the exporter, in a sentence
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "alarms")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    kept = options.folder / "rows.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    seed = max((row["seed"] for row in rows), default=-1) + 1
    while sum(row["status"] != REFUSED for row in rows) < options.count:
        with tempfile.TemporaryDirectory() as folder:
            row = judged(draw(seed), Path(folder))
        rows.append(row)
        print(row, file=sys.stderr, flush=True)
        with kept.open("a") as file:
            file.write(json.dumps(row) + "\n")
        seed += 1
    show([row for row in rows if row["status"] != REFUSED])


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
    row: Row = {"seed": drawn.seed, "trained": trained, **options}
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
    return {**row, "status": report.status, "words": report.summary, "inexact": report.inexact}


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


if __name__ == "__main__":
    main()
