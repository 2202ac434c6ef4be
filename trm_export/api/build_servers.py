"""The files that build servers read, beside what a command prints."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from trm_export.errors import RejectedInputError, TargetError, TRMError, UsageError
from trm_export.files import (
    atomic_write,
    refuse_append,
    refuse_overwrite,
    refuse_source,
    require_suffix,
    same_place,
)
from trm_runtime.memory_errors import lacks_memory


def refuse(path: Path | None, suffix: str, *, force: bool) -> None:
    """Raises, before any work, what `write` would raise for that name."""
    if path is not None:
        require_suffix(path, suffix)
        refuse_overwrite(path, force=force)


def refuse_growing(
    path: Path | None, sources: Iterable[Path | None], report: Path | None = None
) -> None:
    """Raises, before any work, for a file to which `append` must not add.

    That is an input, one that is no text, or a file of the report.
    """
    if path is not None:
        refuse_append(path)
        if report is not None:
            require_suffix(report, ".html")
            if same_place(path, report.with_suffix(".md")):
                raise UsageError(f"--report writes {path}, too; choose another name for --summary.")
        for source in sources:
            if source is not None:
                refuse_source(path, source, "an input")


def write(path: Path | None, text: Callable[[], str], *, force: bool) -> None:
    """Writes the text to the file, if there is one."""
    if path is not None:
        with atomic_write(path, force=force) as new:
            new.write_text(text(), encoding="utf-8")


def append(path: Path | None, text: Callable[[], str]) -> None:
    """Adds the text to the end of the file, if there is one: other steps write to it, too.

    The folder of the file is created.
    """
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(text())
    except OSError as error:
        raise TargetError(f"{path} cannot be written: {error.strerror}.") from error


@contextmanager
def refusals(junit: Path | None, summary: Path | None, *, force: bool) -> Iterator[None]:
    """Writes to both files why a file was refused, or lacked memory; the error goes on."""
    try:
        yield
    except TRMError as error:
        from trm_export.report.junit import junit_of_refusal, summary_of_refusal

        if isinstance(error, RejectedInputError):
            reason = error
        elif lacks_memory(error):
            reason = RejectedInputError(str(error))
        else:
            raise
        write(junit, lambda: junit_of_refusal(reason), force=force)
        append(summary, lambda: summary_of_refusal(reason))
        raise


def sarif_of(path: Path, problems: Sequence[str]) -> str:
    """The problems of a file as SARIF 2.1.0."""
    from trm_export.report.sarif import sarif

    return sarif(path, problems)
