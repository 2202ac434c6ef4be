"""`trm-export reference MODEL PUZZLES -o GOLDEN`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trm_export.commands.support.model_options import (
    HaltRule,
    HaltThreshold,
    Identifiers,
    MaxSteps,
    ModelOptions,
    SeqLen,
    TaskName,
    TrustModule,
)
from trm_export.commands.support.options import AsJson, Force
from trm_export.commands.support.puzzle_options import BlanksOption, refuse_words
from trm_export.commands.support.recording_options import DeviceName, Recording, RequireGpu

if TYPE_CHECKING:
    from trm_runtime.parity import Golden

ModelFile = Annotated[Path, typer.Argument(help="The .keras file: what is true.")]
PuzzleFile = Annotated[
    Path | None,
    typer.Argument(help="Puzzles: CSV, lines, .npz or folder; without any, shipped test puzzles."),
]
Control = Annotated[
    bool | None,
    typer.Option(
        "--control/--no-control",
        help="Measure the noise floor, the same weights in float64; if neither is said, where the "
        "model can be computed so.",
    ),
]
States = Annotated[
    int, typer.Option(min=1, help="MB of states to keep of puzzles followed value by value.")
]
Target = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="The golden to write; artifacts/<name>.golden.npz."),
]


def reference(
    model: ModelFile,
    puzzles: PuzzleFile = None,
    output: Target = None,
    task: TaskName = None,
    blanks: BlanksOption = None,
    count: Annotated[int, typer.Option(min=1, help="How many puzzles, at most.")] = 1000,
    device: DeviceName = "auto",
    require_gpu: RequireGpu = False,
    control: Control = None,
    states: States = 30,
    batch_size: Annotated[int, typer.Option(min=1, help="Rows a step.")] = 64,
    trust_module: TrustModule = None,
    seq_len: SeqLen = None,
    max_steps: MaxSteps = None,
    halt_rule: HaltRule = None,
    halt_threshold: HaltThreshold = None,
    identifiers: Identifiers = None,
    as_json: AsJson = False,
    force: Force = False,
) -> None:
    """Record what a model thinks, so that a device can be compared with it without Keras.

    Killed at any moment, the same command goes on where it was. Runs on a GPU if Keras (see
    KERAS_BACKEND) has one, in exact float32.
    """
    from trm_export.checkpoints.keras_file import require_keras
    from trm_export.commands.support.console import emit
    from trm_export.files import refuse_overwrite, require_suffix

    output = output or Path("artifacts", f"{model.stem}.golden.npz")
    require_suffix(output, ".npz")
    refuse_overwrite(output, force=force)
    require_keras(model)
    refuse_words(puzzles, task, blanks, "PUZZLES")
    said = ModelOptions(
        trust_module, seq_len, max_steps, halt_rule, identifiers, halt_threshold=halt_threshold
    )
    recording = Recording(
        model, said, None, puzzles, task, blanks, count, batch_size, device, require_gpu, control,
        states * 1_000_000,
    )  # fmt: skip
    golden = recording.into(output, force=force)
    told = summary(golden, output)
    if as_json:
        emit(told)
    else:
        _show(golden, output, told)


def summary(golden: Golden, path: Path) -> dict[str, Any]:
    """A golden in plain JSON types, without its arrays."""
    control = golden.about.control or {}
    return {
        "golden": str(path),
        "bytes": path.stat().st_size,
        "puzzles": golden.puzzles,
        "kind": golden.about.kind,
        "followed": golden.followed,
        "refilled_slots": len(golden.refilled.numbers),
        "weights_sha256": golden.contract.made_by.weights_sha256,
        "provenance": dict(golden.about.provenance),
        "control": {k: v for k, v in control.items() if k not in ("forced_steps", "free")} or None,
    }


def _show(golden: Golden, path: Path, told: dict[str, Any]) -> None:
    from trm_export.commands.support.console import bytes_text, show_table

    where = told["provenance"]["device"]
    rows = [
        ("golden", f"{path} ({bytes_text(told['bytes'])})"),
        ("puzzles", f"{golden.puzzles}, {golden.followed} of them followed value by value"),
        ("ran on", f"{where['kind'].upper()}: {where['name']}"),
        ("with", ", ".join(f"{name} {version}" for name, version in where["versions"].items())),
        *_floor(told["control"], told["provenance"].get("no_control")),
        ("check with", f"python -m trm_runtime check FILE {path}"),
    ]
    show_table("Recorded", rows)


def _floor(control: dict[str, Any] | None, why: str | None) -> list[tuple[str, str]]:
    if control is None:
        return [("control", "none was asked for" if why is None else f"none: {why}")]
    d, grown = control["decisions"], control["growth"]["logits"]["settled"]
    growth = "" if grown is None else f"; its drift grows {grown['factor']:.2f}-fold a step"
    return [
        ("control", f"{control['what']}: {d['answers_equal']} of {d['settled']} answers and "
         f"{d['steps_equal']} halting steps equal{growth}"),
    ]  # fmt: skip
