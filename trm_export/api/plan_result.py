"""The result of `plan`: how to run a model within its limits."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_export.errors import TRMError
from trm_export.files import distinct_names
from trm_export.version import TOOL, __version__
from trm_runtime.display import Shown, Table, bytes_text
from trm_runtime.doctor import cpu_model
from trm_runtime.json_values import json_object
from trm_runtime.message_text import counted, quoted, rows_text
from trm_runtime.try_options import SIGMA, VARY

if TYPE_CHECKING:
    from trm_export.artifacts.file_measures import StepCost


@dataclass(frozen=True)
class Limits:
    """What a plan must keep to; None is no limit."""

    deadline: float | None = None  # seconds of a puzzle
    budget: int | None = None  # steps of a puzzle, all tries together
    memory: int | None = None  # bytes that opening and running add
    exact: float | None = None  # share of puzzles, at least

    def steps(self, cost: StepCost) -> int | None:
        """The most steps of a puzzle; None without a limit."""
        timed = None
        if self.deadline is not None:
            timed = int(min(self.deadline * 1e3 / cost.step_ms, sys.maxsize))
        known = [one for one in (timed, self.budget) if one is not None]
        return min(known) if known else None

    def allows(self, cost: StepCost) -> bool:
        """Whether its memory is known and within the limit."""
        if self.memory is None:
            return True
        return cost.resident_mb is not None and cost.resident_mb * 1e6 <= self.memory


@dataclass(frozen=True)
class Run:
    """How a file is run, and what to expect of it.

    Attributes:
        file, precision, engine, threads: what runs.
        threshold, tries, max_steps: options of `solve`; `max_steps` of a try.
        deadline_each: option of `solve`, in seconds; None without a deadline.
        exact, interval: share of puzzles, and its 95 % Wilson interval.
        puzzles: how many these are of.
        mean_steps, mean_ms: of a puzzle, all tries together.
        most_ms: of the slowest puzzle.
        step_ms, resident_mb: as measured.
        mean_joules: of the processor, for a puzzle; None without a meter.
        batch_one: whether the number of rows has to be chosen.
        chosen_engine: the engine that was asked for, if any.
        vary, seed, sigma: options of `solve` about tries.
    """

    file: Path
    precision: str
    engine: str
    threads: int
    threshold: float
    tries: int
    max_steps: int
    deadline_each: float | None
    exact: float
    interval: tuple[float, float]
    puzzles: int
    mean_steps: float
    mean_ms: float
    most_ms: float
    step_ms: float
    resident_mb: float | None
    mean_joules: float | None
    batch_one: bool
    chosen_engine: str | None = None
    vary: str = VARY[0]
    seed: int = 0
    sigma: float = SIGMA

    @property
    def options(self) -> dict[str, Any]:
        """Keywords of `solve`."""
        one = {"batch_size": 1} if self.batch_one else {}
        late = {} if self.deadline_each is None else {"deadline_each": self.deadline_each}
        return {"halt": self.threshold, "max_steps": self.max_steps, **self._again, **one, **late}

    @property
    def _again(self) -> dict[str, Any]:
        """The options about tries that are not the defaults."""
        if self.tries == 1:
            return {}
        noise = {} if self.vary == VARY[0] else {"sigma": self.sigma}
        given = {"vary": self.vary, "seed": self.seed, **noise}
        usual = {"vary": VARY[0], "seed": 0, "sigma": SIGMA}
        others = {name: value for name, value in given.items() if value != usual[name]}
        return {"tries": self.tries, **others}

    @property
    def command(self) -> str:
        """The command line of the device."""
        named = {"threads": self.threads, "engine": self.chosen_engine, **self.options}
        words = [
            f"--{name.replace('_', '-')}{'=' if str(value)[0] == '-' else ' '}"
            f"{shlex.quote(str(value))}"  # argparse takes -1e-05 for an option
            for name, value in named.items()
            if value is not None
        ]
        return f"python -m trm_runtime {quoted(self.file)} PUZZLES {' '.join(words)}"

    @property
    def python(self) -> str:
        """The same in Python."""
        words = ", ".join(f"{name}={value!r}" for name, value in self.options.items())
        engine = "" if self.chosen_engine is None else f", engine={self.chosen_engine!r}"
        opened = f"open_runner({str(self.file)!r}, threads={self.threads}{engine})"
        return f"solve({opened}, puzzles, {words})"


@dataclass(frozen=True, repr=False)
class PlanResult(Shown):
    """The plan; falsy where nothing is within the limits.

    Attributes:
        model: as it was given.
        limits: what was asked for.
        run: how to run the model; where nothing is within the limits the nearest choice, or None
            if no file is small enough or computes a step in time.
        problem: why nothing is within the limits; empty if something is.
        costs: what was measured of each file with each number of threads.
        rows, judge: of the puzzles, and of their answers.
        seconds: what measuring took.
        metered: whether this machine has a meter of energy that can be read.
        unkept: documents beside the files that could not be written, or are not from a plan.
    """

    model: str
    limits: Limits
    run: Run | None
    problem: str
    costs: tuple[tuple[Path, StepCost], ...]
    rows: str
    judge: str
    seconds: float
    metered: bool
    unkept: tuple[Path, ...] = ()

    def __bool__(self) -> bool:
        return not self.problem

    def to_json(self) -> dict[str, Any]:
        """Everything, in JSON types; where the plan is falsy with an `error`, as commands have."""
        run = self.run
        failed = {"type": TRMError.__name__, "message": self.problem, "problems": []}
        error = {} if self else {"error": {**failed, "exit_code": TRMError.exit_code}}
        lines = {} if run is None else {"command": run.command, "python": run.python}
        found = {
            "tool": f"{TOOL} {__version__}",
            "kind": "plan",
            "model": self.model,
            "limits": vars(self.limits),
            "within_limits": bool(self),
            "problem": self.problem or None,
            "run": None if run is None else {**vars(run), **lines},
            "rows": self.rows,
            "judge": self.judge,
            "costs": [{"file": path, **vars(cost)} for path, cost in self.costs],
            "energy_meter": self.metered,
            "machine": cpu_model(),
            "measured_seconds": self.seconds,
            **error,
        }
        return json_object(found)

    @property
    def summary(self) -> str:
        """The choice, or why there is none."""
        if self.problem or self.run is None:
            return self.problem
        return f"{self.run.file.name}: {_share(self.run)} in {self.run.mean_ms:.3g} ms on average"

    @property
    def legend(self) -> str:
        """Whether the choice solves anything, what was measured here, and whether energy was."""
        kept = "and kept beside the files"
        if self.unkept:
            names = ", ".join(map(str, self.unkept))
            kept = f"but not kept: {names} cannot be written, or is not from a plan"
        took = f"Measured in {self.seconds:.0f} s, {kept}. " * (self.seconds > 1)
        energy = "" if self.metered else " No meter of energy (RAPL) can be read on this machine."
        useless = self.run is not None and not self.run.exact
        none = (
            "This choice is not expected to solve any of these puzzles; give it more time or steps."
        )
        return f"{f'{none} ' * useless}{took}Times are of this machine ({cpu_model()}).{energy}"

    def tables(self) -> tuple[Table, ...]:
        """The choice, and what was measured of each file."""
        paths = list(dict.fromkeys(path for path, _ in self.costs))
        names = dict(zip(paths, distinct_names(paths), strict=True))
        rows = [
            (
                names[path],
                str(c.threads),
                f"{c.step_ms:.3g}",
                f"{c.load_ms:.0f}",
                megabytes(c.resident_mb),
            )
            for path, c in self.costs
        ]
        heads = ("file", "threads", "ms a step", "ms to open", "RAM")
        costs = Table("What the files cost here", rows, heads, ("file",))
        if self.run is None:
            return (costs,)
        title = f"Plan for {Path(self.model).name}" if self else "The nearest choice"
        return Table(title, _rows(self.run, self.rows, self.judge)), costs


def _share(run: Run) -> str:
    low, high = run.interval
    return f"{run.exact:.1%} ({low * 100:.1f} to {high * 100:.1f} %)"


def megabytes(resident: float | None) -> str:
    """Memory in 10^6 bytes as text."""
    return "-" if resident is None else bytes_text(int(resident * 1e6))


def _rows(run: Run, kind: str, judge: str) -> list[tuple[str, str]]:
    joules = (
        () if run.mean_joules is None else (("energy of a puzzle", f"{run.mean_joules:.3g} J"),)
    )
    return [
        ("file", str(run.file)),
        ("precision, engine", f"{run.precision}, {run.engine}"),
        ("threads", str(run.threads)),
        ("threshold", f"{run.threshold:g}"),
        ("tries", f"at most {run.tries}, of at most {counted(run.max_steps, 'step')}"),
        (f"{judge}, expected", f"{_share(run)} on {rows_text(run.puzzles, kind)}"),
        ("steps of a puzzle", f"{run.mean_steps:.2f} on average"),
        ("time of a puzzle", f"{run.mean_ms:.3g} ms on average, at most {run.most_ms:.3g} ms"),
        ("RAM", megabytes(run.resident_mb)),
        *joules,
    ]
