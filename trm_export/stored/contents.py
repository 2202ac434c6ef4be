"""What one exported file stores, read by the functions of its format."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from trm_export.step.step_model import StepModel
from trm_export.stored import onnx_graph, saved_model_graph, tflite_graph
from trm_export.stored.fits import WeightFit, named_fits, onnx_fits, tflite_fits
from trm_export.stored.graph import Arrays, Known, StoredGraph
from trm_export.stored.saved_model_file import graph_of


@dataclass(frozen=True)
class Contents:
    """What a file stores.

    Attributes:
        constants: every stored tensor by its name in the file.
        graph: ``f(known)``, what it computes; see `graph.Keys`.
        fits: ``f(weights)``, how far each weight in it is from the model's, which are given by
            their short names; a scaled one has a mark in brackets after its name. In ONNX also
            ``f(weights, moved)``, by how much the codes of int4 are moved.
        names: what the file calls them, where that is not their name here.
    """

    constants: Arrays
    graph: Callable[[Known], StoredGraph]
    fits: Callable[..., tuple[WeightFit, ...]]
    names: Mapping[str, str] = field(default_factory=dict)

    def name(self, constant: str) -> str:
        """A stored tensor as its file calls it."""
        return self.names.get(constant, constant)


def onnx_contents(path: Path, model: StepModel) -> Contents:
    """Of an `.onnx` file."""
    constants = onnx_graph.constants(path)
    return Contents(
        constants, partial(onnx_graph.stored_graph, path), partial(onnx_fits, constants)
    )


def tflite_contents(path: Path, model: StepModel) -> Contents:
    """Of a `.tflite` file."""
    return Contents(
        tflite_graph.constants(path),
        partial(tflite_graph.stored_graph, path),
        partial(tflite_fits, path),
        tflite_graph.names(path),
    )


def saved_model_contents(path: Path, model: StepModel) -> Contents:
    """Of a SavedModel."""
    graph = graph_of(path, model)
    fits = partial(named_fits, graph.constants)
    return Contents(graph.constants, partial(saved_model_graph.stored_graph, graph), fits)
