"""Which file the path of a PyTorch checkpoint means, and whether it can be read; no framework."""

from __future__ import annotations

from pathlib import Path

from trm_export.errors import CheckpointError
from trm_runtime.errors import reading
from trm_runtime.extras import require_extra
from trm_runtime.file_kinds import is_checkpoint
from trm_runtime.regular_file import check_regular

MAX_BYTES = 1 << 31
SAFETENSORS = ".safetensors"


def the_checkpoint(path: Path) -> Path:
    """The path; for a folder the one checkpoint in it.

    Raises CheckpointError for a folder with another number of them.
    """
    with reading(path):
        if not path.is_dir():
            return path
        files = sorted(file for file in path.iterdir() if is_checkpoint(file))
    if len(files) == 1:
        return files[0]
    names = [file.name for file in files[:8]]
    listed = f"found: {', '.join(names)}" if files else "it has none"
    raise CheckpointError(f"{path}: a folder; name the checkpoint file in it ({listed}).")


def require_reader(path: Path) -> None:
    """Raises what `read_checkpoint` raises before it reads, so that no framework is loaded first.

    That is MissingExtraError for a PyTorch file without PyTorch.
    """
    path = the_checkpoint(path)
    refuse_checkpoint(path)
    if path.suffix.lower() != SAFETENSORS:
        require_extra("torch", "torch", "trm-export")


def refuse_checkpoint(path: Path) -> None:
    """CheckpointError for a file that cannot be read, or is too large."""
    try:
        check_regular(path)
        size = path.stat().st_size
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}.") from error
    if size > MAX_BYTES:
        raise CheckpointError(f"{path}: has {size:,} bytes, at most {MAX_BYTES:,} are accepted.")
