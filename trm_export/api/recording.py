"""`record`: a rollout of a Keras model, so that a device can be compared with it without Keras."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_export.api.arguments import (
    ARTIFACTS,
    FilePath,
    ModelLike,
    Progress,
    counts_of,
    ignore,
    path_of,
    reporter,
    stem_of,
)
from trm_export.api.model_source import ModelSource, refuse_facts
from trm_export.api.recording_files import FileRecording, exported_file
from trm_export.errors import RejectedInputError, UsageError
from trm_export.files import RECORDING, refuse_overwrite, require_suffix, sha256_file, sidecar
from trm_export.parity.parts import digest
from trm_export.tasks.selection import (
    PuzzleSource,
    in_memory,
    puzzle_file,
    read_choice,
    refuse_puzzles,
    select_puzzles,
)
from trm_export.version import TOOL, __version__
from trm_runtime.digest import tree_digest
from trm_runtime.display import Shown, Table, bytes_text
from trm_runtime.message_text import quoted, rows_text
from trm_runtime.parity import Golden, GoldenOrigin
from trm_runtime.parity.file_golden import is_of_a_file
from trm_runtime.scalars import check_flags

if TYPE_CHECKING:
    from trm_export.step.devices import Device
    from trm_export.step.model_facts import ModelHints
    from trm_export.tasks import Blanks

__all__ = ["RecordedReference", "RecordingJob", "record"]

_MEGABYTE = 1_000_000


@dataclass(frozen=True, repr=False)
class RecordedReference(Shown):
    """A recording in a file."""

    path: Path
    golden: Golden

    def to_json(self) -> dict[str, Any]:
        """The facts about the recording, in plain JSON types, without its arrays."""
        golden = self.golden
        control = golden.about.control or {}
        return {
            "golden": str(self.path),
            "bytes": self.path.stat().st_size,
            "puzzles": golden.puzzles,
            "kind": golden.about.kind,
            "followed": golden.followed,
            "refilled_slots": len(golden.refilled.numbers),
            "weights_sha256": golden.contract.made_by.weights_sha256,
            "provenance": dict(golden.about.provenance),
            "control": {k: v for k, v in control.items() if k not in ("forced_steps", "free")}
            or None,
        }

    @property
    def summary(self) -> str:
        """How many puzzles, and the file."""
        rows = rows_text(self.golden.puzzles, self.golden.about.kind)
        return f"{rows} recorded in {self.path}"

    def tables(self) -> tuple[Table, ...]:
        """The recording, where it was made, and how to use it."""
        found, where = self.to_json(), self.golden.about.provenance["device"]
        versions = ", ".join(f"{name} {version}" for name, version in where["versions"].items())
        rows = [
            ("golden", f"{self.path} ({bytes_text(found['bytes'])})"),
            (
                "puzzles",
                f"{rows_text(found['puzzles'], found['kind'])}; {found['followed']} of them "
                "followed value by value",
            ),
            ("ran on", f"{where['kind'].upper()}: {where['name']}"),
            ("with", versions),
            ("control", _floor(found["control"], found["provenance"].get("no_control"))),
            ("check with", f"python -m trm_runtime check FILE {quoted(self.path)}"),
        ]
        return (Table("Recorded", rows),)


def _floor(control: dict[str, Any] | None, why: str | None) -> str:
    if control is None:
        return "not measured" if why is None else f"none: {why}"
    if "decisions" not in control:
        return f"{control['what']}: single steps differ by at most {control['forced_error']:.1e}"
    decisions, grown = control["decisions"], control["growth"]["logits"]["settled"]
    growth = "" if grown is None else f"; its drift grows {grown['factor']:.2f}-fold a step"
    equal = f"{decisions['answers_equal']} of {decisions['settled']} answers"
    return f"{control['what']}: {equal} and {decisions['steps_equal']} halting steps equal{growth}"


@dataclass(frozen=True)
class RecordingJob:
    """A reference to record.

    `control` None measures the noise floor if it can be measured; `states` is how many bytes of
    states are stored.
    """

    source: ModelSource
    puzzles: PuzzleSource | None
    task: str | None
    blanks: Blanks | str | None
    count: int
    batch_size: int
    device: str
    require_gpu: bool
    control: bool | None
    states: int

    def document(self) -> dict[str, Any]:
        """Everything that the recording depends on, in JSON types."""
        names = ("task", "blanks", "count", "batch_size", "device", "control", "states")
        return {
            **self.source.document(),
            "puzzles": self._digest(),
            **{name: getattr(self, name) for name in names},
            "backend": os.environ.get("KERAS_BACKEND", "tensorflow"),
        }

    def into(self, path: Path, *, force: bool = False, progress: Progress = ignore) -> Golden:
        """Records into this file, and opens it."""
        from trm_export.api.frameworks import load_keras

        load_keras(any_backend=True)
        from trm_export.parity.recording import record_file
        from trm_export.step.devices import computing_on
        from trm_export.step.signature import contract_for

        with computing_on(self.device, require_gpu=self.require_gpu) as where:
            model = self.source.open(any_backend=True)
            chosen = select_puzzles(
                contract_for(model), self.puzzles, self.task, self.blanks, self.count
            )
            about = GoldenOrigin(chosen.kind, self.task, self._provenance(where, model.keras))
            return record_file(
                model,
                chosen,
                path,
                about,
                control=self.control,
                budget=self.states,
                batch_size=self.batch_size,
                force=force,
                progress=lambda share: progress(share, "Recording"),
            )

    def refuse_other(self, golden: Golden, path: Path) -> None:
        """RejectedInputError if the golden of a file was recorded from another model than this."""
        origin = golden.about.provenance
        if is_of_a_file(golden):
            raise RejectedInputError(
                f"{path}: a recording of the exported file {origin['file']}, not of a model; leave "
                "--golden out, or check that file with it: `python -m trm_runtime check`."
            )
        if not self.source.matches(origin, golden.contract.made_by.weights_sha256):
            raise RejectedInputError(
                f"{path}: recorded from another model ({origin.get('model')}) than "
                f"{self.source.file or 'this one'}; record it again with `trm-export reference`."
            )

    def _digest(self) -> str | None:
        file = puzzle_file(self.puzzles)
        if file is not None:
            return tree_digest(file)
        if self.puzzles is None:
            return None
        given = in_memory(self.puzzles, None)
        return digest(given.inputs, given.labels, given.identifiers)

    def _provenance(self, where: Device, keras_model: Any) -> dict[str, Any]:
        """The origin of a golden, without a date, so that its bytes are repeatable."""
        file, puzzles = self.source.file, puzzle_file(self.puzzles)
        named = "puzzles in memory" if puzzles is None else puzzles.name
        return {
            "made_by": f"{TOOL} {__version__}",
            "model": self.source.name,
            **({} if file is None else {"model_sha256": sha256_file(file)}),
            "puzzles": "shipped test puzzles" if self.puzzles is None else named,
            "device": where.document(),
            "dtype_policy": keras_model.dtype_policy.name,
        }


def record(
    model: ModelLike,
    puzzles: PuzzleSource | None = None,
    output: FilePath | None = None,
    *,
    task: str | None = None,
    blanks: Blanks | str | None = None,
    count: int = 1000,
    device: str = "auto",
    require_gpu: bool = False,
    control: bool | None = None,
    states: int = 30,
    batch_size: int = 64,
    trust: Sequence[str] = (),
    hints: ModelHints | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> RecordedReference:
    """Record what a model computes, so that a device can be compared with it without Keras.

    The same call resumes after a kill. Runs on a GPU if Keras (see KERAS_BACKEND) has one, in full
    float32. An exported file is recorded on its engine here; a device then compares the same file
    on its own engine, whatever its precision.

    Args:
        model: the reference; see `ModelLike`. Or the path of an exported file.
        puzzles: see `PuzzleSource`; shipped test puzzles if not given.
        output: the golden to write; `artifacts/<name>.golden.npz` if not given, or
            `<file>.golden.npz` beside an exported file.
        task: name of the task of the puzzles; the one that fits the model if not given.
        blanks: of the shipped puzzles: a number, `minimal` or `hard`.
        count: how many puzzles, at most.
        device: `auto` (a GPU where Keras finds one), `gpu` or `cpu`.
        require_gpu: fail without a GPU.
        control: measure the noise floor, the same weights in float64; None: only if the model can
            be computed in float64.
        states: MB of states to store of puzzles that are followed value by value.
        batch_size: rows a step.
        trust: packages whose code may run.
        hints: what the model does not state itself.
        force: replace a file that this tool did not make.
        progress: called with the share done, and what is being done.

    Raises:
        UsageError: an unknown value, or options that contradict each other.
        OverwriteError: `output` was not made by this tool.
        RejectedInputError: the model or the puzzles cannot be used.
    """
    artifact, tell = exported_file(model), reporter(progress)
    check_flags("control", control=control, require_gpu=require_gpu)
    named = ARTIFACTS / stem_of(model) if artifact is None else artifact
    target = path_of("output", output, sidecar(named, RECORDING))
    require_suffix(target, ".npz")
    refuse_overwrite(target, force=force)
    source = ModelSource(model, trust, hints)
    if artifact is None:
        source.refuse()
    else:
        refuse_facts(artifact, trust, hints)
    count, batch_size, states = counts_of(count=count, batch_size=batch_size, states=states)
    refuse_puzzles(puzzles, task, blanks, "PUZZLES")
    puzzles, blanks = read_choice(puzzles, blanks)
    if artifact is not None:
        if require_gpu or device != "auto":
            raise UsageError(f"{artifact}: an exported file runs on its own engine; drop --device.")
        file = FileRecording(
            artifact, puzzles, task, blanks, count, batch_size, control, states * _MEGABYTE
        )
        return RecordedReference(target, file.into(target, force=force, progress=tell))
    job = RecordingJob(
        source,
        puzzles,
        task,
        blanks,
        count,
        batch_size,
        device,
        require_gpu,
        control,
        states * _MEGABYTE,
    )
    return RecordedReference(target, job.into(target, force=force, progress=tell))
