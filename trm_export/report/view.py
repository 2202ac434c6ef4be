"""The contents of a report for the templates, made from the document of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trm_export.report import confidence_figures, decision_figures, numbers, step_figures, tables
from trm_export.report.cost_figures import MODEL, CostPoint, front
from trm_export.report.lost_boards import MOST_PUZZLES, LostPuzzle, stories
from trm_export.report.recommendation import Recommendation, difference, recommendation
from trm_export.report.table import Figure, Table
from trm_export.report.text import clean, interval, listed, no_floor, percent
from trm_runtime.message_text import rows_text

Document = Mapping[str, Any]

_BOARDS = 24  # lost puzzles that a page shows, over all files


@dataclass(frozen=True)
class Explained:
    """Why a file fails, or what its layers cost, by `--explain`."""

    summary: str
    findings: list[str]
    tables: list[Table]


@dataclass(frozen=True)
class FileSection:
    """Everything about one file."""

    anchor: str
    name: str
    subtitle: str
    passed: bool
    why: str
    hops: list[str]
    problems: list[str]
    ladder: Table
    gates: Table | None
    figures: list[Figure]
    summary: Table | None
    accuracy: Table | None
    confidence: Table | None
    differences: Table | None
    stories: list[LostPuzzle]
    explanation: Explained | None
    numbers: list[Table]
    drift: list[Table]
    equal: str


@dataclass(frozen=True)
class View:
    """The whole report; `title` is the name of the model."""

    title: str
    tool: str
    passed: bool
    verdict: str
    ship: Recommendation
    summary: list[str]
    files: Table
    device: Table | None
    figures: list[Figure]
    sheets: list[FileSection]
    provenance: Table
    command: str


def view(document: Document) -> View:
    """Everything that a report shows, in its order."""
    return View(
        title=clean(document["reference"]["provenance"].get("model", "a model")),
        tool=clean(document["tool"]),
        passed=document["passed"],
        verdict=clean(document["verdict"]),
        ship=recommendation(document),
        summary=list(_summary(document)),
        files=tables.files_table(document),
        device=tables.device_table(document),
        figures=list(_figures(document)),
        sheets=list(_sheets(document)),
        provenance=tables.provenance_table(document),
        command=clean(document["command"]),
    )


def _summary(document: Document) -> Iterator[str]:
    """The accuracy of the model, and why there is no noise floor."""
    judged = [file for file in document["files"] if file["result"]["accuracy"]]
    if judged:
        score = judged[0]["result"]["accuracy"]
        solved = round(score["reference"]["exact"] * score["n"])
        total = rows_text(score["n"], document["reference"]["kind"])
        share = (
            f"{percent(score['reference']['exact'])}, {interval(score['reference']['interval'])}"
        )
        yield f"The model itself solves {solved} of {total} ({share} at 95 % confidence)."
    if why := document["reference"]["provenance"].get("no_control"):
        yield no_floor(why)


def _figures(document: Document) -> Iterator[Figure]:
    judged = [file for file in tables.by_size(document) if file["result"]["accuracy"]]
    if not judged:
        return
    yield decision_figures.differences(
        [_difference(file) for file in judged], judged[0]["result"]["accuracy"]["n"]
    )
    yield from (found for cost in _COSTS if (found := _front(document, judged, cost)))


@dataclass(frozen=True)
class _Cost:
    """A cost that accuracy is drawn against."""

    what: str
    unit: str
    of_file: Callable[[Mapping[str, Any]], float | None]
    of_model: Callable[[Mapping[str, Any]], float | None]


_COSTS = (
    _Cost("size", "MB", lambda file: file["bytes"] / 1e6, lambda cost: cost.get("bytes", 0) / 1e6),
    _Cost(
        "time",
        "ms a step",
        lambda file: (file["cost"] or {}).get("step_ms"),
        lambda cost: cost.get("step_ms"),
    ),
)


def _front(document: Document, files: Sequence[Mapping[str, Any]], cost: _Cost) -> Figure | None:
    spots = [
        _spot(file["file"], file["precision"], value, file["result"]["accuracy"]["candidate"])
        for file in files
        if (value := cost.of_file(file))
    ]
    own = cost.of_model(document["reference"].get("cost") or {})
    name = document["reference"]["provenance"].get("model", "the model")
    score = files[0]["result"]["accuracy"]["reference"]
    model = _spot(name, MODEL, own, score) if own else None
    return front(spots, model, cost.what, cost.unit)


def _spot(name: str, precision: str, cost: float, score: Mapping[str, Any]) -> CostPoint:
    return CostPoint(clean(name), precision, cost, score["exact"], tuple(score["interval"]))


def _difference(file: Mapping[str, Any]) -> decision_figures.Difference:
    found, ends = difference(file["result"]["accuracy"])
    drop = file["result"]["gates"]["exact_drop"]
    least = None if drop is None else -100 * drop
    return decision_figures.Difference(clean(file["file"]), file["precision"], found, ends, least)


def _sheets(document: Document) -> Iterator[FileSection]:
    files = tables.by_size(document)
    told = max(1, min(MOST_PUZZLES, _BOARDS // len(files)))
    for number, file in enumerate(files, 1):
        yield _sheet(document, file, number, told)


def _sheet(document: Document, file: Mapping[str, Any], number: int, told: int) -> FileSection:
    """The section of one file; `told`: how many lost puzzles it shows."""
    result = file["result"]
    broken = [p for rung in result["rungs"] for p in rung["problems"]]
    integers = numbers.integer_table(result)
    figures = list(_file_figures(file))
    sure = file.get("confidence")
    return FileSection(
        anchor=f"file-{number}",
        name=clean(file["file"]),
        subtitle=_subtitle(file),
        passed=result["passed"],
        why=clean(result["verdict"]),
        hops=[clean(sentence) for sentence in file.get("hops", ())],
        problems=listed(broken),
        ladder=numbers.ladder(result),
        gates=tables.gates_table(result),
        figures=figures,
        summary=_figure_summary(file, figures),
        accuracy=numbers.accuracy_table(result),
        confidence=confidence_figures.confidence_table(sure) if sure else None,
        differences=numbers.differences(result),
        stories=stories(document, file)[:told],
        explanation=_explanation(file),
        numbers=[*([] if integers is None else [integers]), *numbers.step_tables(result)],
        drift=list(numbers.drift_tables(result)),
        equal=numbers.equal_tensors(result),
    )


def _explanation(file: Mapping[str, Any]) -> Explained | None:
    told = file.get("explanation")
    if told is None:
        return None
    found = [
        Table(clean(t["title"]), tuple(map(clean, t["heads"])), tuple(_cells(t["rows"])))
        for t in told["tables"]
    ]
    return Explained(clean(told["summary"]), [clean(f) for f in told["findings"]], found)


def _cells(rows: Sequence[Sequence[str]]) -> Iterator[tuple[str, ...]]:
    return (tuple(map(clean, row)) for row in rows)


def _figure_summary(file: Mapping[str, Any], figures: Sequence[Figure]) -> Table | None:
    """The results that the figures of a file show, as a table for Markdown."""
    rows = tuple((figure.name, figure.found) for figure in figures)
    return Table("Against the model", (clean(file["file"]), "found"), rows) if rows else None


def _subtitle(file: Mapping[str, Any]) -> str:
    batch = "dynamic batch" if file["batch"] is None else f"batch {file['batch']}"
    facts = (file["precision"], f"one {file['granularity']} a call", batch, file["engine"])
    return clean(", ".join(facts))


def _file_figures(file: Mapping[str, Any]) -> Iterator[Figure]:
    result = file["result"]
    drawn = [step_figures.drift(result, tensor) for tensor in step_figures.states(result)]
    if result["halting"] is not None:
        drawn.append(decision_figures.heatmap(result["halting"]))
        drawn.append(decision_figures.margins(result))
    if sure := file.get("confidence"):
        drawn.append(confidence_figures.risk(sure, file["precision"]))
        drawn.append(confidence_figures.halting(sure["rules"]))
    if file["clipping"]:
        drawn.append(step_figures.clipping(file["clipping"]))
    yield from (figure for figure in drawn if figure is not None)
