"""Milliseconds a step of the files of a report and of their model, on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_export.api.arguments import Progress
from trm_export.artifacts.benchmark import bench
from trm_export.errors import TRMError
from trm_export.parity.document import Cost, ModelCost, Speed
from trm_runtime.cores import available_cores
from trm_runtime.doctor import cpu_model
from trm_runtime.measure import step_seconds
from trm_runtime.message_text import counted
from trm_runtime.parity import Golden

if TYPE_CHECKING:
    from trm_export.step.step_model import StepModel


def this_machine() -> Speed:
    """The processor and the date (UTC), which times are nothing without."""
    machine = f"{cpu_model()}, {counted(available_cores(), 'core')}"
    return {"machine": machine, "date": datetime.now(UTC).date().isoformat()}


def file_costs(
    paths: Sequence[Path], golden: Golden, tell: Progress, engine: str | None = None
) -> Iterator[Cost | None]:
    """The cost of each file on the first puzzle, a process each; None where it cannot be measured.

    A file of a fixed batch is timed with a full batch.
    """
    first = _first_puzzle(golden)
    for number, path in enumerate(paths):
        tell(number / len(paths), "Timing")
        try:
            identifiers = first.get("puzzle_identifiers")
            row = bench(path, first["inputs"], identifiers=identifiers, engine=engine)
        except TRMError:
            yield None
        else:
            yield {"step_ms": row.step_ms, "batch": row.batch}


def model_cost(model: StepModel, golden: Golden, device: str) -> ModelCost:
    """The bytes of the model's weights, and its milliseconds a step on the first puzzle."""
    from trm_export.step.devices import computing_on
    from trm_export.step.keras_runner import KerasRunner

    size = sum(array.nbytes for array in model.weights.arrays.values())
    with computing_on(device) as where:
        seconds = step_seconds(KerasRunner(model), _first_puzzle(golden))
    return {"bytes": size, "step_ms": seconds * 1e3, "device": f"{where.kind}: {where.name}"}


def _first_puzzle(golden: Golden) -> dict[str, Any]:
    return {name: array[:1] for name, array in golden.chunks[0].tokens.items()}
