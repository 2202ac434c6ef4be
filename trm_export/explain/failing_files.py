"""Explain files of a comparison, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from trm_export.explain.explain import explain
from trm_export.explain.explanation import Explanation
from trm_export.explain.sample import few
from trm_export.parity.document import JudgedFile
from trm_export.step.step_model import StepModel
from trm_runtime.parity import Golden

Progress = Callable[[float, str], object]  # the share that is done, and what is being done


def explain_files(
    model: StepModel, files: Sequence[JudgedFile], golden: Golden, progress: Progress
) -> dict[str, Explanation]:
    """The explanation of each file by its path, on a few puzzles of the recording."""
    found = {}
    for number, file in enumerate(files):

        def tell(doing: str, number: int = number, name: str = file.path.name) -> None:
            progress(number / len(files), f"Explaining {name}: {doing}")

        found[str(file.path)] = explain(
            model, file.path, few(golden, file.result), gates=file.result.gates, progress=tell
        )
    return found
