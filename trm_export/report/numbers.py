"""The tables of one file: its ladder, accuracy, decisions, and the numbers of every step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trm_export.report.table import Table
from trm_export.report.text import MANY, clean, cosine, decibels, interval, percent, small
from trm_runtime.message_text import counted

Result = Mapping[str, Any]

GROUPS = ("all", "settled", "unsettled")
_MARKS = {"ok": "✓ ok", "failed": "✗ FAILED"}
_LISTED = 50  # rows of puzzles


def ladder(result: Result) -> Table:
    """The rungs, from names to accuracy."""
    rows = [
        (rung["name"], _MARKS.get(rung["status"], rung["status"]), clean(rung["summary"]) or "-")
        for rung in result["rungs"]
    ]
    note = (
        "Reported: measured, but this precision has no gate for it. Rungs after a failed one are "
        "not judged."
    )
    return Table("Ladder", ("rung", "status", "found"), tuple(rows), note)


def accuracy_table(result: Result) -> Table | None:
    """Both sides on the same puzzles, and those lost and won."""
    accuracy, d = result["accuracy"], result["decisions"]
    if accuracy is None:
        return None
    steps = {"reference": "mean_steps", "candidate": "candidate_mean_steps"}
    rows = []
    for side, name in (("reference", "the model"), ("candidate", "this file")):
        score = accuracy[side]
        cells = percent(score["cells"], 2), percent(score["valid"]), percent(score["kept"])
        mean = "-" if d is None else f"{d[steps[side]]:.2f}"
        rows.append((name, percent(score["exact"]), interval(score["interval"]), *cells, mean))
    heads = (
        "side",
        "solved",
        "95 % interval, %",
        "right cells",
        "valid",
        "givens kept",
        "mean steps",
    )
    lost, won = _rows(accuracy["lost"]), _rows(accuracy["won"])
    note = f"Lost: {lost}. Won: {won}. McNemar's exact test: p = {accuracy['p_value']:.2g}."
    return Table("Accuracy", heads, tuple(rows), note)


def _rows(puzzles: Sequence[int]) -> str:
    if not puzzles:
        return "no puzzle"
    more = f" and {len(puzzles) - _LISTED} more" if len(puzzles) > _LISTED else ""
    numbers = ", ".join(map(str, puzzles[:_LISTED]))
    return f"{counted(len(puzzles), 'puzzle')} (number {numbers}{more})"


def differences(result: Result) -> Table | None:
    """The puzzles that the two sides decide differently."""
    listed = (result["decisions"] or {}).get("differences") or ()
    if not listed:
        return None
    rows = tuple(
        (
            str(x["puzzle"]),
            x["kind"] + (f", {counted(x['cells'], 'cell')}" if x["cells"] else ""),
            str(x["expected"]),
            str(x["got"]),
            "∞" if x["margin"] is None else f"{x['margin']:.2g}",
            "near-tie" if x["near_tie"] else "real",
            "settled" if x["settled"] else "unsettled",
        )
        for x in listed[:MANY]
    )
    heads = ("puzzle", "decision", "model", "file", "margin, logits", "kind", "the model")
    more = f" The JSON lists {len(listed) - MANY} more." if len(listed) > MANY else ""
    unlisted = result["decisions"].get("unlisted", 0)
    more += f" Counted but not listed: {unlisted:,}." if unlisted else ""
    note = (
        "Model and file: the halting step, or the token at the first differing cell. Real "
        "differences on unsettled puzzles are no fault of the file: the reference has not "
        "converged there either."
    )
    return Table(f"Different decisions: {len(listed)}", heads, rows, note + more)


def step_tables(result: Result) -> Iterator[Table]:
    """Every number of every tensor, forced and free, for all puzzles and both groups."""
    for kind, name in (("forced", "forced_steps"), ("free", "free")):
        steps = result[name]
        for tensor in steps[0]["tensors"] if steps else ():
            rows = tuple(_step_rows(steps, tensor))
            if rows:
                heads = ("step", "puzzles", "n", "max abs", "mean abs", "relative L2", "cosine",
                         "SQNR, dB")  # fmt: skip
                yield Table(f"{clean(tensor)}, {kind}", heads, rows)


def _step_rows(steps: Sequence[Mapping[str, Any]], tensor: str) -> Iterator[tuple[str, ...]]:
    if all(step["tensors"][tensor]["all"]["max_abs"] == 0 for step in steps):
        return
    for step in steps:
        for group in GROUPS:
            size = step["tensors"][tensor][group]
            if size is not None:
                errors = (small(size[name]) for name in ("max_abs", "mean_abs", "relative_l2"))
                noise = "-" if size["relative_l2"] is None else decibels(size["sqnr_db"])
                end = cosine(size["cosine"]), noise
                yield (str(step["step"]), group, str(size["rows"]), *errors, *end)


def drift_tables(result: Result) -> Iterator[Table]:
    """The relative L2 of every tensor over the steps: a short form of `step_tables`."""
    forced, free, floor = result["forced_steps"], result["free"], result["floor"]
    for tensor in free[0]["tensors"] if free else ():
        if not any(True for _ in _step_rows(free, tensor)):
            continue
        rows = []
        for t, step in enumerate(free):
            cells = [str(step["step"])]
            for at in (forced[t], step):
                cells += [_relative(at["tensors"][tensor][group]) for group in GROUPS]
            known = floor[t]["tensors"].get(tensor) if t < len(floor) else None
            rows.append((*cells, "-" if known is None else _relative(known["all"])))
        heads = ("step", *(f"{kind}, {g}" for kind in ("forced", "free") for g in GROUPS), "floor")
        yield Table(f"{clean(tensor)}: relative L2", heads, tuple(rows))


def _relative(size: Mapping[str, Any] | None) -> str:
    return "-" if size is None else small(size["relative_l2"])


def equal_tensors(result: Result) -> str:
    """A sentence that lists the tensors without a table, because nothing differs."""
    forced, free = result["forced"], result["free"]
    names = list(dict.fromkeys(error["tensor"] for error in forced))
    same = [
        name
        for name in names
        if not any(error["unequal"] or error["max_abs"] for error in forced
                   if error["tensor"] == name)
        and not any(step["tensors"][name]["all"]["max_abs"] != 0 for step in free
                    if name in step["tensors"])
    ]  # fmt: skip
    return f"Equal at every step: {', '.join(map(clean, same))}." if same else ""


def integer_table(result: Result) -> Table | None:
    """The counters and tokens that differ; any difference is an error."""
    rows = tuple(
        (str(e["step"]), clean(e["tensor"]), e["dtype"], f"{e['unequal']} of {e['elements']}")
        for e in result["forced"]
        if e["dtype"] != "float32" and e["unequal"]
    )
    heads = ("step", "tensor", "dtype", "unequal values")
    return Table("Integers that differ", heads, rows) if rows else None
