"""Checkpoints of the official PyTorch code (arXiv 2510.04871) become Keras models.

`read` opens the file, `folder` what lies beside it, `settings` finds the configuration and where
each value comes from, `layout` knows which tensor is which weight, `load` puts them together.
"""

from __future__ import annotations

from trm_export.importing.import_report import ImportReport
from trm_export.importing.load import import_checkpoint

__all__ = ["ImportReport", "import_checkpoint"]
