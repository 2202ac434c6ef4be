"""`trm-export plan MODEL`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import typer

from trm_export.commands.support.help_text import examples
from trm_export.commands.support.options import (
    RUN,
    AsJson,
    Count,
    EngineName,
    Judge,
    PuzzleOptions,
)
from trm_export.commands.support.trust_options import TrustOptions

LIMITS = "Limits"
Model = Annotated[
    Path,
    typer.Argument(
        help="A .keras file, whose exports beside it and in artifacts are the choice, or an "
        "exported file."
    ),
]
Files = Annotated[
    list[Path] | None, typer.Argument(metavar="FILE", help="Exported files to choose from.")
]


def _number(text: str, units: dict[str, float], option: str, example: str) -> float:
    """A finite number, in the unit of factor 1."""
    digits = text.strip().rstrip("".join({*"".join(units)}))
    unit = text.strip()[len(digits) :].strip()
    try:
        value = float(digits) * units[unit]
    except (ValueError, KeyError):
        value = math.nan
    return value if math.isfinite(value) else _refuse(text, option, example)


def _refuse(text: str, option: str, example: str) -> NoReturn:
    from trm_export.errors import UsageError

    raise UsageError(f"{option}: expected something like {example}, got {text!r:.80}.")


def _seconds(text: str) -> float:
    """Seconds of ``50ms`` or ``0.2s``."""
    return _number(text, {"ms": 1e-3, "s": 1.0}, "--deadline", "50ms or 0.2s")


def _steps(text: str) -> int:
    """Steps of ``20steps`` or ``20``, which are a whole number."""
    how = "--budget", "20steps"
    steps = _number(text, {"steps": 1, "step": 1, "": 1}, *how)
    return int(steps) if steps.is_integer() else _refuse(text, *how)


def _bytes(text: str) -> int:
    """Bytes of ``1MB``."""
    units = {"kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "B": 1.0}
    return int(_number(text, units, "--memory", "1MB or 500kB"))


def _percent(text: str) -> float:
    """Percent of ``95`` or ``95%``."""
    return _number(text, {"%": 1.0, "": 1.0}, "--exact", "95")


Deadline = Annotated[
    float | None,
    typer.Option(
        metavar="TIME",
        help="Time of a puzzle, such as 50ms.",
        parser=_seconds,
        rich_help_panel=LIMITS,
    ),
]
Budget = Annotated[
    int | None,
    typer.Option(
        metavar="STEPS",
        help="Steps of a puzzle, all tries together, such as 20steps.",
        parser=_steps,
        rich_help_panel=LIMITS,
    ),
]
Memory = Annotated[
    int | None,
    typer.Option(
        metavar="BYTES",
        help="Memory that opening and running the file adds, such as 30MB.",
        parser=_bytes,
        rich_help_panel=LIMITS,
    ),
]
Exact = Annotated[
    float | None,
    typer.Option(
        metavar="PERCENT",
        help="Puzzles to answer right, such as 95: then the fastest choice that does.",
        parser=_percent,
        rich_help_panel=LIMITS,
    ),
]
Tries = Annotated[
    int,
    typer.Option(
        min=1, metavar="N", help="Consider up to N tries of a puzzle.", rich_help_panel=RUN
    ),
]
Vary = Annotated[
    Literal["symmetry", "noise", "both"],
    typer.Option(help="How tries differ.", rich_help_panel=RUN),
]


@examples(
    "trm-export plan model.keras --deadline 50ms",
    "trm-export plan model.keras model.onnx --deadline 0.2s --exact 95",
    "trm-export plan model.keras --budget 20steps --memory 30MB",
)
def plan(
    model: Model,
    puzzles: PuzzleOptions,
    trust: TrustOptions,
    files: Files = None,
    deadline: Deadline = None,
    budget: Budget = None,
    memory: Memory = None,
    exact: Exact = None,
    tries: Tries = 8,
    vary: Vary = "symmetry",
    count: Count = 400,
    judge: Judge = "exact",
    engine: EngineName = None,
    as_json: AsJson = False,
) -> None:
    """Choose file, threads, threshold and tries within limits of time, steps or memory.

    The exported files run on validation puzzles; what is measured is kept beside them, and the
    next plan uses it. Exit code 1 if no choice is within the limits. Needs no Keras.
    """
    import trm_export as te
    from trm_export.commands.support.console import emit, progress, remark, sentences, show
    from trm_export.errors import TRMError

    named = files or []
    trust.apply(named if model.suffix == ".keras" else [model, *named])
    with progress() as advance:
        found = te.plan(
            model,
            named,
            **vars(puzzles),
            deadline=deadline,
            budget=budget,
            memory=memory,
            exact=exact,
            tries=tries,
            vary=vary,
            count=count,
            judge=judge,
            engine=engine,
            progress=advance,
        )
    if as_json:
        emit(found.to_json())
    else:
        show(*found.tables())
        if found.run is not None:
            print(found.run.command, found.run.python, sep="\n")
        sentences(found.legend)
    if not found:
        if not as_json:
            remark(f"Error: {found.problem}")
        raise typer.Exit(TRMError.exit_code)
