"""What an import says of itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from trm_export.importing.settings import Setting

EMA_WORDS = {
    True: "averaged (EMA): all_config.yaml says ema: true; the file itself does not record it",
    False: "raw, not averaged (EMA): all_config.yaml says ema: false",
    None: "not known whether averaged (EMA): nothing beside the checkpoint says so",
}


@dataclass(frozen=True)
class ImportReport:
    """Where a model comes from."""

    checkpoint: str
    kind: str  # "safetensors" or "torch"
    size: int  # bytes
    sha256: str  # of the checkpoint
    config_file: str | None
    dataset_file: str | None
    prefixes: tuple[str, ...]  # that the names of the tensors carried
    dtypes: dict[str, int]  # dtype -> number of tensors
    tensors: int
    parameters: int
    puzzle_parameters: int  # of these, in the puzzle table
    ema: bool | None  # whether the weights are averaged; None: not known
    forward_dtype: str | None  # that the run computed in
    settings: tuple[Setting, ...]
    notes: tuple[str, ...]

    @property
    def weights(self) -> str:
        """Whether the weights are averaged, in words."""
        return EMA_WORDS[self.ema]

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for `json.dumps`."""
        return {"weights": self.weights, **asdict(self)}
