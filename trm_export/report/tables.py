"""The tables of all files, the gates of one, and the provenance."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from trm_export.report.recommendation import difference
from trm_export.report.table import FAILED, PASSED, Table
from trm_export.report.text import (
    clean,
    cosine,
    kind_of_file,
    milliseconds,
    percent,
    points,
    signed,
    size_text,
    small,
)
from trm_runtime.message_text import counted, rows_text

Document = Mapping[str, Any]


_TITLES = {
    "size": "Bytes on disk; of the model, its weights",
    "ms/step": "Median time of one step",
    "solved": "Puzzles answered exactly",
    "points (95 %)": "Percentage points from the model, with the 95 % interval of paired puzzles",
    "lost": "Puzzles that only the model solves",
    "won": "Puzzles that only the file solves",
    "mean steps": "Steps until a puzzle halts, over all puzzles",
}


def files_table(document: Document) -> Table:
    """The model, then a row for each file, the smallest first."""
    costs = any(file["cost"] for file in document["files"])
    judged = _score(document) is not None
    heads = ["file", "verdict", "size", *(["ms/step"] if costs else [])]
    heads += ["solved", "points (95 %)", "lost", "won"] if judged else []
    of = _settled(document)
    heads += [f"answers equal{of}", f"steps equal{of}", "mean steps", "runs as"]
    files, cost = by_size(document), document["reference"].get("cost") or {}
    smallest = min([*(file["bytes"] for file in files), *filter(None, [cost.get("bytes")])])
    rows = [_model_row(document, costs, smallest)]
    rows += [_file_row(file, costs, judged, smallest) for file in files]
    return Table("Files", tuple(heads), tuple(rows), _note(document), _TITLES, first=1)


def device_table(document: Document) -> Table | None:
    """Flash, memory and work of every file, the smallest first; None in older documents."""
    files = [file for file in by_size(document) if file.get("device")]
    if not files:
        return None
    heads = ("file", "flash", "RAM", "M MACs a step", "M MACs a puzzle", "at most", "RAM holds")
    note = (
        "Bytes and multiply-accumulates for one puzzle at a time. Flash is the file, without an "
        "interpreter and what that allocates for itself. A puzzle: at the mean steps of the file "
        "on these puzzles; at most: at the most steps."
    )
    return Table("Memory and work", heads, tuple(map(_device_row, files)), note)


def _device_row(file: Mapping[str, Any]) -> tuple[str, ...]:
    device, decided = file["device"], file["result"]["decisions"]
    macs, ram = device["macs_step"], device["ram"]
    mean = None if decided is None or macs is None else macs * decided["candidate_mean_steps"]
    parts = (
        f"{part['name']} {'-' if part['bytes'] is None else format(part['bytes'], ',')}"
        f" ({part['how']})"
        for part in device["parts"]
    )
    return (
        clean(file["file"]),
        f"{device['flash']:,}",
        "-" if ram is None else f"{ram:,}",
        *(map(_millions, (macs, mean, device["macs_puzzle"]))),
        clean("; ".join(parts)),
    )


def _millions(count: float | None) -> str:
    return "-" if count is None else f"{count / 1e6:,.1f}"


def by_size(document: Document) -> list[Mapping[str, Any]]:
    """The files, the smallest first."""
    return sorted(document["files"], key=lambda file: (file["bytes"], file["file"]))


def _note(document: Document) -> str:
    slices = {file["cost"].get("batch", 1) for file in document["files"] if file["cost"]} - {1}
    rows = ", of a fixed batch a whole batch" if slices else ""
    timed = f" ms/step: the median of 20 steps of one puzzle{rows}." if _timed(document) else ""
    return (
        "Solved: answered exactly. Points: percentage points from the model on the same puzzles. "
        "Lost: only the model solves these; won: only the file does. Answers and halting steps "
        "equal: of the puzzles that the model settles, that is, solves or, without labels, halts "
        f"on before the last step.{timed}"
    )


def _timed(document: Document) -> bool:
    return any((file["cost"] or {}).get("step_ms") is not None for file in document["files"])


def _settled(document: Document) -> str:
    decided = (file["result"]["decisions"] for file in document["files"])
    return next((f", of {d['settled']}" for d in decided if d), "")


def _score(document: Document) -> Mapping[str, Any] | None:
    found = (file["result"]["accuracy"] for file in document["files"])
    return next((accuracy["reference"] for accuracy in found if accuracy), None)


def _model_row(document: Document, costs: bool, smallest: int) -> tuple[str, ...]:
    score = _score(document)
    decided = (file["result"]["decisions"] for file in document["files"])
    steps = next((f"{d['mean_steps']:.2f}" for d in decided if d), "-")
    origin, cost = document["reference"]["provenance"], document["reference"].get("cost") or {}
    size = size_text(cost["bytes"], smallest) if "bytes" in cost else "-"
    row = [clean(origin.get("model", "the model")), "the model", size]
    row += [_milliseconds(cost)] if costs else []
    row += [] if score is None else [percent(score["exact"]), "-", "-", "-"]
    where = f" on {cost['device']}" if str(cost.get("device", "cpu")).startswith("gpu") else ""
    kind = f"Keras {origin.get('dtype_policy', '')}, {_engine(origin)}{where}"
    return (*row, "-", "-", steps, clean(kind))


def _engine(origin: Mapping[str, Any]) -> str:
    device = origin.get("device", {})
    backend = device.get("backend", "-")
    return f"{backend} {device.get('versions', {}).get(backend, '')}".strip()


def _file_row(file: Mapping[str, Any], costs: bool, judged: bool, smallest: int) -> tuple[str, ...]:
    result = file["result"]
    d, accuracy = result["decisions"], result["accuracy"]
    size = size_text(file["bytes"], smallest)
    row = [clean(file["file"]), PASSED if result["passed"] else FAILED, size]
    row += [_milliseconds(file["cost"] or {})] if costs else []
    if accuracy is None:
        row += ["-"] * 4 if judged else []
    else:
        counts = (str(len(accuracy[side])) for side in ("lost", "won"))
        solved = percent(accuracy["candidate"]["exact"])
        row += [solved, points(*difference(accuracy)), *counts]
    if d is None:
        row += ["-", "-", "-"]
    else:
        row += [str(d[name]) for name in ("answers_equal", "steps_equal")]
        row.append(f"{d['candidate_mean_steps']:.2f}")
    kind = f"{kind_of_file(file['file'])} {file['precision']}, {file['engine']}"
    return (*row, clean(kind))


def _milliseconds(cost: Mapping[str, Any]) -> str:
    return "-" if cost.get("step_ms") is None else milliseconds(cost["step_ms"])


def gates_table(result: Mapping[str, Any]) -> Table | None:
    """Every gate of a file: its limit, the measured value, and the margin."""
    heads = ("gate", "limit", "found", "margin")
    note = (
        "Gates of answers and halting steps apply to settled puzzles, gates of accuracy and mean "
        "steps to all puzzles, gates of forced values to every tensor and step."
    )
    rows = tuple(gates(result)) if result["decisions"] is not None else ()
    return Table("Gates", heads, rows, note) if rows else None


def gates(result: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    """(gate, limit, found, margin) of a file."""
    limits, d, accuracy = result["gates"], result["decisions"], result["accuracy"]
    floats = [error for error in result["forced"] if error["dtype"] == "float32"]
    excused = limits["near_ties_excused"]
    if (most := limits["relative_l2"]) is not None:
        errors = [error["relative_l2"] for error in floats]
        found = None if None in errors else max(errors, default=None)
        yield "forced relative L2", f"≤ {small(most)}", *_times(floats, found, most)
    if (least := limits["cosine"]) is not None:
        cosines = [error["cosine"] for error in floats]
        lowest = None if None in cosines else min(cosines, default=None)
        yield "forced cosine", f"≥ {least:.12g}", *_closer(floats, lowest, least)
    if d is not None and d["settled"]:
        for gate, name in (("answers", "answers"), ("halting_steps", "steps")):
            if (least := limits[gate]) is not None:
                ties = d[f"{name}_near_tie"] if excused else 0
                share = (d[f"{name}_equal"] + ties) / d["settled"]
                title = f"equal {'halting steps' if name == 'steps' else name}"
                yield title, f"≥ {percent(least)}", percent(share), _points(share - least)
        if (least := limits["cells"]) is not None:
            share = d["cells_equal"]
            yield "equal cells", f"≥ {percent(least)}", percent(share, 2), _points(share - least)
    if (most := limits["exact_drop"]) is not None and accuracy is not None:
        drop = _drop(accuracy, d, excused)
        yield (
            "points lost",
            f"≤ {most * 100:g}",
            signed(drop * 100, 2).lstrip("+"),
            _points(most - drop),
        )
    if (most := limits["mean_steps"]) is not None and d is not None:
        gap = abs(d["candidate_mean_steps"] - d["mean_steps"])
        margin = f"{signed(most - gap, 2)} steps"
        yield "mean steps", f"± {most:g}", f"{gap:.2f}", _marked(gap <= most, margin)
    if (most := limits["carry_clipping"]) is not None:
        yield "carry clipping", f"≤ {percent(most)}", "-", "checked at export"


def _drop(accuracy: Mapping[str, Any], d: Mapping[str, Any] | None, excused: bool) -> float:
    """The share of puzzles lost, as the rung of task accuracy counts it."""
    ties = d["lost_near_tie"] if d and excused else 0
    return float((len(accuracy["lost"]) - ties - len(accuracy["won"])) / accuracy["n"])


def _times(floats: Sequence[Any], found: float | None, most: float) -> tuple[str, str]:
    if not floats:
        return "-", "no single steps"
    if found is None:
        return small(found), "✗ not finite"
    if not found:
        return small(found), "no difference"
    if found <= most:
        return small(found), f"{most / found:.3g} times below"
    return small(found), f"✗ {found / most:.3g} times above"


def _closer(floats: Sequence[Any], found: float | None, least: float) -> tuple[str, str]:
    if not floats:
        return "-", "no single steps"
    if found is None:
        return cosine(found), "✗ not finite"
    distance, allowed = 1 - found, 1 - least
    if distance <= 0:
        return cosine(found), "no digit differs"
    if found >= least:
        return cosine(found), f"{allowed / distance:.3g} times closer to 1"
    return cosine(found), f"✗ {distance / max(allowed, 1e-12):.3g} times further from 1"


def _points(margin: float) -> str:
    return _marked(margin >= -1e-12, f"{signed(margin * 100, 2)} points")


def _marked(met: bool, margin: str) -> str:
    return margin if met else f"✗ {margin}"


def provenance_table(document: Document) -> Table:
    """The origin of the reference and of the files."""
    reference = document["reference"]
    origin = reference["provenance"]
    device = origin.get("device", {})
    versions = device.get("versions", {})
    rows = [
        ("model", f"{origin.get('model', '-')} ({reference['model']})"),
        ("model sha256", origin.get("model_sha256", "-")),
        ("weights sha256", reference["weights_sha256"]),
        ("puzzles", f"{_puzzles(reference)}: {origin.get('puzzles', '-')}"),
        ("task", reference["task"] or "unknown"),
        ("values compared", _compared(document)),
        ("halting", f"{_halt(reference['halt'])}, at most {reference['max_steps']} steps"),
        ("device", f"{device.get('name', '-')} ({device.get('kind', '-')})"),
        ("backend", f"{device.get('backend', '-')}, {origin.get('dtype_policy', '-')}, "
                    f"TF32 {'on' if device.get('tf32') else 'off'}"),
        ("versions", ", ".join(f"{name} {found}" for name, found in versions.items()) or "-"),
        ("golden sha256", reference["sha256"]),
        ("control", _control(reference["control"], origin.get("no_control"))),
        *((f"made {file['file']}", _made_by(file["made_by"])) for file in document["files"]),
        ("report", document["tool"]),
    ]  # fmt: skip
    cells = tuple((clean(name), clean(value)) for name, value in rows)
    return Table("Provenance", ("what", "value"), cells)


def _puzzles(reference: Mapping[str, Any]) -> str:
    return rows_text(reference["puzzles"], reference["kind"])


def _compared(document: Document) -> str:
    if all(not file["result"]["forced"] for file in document["files"]):
        return "none: no file was run step by step"
    reference = document["reference"]
    slots = counted(reference["refilled_slots"], "refilled slot")
    return f"{counted(reference['followed'], 'puzzle')} and {slots}, every step"


def _halt(rule: Mapping[str, Any]) -> str:
    threshold = rule.get("threshold")
    return str(rule.get("kind")) + ("" if threshold is None else f" > {threshold:g}")


def _control(control: Mapping[str, Any] | None, why: str | None) -> str:
    if control is None:
        return f"none: {why or 'the noise floor was not measured'}"
    error = small(control.get("forced_error"))
    return f"{control['what']}; largest forced relative L2 {error}"


def _made_by(made: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {found}" for name, found in made["versions"].items())
    return f"{made['tool']}; {versions}; weights {made['weights_sha256'][:12]}…"
