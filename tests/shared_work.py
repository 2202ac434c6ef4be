"""What many tests compute alike, computed once for all of them and for every worker of xdist.

A step of Keras and a conversion are functions of the weights, the contract, the arrays and our
code. Their results are kept by the first three in one folder of the session, so each is computed at
least once in every `make test`. While a test has replaced anything in the code, all is computed.
"""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CODE = ("trm_export.model.", "trm_export.step.", "trm_export.exporters.", "tf2onnx.tf_loader")
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
        if given is None or not same(self._model):
            return step(self, inputs, carry)
        return results.once(
            lambda: step(self, inputs, carry), b"step", *_content(self._model, self.contract), given
        )

    def shared_onnx(model: Any, contract: Any, rolled: bool) -> Any:
        if not same(model):
            return to_onnx(model, contract, rolled)
        data = results.once(
            lambda: to_onnx(model, contract, rolled).SerializeToString(),
            *(b"onnx", *_content(model, contract), bytes([rolled])),
        )
        return onnx.ModelProto.FromString(data)

    def shared_tflite(job: Any) -> Any:
        if not same(job.model):
            return to_tflite(job)
        choices = repr((job.rolled, job.engine, job.keep, job.integer_io)).encode()
        content = _content(job.model, job.contract)
        return results.once(lambda: to_tflite(job), b"tflite", *content, choices)

    def same(model: Any) -> bool:
        return _own(model) and all(space.get(name) is value for space, name, value in code)

    patch.setattr(KerasRunner, "step", shared_step)
    patch.setattr(onnx_convert, "_converted", shared_onnx)
    patch.setattr(tflite, "convert", shared_tflite)
    code = list(_code())


def _code() -> Iterator[tuple[Mapping[str, Any], str, Any]]:
    """What the modules in `CODE` and their classes have: a live view of all, name and value."""
    modules = [module for name, module in sys.modules.items() if name.startswith(CODE)]
    for module in modules:
        here = [c for c in vars(module).values() if getattr(c, "__module__", "") == module.__name__]
        for space in map(vars, (module, *filter(inspect.isclass, here))):
            yield from ((space, name, value) for name, value in space.items())


def _own(model: Any) -> bool:
    from trm_export.model import TRM

    return type(model.keras) is TRM


def _content(model: Any, contract: Any) -> tuple[bytes, bytes, bytes]:
    """The contract, the configuration with how the layers compute now, and the weights."""
    keras = model.keras
    facts = json.dumps(keras.get_config(), default=repr).encode()
    facts += b"".join(map(_own_state, keras._flatten_layers()))
    weights = hashlib.blake2b()
    for variable in keras.weights:  # `variables` has the random seeds, too
        weights.update(variable.numpy().tobytes())
    return contract.to_json().encode(), facts, weights.digest()


def _own_state(layer: Any) -> bytes:
    """What a layer has besides weights: numbers and tables, and methods of its own."""
    own = {name: value for name, value in vars(layer).items() if not name.startswith("_")}
    plain = {name: value for name, value in own.items() if _is_plain(value)}
    methods = [name for name in own if inspect.isroutine(getattr(type(layer), name, None))]
    return pickle.dumps((plain, methods))


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, (bool, int, float, str, np.ndarray))


def _arrays(*given: Mapping[str, Any]) -> bytes | None:
    """The names and values of the arrays; None if some are none, which a step refuses."""
    named = [item for part in given for item in sorted(part.items())]
    if not all(isinstance(array, np.ndarray) and array.dtype != object for _, array in named):
        return None
    found = hashlib.blake2b()
    for name, array in named:
        found.update(repr((name, str(array.dtype), array.shape)).encode() + array.tobytes())
    return found.digest()
