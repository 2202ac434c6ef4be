"""What a reader is to the fuzzer: small good inputs, ways to change them, and the call.

An input is one file or several, as bytes by name. A reader is one module of `readers`, with a
tuple `READERS`; every module there is found.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

Files = Mapping[str, bytes]
"""The bytes of each file, by its name inside a folder."""


@dataclass(frozen=True)
class Reader:
    """One reader of untrusted bytes.

    `call` gets the folder in which the files are, and returns what was read, as plain values that
    can be compared with `==`. It refuses a file by an error of `trm_runtime.errors` with exit code
    4. A native one loads an engine, which may end its process.
    """

    name: str
    seeds: Callable[[], Sequence[Files]]  # good inputs, the same at every call
    mutate: Callable[[Random, Files], Files]  # one changed input
    call: Callable[[Path], Any]
    native: bool = False
    prepare: Callable[[], object] = tuple  # what to import before the children are forked
    batch: int = 2000  # inputs for one child


def one_file(mutate: Callable[[Random, bytes], bytes]) -> Callable[[Random, Files], Files]:
    """The mutation of an input that is a single file."""

    def mutated(rng: Random, files: Files) -> Files:
        return {name: mutate(rng, data) for name, data in files.items()}

    return mutated


def all_readers() -> dict[str, Reader]:
    """Every reader of every module in `readers`, by name; the Python ones first."""
    folder = Path(__file__).with_name("readers")
    names = sorted(module.name for module in pkgutil.iter_modules([str(folder)]))
    modules = [importlib.import_module(f"tests.fuzz.readers.{name}") for name in names]
    found = [reader for module in modules for reader in module.READERS]
    return {reader.name: reader for reader in sorted(found, key=lambda one: one.native)}
