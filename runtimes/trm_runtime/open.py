"""Open an exported model with the engine for its kind of file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from trm_runtime.block import BlockRunner, step_contract
from trm_runtime.contract import StepContract
from trm_runtime.errors import UsageError
from trm_runtime.file_kinds import kind_of
from trm_runtime.integer import IntegerRunner, usual_contract
from trm_runtime.puzzle_table import (
    PuzzleTableRunner,
    identifiers_contract,
    open_table,
    table_found,
)
from trm_runtime.runner import StepRunner
from trm_runtime.scalars import check_flags


def open_runner(
    path: str | os.PathLike[str],
    threads: int | None = None,
    puzzle_table: str | os.PathLike[str] | None = None,
    *,
    optimised: bool = True,
    engine: str | None = None,
) -> StepRunner:
    """A runner for the model at `path`; `threads` is how many the engine may use in one step.

    `engine` is the distribution of one of the engines for this kind of file, with a mode if it has
    any: "openvino", "openvino:bf16". Without it the first one that is installed runs.

    The runner is the same for every model: a model of granularity "block" is wrapped, so that its
    `step` is a complete step; one with int8 I/O or int32 `halted`, so that its tensors are float32
    and bool; one without its puzzle embeddings, so that it takes identifiers. The embeddings are
    memory-mapped from `<path>.puzzle_table.npy` or from `puzzle_table`. Without `optimised` the
    engine runs the graph unchanged and slowly, which shows whether an error is in the file or in
    the engine.

    Raises RejectedInputError for a file that is missing, of unknown kind, damaged or different from
    its contract, MissingExtraError if the engine is not installed, UsageError if `path` is not a
    path, `optimised` is not a bool, for an unknown engine, or for one that cannot run a graph
    without `optimised`.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise UsageError(f"path: expected the path of an exported model, got {path!r:.60}.")
    check_flags(optimised=optimised)
    path = Path(path)
    return wrapped(
        open_driver(path, threads, optimised=optimised, engine=engine), path, puzzle_table
    )


def embedded_contract(path: Path) -> StepContract:
    """The contract inside an undamaged file or folder, as its driver reads it, without an engine.

    Raises RejectedInputError for one that is missing, of unknown kind, damaged or changed.
    """
    text = kind_of(path).read_contract(path)
    return StepContract.from_json(text, f"{path}: its step contract")


def runner_contract(path: Path, engine: str | None = None) -> StepContract:
    """The contract that `open_runner(path, engine=engine)` has, without the engine.

    Raises what `embedded_contract` raises, and UsageError for an unknown engine.
    """
    _, mode = kind_of(path).chosen(engine)
    contract = usual_contract(embedded_contract(path).computed_in(mode))
    if contract.granularity == "block":
        contract = step_contract(contract)
    wanted = contract.puzzle_table_sha256 is not None
    return identifiers_contract(contract) if wanted else contract


def open_driver(
    path: Path, threads: int | None = None, *, optimised: bool = True, engine: str | None = None
) -> StepRunner:
    """The driver of a file without wrappers: each call is one call of the graph."""
    kind = kind_of(path)
    chosen, mode = kind.chosen(engine)
    options: dict[str, Any] = {} if optimised else {"optimised": False}
    if options and not chosen.can_be_plain:
        raise UsageError(f"{path}: {chosen.name} cannot run {kind.described} without optimisation.")
    if mode is not None:
        options["mode"] = mode
    driver = chosen.load_driver()
    runner: StepRunner = driver(path, threads=threads, **options)
    return runner


def wrapped(
    runner: StepRunner, path: Path, puzzle_table: str | os.PathLike[str] | None = None
) -> StepRunner:
    """A driver as a runner of complete steps on float32, bool and identifiers."""
    runner = complete_steps(runner)
    if runner.contract.puzzle_table_sha256 is not None:
        table = table_found(path) if puzzle_table is None else Path(puzzle_table)
        return PuzzleTableRunner(runner, open_table(table, runner.contract))
    if puzzle_table is not None:
        raise UsageError(
            f"{path}: takes no external puzzle table; drop --puzzle-table ({puzzle_table})."
        )
    return runner


def complete_steps(runner: StepRunner) -> StepRunner:
    """A driver as a runner of complete steps on float32 and bool."""
    if usual_contract(runner.contract) != runner.contract:
        runner = IntegerRunner(runner)
    if runner.contract.granularity == "block":
        runner = BlockRunner(runner)
    return runner
