"""The result of a comparison of files with their model, for people and programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_export.parity.comparing import file_document
from trm_export.parity.document import JudgedFile, ReportDocument, file_names
from trm_export.report.text import clean, no_floor
from trm_runtime.contract import StepContract
from trm_runtime.display import Shown, Table
from trm_runtime.json_values import json_object
from trm_runtime.parity import ParityResult

if TYPE_CHECKING:
    from trm_export.explain.explanation import Explanation

__all__ = ["Comparison", "JudgedFile"]

_HEADS = ("file", "verdict", "forced", "answers", "steps", "exact", "lost", "won")


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """Files compared with their model; truthy when all pass.

    Attributes:
        model: the name of the model, or the path of its file.
        files: each with its contract, engine and `ParityResult`.
        document: the data of a report, in JSON types.
        report: the page that was written, if any.
        explanations: of files that fail or are int8, by path; None without `explain`.
    """

    model: str
    files: tuple[JudgedFile, ...]
    document: ReportDocument
    report: Path | None = None
    explanations: Mapping[str, Explanation] | None = None

    @property
    def results(self) -> tuple[ParityResult, ...]:
        """The result of every file, in order."""
        return tuple(file.result for file in self.files)

    @property
    def passed(self) -> bool:
        """Whether every file passes."""
        return all(self.results)

    def __bool__(self) -> bool:
        return self.passed

    @property
    def verdict(self) -> str:
        """One sentence about all files."""
        return self.document["verdict"]

    @property
    def remarks(self) -> tuple[str, ...]:
        """Remarks: files of other weights or another checksum, tuned files, no noise floor."""
        named = list(zip(file_names(self.files), self.files, strict=True))
        others = [
            f"{name} has other weights than this model; export the model again."
            for name, file in named
            if file.result.passed and not file.result.same_weights
        ]
        known = self.document["reference"]["weights_sha256"]
        others += [
            f"{name} stores the weights of this model, but its contract records another "
            "checksum of them; export the model again for a right record."
            for name, file in named
            if file.result.same_weights and file.contract.made_by.weights_sha256 != known
        ]
        tuned = [_tuned(f.contract) for f in self.files if f.contract.halt.trained is not None]
        why = self.document["reference"]["provenance"].get("no_control")
        return (*others, *tuned, *([] if why is None else [no_floor(why)]))

    @property
    def summary(self) -> str:
        """The verdict, with the word first."""
        return f"{'passed' if self else 'FAILED'}. {self.verdict}"

    def tables(self) -> tuple[Table, ...]:
        """A line for each file."""
        rows = [_row(*pair) for pair in zip(self.files, file_names(self.files), strict=True)]
        return (Table(f"Against {self.model}", rows, _HEADS),)

    def junit(self) -> str:
        """The ladder of every file as JUnit's XML, for a build server."""
        from trm_export.report.junit import junit

        return junit(self.files)

    def step_summary(self) -> str:
        """The verdict and a line for each file in Markdown, for the summary of a build."""
        from trm_export.report.junit import step_summary

        return step_summary(self.verdict, *self.tables(), passed=self.passed)

    def to_json(self) -> dict[str, Any]:
        """The document of all files, or that of the file where it is one, in JSON types."""
        one = len(self.files) == 1
        document = file_document(self.files[0]) if one else dict(self.document)
        if self.explanations is not None:
            told = {path: found.to_json() for path, found in self.explanations.items()}
            document = {**document, "explanations": told}
        return json_object(document)

    def _repr_html_(self) -> str:
        verdicts = (file.result.verdict for file in self.files)
        lines = "".join(f"<p>{escape(text)}</p>" for text in (*verdicts, *self.remarks))
        return super()._repr_html_() + lines


def _tuned(contract: StepContract) -> str:
    return (
        f"The file is tuned: its halting threshold is {contract.halt.threshold:g}, its model's "
        f"{contract.halt.trained:g}. So their halting steps and answers differ on purpose, and "
        "only single steps and the accuracy are judged."
    )


def _row(file: JudgedFile, name: str) -> tuple[str, ...]:
    result = file.result
    decisions, score, worst = result.decisions, result.accuracy, result.forced_error
    counts: tuple[str, ...] = ("-", "-")
    if decisions is not None:
        settled = decisions.settled
        counts = f"{decisions.answers_equal}/{settled}", f"{decisions.steps_equal}/{settled}"
    exact: tuple[str, ...] = ("-", "-", "-")
    if score is not None:
        exact = f"{score.candidate.exact:.1%}", str(len(score.lost)), str(len(score.won))
    forced = "-" if worst is None else f"{worst:.1e}"
    return clean(name), "passed" if result else "FAILED", forced, *counts, *exact
