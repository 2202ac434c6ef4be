"""`python -m trm_runtime doctor`: the installed engines, what they open, and the machine.

Reads the metadata of installed packages, so no engine is loaded; standard library only.
"""

from __future__ import annotations

import platform
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from trm_runtime import __version__
from trm_runtime.cores import available_cores
from trm_runtime.file_kinds import KINDS, installed_version
from trm_runtime.message_text import counted

FEATURES = (
    "sse4_1", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16",
    "neon", "asimd", "asimddp", "i8mm", "bf16", "sve", "fphp", "asimdhp",
)  # fmt: skip
"""CPU features that speed up a step, by their Linux names; `asimddp` are NEON's dot products."""

_MACOS = {"neon": "hw.optional.neon", "asimddp": "hw.optional.arm.FEAT_DotProd"}


@dataclass(frozen=True)
class Engine:
    """One engine that may be installed."""

    name: str  # its distribution
    version: str | None  # None: not installed
    opens: str  # a kind of file


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


def examine() -> Report:
    """Examine this machine; loads no engine and changes nothing."""
    engines = tuple(
        Engine(name, installed_version(name), kind.label)
        for kind in KINDS.values()
        for engine in kind.engines
        for name in engine.distributions
    )
    opened = {engine.opens for engine in engines if engine.version}
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
            f'{kind.label}: pip install "trm-runtime[{kind.engines[0].extra}]"'
            for kind in KINDS.values()
            if kind.label not in opened
        ),
    )


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
    lines += [(engine.name, f"{engine.version}, opens {engine.opens}") for engine in installed]
    text = [f"{name:<16} {value}" for name, value in lines]
    if report.missing:
        text += ["", "To open other kinds of files:", *(f"  {x}" for x in report.missing)]
    return "\n".join(text)
