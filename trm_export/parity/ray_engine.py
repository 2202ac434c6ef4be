"""Distribute the parts of a check over the machines of a Ray cluster.

They need trm-export in this version and the engine, but no shared disk. The golden and the exported
file are put into Ray's object store once; a machine writes them into a temporary folder named by
their SHA-256, which is deleted in the end.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
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

from trm_export.errors import RejectedInputError, TRMError, UsageError
from trm_export.files import sha256_file
from trm_export.leftovers import removed_by
from trm_export.parity.checking import Check, Measured, Sides, Units, measured, opened
from trm_runtime.extras import load_extra
from trm_runtime.message_text import shown
from trm_runtime.parity.ladder import part_work
from trm_runtime.puzzle_table import table_beside, table_found

Array = np.ndarray[Any, Any]

LOCAL = "local"  # the address that starts Ray on this machine
_GOLDEN = "golden.npz"
_CPUS = 1  # of a task
_ADDRESS = re.compile(r"(ray://)?(\[[^\s/\[\]]+\]|[^\s:/\[\]]+):(?P<port>[0-9]{1,5})")
_LAST_PORT = 65535
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
    """The ray package; MissingExtraError with the install line."""
    return load_extra("ray", "ray", "trm-export")


def refuse_address(address: str) -> None:
    """UsageError for a text that cannot be the address of a cluster."""
    found = _ADDRESS.fullmatch(address)
    if address in (LOCAL, "auto") or (found and 0 < int(found["port"]) <= _LAST_PORT):
        return
    raise UsageError(
        "--ray: expected local, auto, HOST:PORT or ray://HOST:PORT, such as 10.0.0.1:6379, got "
        f"{shown(address)}."
    )


def over_ray(
    check: Check, sides: Sides, numbers: Sequence[int], units: Units, *, address: str
) -> Measured:
    """Measures parts on a cluster; see `checking.Spread`.

    Args:
        check, sides, numbers, units: as there.
        address: of the cluster, such as ``10.0.0.1:6379`` or ``ray://10.0.0.1:10001``, or LOCAL.

    Raises ClusterError, MissingExtraError.
    """
    if not numbers:
        return
    ray = require_ray()
    with removed_by(ray.shutdown):  # whose processes would run on for most of a minute
        _join(ray, address)
        try:
            yield from _measured_by(ray, check, sides, numbers, units)
        finally:
            ray.shutdown()


def _join(ray: ModuleType, address: str) -> None:
    local = address == LOCAL
    options: dict[str, Any] = {"include_dashboard": False} if local else {"address": address}
    answers = False
    if local:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # otherwise it reports to its makers
    try:
        if not local:
            answers = _require_answer(address)
        ray.init(**options, log_to_driver=False, logging_level="error")
    except Exception as error:  # Ray may raise anything if no cluster answers
        ray.shutdown()
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        what = "cannot be started here" if local else f"cannot be reached at {address}"
        hint = "; for a cluster with a token set RAY_AUTH_MODE=token" if answers else ""
        raise ClusterError(f"Ray {what}: {reason}{hint}.") from error


def _require_answer(address: str) -> bool:
    """Whether something listens at the address; False for a name without a port, such as `auto`.

    OSError if nothing does; Ray itself would wait for minutes.
    """
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=_PATIENCE).close()
    return bool(colon)


def _measured_by(
    ray: ModuleType, check: Check, sides: Sides, numbers: Sequence[int], units: Units
) -> Measured:
    paths = _files(check)
    shared = SharedFiles(tuple((name, sha256_file(path)) for name, path in paths.items()))
    data = [ray.put(np.fromfile(path, np.uint8)) for path in paths.values()]
    relative = dataclasses.replace(check, golden=Path(_GOLDEN), artifact=Path(check.artifact.name))
    task = ray.remote(num_cpus=_CPUS)(_measured)
    running = {task.remote(shared, data, relative, number): number for number in numbers}
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
        _clear(ray, shared)


def _result(ray: ModuleType, future: Any) -> dict[str, Array]:
    """The result of a task; an error in it is raised here."""
    try:
        arrays: dict[str, Array] = ray.get(future)
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ClusterError(f"Ray lost a part: {reason}; run the command again.") from error
    return arrays


def _clear(ray: ModuleType, shared: SharedFiles) -> None:
    """Removes the files from every machine that still answers."""
    remove = ray.remote(num_cpus=0)(_remove)
    hosts = [node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]]
    gone = [remove.options(resources={f"node:{host}": 0.001}).remote(shared) for host in hosts]
    with suppress(ray.exceptions.RayError):
        ray.wait(gone, num_returns=len(gone), timeout=10)


def _files(check: Check) -> dict[str, Path]:
    """The files that another machine needs: golden, artifact, and a puzzle table beside it."""
    artifact = check.artifact
    members = [p for p in sorted(artifact.rglob("*")) if p.is_file()] or [artifact]
    paths = {p.relative_to(artifact.parent).as_posix(): p for p in members}
    table = table_found(artifact)
    if table.is_file():
        paths[table_beside(artifact).name] = table
    return {_GOLDEN: check.golden, **paths}


# --- on a machine of the cluster -----------------------------------------------------------------


def _measured(
    shared: SharedFiles, data: Sequence[Any], check: Check, number: int
) -> dict[str, Array]:
    folder = _folder(shared)
    _write(folder, shared, data)
    local = dataclasses.replace(
        check, golden=folder / check.golden, artifact=folder / check.artifact
    )
    return measured(local, _opened(local), number, lambda done: None)


_opened = functools.lru_cache(maxsize=1)(opened)


def _folder(shared: SharedFiles) -> Path:
    return Path(tempfile.gettempdir(), shared.name)


def _write(folder: Path, shared: SharedFiles, data: Sequence[Any]) -> None:
    """Writes the files, unless they exist; the folder appears complete or not at all."""
    import ray

    if not folder.exists():
        new = Path(tempfile.mkdtemp(prefix=f"{shared.name}-", dir=folder.parent))
        for (name, _), array in zip(shared.files, ray.get(list(data)), strict=True):
            path = new / PurePosixPath(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            array.tofile(path)
        with suppress(OSError):  # another process of this machine was faster
            new.rename(folder)
        shutil.rmtree(new, ignore_errors=True)
    _verify(folder, shared)


@functools.lru_cache(maxsize=1)
def _verify(folder: Path, shared: SharedFiles) -> None:
    bad = [name for name, digest in shared.files if sha256_file(folder / name) != digest]
    if bad:
        raise RejectedInputError(f"{folder}: damaged on a machine of the cluster; delete it there.")


def _remove(shared: SharedFiles) -> None:
    shutil.rmtree(_folder(shared), ignore_errors=True)
