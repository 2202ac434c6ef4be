"""One comparison around its checks: who measures, what it depends on and where its parts are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from trm_export.errors import RejectedInputError, UsageError
from trm_export.leftovers import scratch_folder
from trm_export.parity.checking import Spread, here
from trm_export.parity.document import JudgedFile, two_hops
from trm_export.parity.parts import Parts, beside
from trm_export.version import TOOL, __version__
from trm_runtime.digest import tree_digest
from trm_runtime.json_values import plain
from trm_runtime.measure import load_engine


def refuse_beside_golden(given: Mapping[str, bool]) -> None:
    """UsageError if an option is given that a recording answers itself."""
    named = [name for name, is_given in given.items() if is_given]
    if named:
        raise UsageError(f"{', '.join(named)}: a golden is recorded already; leave it out.")


def spread_over(jobs: int, ray: str | None) -> Spread:
    """Who measures: this process, several of this machine, or a Ray cluster."""
    if ray is not None:
        if jobs > 1:
            raise UsageError("--jobs is for this machine alone; leave it out with --ray.")
        from trm_export.parity.ray_engine import over_ray, refuse_address, require_ray

        refuse_address(ray)
        require_ray()
        return partial(over_ray, address=ray)
    if jobs > 1:
        from trm_export.parity.processes import over_processes

        return partial(over_processes, jobs=jobs)
    return here


@contextmanager
def kept_parts(
    target: Path | None,
    job: Mapping[str, Any],
    artifacts: Sequence[Path],
    golden: Path | None,
    engine: str | None = None,
) -> Iterator[Parts]:
    """Where parts are kept: beside the file to write, or only while this lasts.

    `job` is what the parts depend on besides the files.
    """
    given = [*artifacts, *([] if golden is None else [golden])]
    digests = {str(path): tree_digest(path) for path in given}
    engines = sorted({load_engine(path, engine) for path in artifacts})
    whole = plain({**job, "files": digests, "engines": engines})
    if target is None:
        with scratch_folder() as folder, closing(Parts(Path(folder, "parity"), whole)) as parts:
            yield parts
        return
    parts = Parts(beside(target), whole)
    try:
        yield parts
        parts.remove()
    except (RejectedInputError, UsageError):  # going on would not help
        parts.remove()
        raise
    finally:
        parts.close()


def file_document(file: JudgedFile) -> dict[str, Any]:
    """The document of a comparison of one file."""
    own = {"tool": f"{TOOL} {__version__}", "device": plain(file.device)}
    return {**file.result.to_json(), **own, **two_hops(file)}
