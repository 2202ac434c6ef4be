"""A comparison for build servers: JUnit's XML, and a table of Markdown for a step summary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from trm_export.errors import RejectedInputError
from trm_export.parity.document import file_names
from trm_export.report.render import escaped
from trm_export.report.text import clean
from trm_export.version import TOOL
from trm_runtime.display import Table
from trm_runtime.parity.result import FAILED, NOT_JUDGED, ParityResult

if TYPE_CHECKING:
    from trm_export.parity.document import JudgedFile


def junit(files: Sequence[JudgedFile]) -> str:
    """The files as test suites, and the rungs of the ladder as their tests.

    A rung that failed is a failure with its problems; one that was not judged is skipped. One that
    is only reported, because no gate applies, passes.
    """
    results = [(name, file.result) for name, file in zip(file_names(files), files, strict=True)]
    total = [rung for _, result in results for rung in result.rungs]
    root = ElementTree.Element("testsuites", {"name": TOOL, **_counts([r.status for r in total])})
    for name, result in results:
        root.append(_suite(clean(name), result))
    return _document(root)


def junit_of_refusal(error: RejectedInputError) -> str:
    """One test suite, and in it one test with the error of a comparison that did not begin."""
    counts = {"tests": "1", "failures": "0", "errors": "1", "skipped": "0"}
    root = ElementTree.Element("testsuites", {"name": TOOL, **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": "files", **counts})
    case = ElementTree.SubElement(suite, "testcase", {"classname": "files", "name": "opening"})
    found = ElementTree.SubElement(case, "error", {"message": clean(error.summary)})
    found.text = "\n".join(map(clean, error.problems))
    return _document(root)


def _document(root: ElementTree.Element) -> str:
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{body}\n'


def _suite(name: str, result: ParityResult) -> ElementTree.Element:
    counts = _counts([rung.status for rung in result.rungs])
    suite = ElementTree.Element("testsuite", {"name": name, **counts})
    for rung in result.rungs:
        place = {"classname": name, "name": rung.name}
        case = ElementTree.SubElement(suite, "testcase", place)
        if rung.status == FAILED:
            failure = ElementTree.SubElement(case, "failure", {"message": clean(rung.summary)})
            failure.text = "\n".join(map(clean, rung.problems))
        elif rung.status == NOT_JUDGED:
            ElementTree.SubElement(case, "skipped", {"message": clean(rung.summary)})
    ElementTree.SubElement(suite, "system-out").text = clean(result.verdict)
    return suite


def _counts(statuses: Sequence[str]) -> dict[str, str]:
    counted = {"tests": len(statuses), "failures": statuses.count(FAILED),
               "skipped": statuses.count(NOT_JUDGED)}  # fmt: skip
    return {name: str(count) for name, count in counted.items()}


def step_summary(verdict: str, table: Table, *, passed: bool) -> str:
    """A heading with the verdict, and the table of the files, in Markdown."""
    lines = [
        _heading(verdict, passed=passed),
        "",
        _line(table.heads),
        _line(["---"] * len(table.heads)),
        *(_line([escaped(clean(cell)) for cell in row]) for row in table.rows),
    ]
    return "\n".join(lines) + "\n\n"


def summary_of_refusal(error: RejectedInputError) -> str:
    """A heading that says why the comparison did not begin, in Markdown."""
    return f"{_heading(error.summary, passed=False)}\n\n"


def _heading(verdict: str, *, passed: bool) -> str:
    return f"### {'✅' if passed else '❌'} {escaped(clean(verdict))}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
