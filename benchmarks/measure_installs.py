"""How much room each install takes: its site-packages in a fresh virtual environment, without pip.

    python benchmarks/measure_installs.py [onnx litert tflite openvino tensorflow host]

Needs a package index, some minutes and some gigabytes for a while; `tflite` needs Python 3.11 or
older. Prints a Markdown row an install: megabytes (10^6 bytes, compiled `.pyc` files included) and
the largest packages.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import venv
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEVICE, HOST = str(ROOT / "runtimes"), str(ROOT)
INSTALLS = {
    "onnx": [f"{DEVICE}[onnx]"],
    "litert": [f"{DEVICE}[litert]"],
    "tflite": [f"{DEVICE}[tflite]"],
    "openvino": [f"{DEVICE}[openvino]"],
    "tensorflow": [f"{DEVICE}[tensorflow]"],
    "host": [f"{DEVICE}[onnx]", HOST],
}
LARGEST = 4  # packages that are named


def installed(requirements: list[str], folder: Path) -> Path:
    """The site-packages of a new environment with these requirements and nothing else."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", *requirements], check=True)
    return next(folder.glob("lib/python*/site-packages"))


def sizes(packages: Path) -> Counter[str]:
    """Bytes by top-level folder; the libraries beside a package (`numpy.libs`) are part of it."""
    found: Counter[str] = Counter()
    for file in packages.rglob("*"):
        if file.is_file() and not file.is_symlink():
            top = file.relative_to(packages).parts[0]
            found[top.removesuffix(".libs")] += file.stat().st_size
    return found


def row(name: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        found = sizes(installed(INSTALLS[name], Path(folder, "env")))
    largest = ", ".join(f"{top} {size / 1e6:.0f}" for top, size in found.most_common(LARGEST))
    return f"| `{name}` | {sum(found.values()) / 1e6:.0f} | {largest} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=list(INSTALLS), metavar="NAME")
    names = parser.parse_args().names
    if unknown := set(names) - set(INSTALLS):
        raise SystemExit(f"{', '.join(sorted(unknown))}: expected some of {', '.join(INSTALLS)}.")
    print(f"Python {sys.version.split()[0]}\n\n| install | MB | largest |\n|---|---|---|")
    for name in names:
        print(row(name), flush=True)


if __name__ == "__main__":
    main()
