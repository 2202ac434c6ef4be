"""Which releases of each engine run the exported files, each judged by the ladder of the device.

    python benchmarks/try_engine_versions.py [onnxruntime ai-edge-litert openvino ...] [--all]

Needs a package index. Exports sudoku4 and maze9 in every format, precision and shape of call, and
checks each file against a recording of Keras, with each release in a folder of its own, the
Python of this environment and no other package. The newest patch of each minor release is taken,
or with `--all` every patch. Prints a Markdown row a release: how many files pass, and what is said
of the others.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parents[1]
FIRST = {"onnxruntime": "1.18", "ai-edge-litert": "1.0", "openvino": "2024.4",
         "tflite-runtime": "2.14"}  # fmt: skip
KIND = {"onnxruntime": "onnx", "openvino": "onnx", "ai-edge-litert": "tflite",
        "tflite-runtime": "tflite"}  # fmt: skip
MODELS = ("sudoku4", "maze9")
SHAPES: dict[str, list[dict[str, Any]]] = {
    "onnx": [{"precision": one} for one in ("fp32", "fp16", "int8", "int8-static", "int4")],
    "tflite": [{"precision": one} for one in ("fp32", "fp16", "int8", "int8-static")],
}
for shapes in SHAPES.values():
    shapes += [{"granularity": "loop"}, {"granularity": "block"}, {"recursion": "rolled"}]
    shapes += [{"precision": "int8-static", "integer_io": True}, {"ports": "int32"}]
SHAPES["tflite"] += [{"precision": one, "target": "tflite-runtime"} for one in ("fp32", "fp16")]


def exported(folder: Path) -> dict[str, list[Path]]:
    """The files of each format, and a recording of each model beside them."""
    import trm_export as te

    files: dict[str, list[Path]] = {kind: [] for kind in SHAPES}
    for name in MODELS:
        model = te.load(ROOT / "artifacts" / f"{name}.keras")
        te.record(model, output=folder / f"{name}.npz", count=20, states=4)
        for kind, shapes in SHAPES.items():
            for shape in shapes:
                words = "-".join(str(value) for value in shape.values())
                path = folder / f"{name}-{words}.{kind}"
                try:
                    te.export(model, path, **shape)
                except te.errors.TRMError as error:
                    print(f"{path.name}: {error}", file=sys.stderr)
                    continue
                files[kind].append(path)
    return files


def releases(engine: str, every: bool) -> Iterator[str]:
    """From the oldest that trm-runtime takes to the newest."""
    listed = _pip("index", "versions", engine).stdout
    found = re.search(r"Available versions: (.*)", listed)
    versions = found[1].split(", ") if found else []
    numbers = {one: tuple(map(int, re.findall(r"\d+", one))) for one in versions}
    least = tuple(map(int, FIRST[engine].split(".")))
    newest: dict[tuple[int, ...], str] = {}
    for version, parts in numbers.items():
        if parts >= least:
            newest.setdefault(parts if every else parts[:2], version)
    return reversed(newest.values())


def _pip(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def install(engine: str, version: str, folder: Path) -> str:
    """The version of numpy beside the release: the last before 2 if it allows that."""
    for numpy in ("numpy<2", "numpy"):
        words = ("install", "--quiet", "--target", str(folder), f"{engine}=={version}", numpy)
        made = _pip(*words)
        if made.returncode == 0:
            break
    else:
        raise RuntimeError(made.stderr.strip().splitlines()[-1])
    return next(folder.glob("numpy-*.dist-info")).name.split("-")[1].removesuffix(".dist")


def said(file: Path, golden: Path, packages: Path, engine: str) -> str:
    """Empty where the file passes, or else the verdict or the error."""
    python = getattr(sys, "_base_executable", sys.executable)
    words = [python, "-m", "trm_runtime", "check", str(file), str(golden), "--json", "--isolate"]
    paths = {"PYTHONPATH": os.pathsep.join((str(packages), str(ROOT / "runtimes")))}
    done = subprocess.run(
        [*words, *(["--engine", engine] if engine == "openvino" else [])],
        capture_output=True, text=True, check=False, env={**os.environ, **paths},
    )  # fmt: skip
    if done.returncode == 0:
        return ""
    try:
        document = json.loads(done.stdout)
    except ValueError:
        return f"exit code {done.returncode}: {done.stderr.strip()[-200:]}"
    return str(document["error"]["message"] if "error" in document else document["verdict"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("engines", nargs="*", default=list(FIRST), metavar="ENGINE")
    parser.add_argument("--all", action="store_true", help="every patch of every release")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        files = exported(folder)
        print("| engine | numpy | files that pass | the others |\n|---|---|---|---|", flush=True)
        for engine in given.engines:
            for version in releases(engine, given.all):
                with tempfile.TemporaryDirectory() as packages:
                    try:
                        numpy = install(engine, version, Path(packages))
                    except RuntimeError as error:
                        print(f"| {engine} {version} | | | {error} |", flush=True)
                        continue
                    others = {
                        file.name: said(
                            file, folder / f"{file.name.split('-')[0]}.npz", Path(packages), engine
                        )
                        for file in files[KIND[engine]]
                    }
                failed = "; ".join(f"`{file}`: {text}" for file, text in others.items() if text)
                passed = sum(not text for text in others.values())
                row = f"{engine} {version} | {numpy} | {passed} of {len(others)} | {failed}"
                print(f"| {row.replace(name, '')} |", flush=True)


if __name__ == "__main__":
    main()
