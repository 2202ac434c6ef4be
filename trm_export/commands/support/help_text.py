"""The help of a command as plain text: options in panels, and examples.

Typer's own panels need Rich, whose import takes as long as everything else together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from typer.core import TyperCommand, TyperGroup

_EXAMPLES = "__examples__"
_ARGUMENTS, _GENERAL = "Input", "General"

Function = TypeVar("Function", bound=Callable[..., Any])


def examples(*lines: str) -> Callable[[Function], Function]:
    """Example command lines for the help of the command."""

    def mark(command: Function) -> Function:
        setattr(command, _EXAMPLES, lines)
        return command

    return mark


class PanelCommand(TyperCommand):
    """A command whose help has a section for each panel, in the order of its parameters."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """`[OPTIONS] MODEL [FILE]...` of the first line."""
        found = ["[OPTIONS]"]
        for parameter in filter(_is_argument, self.get_params(ctx)):
            name = _name(parameter) if parameter.required else f"[{_name(parameter)}]"
            found.append(f"{name}..." if parameter.nargs == -1 else name)
        return found

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Writes arguments, options by panel, and examples."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                name = _name(parameter) if _is_argument(parameter) else record[0]
                panels.setdefault(_panel(parameter), []).append((name, record[1]))
        last = panels.pop(_GENERAL, None)
        for name, records in [*panels.items(), *([(_GENERAL, last)] if last else [])]:
            with formatter.section(name):
                formatter.write_dl(records)
        lines = getattr(self.callback, _EXAMPLES, ())
        if lines:
            with formatter.section("Examples"):
                for line in lines:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")


class PanelGroup(TyperGroup):
    """The application, whose help has a section for each panel of its commands."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command of a word; `export` is none, and is answered with the formats."""
        if args[0] == "export" and self.get_command(ctx, "export") is None:
            ctx.fail("There is no command 'export'; choose from onnx, tflite, saved-model and all")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Writes the commands by panel, each with the first sentence of its help."""
        panels: dict[str, list[tuple[str, str]]] = {}
        for name in self.list_commands(ctx):
            command: Any = self.get_command(ctx, name)
            first = command.help.partition("\n\n")[0].replace("\n", " ")
            panels.setdefault(command.rich_help_panel, []).append((name, first))
        for panel, records in panels.items():
            with formatter.section(panel):
                formatter.write_dl(records)


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _panel(parameter: Any) -> str:
    named = getattr(parameter, "rich_help_panel", None)
    return named or (_ARGUMENTS if _is_argument(parameter) else _GENERAL)
