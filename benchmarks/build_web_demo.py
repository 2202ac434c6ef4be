"""The models and puzzles of the demo page: `make web-demo` writes them into build/web-demo.

    python benchmarks/build_web_demo.py build/web-demo [TASK ...]

Every file is exported, and so compared with Keras. `demo.json` lists them, with the alphabets and
examples of the tasks; the page is then put around it by `node runtimes/web/demo/build.mjs`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import trm_export as te
from trm_export.errors import TRMError
from trm_export.step.signature import contract_for
from trm_export.tasks import get_task
from trm_runtime import open_runner, solve
from trm_runtime.open import embedded_contract

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
TASKS = {"sudoku9": "Sudoku 9x9", "maze11": "Maze 11x11", "sudoku4": "Sudoku 4x4"}
ENGINES = {"onnx": {}, "tflite": {"ports": "int32"}}
PRECISIONS = ("fp32", "int8")
TRIED, EVERY = 48, 4  # test puzzles that are solved, and which of them are examples


def main(folder: Path, *names: str) -> None:
    models = folder / "models"
    models.mkdir(parents=True, exist_ok=True)
    document = [task(name, models) for name in names or TASKS]
    (folder / "demo.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def task(name: str, folder: Path) -> dict[str, Any]:
    """A task of the page; exports its files."""
    model = te.load(ARTIFACTS / f"{name}.keras")
    files = [
        export(model, folder / f"{name}-{precision}.{suffix}", precision, **options)
        for suffix, options in ENGINES.items()
        for precision in PRECISIONS
    ]
    return {
        "name": name,
        "title": TASKS[name],
        "files": files,
        "examples": examples(name, folder / f"{name}-fp32.onnx"),
    }


def examples(name: str, path: Path) -> list[str]:
    """Test puzzles as text, solved and unsolved ones, those of many steps first."""
    tokens = get_task(name)
    puzzles = tokens.puzzles("test", None, TRIED)
    found = solve(open_runner(path), puzzles.inputs)
    exact = tokens.check(puzzles.inputs, found.answers, puzzles.solutions).exact
    order = np.lexsort((-found.steps, ~exact))[::EVERY]
    signs = [entry[:1] for entry in tokens.alphabet]
    return ["".join(signs[token] for token in row) for row in puzzles.inputs[order].tolist()]


def export(model: Any, path: Path, precision: str, **options: str) -> dict[str, Any]:
    """What the page knows of a file before it loads it; one of the same model is kept."""
    if not (path.exists() and is_of(model, path)):
        print(path.name)
        te.export(model, path, precision=precision, force=True, **options)
    contract = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
    contract.pop("made_by")
    return {"file": path.name, "bytes": path.stat().st_size, "contract": contract}


def is_of(model: Any, path: Path) -> bool:
    """Whether this version made the file, of this model's weights and configuration."""
    try:
        kept, now = embedded_contract(path).made_by, contract_for(model).made_by
    except TRMError:  # damaged
        return False
    return replace(kept, versions=now.versions) == now


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
