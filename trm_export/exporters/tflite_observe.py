"""Statistics of the inputs and outputs of every product of a float TFLite graph, over many calls.

The graph runs in LiteRT with those tensors among its outputs. Statistics are kept for every element
of a tensor, ``(rows, channels)``, because a row of a TRM is always the same position or hidden
channel. Knows nothing about quantisation.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from trm_export.exporters.calibration import StepSample
from trm_export.exporters.tflite_flatbuffer import Array, Matrix, dump, load, matrices
from trm_runtime.contract import StepContract
from trm_runtime.cores import available_cores
from trm_runtime.drivers.litert import allocate

_SAMPLES = 12  # complete arrays that are stored of one tensor, about
_LEAST = 1e-6  # nothing is divided by less
_MOST = float(np.finfo(np.float16).max)  # of a stored sample


@dataclasses.dataclass
class ActivationStatistics:
    """The statistics of one activation, each ``(rows, channels)``.

    Attributes:
        low, high: least and greatest value of every element, float32.
        squares: summed squared value of every element, float64.
        count: arrays observed.
        samples: some of the arrays.
    """

    low: Array
    high: Array
    squares: Array
    count: int = 0
    samples: list[Array] = dataclasses.field(default_factory=list)

    @classmethod
    def empty(cls, shape: tuple[int, ...]) -> ActivationStatistics:
        """No observations yet, for arrays ``(batch, *shape)``."""
        low, high = (np.full(shape, limit, np.float32) for limit in (np.inf, -np.inf))
        return cls(low, high, np.zeros(shape))

    def add(self, arrays: Array, sample: int | None) -> None:
        """Adds arrays ``(batch, rows, channels)``, and stores the one with index ``sample``."""
        for array in arrays:  # in place: a pass of a big model has 70 MB of them
            np.minimum(self.low, array, out=self.low)
            np.maximum(self.high, array, out=self.high)
            self.squares += np.square(array)
        self.count += len(arrays)
        if sample is not None:
            self.samples.append(np.clip(arrays[sample], -_MOST, _MOST).astype(np.float16))

    @property
    def rms(self) -> Array:
        """Root of the mean square of every element, ``(rows, channels)``."""
        return np.sqrt(self.squares / self.count) + _LEAST


@dataclasses.dataclass(frozen=True)
class ObservedProduct:
    """One product in one call."""

    step: int
    key: str  # of the matrix
    entering: Array  # (batch, rows, channels) float32
    leaving: Array


class Observer:
    """A float graph in an interpreter that also outputs what enters and leaves its matrices.

    Args:
        data: a flatbuffer whose matrices are all in its first subgraph (no loop in it).
        contract: of the flatbuffer; granularity step or block, of a fixed batch.
    """

    def __init__(self, data: bytes, contract: StepContract) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._contract = contract
        model = load(data)
        graph = model.subgraphs[0]
        self._batch = contract.batch or 1
        shapes = ((m, graph.tensors[m.entering].shape) for m in matrices(model, graph))
        self._matrices = [m for m, shape in shapes if len(shape) == 3 or shape[0] > self._batch]
        observed = [number for m in self._matrices for number in (m.entering, m.leaving)]
        outputs = list(graph.outputs)
        graph.outputs = np.array([*outputs, *sorted(set(observed) - set(outputs))], np.int32)
        self._interpreter = Interpreter(model_content=dump(model), num_threads=available_cores())
        allocate(self._interpreter)
        self._call = self._interpreter.get_signature_runner(contract.signature)

    @property
    def matrices(self) -> list[Matrix]:
        """The products that are observed: those whose activations have rows."""
        return self._matrices

    def calls(self, sample: StepSample) -> int:
        """How many times a sample runs the graph."""
        return math.ceil(len(sample.inputs["inputs"]) / self._batch) * self._contract.passes

    def run(self, samples: Iterable[StepSample]) -> Iterator[ObservedProduct]:
        """Every product of every pass; rows are repeated where they do not fill a batch."""
        batch = self._batch
        for sample in samples:
            count = len(sample.inputs["inputs"])
            for start in range(0, count, batch):
                rows = np.arange(start, start + batch) % count
                inputs = {name: array[rows] for name, array in sample.inputs.items()}
                carry = {name: array[rows] for name, array in sample.carry.items()}
                yield from self._step(sample.step, inputs, carry)

    def _step(
        self, step: int, inputs: dict[str, Array], carry: dict[str, Any]
    ) -> Iterator[ObservedProduct]:
        if self._contract.granularity == "block":
            carry["passes"] = np.zeros(len(inputs["inputs"]), np.int32)
        for _ in range(self._contract.passes):
            results = self._call(**inputs, **carry)
            for matrix in self._matrices:
                yield ObservedProduct(
                    step, matrix.key, self._rows(matrix.entering), self._rows(matrix.leaving)
                )
            carry = {spec.name: results[spec.next] for spec in self._contract.carry}

    def _rows(self, tensor: int) -> Array:
        """``(batch, rows, channels)``; the converter may leave out a batch of 1."""
        array: Array = self._interpreter.get_tensor(tensor)
        return array.reshape(self._batch, -1, array.shape[-1])


def statistics(
    observed: Iterable[ObservedProduct], expected: int
) -> dict[str, tuple[ActivationStatistics, ActivationStatistics]]:
    """Of what enters and leaves each matrix, by its key; ``expected`` calls of each, about."""
    rng = np.random.default_rng(0)
    totals: dict[str, tuple[ActivationStatistics, ActivationStatistics]] = {}
    for one in observed:
        pair = (one.entering, one.leaving)
        if one.key not in totals:
            shapes = [array.shape[1:] for array in pair]
            totals[one.key] = (
                ActivationStatistics.empty(shapes[0]),
                ActivationStatistics.empty(shapes[1]),
            )
        stored = rng.random() * expected < _SAMPLES
        sample = int(rng.integers(len(one.entering))) if stored else None
        for total, array in zip(totals[one.key], pair, strict=True):
            total.add(array, sample)
    return totals
