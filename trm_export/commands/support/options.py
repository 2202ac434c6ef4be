"""The options that several commands have, declared once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import typer

from trm_runtime.try_options import CHOOSE, SIGMA, VARY, tries_asked

if TYPE_CHECKING:
    from trm_export import ModelHints

INPUT, OUTPUT, PUZZLES = "Input", "Output", "Puzzles"
WHAT, MODELS = "What to export", "Third-party models"
REFERENCE, RUN = "Reference", "How to run"

AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="Print one JSON document instead of text, errors included.",
        rich_help_panel=OUTPUT,
    ),
]
Force = Annotated[
    bool,
    typer.Option(
        "--force",
        help="Replace a file that this tool did not make, or an exported folder with all that is "
        "in it.",
        rich_help_panel=OUTPUT,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="The file to write; a missing folder is created. Default: artifacts/<name>.",
        rich_help_panel=OUTPUT,
    ),
]
JsonFile = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Also write the JSON document to this file.",
        rich_help_panel=OUTPUT,
    ),
]
ModelFile = Annotated[Path, typer.Argument(help="A .keras file.")]
BatchSize = Annotated[
    int,
    typer.Option(
        min=1,
        metavar="N",
        help="Rows a step, if the file has a dynamic batch.",
        rich_help_panel=RUN,
    ),
]
EngineName = Annotated[
    str | None,
    typer.Option(
        "--engine",
        metavar="NAME",
        help="One of several engines for a kind of file, such as openvino, or openvino:bf16. "
        "Default: the first that is installed.",
        rich_help_panel=RUN,
    ),
]
Blanks = Annotated[
    str | None,
    typer.Option(
        help="Blanks of the shipped puzzles: a number, minimal, or (9x9 Sudoku) hard; for mazes "
        "the number of path cells.",
        rich_help_panel=PUZZLES,
    ),
]
Count = Annotated[
    int,
    typer.Option(min=1, metavar="N", help="Maximum number of puzzles.", rich_help_panel=PUZZLES),
]
Judge = Annotated[
    Literal["exact", "valid"],
    typer.Option(
        help="Compare answers with solutions, or check them by the rules of the task, which need "
        "no solutions and accept every right answer.",
        rich_help_panel=RUN,
    ),
]
TaskName = Annotated[
    str | None,
    typer.Option(
        "--task", help="The task of the model's tokens, such as maze9.", rich_help_panel=PUZZLES
    ),
]
Granularity = Annotated[
    Literal["step", "loop", "block"],
    typer.Option(
        help="One call is one ACT step, the complete ACT loop, or one network pass.",
        rich_help_panel=WHAT,
    ),
]
PuzzleTable = Annotated[
    Literal["internal", "external"],
    typer.Option(
        help="Puzzle embeddings in the graph, or in a file beside it.", rich_help_panel=WHAT
    ),
]
Check = Annotated[
    Literal["auto", "full"],
    typer.Option(
        help="Steps of the new file to compare with Keras: five, of a big model three, or all.",
        rich_help_panel=WHAT,
    ),
]


def _rows(text: str) -> int | str:
    """The number of rows of a call; a text that is none as it is, because the export judges it."""
    return int(text) if text.removeprefix("-").isdecimal() else text


def _percent(text: str) -> float:
    """The number in ``20`` or ``20%``; UsageError for anything else."""
    from trm_export.errors import UsageError

    try:
        return float(text.strip().removesuffix("%"))
    except ValueError:
        raise UsageError(f"--auto-keep: expected a number of percent, got {text!r}.") from None


@dataclass(frozen=True)
class ModelOptions:
    """Trusted packages, and facts that the model file itself does not state."""

    panel: ClassVar[str] = MODELS

    trust_module: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PACKAGE",
            help="Package of the model's class, whose code may run; repeat it for more.",
        ),
    ] = None
    seq_len: Annotated[
        int | None, typer.Option(help="Tokens of a puzzle, if the model does not state it.")
    ] = None
    max_steps: Annotated[
        int | None,
        typer.Option(help="Maximum steps of a row, if the model does not state it."),
    ] = None
    halt_rule: Annotated[
        Literal["q_halt", "q_halt_minus_q_continue"] | None,
        typer.Option(help="The score by which a row halts."),
    ] = None
    halt_threshold: Annotated[
        float | None,
        typer.Option(help="The threshold of that score. Default: the model's own."),
    ] = None
    puzzle_identifiers: Annotated[
        int | None,
        typer.Option(help="Number of puzzle identifiers, if the model does not state it."),
    ] = None

    @property
    def trusted(self) -> Sequence[str]:
        """The packages whose code may run."""
        return self.trust_module or ()

    def hints(self, task: str | None = None) -> ModelHints:
        """The same for the library, and the task of the model's tokens."""
        from trm_export import ModelHints

        return ModelHints(
            seq_len=self.seq_len,
            max_steps=self.max_steps,
            halt_rule=self.halt_rule,
            halt_threshold=self.halt_threshold,
            num_puzzle_identifiers=self.puzzle_identifiers,
            task=task,
        )


