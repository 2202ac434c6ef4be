"""`plan`: which file, threads, threshold and tries to use within a limit of time or memory."""

from __future__ import annotations

import glob
import hashlib
import shlex
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trm_export.api.arguments import (
    ARTIFACTS,
    FilePath,
    Progress,
    again_of,
    count_or_none,
    counts_of,
    path_of,
    reporter,
)
from trm_export.api.judging import refuse_judge, rules_of, with_solutions
from trm_export.api.plan_result import Limits, PlanResult, Run, megabytes
from trm_export.artifacts.contract_rewrite import embedded_contract
from trm_export.artifacts.file_list import each_once
from trm_export.artifacts.file_measures import FileMeasures, StepCost, step_cost
from trm_export.checkpoints.keras_file import open_keras
from trm_export.errors import CheckpointError, NonfiniteError, RejectedInputError, UsageError
from trm_export.halting.planning import Candidates, Setting, settings
from trm_export.halting.trying import run_tries
from trm_export.halting.tuning import refuse_loop
from trm_export.tasks.selection import PuzzleSource, boards_of, refuse_puzzles, select_puzzles
from trm_runtime.cores import available_cores
from trm_runtime.digest import tree_digest
from trm_runtime.display import bytes_text
from trm_runtime.doctor import cpu_model
from trm_runtime.file_kinds import KINDS, folder_kind
from trm_runtime.measure import joules, load_engine
from trm_runtime.message_text import counted, shown
from trm_runtime.open import open_runner, runner_contract
from trm_runtime.parity.counts import wilson
from trm_runtime.scalars import as_real
from trm_runtime.strict_json import LARGEST
from trm_runtime.tries import plan_tries
from trm_runtime.try_options import CHOOSE, SIGMA, VARY

if TYPE_CHECKING:
    from trm_export.halting.curve import Trace
    from trm_export.tasks import Blanks, PuzzleSet
    from trm_runtime.contract import StepContract

__all__ = ["Limits", "PlanResult", "Run", "plan"]

Array = np.ndarray[Any, Any]
_LOSE = 0.0025  # share of puzzles that a cheaper choice may lose against the best, as in `tune`


def plan(
    model: FilePath,
    files: FilePath | Iterable[FilePath] = (),
    *,
    deadline: float | None = None,
    budget: int | None = None,
    memory: int | None = None,
    exact: float | None = None,
    tries: int = 8,
    vary: str = VARY[0],
    seed: int = 0,
    sigma: float = SIGMA,
    puzzles: PuzzleSource | None = None,
    task: str | None = None,
    blanks: Blanks | str | None = None,
    count: int = 400,
    judge: str = "exact",
    engine: str | None = None,
    progress: Progress | None = None,
) -> PlanResult:
    """Choose file, threads, threshold and tries within limits, from what is measured here.

    The files run on validation puzzles, to the last step of all tries; a choice is what these
    results allow. The accuracy to expect is that of puzzles which did not take part in the choice.
    What was measured is kept beside each file, and the next plan uses it. Needs no Keras.

    Args:
        model: a `.keras` file, or an exported one.
        files: exported files of the model; those in its folder and in `artifacts` if not given.
        deadline: seconds that a puzzle may take.
        budget: steps that a puzzle may take, all tries together.
        memory: bytes that opening and running the file may add.
        exact: percent of puzzles to answer right: then the fastest choice that does, else the
            most accurate one.
        tries: at most so many. 1 for a file whose puzzles have no other guise.
        vary, seed, sigma: see `trm_runtime.solve`.
        puzzles: see `PuzzleSource`, with solutions, and not test puzzles. Shipped validation
            puzzles if not given.
        task: name of the task of the puzzles; the one that fits the files if not given.
        blanks: of the shipped puzzles: a number, `minimal` or `hard`.
        count: how many puzzles, at most.
        judge: `exact` compares answers with solutions; `valid` checks them by the rules of the
            task, and needs none.
        engine: the files', such as `openvino:bf16`; see `open_runner`.
        progress: called with the share done, and what is being done.

    Raises:
        UsageError: no limit, one that is no number above 0, no exported file, a file of
            granularity loop, fewer than two puzzles.
        RejectedInputError: a file or the puzzles cannot be used, or a file was not made from the
            model.
        NonfiniteError: a file computes NaN or infinity.
    """
    limits, tell = _limits(deadline, budget, memory, exact), reporter(progress)
    count, tries = counts_of(count=count, tries=tries)
    refuse_judge(judge)
    refuse_puzzles(puzzles, task, blanks)
    again = again_of(tries, vary, CHOOSE[0], seed, sigma)
    contracts = _contracts(path_of("model", model), each_once(files))
    first = next(iter(contracts.values()))
    selected = select_puzzles(first, puzzles, task, blanks, count, "validation")
    chosen = with_solutions(selected, puzzles, judge, boards_of(first, task))
    if len(chosen) < 2:
        raise UsageError("A plan needs at least 2 puzzles: half of them choose for the others.")
    started, work = time.monotonic(), _Work(chosen, task, judge, again, engine, tell)
    found = [
        (path, contract, *work.measured(path, contract, number / len(contracts)))
        for number, (path, contract) in enumerate(contracts.items())
    ]
    seconds = time.monotonic() - started
    costs = tuple((path, cost) for path, _, each, _ in found for cost in each)
    named = {"vary": vary, "seed": again["seed"], "sigma": again["sigma"]}
    run, problem = _planned(found, limits, engine, named)
    metered = joules() is not None
    return PlanResult(
        str(model), limits, run, problem, costs, chosen.kind, judge, seconds, metered,
        tuple(work.unkept),
    )  # fmt: skip


