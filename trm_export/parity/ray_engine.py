"""Spread the parts of a check over the machines of a Ray cluster.

They share no disk with this one and need trm-export, of this version, and the engine. The golden
and the exported file go into Ray's object store once; a machine writes them into a temporary folder
that is named by their SHA-256, and removes it in the end.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import shutil
import socket
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

import numpy as np

from trm_export.errors import RejectedInputError, TRMError
from trm_export.files import sha256_file
from trm_export.parity.checking import Check, Found, Sides, Units, measured, opened
from trm_runtime.extras import load_extra
from trm_runtime.parity.check import part_work
from trm_runtime.puzzle_table import table_beside

Array = np.ndarray[Any, Any]

LOCAL = "local"  # the address that starts Ray on this machine
_GOLDEN = "golden.npz"
_CPUS = 1  # of a task
_PATIENCE = 10.0  # seconds to reach a cluster


class ClusterError(TRMError):
    """A Ray cluster that cannot be joined, or that lost a part."""


@dataclass(frozen=True)
class SharedFiles:
    """Files of a check by their names in a folder, with the SHA-256 of each."""

    files: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """Of the folder on a machine of the cluster."""
        lines = "\n".join(f"{digest}  {name}" for name, digest in self.files)
        return f"trm-export-{hashlib.sha256(lines.encode()).hexdigest()}"


def require_ray() -> ModuleType:
    """Ray itself; MissingExtraError with the way to install it."""
    return load_extra("ray", "ray", "trm-export")


def over_ray(
    check: Check, sides: Sides, numbers: Sequence[int], units: Units, *, address: str
) -> Found:
    """Measures parts on a cluster; see `checking.Spread`.

    Args:
        check, sides, numbers, units: as there.
        address: of the cluster, such as ``10.0.0.1:6379`` or ``ray://10.0.0.1:10001``, or LOCAL.

    Raises ClusterError, MissingExtraError.
    """
    if not numbers:
        return
    ray = require_ray()
    _join(ray, address)
    try:
        yield from _measured_by(ray, check, sides, numbers, units)
    finally:
        ray.shutdown()


def _join(ray: ModuleType, address: str) -> None:
    local = address == LOCAL
    given: dict[str, Any] = {"include_dashboard": False} if local else {"address": address}
    answers = False
    try:
        if not local:
            _knock(address)
            answers = True
        ray.init(**given, log_to_driver=False, logging_level="error")
    except Exception as error:  # whatever Ray raises where nobody, or somebody else, answers
        ray.shutdown()
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        what = "cannot be started here" if local else f"cannot be reached at {address}"
        hint = "; a cluster with a token is joined with RAY_AUTH_MODE=token" if answers else ""
        raise ClusterError(f"Ray {what}: {reason}{hint}") from error


def _knock(address: str) -> None:
    """Ray itself waits for minutes where nobody answers."""
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()


def _measured_by(
    ray: ModuleType, check: Check, sides: Sides, numbers: Sequence[int], units: Units
) -> Found:
    paths = _files(check)
    sent = SharedFiles(tuple((name, sha256_file(path)) for name, path in paths.items()))
    data = [ray.put(np.fromfile(path, np.uint8)) for path in paths.values()]
    there = dataclasses.replace(check, golden=Path(_GOLDEN), artifact=Path(check.artifact.name))
    task = ray.remote(num_cpus=_CPUS)(_measured)
    running = {task.remote(sent, data, there, number): number for number in numbers}
    try:
        while running:
            done, _ = ray.wait(list(running))
            for future in done:
                number = running.pop(future)
                yield number, _result(ray, future)
                units(part_work(sides.golden, number, sides.runner.contract))
    finally:
        for future in running:
            ray.cancel(future, force=True)
        _clear(ray, sent)


def _result(ray: ModuleType, future: Any) -> dict[str, Array]:
    """What a task found; its error is raised as if it had happened here."""
    try:
        found: dict[str, Array] = ray.get(future)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        raise ClusterError(f"Ray lost a part: {str(error).splitlines()[0]}") from error
    return found


def _clear(ray: ModuleType, sent: SharedFiles) -> None:
    """Removes the files from every machine that still answers."""
    remove = ray.remote(num_cpus=0)(_remove)
    hosts = [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]
    gone = [remove.options(resources={f"node:{host}": 0.001}).remote(sent) for host in hosts]
    with suppress(ray.exceptions.RayError):
        ray.wait(gone, num_returns=len(gone), timeout=10)


def _files(check: Check) -> dict[str, Path]:
    """What another machine needs: the golden, the artifact, and a puzzle table beside it."""
    artifact = check.artifact
    inside = [p for p in sorted(artifact.rglob("*")) if p.is_file()] or [artifact]
    found = {p.relative_to(artifact.parent).as_posix(): p for p in inside}
    table = table_beside(artifact)
    if table.is_file():
        found[table.name] = table
    return {_GOLDEN: check.golden, **found}


# --- on a machine of the cluster -----------------------------------------------------------------


def _measured(
    sent: SharedFiles, data: Sequence[Any], check: Check, number: int
) -> dict[str, Array]:
    folder = _folder(sent)
    _write(folder, sent, data)
    there = dataclasses.replace(
        check, golden=folder / check.golden, artifact=folder / check.artifact
    )
    return measured(there, _opened(there), number, lambda done: None)


_opened = functools.lru_cache(maxsize=1)(opened)


def _folder(sent: SharedFiles) -> Path:
    return Path(tempfile.gettempdir(), sent.name)


def _write(folder: Path, sent: SharedFiles, data: Sequence[Any]) -> None:
    """Puts the files there, unless that has been done; the folder appears whole or not at all."""
    import ray

    if not folder.exists():
        new = Path(tempfile.mkdtemp(prefix=f"{sent.name}-", dir=folder.parent))
        for (name, _), array in zip(sent.files, ray.get(list(data)), strict=True):
            path = new / PurePosixPath(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            array.tofile(path)
        with suppress(OSError):  # another process of this machine was faster
            new.rename(folder)
        shutil.rmtree(new, ignore_errors=True)
    _verify(folder, sent)


@functools.lru_cache(maxsize=1)
def _verify(folder: Path, sent: SharedFiles) -> None:
    bad = [name for name, digest in sent.files if sha256_file(folder / name) != digest]
    if bad:
        raise RejectedInputError(f"{folder}: is damaged on a machine of the cluster; remove it")


def _remove(sent: SharedFiles) -> None:
    shutil.rmtree(_folder(sent), ignore_errors=True)
