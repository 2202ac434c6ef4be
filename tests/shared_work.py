"""What many tests compute alike, computed once for all of them and for every worker of xdist.

A step of Keras and a conversion are functions of the weights, the contract and the arrays. Their
results are kept by these in one folder of the session, so each is computed at least once in every
`make test`. Tests of the network and of the exporters themselves, which change code, compute all.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SHARING = (
    "tests/api/", "tests/commands/", "tests/examples/", "tests/explain/", "tests/halting/",
    "tests/parity/", "tests/test_contract_document.py", "tests/test_file_kinds.py",
    "tests/test_readme.py", "tests/test_signatures.py", "tests/exporters/test_c_source.py",
    "tests/exporters/test_integer_io.py", "tests/exporters/test_keep.py",
    "tests/exporters/test_ports.py", "tests/exporters/test_export_onnx_precision.py",
)  # fmt: skip
LARGEST = 8 << 20  # bytes of a result worth keeping


class Results:
    """Results by what they are computed from, in files that every worker sees."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def once(self, make: Callable[[], Any], *parts: bytes) -> Any:
        """The stored result of `make` for these parts, or a new one."""
        lengths = repr([len(part) for part in parts]).encode()
        path = self._folder / hashlib.blake2b(b"".join((lengths, *parts))).hexdigest()[:40]
        with contextlib.suppress(OSError):  # a test may let reading and writing fail
            return pickle.loads(path.read_bytes())
        result = make()
        data = pickle.dumps(result)
        if len(data) <= LARGEST:
            with contextlib.suppress(OSError):
                unfinished = path.with_suffix(f".{os.getpid()}")
                unfinished.write_bytes(data)
                unfinished.replace(path)
        return result


def folder_of(config: pytest.Config, factory: pytest.TempPathFactory) -> Path:
    """One folder for all workers of this session."""
    base = factory.getbasetemp()
    folder = (base.parent if hasattr(config, "workerinput") else base) / "shared-work"
    folder.mkdir(exist_ok=True)
    return folder


@contextlib.contextmanager
def sharing(results: Results) -> Iterator[None]:
    """Within the block, steps and conversions of our own models are computed once."""
    with pytest.MonkeyPatch.context() as patch:
        _share(patch, results)
        yield


def _share(patch: pytest.MonkeyPatch, results: Results) -> None:
    import onnx

    from trm_export.exporters import onnx_convert, tflite
    from trm_export.step.keras_runner import KerasRunner

    step, to_onnx, to_tflite = KerasRunner.step, onnx_convert._converted, tflite.convert

    def shared_step(self: KerasRunner, inputs: Any, carry: Any) -> Any:
        given = _arrays(inputs, carry)
        if given is None or not _own(self._model):
            return step(self, inputs, carry)
        return results.once(
            lambda: step(self, inputs, carry), b"step", *_content(self._model, self.contract), given
        )

    def shared_onnx(model: Any, contract: Any, rolled: bool) -> Any:
        if not _own(model):
            return to_onnx(model, contract, rolled)
        data = results.once(
            lambda: to_onnx(model, contract, rolled).SerializeToString(),
            *(b"onnx", *_content(model, contract), bytes([rolled])),
        )
        return onnx.ModelProto.FromString(data)

    def shared_tflite(job: Any) -> Any:
        if not _own(job.model):
            return to_tflite(job)
        choices = repr((job.rolled, job.engine, job.keep, job.integer_io)).encode()
        content = _content(job.model, job.contract)
        return results.once(lambda: to_tflite(job), b"tflite", *content, choices)

    patch.setattr(KerasRunner, "step", shared_step)
    patch.setattr(onnx_convert, "_converted", shared_onnx)
    patch.setattr(tflite, "convert", shared_tflite)


def _own(model: Any) -> bool:
    from trm_export.model import TRM

    return type(model.keras) is TRM


def _content(model: Any, contract: Any) -> tuple[bytes, bytes, bytes]:
    """The contract, the configuration with how the layers compute now, and the weights."""
    keras = model.keras
    fused = [getattr(layer, "fused", None) for layer in keras._flatten_layers()]
    facts = json.dumps([keras.get_config(), fused], default=repr)
    weights = hashlib.blake2b()
    for variable in keras.weights:  # `variables` has the random seeds, too
        weights.update(variable.numpy().tobytes())
    return contract.to_json().encode(), facts.encode(), weights.digest()


def _arrays(*given: Mapping[str, Any]) -> bytes | None:
    """The names and values of the arrays; None if some are none, which a step refuses."""
    named = [item for part in given for item in sorted(part.items())]
    if not all(isinstance(array, np.ndarray) and array.dtype != object for _, array in named):
        return None
    found = hashlib.blake2b()
    for name, array in named:
        found.update(repr((name, str(array.dtype), array.shape)).encode() + array.tobytes())
    return found.digest()