def _limits(
    deadline: float | None, budget: int | None, memory: int | None, exact: float | None
) -> Limits:
    given = {"deadline": deadline, "budget": budget, "memory": memory, "exact": exact}
    if all(value is None for value in given.values()):
        raise UsageError("A plan needs a limit: a deadline, a budget of steps, memory, or exact.")
    seconds, _, space, percent = (_limit(name, value) for name, value in given.items())
    if percent is not None and percent > 100:
        raise UsageError(f"The percentage exact must be at most 100, got {shown(exact)}.")
    steps, share = count_or_none("budget", budget), None if percent is None else percent / 100
    return Limits(seconds, steps, None if space is None else int(space), share)


def _limit(name: str, value: float | None) -> float | None:
    number = as_real(value)
    if value is not None and (number is None or not 0 < number <= LARGEST):
        raise UsageError(f"{name} must be a number above 0, got {shown(value)}.")
    return number


def _contracts(model: Path, named: Sequence[Path]) -> dict[Path, StepContract]:
    """The contracts of the files to choose from, all of the same weights."""
    own = None
    if model.suffix == ".keras":
        try:
            own = open_keras(model).info.weights_sha256
        except CheckpointError as error:
            error.add_note("An exported file can take the place of the model in a plan.")
            raise
        files = list(named) or _exports(model, own)
    else:
        files = each_once([model, *named])
    contracts = {path: embedded_contract(path) for path in files}
    for path, contract in contracts.items():
        refuse_loop(contract, str(path))
        own = own or contract.made_by.weights_sha256
    others = [path for path, one in contracts.items() if one.made_by.weights_sha256 != own]
    if others:
        raise RejectedInputError(
            f"Made from other weights than {model}: {', '.join(map(str, others))}; a plan chooses "
            "among files of one model, so name only these, or export the model again."
        )
    return contracts


def _exports(model: Path, weights: str) -> list[Path]:
    """The exported files of these weights, with one step a call, beside it or in artifacts."""
    endings = {kind.suffix for kind in KINDS.values() if kind.suffix}
    paths = [
        path
        for folder in (model.parent, ARTIFACTS)
        for path in sorted(folder.glob(f"{glob.escape(model.stem)}*"))
        if path.suffix in endings or folder_kind(path) is not None
    ]
    found = [path for path in each_once(paths) if _is_export(path, weights)]
    if not found:
        raise UsageError(
            f"No exported file of {model} lies beside it or in {ARTIFACTS}; export it, such as by "
            f"`trm-export all {shlex.quote(str(model))}`, or name its files."
        )
    return found


def _is_export(path: Path, weights: str) -> bool:
    try:
        contract = embedded_contract(path)
    except RejectedInputError:
        return False
    return contract.granularity == "step" and contract.made_by.weights_sha256 == weights


class _Work:
    """What is measured of every file."""

    def __init__(
        self,
        puzzles: PuzzleSet,
        task: str | None,
        judge: str,
        again: dict[str, Any],
        engine: str | None,
        tell: Progress,
    ) -> None:
        self._puzzles, self._task, self._judge = puzzles, task, judge
        self._again, self._engine, self._tell = again, engine, tell
        parts = [puzzles.inputs, puzzles.labels if judge == "exact" else None, puzzles.identifiers]
        told = b"".join(b"-" if part is None else part.tobytes() for part in parts)
        self._digest = hashlib.sha256(told).hexdigest()
        self.unkept = list[Path]()

    def measured(
        self, path: Path, contract: StepContract, share: float
    ) -> tuple[tuple[StepCost, ...], tuple[Trace, ...]]:
        """The costs and the traces of a file, from beside it where they are known."""
        again = self._again_of(runner_contract(path, self._engine))
        kept, engine = FileMeasures(path), load_engine(path, self._engine)
        file = {"file": tree_digest(path), "engine": engine}
        cost_key = {**file, "machine": cpu_model(), "cores": available_cores()}
        trace_key = {**file, "puzzles": self._digest, "judge": self._judge, **again}
        shape = again["tries"], contract.max_steps, len(self._puzzles)
        costs, traces = kept.costs(cost_key, _threads()), kept.traces(trace_key, shape)
        if costs is not None and traces is not None:
            return costs, traces
        self._tell(share, f"{path.name}: timing a step")
        costs = costs or tuple(self._costs(path, contract))
        traces = traces or self._traces(path, contract, again, costs, share)
        unkept = kept.keep(cost_key, costs, trace_key, traces)
        self.unkept += [] if unkept is None else [unkept]
        return costs, traces

    def _again_of(self, contract: StepContract) -> dict[str, Any]:
        """One try where puzzles have no other guise."""
        alike = contract.symmetries is None or (contract.num_puzzle_identifiers or 0) > 1
        if alike and self._again["vary"] != "noise":
            return {**self._again, "tries": 1}
        named = {key: value for key, value in self._again.items() if key != "tries"}
        plan_tries(contract, self._again["tries"], **named)
        return self._again

    def _costs(self, path: Path, contract: StepContract) -> Iterator[StepCost]:
        feeds = self._puzzles.feeds(contract.num_puzzle_identifiers)
        one = {name: array[:1] for name, array in feeds.items()}
        for threads in _threads():
            yield step_cost(path, one, threads, self._engine)

    def _traces(
        self,
        path: Path,
        contract: StepContract,
        again: dict[str, Any],
        costs: Sequence[StepCost],
        share: float,
    ) -> tuple[Trace, ...]:
        valid = rules_of(boards_of(contract, self._task), self._judge)
        calls = len(self._puzzles) * contract.max_steps * (1 + again["tries"])
        most = calls * min(cost.step_ms for cost in costs) / 1e3
        self._tell(share, f"{path.name}: running the puzzles, at most {most:.0f} s")
        traces = run_tries(
            open_runner(path, engine=self._engine),
            self._puzzles,
            again,
            max(contract.halt.threshold, contract.halt.untuned.threshold),
            valid=valid if self._judge == "valid" else None,
        )
        if bad := max(trace.nonfinite for trace in traces):
            raise NonfiniteError(path, bad, len(self._puzzles), ", so there is no plan")
        return traces


