"""Compare the tensors stored in a file with those of a new export with the same choices.

`trm_export.stored` reads and compares them; here they get the layers that they belong to.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from trm_export.explain.op_diff import Labels, StoredChange, layer_of
from trm_export.exporters.tflite_flatbuffer import load
from trm_export.exporters.tflite_keep import nearest_layer, real_values
from trm_export.stored import onnx_graph, tflite_graph
from trm_export.stored.changes import changes
from trm_export.stored.graph import Array
from trm_export.stored.saved_model_file import StepGraph

Arrays = Mapping[str, Array]


def changed_onnx(candidate: Path, fresh: Path, layers: Arrays) -> tuple[StoredChange, ...]:
    """Initializers, those of loop bodies included."""
    ours, theirs = (onnx_graph.constants(path) for path in (fresh, candidate))
    return tuple(
        StoredChange(layer_of(name, layers), name, how) for name, how in changes(ours, theirs)
    )


def changed_tflite(candidate: Path, fresh: Path, labels: Labels) -> tuple[StoredChange, ...]:
    """Constants of every subgraph, and the scales of integer tensors."""
    names = tflite_graph.names(fresh)
    ours, theirs = (tflite_graph.constants(path) for path in (fresh, candidate))
    found = []
    for key, how in changes(ours, theirs):
        found.append(StoredChange(labels.get(tflite_graph.place_of(key)), names[key], how))
    return tuple(found)


def changed_saved_model(
    candidate: StepGraph, fresh: StepGraph, layers: Arrays
) -> tuple[StoredChange, ...]:
    """Weights, and constants of the graph."""
    ours = fresh.constants
    return tuple(
        StoredChange(nearest_layer(ours[name], layers), name, how)
        for name, how in changes(ours, candidate.constants)
    )


def labels_of(healthy: Path, layers: Arrays) -> dict[tuple[int, int], str]:
    """The layers of the matrices that a `.tflite` file stores, by subgraph and tensor."""
    found, model = {}, load(healthy.read_bytes())
    for part, graph in enumerate(model.subgraphs):
        for number, tensor in enumerate(graph.tensors):
            array = real_values(model, tensor)
            name = None if array is None else nearest_layer(array, layers)
            if name is not None:
                found[part, number] = name
    return found
