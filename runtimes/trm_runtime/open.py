"""Open an exported model with the engine its file kind asks for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trm_runtime.block import BlockRunner
from trm_runtime.errors import UsageError
from trm_runtime.file_kinds import kind_of
from trm_runtime.integer import IntegerRunner, has_integer_ports
from trm_runtime.puzzle_table import PuzzleTableRunner, open_table, table_beside
from trm_runtime.runner import StepRunner


def open_runner(
    path: str | os.PathLike[str],
    threads: int | None = None,
    puzzle_table: str | os.PathLike[str] | None = None,
    *,
    optimised: bool = True,
) -> StepRunner:
    """A runner for the model at `path`; `threads` is how many the engine may use in one step.

    A model of granularity "block" comes wrapped, so that its `step` is a whole step, and one with
    integer ports, so that its tensors are real numbers; one without
    its puzzle embeddings comes with them, memory-mapped from `<path>.puzzle_table.npy` or from
    `puzzle_table`, so that it takes identifiers like any other. Without `optimised` the engine
    runs the graph as it is written, slowly: this tells a fault of the file from one of the engine.

    Raises RejectedInputError for a file that is missing, of unknown kind, damaged or not what its
    contract says, MissingExtraError when the engine is not installed, UsageError for what is no
    path, and for a SavedModel that is not to be optimised.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise UsageError(f"path: expected the path of an exported model, got {path!r:.60}")
    path = Path(path)
    return dressed(open_driver(path, threads, optimised=optimised), path, puzzle_table)


def open_driver(path: Path, threads: int | None = None, *, optimised: bool = True) -> StepRunner:
    """The bare driver of a file: what its contract says, call by call."""
    kind = kind_of(path)
    engine = kind.engine
    options: dict[str, Any] = {} if optimised else {"optimised": False}
    if options and not engine.can_be_plain:
        raise UsageError(f"{path}: {engine.name} has no switch that leaves a {kind.title} as it is")
    driver = engine.load_driver()
    runner: StepRunner = driver(path, threads=threads, **options)
    return runner


def dressed(
    runner: StepRunner, path: Path, puzzle_table: str | os.PathLike[str] | None = None
) -> StepRunner:
    """A bare driver as a runner of whole steps on real numbers and identifiers."""
    if has_integer_ports(runner.contract):
        runner = IntegerRunner(runner)
    if runner.contract.granularity == "block":
        runner = BlockRunner(runner)
    if runner.contract.puzzle_table_sha256 is not None:
        beside = table_beside(path) if puzzle_table is None else Path(puzzle_table)
        return PuzzleTableRunner(runner, open_table(beside, runner.contract))
    if puzzle_table is not None:
        raise UsageError(f"{path}: holds all it needs, so there is no use for {puzzle_table}")
    return runner
