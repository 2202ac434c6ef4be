"""The contents of a report for the templates, made from the document of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trm_export.report import decision_figures, numbers, step_figures, tables
from trm_export.report.cost_figures import CostPoint, front
from trm_export.report.lost_boards import LostPuzzle, stories
from trm_export.report.table import Figure, Table
from trm_export.report.text import clean, listed, megabytes, no_floor, percent
from trm_runtime.message_text import rows_text

Document = Mapping[str, Any]


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
    figures: list[Figure]
    summary: Table | None
    accuracy: Table | None
    differences: Table | None
    stories: list[LostPuzzle]
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
    summary: list[str]
    files: Table
    figures: list[Figure]
    sheets: list[FileSection]
    gates: Table
    provenance: Table
    command: str


def view(document: Document) -> View:
    """Everything that a report shows, in its order."""
    return View(
        title=clean(document["reference"]["provenance"].get("model", "a model")),
        tool=clean(document["tool"]),
        passed=document["passed"],
        verdict=clean(document["verdict"]),
        summary=list(_summary(document)),
        files=tables.files_table(document),
        figures=list(_figures(document)),
        sheets=[_sheet(document, number) for number in range(len(document["files"]))],
        gates=tables.gates_table(document),
        provenance=tables.provenance_table(document),
        command=clean(document["command"]),
    )


def _summary(document: Document) -> Iterator[str]:
    """A few sentences that sum the tables up."""
    judged = [file for file in document["files"] if file["result"]["accuracy"]]
    if judged:
        score = judged[0]["result"]["accuracy"]
        solved = round(score["reference"]["exact"] * score["n"])
        total = rows_text(score["n"], document["reference"]["kind"])
        yield f"The model itself solves {solved} of {total}."
    if why := document["reference"]["provenance"].get("no_control"):
        yield no_floor(why)
    passing = [file for file in document["files"] if file["result"]["passed"]]
    if not passing:
        yield "No file passes."
        return
    smallest = min(passing, key=lambda file: file["bytes"])
    yield f"The smallest that passes is {_size_and_accuracy(smallest)}."
    timed = [file for file in passing if file["cost"] and file["cost"].get("step_ms")]
    if timed:
        fastest = min(timed, key=lambda file: file["cost"]["step_ms"])
        milliseconds = f"{fastest['cost']['step_ms']:.1f} ms a step"
        yield f"The fastest that passes is {_size_and_accuracy(fastest)}, {milliseconds}."


def _size_and_accuracy(file: Mapping[str, Any]) -> str:
    score = file["result"]["accuracy"]
    solves = f", solves {percent(score['candidate']['exact'])}" if score else ""
    return f"{clean(file['file'])}: {megabytes(file['bytes'])} MB{solves}"


def _figures(document: Document) -> Iterator[Figure]:
    judged = [file for file in document["files"] if file["result"]["accuracy"]]
    if not judged:
        return
    score = judged[0]["result"]["accuracy"]
    sides = [("the model", "", score["reference"])]
    for file in judged:
        found = file["result"]["accuracy"]["candidate"]
        sides.append((file["file"], file["precision"], found))
    yield decision_figures.accuracy(sides, score["n"], "accuracy")
    timed = [file for file in judged if file["cost"] and file["cost"].get("step_ms")]
    for found in (
        front([_spot(file, file["bytes"] / 1e6) for file in judged], "size", "MB", "size"),
        front([_spot(f, f["cost"]["step_ms"]) for f in timed], "time", "ms a step", "time"),
    ):
        if found is not None:
            yield found


def _spot(file: Mapping[str, Any], cost: float) -> CostPoint:
    score = file["result"]["accuracy"]["candidate"]
    return CostPoint(
        file["file"], file["precision"], cost, score["exact"], tuple(score["interval"])
    )


def _sheet(document: Document, number: int) -> FileSection:
    file = document["files"][number]
    result = file["result"]
    broken = [p for rung in result["rungs"] for p in rung["problems"]]
    integers = numbers.integer_table(result)
    figures = list(_file_figures(file, f"f{number + 1}"))
    return FileSection(
        anchor=f"file-{number + 1}",
        name=clean(file["file"]),
        subtitle=_subtitle(file),
        passed=result["passed"],
        why=clean(result["verdict"]),
        hops=[clean(sentence) for sentence in file.get("hops", ())],
        problems=listed(broken),
        ladder=numbers.ladder(result),
        figures=figures,
        summary=_figure_summary(file, figures),
        accuracy=numbers.accuracy_table(result),
        differences=numbers.differences(result),
        stories=stories(document, file),
        numbers=[*([] if integers is None else [integers]), *numbers.step_tables(result)],
        drift=list(numbers.drift_tables(result)),
        equal=numbers.equal_tensors(result),
    )


def _figure_summary(file: Mapping[str, Any], figures: Sequence[Figure]) -> Table | None:
    """The results that the figures of a file show, as a table for Markdown."""
    rows = tuple((figure.name, figure.found) for figure in figures)
    return Table("Against the model", (clean(file["file"]), "found"), rows) if rows else None


def _subtitle(file: Mapping[str, Any]) -> str:
    batch = "dynamic batch" if file["batch"] is None else f"batch {file['batch']}"
    facts = (file["precision"], f"one {file['granularity']} a call", batch, file["engine"])
    return clean(", ".join(facts))


def _file_figures(file: Mapping[str, Any], key: str) -> Iterator[Figure]:
    result = file["result"]
    drawn = [
        step_figures.drift(result, tensor, f"{key}drift{i}")
        for i, tensor in enumerate(step_figures.states(result))
    ]
    if result["halting"] is not None:
        drawn.append(decision_figures.heatmap(result["halting"], f"{key}halt"))
        drawn.append(decision_figures.margins(result, f"{key}margin"))
    if file["clipping"]:
        drawn.append(step_figures.clipping(file["clipping"], f"{key}clip"))
    yield from (figure for figure in drawn if figure is not None)
