"""The report of an import: where the model and each setting come from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from trm_export.importing.folder import CONFIG
from trm_export.importing.settings import Setting
from trm_runtime.display import Shown, Table, bytes_text

EMA_TEXTS = {
    True: "averaged (EMA): {file} says ema: true; the file itself does not record it",
    False: "raw, not averaged (EMA): {file} says ema: false",
    None: "not known whether averaged (EMA): no {file} with ema beside the checkpoint",
}


@dataclass(frozen=True, repr=False)
class ImportReport(Shown):
    """The origin of an imported model."""

    checkpoint: str
    kind: str  # "safetensors" or "torch"
    size: int  # bytes
    sha256: str  # of the checkpoint
    config_file: str | None
    dataset_file: str | None
    prefixes: tuple[str, ...]  # removed from the names of the tensors
    dtypes: dict[str, int]  # dtype -> number of tensors
    tensors: int
    parameters: int
    puzzle_parameters: int  # of these, in the puzzle table
    ema: bool | None  # whether the weights are averaged; None: not known
    forward_dtype: str | None  # dtype of the run's computation
    settings: tuple[Setting, ...]
    notes: tuple[str, ...]

    @property
    def weights(self) -> str:
        """Whether the weights are averaged, in words."""
        file = CONFIG if self.config_file is None else Path(self.config_file).name
        return EMA_TEXTS[self.ema].format(file=file)

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for `json.dumps`."""
        return {"weights": self.weights, **asdict(self)}

    @property
    def summary(self) -> str:
        """The checkpoint and its size."""
        return f"{self.checkpoint}: {self.parameters:,} parameters; {self.weights}"

    def tables(self) -> tuple[Table, ...]:
        """The checkpoint, and the configuration with the source of each value."""
        settings = [(one.name, str(one.value), one.source) for one in self.settings]
        heads = ("setting", "value", "from")
        return (
            Table(self.checkpoint, self._rows()),
            Table("Configuration", settings, heads, heads),
        )

    def _rows(self) -> list[tuple[str, str]]:
        dtypes = ", ".join(f"{count} {dtype}" for dtype, count in self.dtypes.items())
        prefixes = ", ".join(prefix or "none" for prefix in self.prefixes)
        rows = [
            ("kind", f"official checkpoint, {self.kind}"),
            ("size", f"{bytes_text(self.size)} ({self.size:,} bytes)"),
            ("sha256", self.sha256),
            ("tensors", f"{self.tensors} ({dtypes}), name prefix: {prefixes}"),
            ("parameters", f"{self.parameters:,}"),
            ("weights", self.weights),
        ]
        if self.puzzle_parameters:
            rows.insert(-1, ("puzzle table", f"{self.puzzle_parameters:,} of these parameters"))
        if self.forward_dtype not in (None, "float32"):
            rows.append(("precision", f"trained in {self.forward_dtype}, imported in float32"))
        return rows
