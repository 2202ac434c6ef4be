"""`python -m trm_runtime doctor`: the installed engines, what they open, and the machine.

Each installed engine opens and runs a tiny file, in a process of its own: it may crash, print, or
take gigabytes. Standard library only.
"""

from __future__ import annotations

import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

from trm_runtime import __version__, file_kinds
from trm_runtime.cores import available_cores
from trm_runtime.extras import install_line
from trm_runtime.file_kinds import KINDS, FileKind, installed_version
from trm_runtime.message_text import counted

FEATURES = (
    "sse4_1", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_int8",
    "amx_bf16", "neon", "asimd", "asimddp", "i8mm", "bf16", "sve", "fphp", "asimdhp",
)  # fmt: skip
"""CPU features that speed up a step, by their Linux names; `asimddp` are NEON's dot products."""

_SECONDS = 120  # that an engine may take to open a tiny file; TensorFlow is slow to load
_SAID = "problem: "
_TRIAL = f"""
import sys
from trm_runtime.extras import install_line
from trm_runtime.file_kinds import KINDS
from trm_runtime.lean_import import own_process
own_process()
try:
    KINDS[sys.argv[1]].engines[int(sys.argv[2])].try_out()
except Exception as error:
    print({_SAID!r} + (str(error) or repr(error)).splitlines()[0])
    sys.exit(1)
"""

Tell = Callable[[str], object]

_MACOS = {"neon": "hw.optional.neon", "asimddp": "hw.optional.arm.FEAT_DotProd"}


def _silent(text: str) -> None:
    pass


@dataclass(frozen=True)
class Engine:
    """One engine that may be installed."""

    name: str  # its distribution
    version: str | None  # None: not installed
    opens: str  # a kind of file
    problem: str | None = None  # why it does not open one; None: it does, or was not tried
    used_instead: str | None = None  # the one that opens this kind, where it is not this one


@dataclass(frozen=True)
class Report:
    """The findings of `doctor`."""

    trm_runtime: str  # version
    python: str  # implementation and version
    numpy: str | None
    platform: str  # operating system and machine
    cpu: str
    cpu_features: tuple[str, ...]  # those of FEATURES that the machine reports
    cores: int  # that this process may use
    engines: tuple[Engine, ...]
    missing: tuple[str, ...]  # kinds of file without an engine, each with its install command

    @property
    def broken(self) -> bool:
        """Whether an installed engine does not work."""
        return any(engine.version and engine.problem for engine in self.engines)


def examine(*, tried: bool = False, tell: Tell = _silent) -> Report:
    """Examine this machine; changes nothing.

    `tried`: let every installed engine open a file. `tell` is called with what is being done.
    """
    engines = tuple(
        engine
        for kind in KINDS.values()
        for row in kind.engines
        for engine in _engines(kind, row, tried, tell)
    )
    opened = {engine.opens for engine in engines if engine.version and not engine.problem}
    return Report(
        trm_runtime=__version__,
        python=f"{platform.python_implementation()} {platform.python_version()}",
        numpy=installed_version("numpy"),
        platform=f"{platform.system()} {platform.machine()}",
        cpu=cpu_model(),
        cpu_features=_cpu_features(),
        cores=available_cores(),
        engines=engines,
        missing=tuple(
            f"{kind.label}: {install_line(kind.engines[0].extra)}"
            for kind in KINDS.values()
            if kind.label not in opened
        ),
    )


def _engines(kind: FileKind, row: file_kinds.Engine, tried: bool, tell: Tell) -> Iterator[Engine]:
    """The distributions of an engine; the first that is installed is the one that is used."""
    used: str | None = None
    for name in row.distributions:
        version = installed_version(name)
        index, trial = kind.engines.index(row), tried and version is not None and used is None
        if trial:
            tell(f"Trying {name} ...")
        problem = try_out(kind.name, index) if trial else None
        yield Engine(name, version, kind.label, problem, used if version else None)
        used = used or (name if version else None)


def try_out(kind: str, index: int) -> str | None:
    """Opens a tiny file with an engine of a kind, in a process of its own; the problem, if any."""
    command = [sys.executable, "-c", _TRIAL, kind, str(index)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
    except subprocess.TimeoutExpired:
        return f"opens nothing within {_SECONDS} s"
    if done.returncode == 0:
        return None
    said = [line for line in done.stdout.splitlines() if line.startswith(_SAID)]
    return said[-1][len(_SAID) :] if said else f"its process ended with {done.returncode}"


# --- the processor -------------------------------------------------------------------------------


def cpu_model() -> str:
    """The machine's name for it; on a Raspberry Pi that is in the device tree."""
    match = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    if match:
        return match[1].strip()
    board = _text(Path("/proc/device-tree/model")).strip("\0\n ")
    return board or _sysctl("machdep.cpu.brand_string") or platform.processor() or "unknown"


def _cpu_features() -> tuple[str, ...]:
    line = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", _cpuinfo(), re.MULTILINE)
    known = set(line[1].split()) if line else set()
    known.update(name for name, key in _MACOS.items() if _sysctl(key) == "1")
    return tuple(name for name in FEATURES if name in known)


def _cpuinfo() -> str:
    return _text(Path("/proc/cpuinfo"))


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _sysctl(name: str) -> str:
    """The value on macOS; empty on other systems."""
    if platform.system() != "Darwin":
        return ""
    command = ["/usr/sbin/sysctl", "-n", name]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


# --- as text -------------------------------------------------------------------------------------


def report_text(report: Report) -> str:
    """The report as text, a line a fact."""
    lines = [
        ("trm-runtime", report.trm_runtime),
        ("python", report.python),
        ("numpy", report.numpy or "not installed"),
        ("machine", f"{report.platform}, {report.cpu}"),
        ("threads", f"{counted(report.cores, 'core')} available to this process"),
        ("features", " ".join(report.cpu_features) or "unknown"),
    ]
    installed = [engine for engine in report.engines if engine.version]
    lines += [(engine.name, f"{engine.version}, {_ability(engine)}") for engine in installed]
    width = max(16, *(len(name) for name, _ in lines))
    text = [f"{name:<{width}} {value}" for name, value in lines]
    if report.missing:
        text += ["", "To open other kinds of files:", *(f"  {x}" for x in report.missing)]
    return "\n".join(text)


def _ability(engine: Engine) -> str:
    if engine.used_instead is not None:
        return f"not used, because {engine.used_instead} is installed"
    if engine.problem is None:
        return f"opens {engine.opens}"
    return f"does not open {engine.opens}: {engine.problem}"
