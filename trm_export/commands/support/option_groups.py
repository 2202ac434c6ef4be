"""Options that are declared once, as fields of a dataclass, for several commands.

    @grouped
    def onnx(model: ModelFile, hints: ModelOptions, as_json: AsJson = False) -> None: ...

A field has the annotation of a parameter of a Typer command. The class variable `panel` of the
dataclass is the help panel of its options.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from copy import copy
from dataclasses import MISSING, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """The command with a keyword parameter for each field of its dataclass parameters."""
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {name: hint for name, hint in hints.items() if is_dataclass(hint)}

    @functools.wraps(command)
    def expanded(**values: Any) -> None:
        for name, group in groups.items():
            given = {field.name: values.pop(field.name) for field in fields(group)}
            values[name] = group(**given)
        command(**values)

    parameters = [
        parameter
        for name, own in inspect.signature(command).parameters.items()
        for parameter in (_fields(groups[name]) if name in groups else [_typed(own, hints[name])])
    ]
    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    expanded.__annotations__ = {one.name: one.annotation for one in parameters}
    del expanded.__wrapped__  # Typer would use its signature
    return expanded


def _typed(parameter: inspect.Parameter, hint: Any) -> inspect.Parameter:
    return parameter.replace(annotation=_own(hint), kind=inspect.Parameter.KEYWORD_ONLY)


def _fields(group: Any) -> Iterator[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    for field in fields(group):
        default = inspect.Parameter.empty if field.default is MISSING else field.default
        hint = _own(hints[field.name], getattr(group, "panel", None))
        kind = inspect.Parameter.KEYWORD_ONLY
        yield inspect.Parameter(field.name, kind, default=default, annotation=hint)


def _own(hint: Any, panel: str | None = None) -> Any:
    """`Annotated[type, option]` with the option in this panel, unless it names another one.

    A file that cannot be read is refused by its reader, and one to write need not be readable.
    """
    if get_origin(hint) is not Annotated:
        return hint
    kind, option = get_args(hint)
    option = copy(option)
    option.rich_help_panel = option.rich_help_panel or panel
    option.readable = False
    return Annotated[kind, option]
