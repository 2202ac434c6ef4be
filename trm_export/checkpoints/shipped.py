"""Where the shipped checkpoints are: `artifacts/` of the checkout this package runs from."""

from __future__ import annotations

from pathlib import Path

from trm_export.errors import UsageError

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts"


def shipped_checkpoint(name: str) -> Path:
    """The path of ``artifacts/<name>.keras``.

    Raises:
        UsageError: there is none of this name, or this is not a checkout.
    """
    path = ARTIFACTS / f"{name}.keras"
    if path.is_file():
        return path
    shipped = ", ".join(sorted(file.stem for file in ARTIFACTS.glob("*.keras")))
    if shipped:
        raise UsageError(f"There is no shipped checkpoint {name!r}; choose from {shipped}.")
    raise UsageError(
        f"{path} does not exist: the shipped checkpoints are in a checkout of the repository, "
        f"not in the wheel. Train one with `trm-export train {name}`."
    )
