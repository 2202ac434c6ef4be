"""The errors of single steps that were measured at export, and whether they are measured again.

The document is bound to its file by digest. A later comparison of the same file repeats the steps
on the same puzzles: each error must be the same within the floor of the engine, twice what the
tensor differs from itself when the engine runs in another way, whatever the gate of the precision
allows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from trm_export.artifacts.contract_rewrite import DIGEST
from trm_export.errors import reason_of
from trm_export.exporters.shared import Shared
from trm_export.files import MEASURED, sidecar
from trm_export.parity.engine_control import own_results
from trm_export.tasks import PuzzleSet
from trm_export.version import TOOL
from trm_runtime import strict_json
from trm_runtime.digest import tree_digest
from trm_runtime.doctor import cpu_model
from trm_runtime.measure import load_engine
from trm_runtime.open import open_runner
from trm_runtime.parity import Gates, Golden, ParityResult, Rung, check, record
from trm_runtime.parity.few_steps import FEW
from trm_runtime.parity.file_golden import LEAST, MARGIN
from trm_runtime.parity.recorder import record_few
from trm_runtime.parity.result import FAILED, NOT_JUDGED, OK
from trm_runtime.regular_file import read_regular

NAME = "errors at export"  # the rung
Errors = Mapping[tuple[int, str], float]  # step from 1 and tensor -> relative L2


def measured_text(result: ParityResult, golden: Golden, path: Path) -> str | None:
    """The document of a file that was just checked; None for a loop, which has no steps."""
    errors = _errors(result)
    if not errors:
        return None
    tokens = golden.chunks[0].tokens
    facts = {
        "tool": TOOL,
        "kind": NAME,
        DIGEST: tree_digest(path),
        "engine": load_engine(path),
        "processor": cpu_model(),
        "puzzles": {name: array.tolist() for name, array in tokens.items()},
        "relative_l2": [[step, tensor, error] for (step, tensor), error in errors.items()],
    }
    return json.dumps(facts) + "\n"


def _errors(result: ParityResult) -> Errors:
    return {(e.step, e.tensor): e.relative_l2 for e in result.forced if e.dtype == "float32"}


def measured_again(shared: Shared, path: Path) -> Rung | None:
    """The rung of a file with such a document; None without one.

    Args:
        shared: the model.
        path: the file.
    """
    document = sidecar(path, MEASURED)
    if not document.is_file():
        return None
    try:
        facts: Any = strict_json.parse(read_regular(document).decode())
        if facts[DIGEST] != tree_digest(path):
            return Rung(NAME, NOT_JUDGED, f"{document.name} is of another file")
        recorded = {(int(k), str(name)): float(error) for k, name, error in facts["relative_l2"]}
        puzzles = PuzzleSet.of_tokens(facts["puzzles"])
    except (ValueError, KeyError, TypeError) as error:
        return Rung(NAME, NOT_JUDGED, f"{document.name} cannot be read: {reason_of(error)}")
    return _judged(shared, path, puzzles, recorded, str(facts["engine"]))


def _judged(shared: Shared, path: Path, puzzles: PuzzleSet, recorded: Errors, engine: str) -> Rung:
    runner = open_runner(path)
    steps = min(len({step for step, _ in recorded}), runner.contract.max_steps)
    few = steps == FEW < runner.contract.max_steps
    golden = shared.few_golden(puzzles) if few else shared.golden(puzzles, steps)
    now = _errors(check(golden, runner, gates=Gates(), steps_only=True))
    if now.keys() != recorded.keys():
        return Rung(NAME, NOT_JUDGED, "the document has other steps or tensors than the file")
    problems: tuple[str, ...] = ()
    if any(abs(now[key] - recorded[key]) > LEAST for key in now):
        own = (
            record_few(runner, puzzles, answers=False)
            if few
            else record(runner, puzzles, steps=steps)
        )
        problems = tuple(_problems(now, recorded, _floor(path, own)))
    worst = max(abs(now[key] - recorded[key]) for key in now)
    text = (
        f"measured again by {load_engine(path)}, recorded by {engine}: they differ by {worst:.1e}"
    )
    return Rung(NAME, FAILED if problems else OK, text, problems)


def _floor(path: Path, own: Golden) -> dict[str, float]:
    """How far each tensor of any step is from itself when the engine runs in another way."""
    floor: dict[str, float] = {}
    for _, _, result in own_results(own, path, None):
        for (_, tensor), error in _errors(result).items():
            floor[tensor] = max(floor.get(tensor, 0.0), error)
    return floor


def _problems(now: Errors, recorded: Errors, floor: Mapping[str, float]) -> Iterator[str]:
    for (step, tensor), error in now.items():
        limit = MARGIN * floor.get(tensor, 0.0) + LEAST
        before = recorded[step, tensor]
        if not abs(error - before) <= limit:
            yield (
                f"step {step}, {tensor}: relative L2 {error:.2e}, at export {before:.2e}, and the "
                f"engine explains {limit:.1e}"
            )
