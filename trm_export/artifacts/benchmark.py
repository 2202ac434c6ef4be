"""Benchmark one exported file: its cost and its answers, measured in a separate process.

The process is `python -m trm_runtime.measure`: numpy and one engine, as on a device. Knows no
format; the reference's answers come from the caller.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from trm_export.errors import MissingExtraError, RejectedInputError, TRMError, UsageError
from trm_export.files import size_on_disk
from trm_export.leftovers import removed_by, scratch_folder
from trm_runtime.digest import tree_digest
from trm_runtime.isolation import crashed
from trm_runtime.judging import exact
from trm_runtime.parity.counts import wilson
from trm_runtime.solution import Solution

Array = np.ndarray[Any, Any]

_KINDS = (UsageError, MissingExtraError, RejectedInputError)


@dataclasses.dataclass(frozen=True)
class BenchFailure:
    """One file that cannot be measured."""

    file: str
    reason: str  # names the whole path
    exit_code: int


@dataclasses.dataclass(frozen=True)
class BenchRow:
    """One file on one engine of this machine."""

    file: str
    engine: str  # name and version
    bytes: int
    sha256: str  # of the file: `tree_digest`
    batch: int  # rows of the calls that were timed
    load_ms: float
    step_ms: float  # median of one ACT step at that batch
    resident_mb: float | None  # memory added by opening and running, 10^6 bytes
    peak_gflops: float  # 10^9 operations a second of numpy's float32 product, in that process
    puzzles: int
    nonfinite: int  # puzzles that NaN or infinity ended
    mean_steps: float
    answers_equal: float | None  # share of puzzles answered as the reference answers them
    steps_equal: float | None  # share of puzzles that halt at the reference's step
    exact: float | None  # share of puzzles solved
    exact_interval: tuple[float, float] | None  # of that share, Wilson, 95 %
    export_seconds: float | None = None
    step_joules: float | None = None  # of the processor, all its work meanwhile; None: no meter
    of_peak: float | None = None  # share that a step's products reach of that; int8 may exceed 1


def bench(
    path: Path,
    tokens: Array,
    labels: Array | None = None,
    reference: Solution | None = None,
    identifiers: Array | None = None,
    again: Mapping[str, Any] = MappingProxyType({}),
    engine: str | None = None,
    threads: int | None = None,
) -> BenchRow:
    """Measures one artifact on puzzles ``tokens`` (N, S) int32.

    ``labels`` (N, S) int32 with UNJUDGED in cells that do not count, as `PuzzleSet.targets` has
    them; ``identifiers`` (N,) int32 of the puzzles, 0 if None; ``again`` options of `solve` about
    tries, which ``reference`` was solved with, too; ``engine``, ``threads`` as `open_runner` has.

    Raises:
        TRMError: the file cannot be measured, with the class that its driver raises. If the
            engine crashes it is a RejectedInputError that names the signal.
    """
    measured = _measured(path, tokens, identifiers, again, engine, threads)
    answers, steps = np.array(measured.pop("answers")), np.array(measured.pop("steps"))
    solved = None if labels is None else exact(answers, labels)
    same = None if reference is None else exact(answers, reference.answers)
    return BenchRow(
        file=path.name,
        bytes=size_on_disk(path),
        sha256=tree_digest(path),
        puzzles=len(tokens),
        mean_steps=float(steps.mean()),
        answers_equal=None if same is None else float(same.mean()),
        steps_equal=None if reference is None else float((steps == reference.all_steps).mean()),
        exact=None if solved is None else float(solved.mean()),
        exact_interval=None if solved is None else wilson(int(solved.sum()), len(solved)),
        **measured,
    )


def _measured(
    path: Path,
    tokens: Array,
    identifiers: Array | None,
    again: Mapping[str, Any],
    engine: str | None,
    threads: int | None,
) -> dict[str, Any]:
    inputs = {"inputs": tokens}
    if identifiers is not None:
        inputs["puzzle_identifiers"] = identifiers
    command = [sys.executable, "-m", "trm_runtime.measure", str(path)]
    with scratch_folder() as folder:
        file = folder / "inputs.npz"
        np.savez(file, **inputs)  # type: ignore[arg-type]
        options = [json.dumps(dict(again)), engine or ""]
        options += [] if threads is None else [str(threads)]
        done = _run([*command, str(file), str(os.getpid()), *options])
    document: dict[str, Any] = json.loads(done.stdout or "{}")
    if done.returncode:
        raise _failure(path, done, document.get("refused"))
    return document


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """As `subprocess.run`; the process is killed when this one has to end."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
    with process, removed_by(process.kill):
        stdout, stderr = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, stdout, stderr)


def _failure(path: Path, done: subprocess.CompletedProcess[str], refused: str | None) -> TRMError:
    if refused is None and done.returncode < 0:
        return crashed(path, -done.returncode)
    if refused is None:
        last = (done.stderr.strip() or f"exit code {done.returncode}").splitlines()[-1]
        return TRMError(f"{path}: the process that measured it failed: {last.rstrip('.')}.")
    kind = next((kind for kind in _KINDS if kind.exit_code == done.returncode), TRMError)
    return kind(refused if str(path) in refused else f"{path}: {refused}")
