"""Where the shipped checkpoints are: `artifacts/` of the checkout this package runs from."""

from __future__ import annotations

from pathlib import Path

from trm_export.errors import UsageError

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts"


def shipped_checkpoint(name: str) -> Path:
    """The path of ``artifacts/<name>.keras``.

    Raises:
        UsageError: this is not a checkout, or the checkpoint was removed.
    """
    path = ARTIFACTS / f"{name}.keras"
    if not path.is_file():
        raise UsageError(
            f"{path} does not exist: the shipped checkpoints are in a checkout of the repository, "
            f"not in the wheel. Train one with `trm-export train {name}`."
        )
    return path
