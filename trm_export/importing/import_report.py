"""The report of an import: where the model and each setting come from."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from trm_export.importing.settings import Setting

EMA_TEXTS = {
    True: "averaged (EMA): all_config.yaml says ema: true; the file itself does not record it",
    False: "raw, not averaged (EMA): all_config.yaml says ema: false",
    None: "not known whether averaged (EMA): no all_config.yaml with ema beside the checkpoint",
}


@dataclass(frozen=True)
class ImportReport:
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
        return EMA_TEXTS[self.ema]

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for `json.dumps`."""
        return {"weights": self.weights, **asdict(self)}
