"""The mutation score: which rung of parity catches each kind of fault, in every format.

    python benchmarks/measure_mutations.py [--folder FOLDER] [--format NAME ...]

Prints a table for docs/parity.md. Finished rows are kept in FOLDER/rows.jsonl, so that the same
command resumes. About 40 kinds of fault x 10 files take half an hour on two cores.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from tests.parity.model_faults import ATTENTION_ONLY
from tests.parity.mutation import KINDS, NOT_RUN, Subject
from trm_export.checkpoints.shipped import shipped_checkpoint

FILES = [
    (name, precision)
    for name in ("onnx", "tflite", "saved-model")
    for precision in ("fp32", "fp16", "int8", "int8-static")
    if name != "saved-model" or not precision.startswith("int8")
]
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mutations")
    parser.add_argument("--checkpoint", nargs="+", default=["sudoku4", "maze9"])
    formats = dict.fromkeys(name for name, _ in FILES)
    parser.add_argument("--format", nargs="+", choices=list(formats), default=list(formats))
    parser.add_argument("--quick", action="store_true", help="do not run what `weights` catches")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    kept = options.folder / "rows.jsonl"
    rows = [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []
    done = {(row["checkpoint"], row["format"], row["precision"], row["fault"]) for row in rows}
    for checkpoint in options.checkpoint:
        for name, precision in [file for file in FILES if file[0] in options.format]:
            faults = [f for f in KINDS if (checkpoint, name, precision, f) not in done]
            faults = [f for f in faults if checkpoint == "sudoku4" or f in ATTENTION_ONLY]
            if faults:
                model = shipped_checkpoint(checkpoint)
                subject = Subject(model, name, precision, options.folder)
                for row in measured(subject, faults, options.quick):
                    row = {"checkpoint": checkpoint, "format": name, "precision": precision, **row}
                    rows.append(row)
                    with kept.open("a") as file:
                        file.write(json.dumps(row) + "\n")
    show(rows)


def measured(subject: Subject, faults: list[str], quick: bool) -> Iterator[Row]:
    """The rows of one healthy file."""
    clean = subject.judged(subject.healthy)
    if clean.by or clean.changes:
        raise SystemExit(f"{subject.healthy}: a false alarm, {clean.words}")
    for fault in faults:
        path = subject.mutant(fault)
        caught = None if path is None else dataclasses.asdict(subject.judged(path, quick=quick))
        print(f"{subject.healthy.name} {fault}: {caught}", file=sys.stderr, flush=True)
        yield {"fault": fault, "caught": caught}


def show(rows: list[Row]) -> None:
    """The table: a row a fault, a column a file."""
    table: dict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for row in rows:
        if row["caught"] is not None or row["fault"] not in table:
            table[row["fault"]][row["format"], row["precision"]] = cell(row["caught"])
    heads = [f"{name} {precision}" for name, precision in FILES]
    print("| fault | " + " | ".join(heads) + " |")
    print("|---" * (len(heads) + 1) + "|")
    for fault, cells in table.items():
        print(
            "|",
            " | ".join([fault.replace("_", " "), *(cells.get(file, "") for file in FILES)]),
            "|",
        )
    found = [row["caught"] for row in rows if row["caught"] is not None]
    changing = [one for one in found if one["changes"] is not False]
    same = [one for one in found if one["changes"] is False]
    by = [one for one in changing if one["weights"] == "failed"]
    run = [one for one in changing if one["forced"] != NOT_RUN]
    old = [one for one in run if one["forced"]]
    differ = sum(one["weights"] == "failed" for one in same)
    print(f"\n{len(found)} faulty files. {len(changing)} change a value: {len(by)} are caught by")
    print(f"weights. {len(run)} of these were run: {len(old)} are caught by the other rungs alone.")
    print(
        f"{len(same)} change no value: {differ} of them differ from the model, the others do not."
    )


def cell(caught: Row | None) -> str:
    """W: weights; f: forced values too; o: not opened; =: no value changes; a dot: not caught."""
    if caught is None:
        return "-"
    mark = "W" if caught["weights"] == "failed" else "."
    mark += {"": "", NOT_RUN: "", "opening": "o", "forced values": "f"}.get(caught["forced"], "c")
    return mark + ("=" if caught["changes"] is False else "")


if __name__ == "__main__":
    main()