@dataclass(frozen=True)
class PuzzleOptions:
    """The puzzles of a command."""

    panel: ClassVar[str] = PUZZLES

    puzzles: Annotated[
        Path | None,
        typer.Option(
            help="Your own puzzles: a table, text, JSON, .npz or a folder; or hard, for 9x9 "
            "Sudokus that need guesses."
        ),
    ] = None
    task: TaskName = None
    blanks: Blanks = None


@dataclass(frozen=True)
class TryOptions:
    """How puzzles without a sure answer are asked again."""

    panel: ClassVar[str] = RUN

    tries: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Ask a puzzle without a sure answer again, up to N times."
        ),
    ] = 1
    vary: Annotated[
        Literal["symmetry", "noise", "both"] | None,
        typer.Option(
            help="How tries differ: another guise, noise on the states, or both. Default: "
            f"{VARY[0]}.",
        ),
    ] = None
    choose: Annotated[
        Literal["score", "first", "vote"] | None,
        typer.Option(
            help="The answer: of the highest score, of the first sure try, or the most frequent. "
            f"Default: {CHOOSE[0]}.",
        ),
    ] = None
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Of the tries. Default: 0.")
    ] = None
    sigma: Annotated[
        float | None,
        typer.Option(metavar="S", help=f"Deviation of the noise. Default: {SIGMA}."),
    ] = None

    def asked(self) -> dict[str, Any]:
        """Those that are given; UsageError for one that does nothing without more tries."""
        return tries_asked(**vars(self))

    def given(self) -> list[str]:
        """The names of those that are given."""
        values = {**vars(self), "tries": None if self.tries == 1 else self.tries}
        return [name for name, value in values.items() if value is not None]


@dataclass(frozen=True)
class ReferenceOptions:
    """The device of the Keras model, and whether its noise floor is measured."""

    panel: ClassVar[str] = REFERENCE

    device: Annotated[
        Literal["auto", "gpu", "cpu"], typer.Option(help="auto: a GPU if Keras finds one.")
    ] = "auto"
    require_gpu: Annotated[bool, typer.Option("--require-gpu", help="Fail without a GPU.")] = False
    control: Annotated[
        bool | None,
        typer.Option(
            "--control/--no-control",
            help="Measure the noise floor, the same weights in float64. Default: if the model can "
            "be computed in float64; parity: only with --report.",
        ),
    ] = None


@dataclass(frozen=True)
class GraphOptions:
    """The kind of graph to export. None is the default of the format."""

    panel: ClassVar[str] = WHAT

    granularity: Granularity = "step"
    batch: Annotated[
        str | None,
        typer.Option(
            metavar="ROWS|free",
            help="Rows of a call, or free for a dynamic batch.",
            parser=_rows,
        ),
    ] = None
    recursion: Annotated[
        Literal["unrolled", "rolled"] | None,
        typer.Option(help="The passes as separate nodes, or as one loop. Default: the faster one."),
    ] = None
    puzzle_table: PuzzleTable = "internal"
    ports: Annotated[
        Literal["bool", "int32"],
        typer.Option(help="dtype of halted; int32 for LiteRT.js, Core ML and others."),
    ] = "bool"
    check: Check = "auto"


@dataclass(frozen=True)
class IntegerOptions:
    """int8 I/O, and layers that stay float32."""

    panel: ClassVar[str] = WHAT

    integer_io: Annotated[
        bool,
        typer.Option("--integer-io", help="int8 inputs and outputs; only for int8-static."),
    ] = False
    keep: Annotated[
        list[str] | None,
        typer.Option(
            metavar="LAYER",
            help="Layer that stays float32, a name or a pattern such as '*down'; repeat it for "
            "more. An unknown name shows all names.",
        ),
    ] = None
    auto_keep: Annotated[
        float | None,
        typer.Option(
            metavar="PERCENT",
            help="Keep the worst layers in float32, one after the other, until the file passes its "
            "gates; they may add at most so many percent of bytes.",
            parser=_percent,
        ),
    ] = None
    auto_keep_count: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Number of puzzles on which --auto-keep judges every file."
        ),
    ] = 64

    def choices(self) -> dict[str, Any]:
        """The same as keywords of `trm_export.export`."""
        return {**vars(self), "keep": self.keep or ()}
