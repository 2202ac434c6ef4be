"""What a comparison in which no file failed says: which match, and which could not be judged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields

from trm_runtime.message_text import counted
from trm_runtime.parity import Gates, ParityResult
from trm_runtime.parity.result import decided


def nothing_failed(results: Mapping[str, ParityResult], puzzles: str, custom: bool) -> str:
    """The sentences for these files, by name; ``custom``: the gates are the user's own."""
    return " ".join(_sentences(results, puzzles, custom))


def _sentences(results: Mapping[str, ParityResult], puzzles: str, custom: bool) -> Iterator[str]:
    matching = [name for name, result in results.items() if _matches(result)]
    rest = {name: result for name, result in results.items() if name not in matching}
    ungated = [name for name, result in rest.items() if not _has_limits(result.gates)]
    unsettled = [n for n, result in rest.items() if n not in ungated and _settles_none(result)]
    idle = [name for name in rest if name not in (*ungated, *unsettled)]
    if matching:
        yield _match(matching, len(results), puzzles, custom)
        if _settles_none(results[matching[0]]):  # so it is for all: they have one reference
            yield "The model settles none of these puzzles, so only single steps were judged."
    if unsettled:
        start = "N" if matching else f"The model settles none of {puzzles}, so n"
        yield f"{start}either single steps nor answers of {', '.join(unsettled)} could be judged."
    if ungated:
        yield f"There is no gate for {', '.join(ungated)}, measured on {puzzles}."
    if idle:
        yield f"None of the gates applies to {', '.join(idle)}, measured on {puzzles}."


def _match(matching: Sequence[str], files: int, puzzles: str, custom: bool) -> str:
    gates = f"the gates of {'its' if len(matching) == 1 else 'their'} precision"
    within = f"model on {puzzles}, within {'your own gates' if custom else gates}"
    if files == 1:
        return f"{matching[0]} matches its {within}."
    if len(matching) == files:
        return f"All {counted(files, 'file')} match their {within}."
    does = "matches its" if len(matching) == 1 else "match their"
    return f"{len(matching)} of {files} files {does} {within}: {', '.join(matching)}."


def _matches(result: ParityResult) -> bool:
    settled = None if result.decisions is None else result.decisions.settled
    return decided([(rung.name, rung.status) for rung in result.rungs], settled)


def _settles_none(result: ParityResult) -> bool:
    return result.decisions is not None and result.decisions.settled == 0


def _has_limits(gates: Gates) -> bool:
    limits = (field.name for field in fields(gates) if field.name != "near_ties_excused")
    return any(getattr(gates, name) is not None for name in limits)
