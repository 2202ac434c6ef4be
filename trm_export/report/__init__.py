"""Reports of a comparison: HTML and Markdown, and the JSON document they are made from.

Every number comes from the document of `trm_export.parity.document`; nothing is measured here.
"""

from __future__ import annotations

from trm_export.report.write import report_files, rewrite_report, write_report

__all__ = ["report_files", "rewrite_report", "write_report"]
