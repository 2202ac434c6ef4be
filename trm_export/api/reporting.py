"""`write_report`: a parity report as HTML, Markdown and JSON, from a comparison or from JSON."""

from __future__ import annotations

from pathlib import Path

from trm_export.api.arguments import ARTIFACTS, FilePath, path_of
from trm_export.api.comparison import Comparison
from trm_export.errors import RejectedInputError
from trm_export.files import require_suffix
from trm_export.report import report_files, rewrite_report
from trm_export.report import write_report as write
from trm_runtime.errors import reading
from trm_runtime.json_values import plain


def write_report(
    source: Comparison | FilePath, output: FilePath | None = None, *, force: bool = False
) -> list[Path]:
    """Write a report and return its files: .html, .md and .json.

    Args:
        source: what `compare` returned, or the .json of another report.
        output: the .html to write; that beside the .json if not given, `artifacts/report.html`
            for a comparison.
        force: replace files that this tool did not make.

    Raises:
        UsageError: the name does not end in .html.
        OverwriteError: a file to write was not made by this tool.
        RejectedInputError: the .json is not a report, or damaged.
    """
    if isinstance(source, Comparison):
        usual = ARTIFACTS / "report.html"
    else:
        read = path_of("source", source)
        with reading(read):
            if read.is_dir():
                raise RejectedInputError(f"{read}: a folder, but the .json of a report is read.")
        usual = read.with_suffix(".html")
    target = path_of("output", output, usual)
    require_suffix(target, ".html")
    if isinstance(source, Comparison):
        write(plain(source.document), target, force=force)
    else:
        rewrite_report(Path(source), target, force=force)
    return report_files(target)
