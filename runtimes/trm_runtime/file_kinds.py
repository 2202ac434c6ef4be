"""The kinds of exported files: one table, which all other code reads.

A new format is a module with its driver and contract functions, and an entry of `KINDS`; another
engine for a known format is a module with its driver, and an entry of `engines`. A module is loaded
at its first use. Standard library only.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from trm_runtime.contract import METADATA_KEY
from trm_runtime.errors import RejectedInputError, UsageError, reading
from trm_runtime.message_text import argument, quoted

CHECKPOINTS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")
"""The suffixes of PyTorch checkpoints; the official code writes `step_<N>` without one."""
SOURCE_CODE, SOURCE_CONTRACT = "model.c", f"{METADATA_KEY}.json"
"""Files in a folder of generated C source, by which it is known."""
CONTRACT = ".json"
"""The ending of the contract beside an export."""
TINY = Path(__file__).parent / "tiny"
"""A folder with a tiny file of every kind, whose signature `tiny` returns y = -x of one float."""


@dataclass(frozen=True)
class Engine:
    """An engine that runs a kind of file.

    The module of its driver has a function `load_engine() -> module`, a function
    `try_engine(tiny)`, which opens and runs the tiny file of its kind in the folder `tiny`, and the
    driver's class, a StepRunner, which takes a path and the keyword `threads`, `optimised` if
    `can_be_plain`, and `mode` if there are `modes`.
    """

    driver: str  # "module:class"
    extra: str  # of trm-runtime, which installs it
    distributions: tuple[str, ...]  # any of these contains it; the preferred one first
    can_be_plain: bool = True  # can run a graph without optimisation
    modes: tuple[str, ...] = ()  # other ways to compute, for a user to choose

    @property
    def name(self) -> str:
        """Its preferred distribution."""
        return self.distributions[0]

    def load_driver(self) -> Any:
        """The driver's class."""
        return _loaded(self.driver)

    def load(self) -> ModuleType:
        """The engine's module; MissingExtraError if it is not installed."""
        module: ModuleType = _loaded(f"{self.driver.partition(':')[0]}:load_engine")()
        return module

    def try_out(self) -> None:
        """Opens and runs a tiny file; raises whatever the engine raises."""
        _loaded(f"{self.driver.partition(':')[0]}:try_engine")(TINY)

    @property
    def is_installed(self) -> bool:
        """Whether any of its distributions is installed."""
        return self.used is not None

    @property
    def used(self) -> str | None:
        """Its first distribution that is installed, which is the one that runs."""
        return next((name for name in self.distributions if installed_version(name)), None)

    @property
    def choices(self) -> tuple[str, ...]:
        """How a user may name it: by its distribution that runs, and with one of its modes."""
        return (self.used or self.name, *(f"{self.name}:{mode}" for mode in self.modes))


@dataclass(frozen=True)
class FileKind:
    """One kind of file, or of folder if it has no suffix.

    `read` is a function of a path that returns the JSON text of the contract of an undamaged file,
    and raises RejectedInputError for any other; `replace` takes a path and such a text.
    """

    name: str  # the format's: "onnx"
    title: str  # "ONNX"
    suffix: str  # with its dot; "" for a folder
    engines: tuple[Engine, ...]  # the preferred one first
    read: str  # "module:function"
    replace: str  # "module:function"
    marker: str = ""  # the file by which a folder of this kind is recognised

    @property
    def label(self) -> str:
        """A name for people: ".onnx", or "SavedModel folder"."""
        return self.suffix or f"{self.title} folder"

    @property
    def described(self) -> str:
        """With its article, for a sentence."""
        if not self.suffix:
            return f"the folder of a {self.title}"
        article = "an" if self.suffix[1] in "aeiou" else "a"
        return f"{article} {self.suffix} file"

    @property
    def engine(self) -> Engine:
        """The first engine that is installed; if none is, the first of all."""
        if len(self.engines) == 1:
            return self.engines[0]
        return next((one for one in self.engines if one.is_installed), self.engines[0])

    def chosen(self, choice: str | None) -> tuple[Engine, str | None]:
        """The engine of this name, such as "openvino:bf16", and its mode; without one, `engine`.

        Raises UsageError for a name that is not among the choices, or that is not the one of
        several distributions that runs.
        """
        if choice is None:
            return self.engine, None
        engine = next(
            (one for one in self.engines if choice in (*one.distributions, *one.choices)), None
        )
        if engine is None:
            names = ", ".join(name for one in self.engines for name in one.choices)
            raise UsageError(
                f"{choice!r:.60} is no engine for {self.described}; choose from {names}."
            )
        name, _, mode = choice.partition(":")
        if engine.used not in (None, name):
            raise UsageError(
                f"{name} is not used where {engine.used} is installed; choose {engine.used}."
            )
        return engine, mode or None

    def is_other(self, choice: str | None) -> bool:
        """Whether this is another engine, or way to compute, than the one without a choice."""
        return self.chosen(choice) != (self.engine, None)

    def read_contract(self, path: Path) -> str:
        """The contract's JSON text; RejectedInputError for a file that is damaged or changed."""
        function: Callable[[Path], str] = _loaded(self.read)
        return function(path)

    def replace_contract(self, path: Path, contract: str) -> None:
        """Gives an undamaged file another contract, and new checksums."""
        function: Callable[[Path, str], None] = _loaded(self.replace)
        function(path, contract)


