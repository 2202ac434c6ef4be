"""`profile`: where the time of a call of an exported file goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_export.api.arguments import FilePath, counts_of, path_of
from trm_export.errors import UsageError
from trm_export.tasks import Blanks
from trm_export.tasks.selection import PuzzleSource, refuse_puzzles, select_puzzles
from trm_runtime.display import Shown, Table
from trm_runtime.loop import solve
from trm_runtime.message_text import counted, rows_text
from trm_runtime.open import open_driver, wrapped

if TYPE_CHECKING:
    from trm_export.explain.profile import Cost, Costs

_MOST_ROWS = 12  # of a table


@dataclass(frozen=True, repr=False)
class Profile(Shown):
    """The time of a call of a file's graph, of one row, by kind of operator and by layer.

    Attributes:
        file: its path.
        engine: the engine that measured, with its version.
        threads: of one operator.
        puzzles: how many were solved.
        rows: their kind.
        calls: of the graph; as many as steps, or several a step in granularity `block`.
        call_ms: processor time of one, the median, without the profiler, which adds to every node.
        costs: the tables.
    """

    file: str
    engine: str
    threads: int
    puzzles: int
    rows: str
    calls: int
    call_ms: float
    costs: Costs

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for `json.dumps`."""
        return {**vars(self), "kind": "profile", "costs": self.costs.to_json()}

    @property
    def summary(self) -> str:
        """The time of a call and what costs most of it."""
        return (
            f"{Path(self.file).name}: {self.call_ms:.2f} ms a call; {_words(self.costs.costliest)}"
        )

    @property
    def legend(self) -> str:
        """Why the times of the tables add up to more than the time of a call."""
        nodes = sum(row.ms for row in self.costs.kinds)
        return (
            f"A call takes {self.call_ms:.2f} ms without the profiler. The profiler adds to every "
            f"node, {nodes:.2f} ms together, so only the shares of the tables compare."
        )

    def tables(self) -> tuple[Table, ...]:
        """The three costliest things, kinds, operators and layers."""
        file = Path(self.file).name
        how = f"{counted(self.calls, 'call')}, {rows_text(self.puzzles, self.rows)}, {self.engine}"
        return (
            _table(f"{file}: {self.call_ms:.2f} ms a call, {how}", self.costs.costliest),
            _table("Kinds of operators", self.costs.kinds),
            _table("Operators", self.costs.operators[:_MOST_ROWS]),
            _table("Layers, from the previous product on", self.costs.layers[:_MOST_ROWS]),
        )


def _words(rows: tuple[Cost, ...]) -> str:
    return ", ".join(f"{row.name} {row.share:.0%}" for row in rows)


def _table(title: str, rows: tuple[Cost, ...]) -> Table:
    cells = [(r.name, f"{r.ms:.3f}", f"{r.share:.1%}", f"{r.nodes}") for r in rows]
    return Table(title, cells, ("", "ms", "share", "nodes"))


def profile(
    path: FilePath,
    *,
    puzzles: PuzzleSource | None = None,
    task: str | None = None,
    blanks: Blanks | str | None = None,
    count: int = 8,
    threads: int = 1,
) -> Profile:
    """Measure which operators and layers take the time of an exported file, over real puzzles.

    Puzzles are solved one at a time; every call of the graph in it is measured.

    Args:
        path: an exported `.onnx` file: the other engines have no profiler in Python.
        puzzles: see `PuzzleSource`; shipped test puzzles if not given.
        task: name of the task of the model's tokens; the one that fits the model if not given.
        blanks: of the shipped puzzles: a number, `minimal` or `hard`.
        count: how many puzzles, at most.
        threads: of one operator.

    Raises:
        UsageError: a file whose engine has no profiler, or an unknown value.
        RejectedInputError: the file or the puzzles cannot be used.
    """
    from trm_export.artifacts.host_kinds import host_kind
    from trm_export.explain.feeds import Tap
    from trm_export.explain.profile import costs

    count, threads = counts_of(count=count, threads=threads)
    refuse_puzzles(puzzles, task, blanks)
    file = path_of("path", path)
    tap = Tap(open_driver(file, threads))
    kind = host_kind(file)
    if kind is None or not kind.profiler:
        raise UsageError(
            f"{file}: its engine has no profiler in Python; profile the .onnx file of the model. "
            "For .tflite, LiteRT has the program `benchmark_model --enable_op_profiling=true`."
        )
    chosen = select_puzzles(tap.contract, puzzles, task, blanks, count)
    feeds = chosen.feeds(tap.contract.num_puzzle_identifiers)
    solve(wrapped(tap, file), feeds, batch_size=tap.contract.batch or 1)
    measured = kind.load(kind.profiler)(file, tap.calls, threads)
    return Profile(
        file=str(file),
        engine=measured.engine,
        threads=threads,
        puzzles=len(chosen),
        rows=chosen.kind,
        calls=measured.calls,
        call_ms=measured.ms,
        costs=costs(measured),
    )
