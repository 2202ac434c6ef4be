"""The rung `weights`: whether a file is its model in the precision that it states, exactly.

An exporter is deterministic, so the file must equal a new export of the model with the same
choices: every stored tensor that an output depends on, and every operator with its attributes. The
grids of int8 and the codes of int4 come from the calibration document beside the file.
Names, order, and what no output depends on do not count.

A file that keeps every layer in float32 equals a new export in any precision that keeps them. So it
is none of a smaller precision, unless a new export that keeps no layer is in float32, too.

A file that another version wrote may have other operators. Then every stored weight must be the
model's within half a step of its own grid, and every weight of the model must be stored.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import keras

from trm_export.artifacts.contract_rewrite import embedded_contract
from trm_export.errors import TRMError, UsageError, reason_of
from trm_export.explain.file_choices import format_of
from trm_export.explain.new_exports import NewExport, NewExports
from trm_export.explain.walker import walker_of
from trm_export.exporters.calibration import RecipeError, scaled_matrices
from trm_export.exporters.kept_layers import weights
from trm_export.exporters.measured import measured_again
from trm_export.exporters.onnx_int4_calibrate import MovedCodes
from trm_export.exporters.onnx_int8_calibrate import Int8Scales
from trm_export.exporters.shared import Shared
from trm_export.exporters.smoothing import smoothed
from trm_export.exporters.tflite_keep import nearest_form
from trm_export.files import CALIBRATION, sidecar
from trm_export.parity.weights_report import (
    FAILED,
    OK,
    REPORTED,
    ROUNDED,
    WeightDistance,
    WeightsReport,
    not_judged,
    unusable,
)
from trm_export.step.step_model import AnyModel
from trm_export.stored.changes import changes
from trm_export.stored.contents import Contents
from trm_export.stored.fits import WeightFit, is_rounded, missing
from trm_export.stored.graph import Arrays, Known, StoredGraph
from trm_runtime.parity import Rung
from trm_runtime.parity.gates import is_integer

Progress = Callable[[float, str], object]  # the share that is done, and what is being done

_STORED = {"fp16": "float16", "int8": "int8", "int8-static": "int8", "int4": "uint8"}
"""The dtype of some weights at least of a file in each smaller precision."""


def weights_reports(
    model: Callable[[], AnyModel], paths: Sequence[Path], gated: bool, progress: Progress
) -> Iterator[tuple[WeightsReport, Rung | None]]:
    """The report of each file in turn, or why there is none, and the rung of its export's errors.

    Args:
        model: opens the model.
        paths: the files.
        gated: see `weights_report`.
        progress: called with the share that is done, and what is being done.
    """
    backend, shared = keras.backend.backend(), None
    for number, path in enumerate(paths):
        progress(number / len(paths), "Comparing weights")
        precision = embedded_contract(path).precision
        if backend != "tensorflow":
            reason = f"needs TensorFlow, but Keras runs on {backend}; use KERAS_BACKEND=tensorflow"
            yield not_judged(precision, reason), None
            continue
        shared = shared or Shared(model())
        try:
            found = weights_report(shared, path, gated=gated)
        except RecipeError as error:
            named = f"{sidecar(path, CALIBRATION).name}: {reason_of(error)}"
            found = unusable(precision, named)
        except TRMError as error:
            found = not_judged(precision, reason_of(error))
        measured = None
        with contextlib.suppress(TRMError):  # of a file that cannot be opened
            measured = measured_again(shared, path)
        progress((number + 1) / len(paths), "Comparing weights")
        yield found, measured


def weights_report(shared: Shared, path: Path, *, gated: bool = False) -> WeightsReport:
    """Compares what a file stores with what its model and its choices make of it.

    Args:
        shared: the model, on the TensorFlow backend.
        path: an ONNX or TFLite file, or a SavedModel.
        gated: judge a file that another tool quantized, too; else it is only reported.

    Raises UsageError for a kind of file that cannot be read, and what opening a file raises.
    """
    contract, kind = embedded_contract(path), format_of(path)
    contents = walker_of(kind.name).contents(path, shared.model)
    exports = NewExports(shared, path, contract, kind)
    rung = _Rung(contents, exports)
    quantized = any(is_rounded(one) for one in rung.fits)
    if quantized and not is_integer(contract.precision):
        return rung.rounded("another tool quantized it", FAILED if gated else REPORTED)
    misnamed = rung.misnamed()
    if misnamed:
        return rung.other_precision(misnamed)
    tries = list(rung.tries())
    best = next((one for one in tries if one.status == OK), tries[0])
    if best.status == OK or exports.are_of_this_version():
        return best
    by = f"{contract.made_by.tool} with other versions of its packages"
    return rung.rounded(f"operators are not compared, because {by} wrote them", FAILED)


@dataclasses.dataclass(frozen=True)
class _Rung:
    """One file under comparison."""

    contents: Contents
    exports: NewExports

    @property
    def precision(self) -> str:
        """What the contract states."""
        return self.exports.contract.precision

    def tries(self) -> Iterator[WeightsReport]:
        """Against new exports, up to the first that is equal."""
        for choices in self.exports.choices():
            found = self._compared(self.exports.made(choices))
            yield found
            if found.status == OK:
                return

    def misnamed(self) -> str:
        """The problem if nothing is stored in the precision of the contract; empty otherwise.

        Not if a new export that keeps no layer in float32 has nothing in that precision either.
        """
        expected = _STORED.get(self.precision)
        found = _dtypes(self.contents.constants, self.contents.graph(Known()))
        if expected is None or expected in found:
            return ""
        choices = dataclasses.replace(next(self.exports.choices()), keep=())
        try:
            again = self.exports.made(choices)
            new = _dtypes(again.constants, again.graph)
        except UsageError:  # the format does not have this precision
            new = {expected}
        if expected not in new:
            return ""
        dtype = next((one for one in _STORED.values() if one in found), "float32")
        return f"every weight is stored as {dtype}, but the contract says {self.precision}"

    def other_precision(self, problem: str) -> WeightsReport:
        """The report of a file that `misnamed` has this problem with."""
        return WeightsReport(
            FAILED, self.precision, tensors=len(self.contents.constants),
            problems=(problem,), weights=_distances(self.fits),
        )  # fmt: skip

    def rounded(self, reason: str, worst: str) -> WeightsReport:
        """Weight by weight; `worst` is the status if one differs."""
        fits, model = self.fits, weights(self.exports.shared.model)
        problems = [f"{one.weight} ({one.tensor}): {one.problem}" for one in fits if one.problem]
        problems += [f"{name}: is not in the file" for name in missing(fits, model)]
        status = REPORTED if worst == REPORTED else worst if problems else OK
        reason = "; ".join(filter(None, (reason, self._missing if problems else "")))
        return WeightsReport(
            status, self.precision, ROUNDED, len(self.contents.constants),
            problems=tuple(problems), weights=_distances(fits), reason=reason,
        )  # fmt: skip

    def _compared(self, again: NewExport) -> WeightsReport:
        found = self.contents.graph(self._known(again.constants))
        problems = self._problems(again, found)
        if again.puzzle_table_sha256 != self.exports.contract.puzzle_table_sha256:
            problems = (*problems, "the external puzzle table has other values")
        return WeightsReport(
            FAILED if problems else OK, self.precision,
            tensors=len(found.constants), operators=len(found.operators),
            problems=problems, unread=found.unread, inexact=found.inexact,
            weights=_distances(self.fits), reason=self._missing if problems else "",
        )  # fmt: skip

    @property
    def _missing(self) -> str:
        """Why a calibrated file may differ, though it is right."""
        document = sidecar(self.exports.path, CALIBRATION)
        if not self.exports.calibrated or document.is_file():
            return ""
        return f"its calibration document {document.name} is not beside it"

    def _known(self, constants: Arrays) -> Known:
        """The constants of a new export, and those of them that are no weights."""
        model = weights(self.exports.shared.model)
        free = [array for array in constants.values() if nearest_form(array, model)[1] is None]
        return Known(tuple(constants.values()), tuple(free))

    def _problems(self, again: NewExport, found: StoredGraph) -> tuple[str, ...]:
        """Tensors that differ, then operators, then outputs; nothing if every output is equal."""
        if again.graph.outputs == found.outputs:
            return ()
        ours, named = again.constants, self.contents.name
        near = {name: ours[name] for name in found.inexact if name in ours}
        lines = [
            f"{named(name)}: {how}"
            for name, how in changes(ours, {**self.contents.constants, **near})
        ]
        new = (name for name in found.constants if name not in ours)
        lines += [f"{named(name)}: is not in a new export" for name in new]
        lines += again.graph.differences(found)
        return tuple(lines) or ("the graph is not that of a new export",)

    @cached_property
    def fits(self) -> tuple[WeightFit, ...]:
        """Every stored weight; those of the recipe as it scales them or moves their codes."""
        known, recipe = weights(self.exports.shared.model), self.exports.recipe
        if recipe is None:
            return self.contents.fits(known)
        if self.precision == "int4":
            return self.contents.fits(known, MovedCodes.from_json(recipe, known).moved)
        if self.precision == "int8":
            return self.contents.fits({**known, **self._smoothed(recipe, known)})
        return self.contents.fits({**known, **scaled_matrices(recipe, known)})

    def _smoothed(self, recipe: str, known: Arrays) -> Arrays:
        """The weights whose channels int8 in ONNX scales before it rounds them."""
        stored = [name for name in self.contents.constants if name.endswith("/int8")]
        rounded = [name.removesuffix("/int8") for name in stored]
        return smoothed(known, Int8Scales.from_json(recipe, known).channels, rounded)


def _dtypes(constants: Arrays, graph: StoredGraph) -> set[str]:
    """The dtypes of the stored tensors that an output depends on; TFLite may share a tensor."""
    return {constants[name].dtype.name for name in graph.constants if name in constants}


def _distances(fits: Iterable[WeightFit]) -> tuple[WeightDistance, ...]:
    """The fits, the worst first."""
    rows = sorted(fits, key=lambda one: -one.steps)
    return tuple(
        WeightDistance(
            one.weight, one.tensor, one.dtype, one.steps if math.isfinite(one.steps) else None
        )
        for one in rows
    )
