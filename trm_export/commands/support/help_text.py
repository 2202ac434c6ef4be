"""The help of a command as plain text: options in panels, and examples.

Typer's own panels need Rich, whose import takes as long as everything else together.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import SequenceMatcher
from typing import Any, TypeVar

from typer.core import TyperCommand, TyperGroup

_EXAMPLES = "__examples__"
_ABSENT = "__absent_options__"
_FORMATS = "onnx, tflite, saved-model, c and all"
_CLOSE = 0.75  # similarity of an option that may have been meant
_ARGUMENTS, _GENERAL = "Input", "General"

Function = TypeVar("Function", bound=Callable[..., Any])


def examples(*lines: str) -> Callable[[Function], Function]:
    """Example command lines for the help of the command."""

    def mark(command: Function) -> Function:
        setattr(command, _EXAMPLES, lines)
        return command

    return mark


def without(**reasons: str) -> Callable[[Function], Function]:
    """Options that this command does not have, by their names in Python, and why."""

    def mark(command: Function) -> Function:
        named = {f"--{name.replace('_', '-')}": reason for name, reason in reasons.items()}
        setattr(command, _ABSENT, named)
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

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As Typer's; of an unknown option it says why it is none, or which commands have it."""
        try:
            return super().parse_args(ctx, args)
        except Exception as error:
            if not hasattr(error, "possibilities"):
                raise
            name = str(getattr(error, "option_name", ""))
            reason = getattr(self.callback, _ABSENT, {}).get(name) or _elsewhere(ctx, name)
            if reason:
                ctx.fail(f"No such option: {name}; {reason}")
            close = [one for one in error.possibilities or () if _similarity(name, one) >= _CLOSE]
            error.possibilities = close
            raise

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
            ctx.fail("There is no command 'export'; choose from " + _FORMATS)
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


def _elsewhere(ctx: Any, option: str) -> str:
    """The commands that have this option; empty for none."""
    commands = getattr(ctx.parent and ctx.parent.command, "commands", {})
    having = [
        name
        for name, command in commands.items()
        if any(option in parameter.opts for parameter in command.params)
    ]
    if not having:
        return ""
    *most, last = having
    return f"it is an option of {', '.join(most)}{' and ' if most else ''}{last}"


def _similarity(one: str, other: str) -> float:
    return SequenceMatcher(None, one, other).ratio()


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _name(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _panel(parameter: Any) -> str:
    named = getattr(parameter, "rich_help_panel", None)
    return named or (_ARGUMENTS if _is_argument(parameter) else _GENERAL)
