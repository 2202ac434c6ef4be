"""The models and puzzles of the demo page: `make web-demo` writes them into build/web-demo.

    python benchmarks/build_web_demo.py build/web-demo

Every file is exported, and so compared with Keras. `demo.json` lists them, with the alphabets and
examples of the tasks; the page is then put around it by `node runtimes/web/demo/build.mjs`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import trm_export as te
from trm_export.tasks import get_task

ARTIFACTS = Path(__file__).parents[1] / "artifacts"
TASKS = {"sudoku9": "Sudoku 9×9", "maze11": "Maze 11×11", "sudoku4": "Sudoku 4×4"}
ENGINES = {"onnx": {}, "tflite": {"ports": "int32"}}
PRECISIONS = ("fp32", "int8")
EXAMPLES = 12


def main(folder: Path) -> None:
    models = folder / "models"
    models.mkdir(parents=True, exist_ok=True)
    document = [task(name, title, models) for name, title in TASKS.items()]
    (folder / "demo.json").write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")


def task(name: str, title: str, folder: Path) -> dict[str, Any]:
    """A task of the page; exports its files."""
    model = te.load(ARTIFACTS / f"{name}.keras")
    files = [
        export(model, folder / f"{name}-{precision}.{suffix}", precision, **options)
        for suffix, options in ENGINES.items()
        for precision in PRECISIONS
    ]
    tokens = get_task(name)
    puzzles = tokens.puzzles("test", None, EXAMPLES).inputs
    signs = [entry[:1] for entry in tokens.alphabet]
    return {
        "name": name,
        "title": title,
        "files": files,
        "examples": ["".join(signs[token] for token in row) for row in puzzles.tolist()],
    }


def export(model: Any, path: Path, precision: str, **options: str) -> dict[str, Any]:
    """What the page knows of a file before it loads it; one that is there is kept."""
    if not path.exists():
        print(path.name)
        te.export(model, path, precision=precision, **options)
    contract = json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))
    contract.pop("made_by")
    return {"file": path.name, "bytes": path.stat().st_size, "contract": contract}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
