"""Import checkpoints of the official PyTorch code (arXiv 2510.04871) as Keras models.

`tensors` reads the file, `folder` the documents beside it, `settings` determines the configuration
and the source of each value, `layout` maps tensors to weights, `load` puts them together.
"""

from __future__ import annotations

from trm_export.importing.import_report import ImportReport
from trm_export.importing.load import import_checkpoint

__all__ = ["ImportReport", "import_checkpoint"]