def _threads() -> list[int]:
    """The numbers of threads that are timed."""
    return sorted({1, available_cores()})


_Found = tuple[Path, "StepContract", tuple[StepCost, ...], tuple["Trace", ...]]


def _planned(
    found: Sequence[_Found], limits: Limits, engine: str | None, again: dict[str, Any]
) -> tuple[Run | None, str]:
    """The choice and "", or the nearest one and why nothing is within the limits."""
    ways = [(path, contract, cost) for path, contract, costs, _ in found for cost in costs]
    traces = {path: traces for path, _, _, traces in found}
    small = [way for way in ways if limits.allows(way[2])]
    if not small:
        return None, _too_big(ways, limits)
    choices = [
        (way, setting)
        for way in small
        for setting in settings(
            traces[way[0]],
            way[1].halt.threshold,
            limits.steps(way[2]),
            timed=limits.deadline is not None and limits.budget is None,
        )
    ]
    if not choices:
        path, _, cost = min(small, key=lambda way: way[2].step_ms)
        return None, (
            f"No file computes a step within {(limits.deadline or 0) * 1e3:g} ms; the nearest is "
            f"{path.name}, {cost.step_ms:.3g} ms with {counted(cost.threads, 'thread')}."
        )
    right = np.stack([setting.right for _, setting in choices])
    ms = np.stack([setting.steps * way[2].step_ms for way, setting in choices])
    lose = _LOSE if limits.exact is None else 0.0
    index, expected, met = Candidates(right, ms).reaching(limits.exact, lose)
    run = _run(*choices[index], expected, limits, engine, again)
    if met:
        return run, ""
    return run, (
        f"No choice within the limits is expected to answer {100 * (limits.exact or 0):.4g} % of "
        f"puzzles like these; the nearest is {run.file.name} with {run.exact:.1%}."
    )


def _too_big(ways: Sequence[tuple[Path, StepContract, StepCost]], limits: Limits) -> str:
    known = [(cost.resident_mb, path) for path, _, cost in ways if cost.resident_mb is not None]
    if not known:
        return "The memory of the files is not known: this system does not tell that of a process."
    least, path = min(known)
    return (
        f"No file runs within {bytes_text(limits.memory or 0)}; the nearest is {path.name}, which "
        f"adds {megabytes(least)}."
    )


def _run(
    way: tuple[Path, StepContract, StepCost],
    setting: Setting,
    expected: Array,
    limits: Limits,
    engine: str | None,
    again: dict[str, Any],
) -> Run:
    path, contract, cost = way
    mean_steps = float(setting.steps.mean())
    late = None
    if limits.deadline is not None:  # a step that begins earlier ends in time
        late = round(max(limits.deadline - cost.step_ms / 1e3, 0.0), 4)
    joules_each = None if cost.step_joules is None else mean_steps * cost.step_joules
    hits, count = int(expected.sum()), len(expected)
    return Run(
        file=path,
        precision=contract.precision,
        engine=load_engine(path, engine),
        threads=cost.threads,
        threshold=setting.threshold,
        tries=setting.tries,
        max_steps=setting.max_steps,
        deadline_each=late,
        exact=hits / count,
        interval=wilson(hits, count),
        puzzles=count,
        mean_steps=mean_steps,
        mean_ms=mean_steps * cost.step_ms,
        most_ms=float(setting.steps.max()) * cost.step_ms,
        step_ms=cost.step_ms,
        resident_mb=cost.resident_mb,
        mean_joules=joules_each,
        batch_one=contract.batch is None,
        chosen_engine=engine,
        **again,
    )
