"""What is written while faults are injected: an old version first, then the new one over it.

Each `Writer` uses the functions of the library that the commands use, with contents of no weight,
so that nothing here imports TensorFlow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from tests.parity import reports
from tests.parity.fakes import toy_puzzles
from tests.runtime import graphs
from tests.runtime.fakes import FakeRunner, make_contract
from trm_export import file_commit
from trm_export.artifacts.contract_rewrite import embedded_contract, rewrite
from trm_export.errors import RejectedInputError
from trm_export.files import atomic_write, sidecar, write_together
from trm_export.parity.parts import Parts
from trm_export.report import render, report_files, view, write_report
from trm_export.training.run_state import SLOTS, RunState, read_states
from trm_runtime import HaltRule, StepContract
from trm_runtime.drivers.saved_model_folder import add_contract
from trm_runtime.parity import Golden, GoldenOrigin, record
from trm_runtime.parity.golden_file import read_golden, write_golden

OLD, NEW = "old", "new"
THRESHOLDS = {OLD: 0.0, NEW: 0.5}


@dataclasses.dataclass(frozen=True)
class Writer:
    """One thing to write.

    Attributes:
        write: writes a version into a folder, over the other one.
        found: the versions of the files there; all are the same when nothing was disturbed, and
            None stands for one that is missing or damaged.
    """

    write: Callable[[Path, str], None]
    found: Callable[[Path], list[str | None]]


def contract(version: str) -> StepContract:
    return make_contract(halt=HaltRule("q_halt", THRESHOLDS[version]))


def version_of(read: Callable[[], StepContract]) -> str | None:
    """The version of a contract."""
    try:
        threshold = read().halt.threshold
    except (RejectedInputError, OSError):
        return None
    return next(version for version, value in THRESHOLDS.items() if value == threshold)


def beside(artifact: Path) -> str | None:
    return version_of(lambda: StepContract.from_json(sidecar(artifact).read_text()))


# --- one file, two files, a folder ---------------------------------------------------------------


def write_text(folder: Path, version: str) -> None:
    with atomic_write(folder / "m.json", force=True) as new:
        new.write_text(contract(version).to_json())


def text(folder: Path) -> list[str | None]:
    return [version_of(lambda: StepContract.from_json((folder / "m.json").read_text()))]


def write_pair(folder: Path, version: str) -> None:
    with write_together() as writing:
        artifact, document = writing(folder / "m.onnx"), writing(folder / "m.onnx.json")
        graphs.write(artifact, graphs.build(contract(version)))
        document.write_text(contract(version).to_json())


def pair(folder: Path) -> list[str | None]:
    artifact = folder / "m.onnx"
    return [version_of(lambda: embedded_contract(artifact)), beside(artifact)]


def write_saved_model(folder: Path, version: str) -> None:
    with write_together() as writing:
        new, document = writing(folder / "m_sm"), writing(folder / "m_sm.json")
        new.unlink()
        (new / "variables").mkdir(parents=True)
        (new / "saved_model.pb").write_bytes(b"graph")
        (new / "variables" / "variables.index").write_bytes(b"weights")
        add_contract(new, contract(version).to_json())
        document.write_text(contract(version).to_json())


def saved_model(folder: Path) -> list[str | None]:
    artifact = folder / "m_sm"
    return [version_of(lambda: embedded_contract(artifact)), beside(artifact)]


# --- what commands write over their own files ----------------------------------------------------


def write_tuned(folder: Path, version: str) -> None:
    if version == OLD:
        write_pair(folder, OLD)
    else:
        rewrite(folder / "m.onnx", contract(NEW), folder / "m.onnx")


def write_tuned_folder(folder: Path, version: str) -> None:
    if version == OLD:
        write_saved_model(folder, OLD)
    else:
        rewrite(folder / "m_sm", contract(NEW), folder / "m_sm")


GOLDENS: dict[str, Golden] = {}
REPORTS: dict[str, dict[str, Any]] = {}


def write_recording(folder: Path, version: str) -> None:
    with atomic_write(folder / "golden.npz") as new, new.open("wb") as file:
        write_golden(file, GOLDENS[version])


def recording(folder: Path) -> list[str | None]:
    try:
        return [read_golden(folder / "golden.npz").about.kind]
    except (RejectedInputError, OSError):
        return [None]


def write_reports(folder: Path, version: str) -> None:
    write_report(REPORTS[version], folder / "r.html")


def written_reports(folder: Path) -> list[str | None]:
    texts = [path.read_text() if path.exists() else "" for path in report_files(folder / "r.html")]
    return [next((v for v in (OLD, NEW) if f"{v}-puzzles" in text), None) for text in texts]


def write_part(folder: Path, version: str) -> None:
    Parts(folder / "parts", {}).save("part", {"version": np.array([version] * 100)})


def part(folder: Path) -> list[str | None]:
    """A damaged part counts as not there, and is made again; a whole one may not be lost."""
    found = Parts(folder / "parts", {}).load("part")
    return [None if found is None else str(found["version"][0])]


def write_state(folder: Path, version: str) -> None:
    """The third backup of a run beside the second, in the place of the first."""
    for epoch in (0, 1) if version == OLD else (2,):
        arrays = [np.full((50, 50), epoch)]
        RunState(epoch, 0, {}, ["weights"], arrays, SLOTS[epoch % 2]).write(folder / "m.backup")


def state(folder: Path) -> list[str | None]:
    try:
        found = {state.epoch for state in read_states(folder / "m.backup")}
    except RejectedInputError:
        return [None]
    return [NEW if 2 in found else OLD if 1 in found else None]


def prepare(folder: Path) -> None:
    """Makes what the writers share, once; a report takes a second to draw."""
    for version in (OLD, NEW):
        about = GoldenOrigin(version, None, {}, None)
        GOLDENS[version] = record(FakeRunner(), toy_puzzles(4), about=about)
        REPORTS[version] = {**reports.document(folder), "command": f"{version}-puzzles"}
    shown = {version: view.view(document) for version, document in REPORTS.items()}
    pages = {version: render.html(one) for version, one in shown.items()}
    texts = {version: render.markdown(one) for version, one in shown.items()}
    view.view = lambda document: document["command"].removesuffix("-puzzles")
    render.html, render.markdown = pages.__getitem__, texts.__getitem__  # type: ignore[assignment]


def without_exchange(writer: Writer) -> Writer:
    """The same where names cannot be exchanged."""

    def writing(folder: Path, version: str) -> None:
        call = file_commit._exchange_call
        file_commit._exchange_call = lambda: None  # type: ignore[assignment]
        try:
            writer.write(folder, version)
        finally:
            file_commit._exchange_call = call

    return dataclasses.replace(writer, write=writing)


WRITERS = {
    "file": Writer(write_text, text),
    "file and contract": Writer(write_pair, pair),
    "SavedModel": Writer(write_saved_model, saved_model),
    "tune": Writer(write_tuned, pair),
    "tune, SavedModel": Writer(write_tuned_folder, saved_model),
    "golden": Writer(write_recording, recording),
    "report": Writer(write_reports, written_reports),
    "backup of a run": Writer(write_state, state),
    "part of a comparison": Writer(write_part, part),
}
WRITERS |= {
    f"{name}, no exchange": without_exchange(WRITERS[name]) for name in ("tune", "SavedModel")
}
