"""The help of a command as plain text: its options in panels, its examples as they are typed.

Typer's own panels need Rich, whose import costs as much as everything else together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from typer.core import TyperCommand

_EXAMPLES = "__examples__"
_ARGUMENTS, _GENERAL = "Input", "General"

Function = TypeVar("Function", bound=Callable[..., Any])


def examples(*lines: str) -> Callable[[Function], Function]:
    """Command lines that the help of the command shows, each with what it does: `line  # why`."""

    def mark(command: Function) -> Function:
        setattr(command, _EXAMPLES, lines)
        return command

    return mark


class PanelCommand(TyperCommand):
    """A command whose help has a section for each panel, in the order of its parameters."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes arguments, options by panel, and examples."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panels.setdefault(_panel(parameter), []).append(record)
        last = panels.pop(_GENERAL, None)
        for name, records in [*panels.items(), *([(_GENERAL, last)] if last else [])]:
            with formatter.section(name):
                formatter.write_dl(records)
        lines = getattr(self.callback, _EXAMPLES, ())
        if lines:
            with formatter.section("Examples"):
                for line in lines:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


def _panel(parameter: Any) -> str:
    named = getattr(parameter, "rich_help_panel", None)
    return named or (_ARGUMENTS if parameter.param_type_name == "argument" else _GENERAL)
