"""The JSON document of a complete comparison, from which reports are made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from trm_export.device_cost import DeviceCost
from trm_export.errors import RejectedInputError
from trm_export.files import CALIBRATION, distinct_names, sidecar, size_on_disk
from trm_export.parity.confidence_rung import ConfidenceReport
from trm_export.parity.headline import nothing_failed
from trm_export.parity.hops import hops
from trm_export.parity.weights_report import WeightsReport, with_own, with_weights
from trm_export.tasks import find_task
from trm_export.version import TOOL, __version__
from trm_runtime import strict_json
from trm_runtime.contract import HaltRule, MadeBy, StepContract
from trm_runtime.json_values import plain
from trm_runtime.measure import load_engine
from trm_runtime.message_text import rows_text
from trm_runtime.parity import Golden, ParityResult, Rung
from trm_runtime.parity.gates import gates_of
from trm_runtime.parity.judge import stopped
from trm_runtime.regular_file import read_regular

KIND = "parity report"
_DIGITS = 6  # of a number in a document
_JUDGED_DIGITS = 12  # of one that is compared with a gate


class Device(TypedDict, total=False):
    """Where a reference was recorded."""

    kind: str
    name: str
    backend: str
    versions: dict[str, str]
    tf32: bool


class Provenance(TypedDict, total=False):
    """Where a reference comes from, as far as it was recorded."""

    model: str
    model_sha256: str
    puzzles: str
    device: Device
    dtype_policy: str
    no_control: str  # why there is none


class Control(TypedDict):
    """The noise floor in short."""

    what: str
    forced_error: NotRequired[float | None]


class ModelCost(TypedDict, total=False):
    """What the model itself costs."""

    bytes: int  # of its weights
    step_ms: float
    device: str  # where it was timed


class Speed(TypedDict):
    """Where and when the files and their model were timed."""

    machine: str
    date: str  # YYYY-MM-DD, UTC


@dataclass(frozen=True)
class Timed:
    """What the model costs, where it and the files were timed."""

    speed: Speed
    model: ModelCost


class Reference(TypedDict):
    """The recording that all files were compared with."""

    sha256: str
    puzzles: int
    kind: str
    task: str | None
    followed: int
    refilled_slots: int
    model: str
    weights_sha256: str
    max_steps: int
    halt: HaltRule
    provenance: Provenance
    control: Control | None
    cost: NotRequired[ModelCost]


class Cost(TypedDict, total=False):
    """What one file costs: a row of `trm-export bench`, or what was timed for the report."""

    step_ms: float | None
    batch: int  # rows of the calls that were timed


class ToldTable(TypedDict):
    """One table of an explanation."""

    title: str
    heads: list[str]
    rows: list[list[str]]


class ToldExplanation(TypedDict):
    """An explanation of a file in words."""

    summary: str
    findings: list[str]
    tables: list[ToldTable]


class FileItself(TypedDict, total=False):
    """Whether a file is its model, apart from what it costs; not in older documents."""

    weights: WeightsReport
    hops: tuple[str, ...]
    explanation: ToldExplanation
    confidence: ConfidenceReport


class ReportedFile(FileItself):
    """One file and its results; the JSON of `result` has the keys of `Verdict` too."""

    file: str
    precision: str
    granularity: str
    batch: int | None
    bytes: int
    engine: str
    made_by: MadeBy
    halt: HaltRule
    clipping: dict[str, list[float]] | None
    cost: Cost | None
    result: ParityResult
    device: NotRequired[DeviceCost | None]  # not in older documents


class Verdict(TypedDict):
    """The keys that the JSON of a `ParityResult` has beyond its fields."""

    passed: bool
    verdict: str


class ReportDocument(TypedDict):
    """A complete comparison; dataclasses of this type are JSON objects in the document."""

    tool: str
    kind: str
    passed: bool
    verdict: str
    command: str
    reference: Reference
    files: list[ReportedFile]
    speed: NotRequired[Speed]


@dataclass(frozen=True)
class JudgedFile:
    """A file and its results."""

    path: Path
    contract: StepContract
    engine: str  # name and version
    result: ParityResult
    clipping: dict[str, list[float]] | None = None  # from its calibration document
    cost: Cost | None = None  # its row of `trm-export bench`
    weights: WeightsReport | None = None  # what it stores against its model
    measured: Rung | None = None  # its errors against those measured at export
    explanation: ToldExplanation | None = None
    itself: Rung | None = None  # the file against itself on its engine
    device: DeviceCost | None = None  # flash, memory and work
    confidence: ConfidenceReport | None = None  # how sure it and its model are
    granularity: str | None = None  # of one call, where the driver makes a step of several

    @property
    def hops(self) -> tuple[str, ...]:
        """Sentences: is the file its model, what does the engine do, what does precision cost."""
        return hops(self.result, self.weights, self.measured, self.itself)

    def with_itself(self, rung: Rung | None) -> JudgedFile:
        """The same file with the rung about its engine in its ladder, unless there is none."""
        if rung is None:
            return self
        return replace(self, result=with_own(self.result, [rung]), itself=rung)

    def with_last(self, rung: Rung) -> JudgedFile:
        """The same file with one more rung at the end of its ladder."""
        rungs = stopped([*self.result.rungs, rung])
        return replace(self, result=replace(self.result, rungs=rungs))

    def with_weights(self, weights: WeightsReport, measured: Rung | None) -> JudgedFile:
        """The same file with the rungs about the file itself in its ladder."""
        result = with_weights(self.result, weights, measured)
        return replace(self, result=result, weights=weights, measured=measured)


def judged(
    path: Path,
    contract: StepContract,
    result: ParityResult,
    cost: Cost | None = None,
    engine: str | None = None,
) -> JudgedFile:
    """A file with its engine and its calibration document."""
    return JudgedFile(path, contract, load_engine(path, engine), result, _clipping(path), cost)


def report_document(
    golden: Golden,
    golden_sha256: str,
    files: Sequence[JudgedFile],
    command: str,
    timed: Timed | None = None,
) -> ReportDocument:
    """Everything as plain JSON types; the same comparison gives the same document.

    Args:
        golden: the reference.
        golden_sha256: of its file.
        files: what was compared with it.
        command: a command line that repeats the comparison.
        timed: what the model costs, where the files were timed beside it.
    """
    task = find_task(golden.contract)
    document: ReportDocument = {
        "tool": f"{TOOL} {__version__}",
        "kind": KIND,
        "passed": all(file.result for file in files),
        "verdict": verdict(golden, files),
        "command": command,
        "reference": {
            "sha256": golden_sha256,
            "puzzles": golden.puzzles,
            "kind": golden.about.kind,
            "task": golden.about.task or (None if task is None else task.name),
            "followed": golden.followed,
            "refilled_slots": len(golden.refilled.numbers),
            "model": golden.contract.model_name,
            "weights_sha256": golden.contract.made_by.weights_sha256,
            "max_steps": golden.contract.max_steps,
            "halt": plain(golden.contract.halt),
            "provenance": plain(golden.about.provenance),
            "control": _short(plain(golden.about.control)),
        },
        "files": [_file(*pair) for pair in zip(files, file_names(files), strict=True)],
    }
    if timed is not None:
        document["speed"] = timed.speed
        document["reference"]["cost"] = _short(plain(timed.model))
    return document


def verdict(golden: Golden, files: Sequence[JudgedFile]) -> str:
    """One sentence that sums the comparison up."""
    puzzles = rows_text(golden.puzzles, golden.about.kind)
    results = dict(zip(file_names(files), (file.result for file in files), strict=True))
    failed = {name: result.ran for name, result in results.items() if not result}
    if not failed:
        custom = any(file.result.gates != gates_of(file.contract) for file in files)
        return nothing_failed(results, puzzles, custom)
    on = f" on {puzzles}" if any(failed.values()) else ""
    names = ", ".join(failed)
    if len(files) == 1:
        text = f"{names} does not match its model{on}."
    else:
        do, its = ("does", "its") if len(failed) == 1 else ("do", "their")
        text = f"{len(failed)} of {len(files)} files {do} not match {its} model{on}: {names}."
    unrun = ", ".join(name for name, ran in failed.items() if not ran)
    return f"{text} No puzzle was run on {unrun}." if unrun else text


def file_names(files: Sequence[JudgedFile]) -> list[str]:
    """What each file is called among the others."""
    return distinct_names([file.path for file in files])


def _file(file: JudgedFile, name: str) -> ReportedFile:
    contract, result = file.contract, plain(file.result.to_json())
    found: ReportedFile = {
        "file": name,
        "precision": contract.precision,
        "granularity": file.granularity or contract.granularity,
        "batch": contract.batch,
        "bytes": size_on_disk(file.path),
        "engine": file.engine,
        "made_by": plain(contract.made_by),
        "halt": plain(contract.halt),
        "clipping": file.clipping,
        "cost": _short(plain(file.cost)),
        "result": _short(result)
        | {"gates": result["gates"], "forced": _short(result["forced"], _JUDGED_DIGITS)},
        "device": plain(file.device),
    }
    found.update(_short(plain(two_hops(file))))
    if file.confidence is not None:
        found["confidence"] = _short(plain(file.confidence))
    if file.explanation is not None:
        found["explanation"] = plain(file.explanation)
    return found


def two_hops(file: JudgedFile) -> dict[str, Any]:
    """The keys of a document about the file itself; none where the model was not at hand."""
    if file.weights is None:
        return {}
    return {"weights": file.weights.to_json(), "hops": file.hops}


def _short(value: Any, digits: int = _DIGITS) -> Any:
    """Floats rounded to so many significant digits."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}")
    if isinstance(value, dict):
        return {key: _short(item, digits) for key, item in value.items()}
    return [_short(item, digits) for item in value] if isinstance(value, list) else value


def _clipping(path: Path) -> dict[str, list[float]] | None:
    """The largest clipped share of every calibrated tensor, step by step."""
    try:
        found = strict_json.parse(read_regular(sidecar(path, CALIBRATION)).decode())
        shares = {t["tensor"]: [t["clipping"]] for t in found.get("tensors", ())}
        shares.update({m["matrix"]: list(m["clipped"].values()) for m in found.get("matrices", ())})
        return {
            name: [max(step) for step in zip(*sides, strict=True)] for name, sides in shares.items()
        }
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RejectedInputError):
        return None