_DRIVERS = "trm_runtime.drivers"
_ONNXRUNTIMES = (
    "gpu", "openvino", "directml", "webgpu", "migraphx", "rocm", "cann", "training",
)  # fmt: skip
"""Distributions of onnxruntime with more execution providers: `onnxruntime-gpu`, ..."""

KINDS = {
    kind.name: kind
    for kind in (
        FileKind(
            "onnx", "ONNX", ".onnx",
            (Engine(f"{_DRIVERS}.onnxruntime:OnnxRunner", "onnx",
                    ("onnxruntime", *(f"onnxruntime-{name}" for name in _ONNXRUNTIMES))),
             Engine(f"{_DRIVERS}.openvino:OpenVINORunner", "openvino", ("openvino",),
                    can_be_plain=False, modes=("bf16",))),
            f"{_DRIVERS}.onnx_file:read_contract", f"{_DRIVERS}.onnx_file:replace_contract",
        ),
        FileKind(
            "tflite", "TFLite", ".tflite",
            (Engine(f"{_DRIVERS}.litert:LiteRTRunner", "litert",
                    ("ai-edge-litert", "ai-edge-litert-nightly", "tflite-runtime",
                     "tflite-runtime-nightly")),),
            f"{_DRIVERS}.tflite_file:read_contract", f"{_DRIVERS}.tflite_file:replace_contract",
        ),
        FileKind(
            "saved-model", "SavedModel", "",
            (Engine(f"{_DRIVERS}.saved_model:SavedModelRunner", "tensorflow",
                    ("tensorflow", "tensorflow-cpu", "tf-nightly", "tf-nightly-cpu"),
                    can_be_plain=False),),
            f"{_DRIVERS}.saved_model_folder:read_contract",
            f"{_DRIVERS}.saved_model_folder:add_contract",
            marker="saved_model.pb",
        ),
    )
}  # fmt: skip
"""By name. Read at every call, so that an entry can be added while a program runs."""


def folder_kind(folder: Path) -> FileKind | None:
    """The kind of a folder by its marker file, or None; OSError where the system does not tell."""
    kinds = (kind for kind in KINDS.values() if kind.marker and (folder / kind.marker).is_file())
    return next(kinds, None)


def suffix_kind(path: Path) -> FileKind | None:
    """The kind of a file by its suffix, or None; the file need not exist."""
    suffix = path.suffix.lower()
    return next((kind for kind in KINDS.values() if suffix and kind.suffix == suffix), None)


def named(path: Path) -> Path:
    """The same path, or the resolved one where it ends in no name: `.` and `..`."""
    return path if path.name not in ("", "..") else path.resolve()


def beside(path: Path, ending: str) -> Path:
    """Where a companion of a file or folder lies: `<path><ending>`, in the same folder."""
    whole = named(path)
    return whole.parent / f"{whole.name}{ending}"


def behind_link(path: Path) -> Path:
    """The file that a symbolic link leads to; any other path as it is."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def beside_or_behind(path: Path, ending: str) -> Path:
    """The same of an exported file that may be a symbolic link.

    It is beside the link if its contract is, or else beside the file behind.
    """
    known = beside(path, CONTRACT).exists()
    return beside(path if known else behind_link(path), ending)


def kind_of(path: Path) -> FileKind:
    """The kind of a file or folder; RejectedInputError, with the known kinds, for any other."""
    with reading(path):  # such as a name that is too long
        kind = folder_kind(path) or suffix_kind(path)
    if kind is not None:
        return kind
    if is_source(path):
        build, check = check_of_source(path)
        raise RejectedInputError(
            f"{path}: C source, which no engine opens; compile it with `{build}` and compare it "
            f"with a recording of its model, which `trm-export reference` makes: `{check}`."
        )
    if path.is_dir():
        markers = " or ".join(kind.marker for kind in KINDS.values() if kind.marker)
        reason = f"a folder without {markers} is not a model"
    elif is_checkpoint(path):
        reason = "a PyTorch checkpoint; convert it with `trm-export import`, then export the model"
    elif path.suffix == ".keras":
        reason = "a Keras model; export it first, such as with `trm-export onnx`"
    elif path.suffix:
        reason = f"{path.suffix} is not a known kind of model file"
    elif path.exists():
        reason = "a file without a suffix is not a known kind of model file"
    else:
        reason = "there is no such file or folder"
    raise RejectedInputError(f"{path}: {reason}; expected {known_kinds()}.")


def is_source(folder: Path) -> bool:
    """Whether a folder has the files by which one of generated C source is known.

    Raises OSError where the system does not tell.
    """
    return all((folder / name).is_file() for name in (SOURCE_CODE, SOURCE_CONTRACT))


def check_of_source(folder: Path, golden: str = "golden.npz") -> tuple[str, str]:
    """The two commands that compile a folder of C source and compare it with a recording."""
    server, check = quoted(folder / "serve"), ("python", "-m", "trm_runtime", "check", "--command")
    return (
        shlex.join(["make", "-C", argument(folder), "serve"]),
        shlex.join([*check, server, argument(golden)]),
    )


def is_checkpoint(path: Path) -> bool:
    """Whether a file has the name of a PyTorch checkpoint."""
    return path.suffix.lower() in CHECKPOINTS or re.fullmatch(r"step_\d+", path.name) is not None


def known_kinds() -> str:
    """Every kind, for messages: "an .onnx file, a .tflite file or ..."."""
    *most, last = [kind.described for kind in KINDS.values()]
    return f"{', '.join(most)} or {last}"


def installed_version(distribution: str) -> str | None:
    """The version of an installed distribution, or None; nothing is loaded."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _loaded(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)
