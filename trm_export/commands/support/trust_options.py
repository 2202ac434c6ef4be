"""The options of commands that open files of others: digest, signature, isolation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from trm_runtime import isolation
from trm_runtime.trust import HELP_KEY, HELP_SHA256


@dataclass(frozen=True)
class TrustOptions:
    """What must hold of exported files before they are opened, and whether in a child process."""

    panel: ClassVar[str] = "Files of others"

    expect_sha256: Annotated[
        list[str] | None,
        typer.Option(metavar="HEX", help=f"{HELP_SHA256} Repeat it for several files."),
    ] = None
    verify_key: Annotated[Path | None, typer.Option(metavar="FILE", help=HELP_KEY)] = None
    isolate: Annotated[bool, typer.Option(isolation.OPTION, help=isolation.HELP)] = False
    isolate_memory: Annotated[
        int | None, typer.Option(metavar="MB", help=isolation.HELP_MEGABYTES)
    ] = None
    isolate_seconds: Annotated[
        float | None, typer.Option(metavar="SECONDS", help=isolation.HELP_SECONDS)
    ] = None

    def apply(self, files: Sequence[str | Path]) -> None:
        """Sets the limits of this process, and checks the files; raises what `te.require` raises.

        UsageError for a digest or a key without files: those that a command finds are not checked.
        The process that `trm-export` starts for --isolate sets them; see `commands.main`.
        """
        from trm_export import require
        from trm_export.errors import UsageError

        isolation.refuse_idle_limits(self.isolate, self.isolate_memory, self.isolate_seconds)
        if self.isolate and not isolation.inside():
            raise UsageError(f"{isolation.OPTION} is for the command trm-export; drop it.")
        if self.isolate:
            isolation.confine(self.isolate_memory, self.isolate_seconds)
        if self.expect_sha256 is None and self.verify_key is None:
            return
        if not files:
            raise UsageError(
                "--expect-sha256 and --verify-key are for exported files that are named; name them "
                "after the model."
            )
        for file in files:
            require(file, sha256=self.expect_sha256, key=self.verify_key)
