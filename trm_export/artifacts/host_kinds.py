"""The kinds of files that this tool writes: those of `trm_runtime.file_kinds`, and what a host
does with each.

A new format is a module with what is named here, and an entry of `HOST_KINDS` beside the one that
its driver has on the device. Nothing is loaded until it is used; needs no framework.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trm_runtime.errors import reading
from trm_runtime.file_kinds import KINDS, FileKind, folder_kind, suffix_kind


@dataclass(frozen=True)
class HostKind:
    """One kind of file on the host. What is loaded late is named as "module:name".

    Attributes:
        file: the kind, as the device knows it.
        targets: what the files can be made for, the usual one first.
        inspector: ``f(path)``, what `inspect_file` gives for such a file; for a kind without a
            class of its own that is a `ContractInfo`.
        exporter: a `trm_export.exporters.format.Format`.
        walker: a `trm_export.explain.walker.Walker`; empty where files cannot be explained.
        profiler: ``f(path, calls, threads) -> Measured``; empty where the engine has none.
        twin: the format that an explained file is compared with.
        batch: rows of a call, unless the user chooses; None for a dynamic batch.
    """

    file: FileKind
    targets: tuple[str, ...]
    inspector: str
    exporter: str
    walker: str = ""
    profiler: str = ""
    twin: str = ""
    batch: int | None = None

    @property
    def ending(self) -> str:
        """What the name of such a file ends in: its suffix, or words for a folder."""
        return self.file.suffix or f"_{self.file.name.replace('-', '_')}"

    def load(self, reference: str) -> Any:
        """What one of the fields above names."""
        module, _, name = reference.partition(":")
        return getattr(importlib.import_module(module), name)


HOST_KINDS = {
    kind.file.name: kind
    for kind in (
        HostKind(
            KINDS["saved-model"], ("tensorflow",),
            inspector="trm_export.artifacts.saved_model_info:inspect_saved_model",
            exporter="trm_export.exporters.saved_model:FORMAT",
            walker="trm_export.explain.saved_model_walk:WALKER", twin="onnx",
        ),
        HostKind(
            KINDS["onnx"], ("onnxruntime",),
            inspector="trm_export.artifacts.onnx_info:inspect_onnx",
            exporter="trm_export.exporters.onnx:FORMAT",
            walker="trm_export.explain.onnx_walk:WALKER", twin="tflite",
            profiler="trm_export.explain.onnx_profile:measure",
        ),
        HostKind(
            KINDS["tflite"], ("litert", "tflite-runtime", "tflite-micro"),
            inspector="trm_export.artifacts.tflite_info:inspect_tflite",
            exporter="trm_export.exporters.tflite:FORMAT",
            walker="trm_export.explain.tflite_walk:WALKER", twin="onnx", batch=1,
        ),
    )
}  # fmt: skip
"""By the name of the format, in the order in which a set is exported; see also `KINDS`."""


def host_kind(path: Path) -> HostKind | None:
    """The kind of a file by its name, or of a folder; None for any other.

    A folder that has lost what marks it is taken for the first kind of folder there is.
    """
    with reading(path):
        if path.is_dir():
            folders = (kind.file for kind in HOST_KINDS.values() if kind.file.marker)
            found = folder_kind(path) or next(folders, None)
        else:
            found = suffix_kind(path)
    return None if found is None else HOST_KINDS.get(found.name)
