"""The documents beside a checkpoint: `all_config.yaml` (training), `dataset.json` (puzzles).

Reads and checks the kind of every value; knows nothing about tensors.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from trm_export.errors import CheckpointError, reason_of
from trm_runtime import strict_json
from trm_runtime.regular_file import check_regular

CONFIG, DATASET = "all_config.yaml", "dataset.json"
CONFIGS = (CONFIG, "config.yaml", "all_config.yml", "config.yml", "config.json")
ARCH_KEYS = {"H_cycles", "L_cycles", "hidden_size"}  # by which an architecture is recognised
_REFERENCE = re.compile(r"\$\{(\.?)([\w.]+)\}")  # of OmegaConf
_MAX_REFERENCES = 10
_MAX_BYTES = 1 << 17  # usually about 2 kB; PyYAML reads some 100 kB a second
_MAX_EXPANDED = 1 << 20  # characters with every alias written out


@dataclass(frozen=True)
class Folder:
    """The two documents, either of which may be missing."""

    config: Mapping[str, Any] | None  # all_config.yaml
    config_file: Path | None
    dataset: Mapping[str, Any] | None  # dataset.json
    dataset_file: Path | None

    @property
    def config_name(self) -> str:
        """The name of the first document; without one the name that it should have."""
        return CONFIG if self.config_file is None else self.config_file.name

    @property
    def dataset_name(self) -> str:
        """The same of the second."""
        return DATASET if self.dataset_file is None else self.dataset_file.name

    @property
    def arch(self) -> Mapping[str, Any]:
        """The hyperparameters of the network, official names; references are resolved.

        They are under `arch`, or all of a document that is the architecture's own.
        """
        config = self.config or {}
        arch = config.get("arch", config if set(config) >= ARCH_KEYS else {})
        if not isinstance(arch, dict):
            return {}
        return {key: _resolved(value, arch, config) for key, value in arch.items()}

    @property
    def ema(self) -> bool | None:
        """Whether the run saved averaged weights; None if the document has no value."""
        ema = (self.config or {}).get("ema")
        return ema if isinstance(ema, bool) else None


def read_folder(checkpoint: Path, dataset: Path | None = None) -> Folder:
    """The documents beside `checkpoint`; `dataset` names another dataset.json, or its folder.

    Raises CheckpointError for a document that cannot be read, or a named one that is missing.
    """
    files = (_existing(checkpoint.parent / name) for name in CONFIGS)
    config_file = next((file for file in files if file is not None), None)
    if dataset is None:
        dataset_file = _existing(checkpoint.parent / DATASET)
    else:
        dataset_file = dataset / DATASET if dataset.is_dir() else dataset
    return Folder(
        None if config_file is None else _yaml(config_file),
        config_file,
        None if dataset_file is None else _json(dataset_file),
        dataset_file,
    )


def _resolved(value: Any, arch: Mapping[str, Any], config: Mapping[str, Any]) -> Any:
    """The value that `${.hidden_size}` or `${arch.hidden_size}` stands for; others as they are.

    A reference that leads nowhere, or to itself, stays, and is refused as a value of a wrong kind.
    """
    for _ in range(_MAX_REFERENCES):
        found = _REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if found is None:
            return value
        place: Any = arch if found[1] else config
        for key in found[2].split("."):
            place = place.get(key) if isinstance(place, dict) else None
        if place is None:
            return value
        value = place
    return value


def _existing(path: Path) -> Path | None:
    return path if path.exists() else None


def _yaml(path: Path) -> dict[str, Any]:
    text = _text(path)
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is not None and _expanded(node, {}) > _MAX_EXPANDED:
            raise ValueError(f"its aliases stand for more than {_MAX_EXPANDED:,} characters")
        value = None if node is None else loader.construct_document(node)
    except CheckpointError:
        raise
    except Exception as error:  # PyYAML's parsers of values may raise anything
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        raise CheckpointError(f"{path}: not plain YAML: {reason}.") from error
    return _mapping(value, path)


def _expanded(node: Any, sizes: dict[int, int]) -> int:
    """Characters of a YAML node, those of an alias counted wherever it is; ValueError for a cycle.

    `sizes` has the nodes that are counted, 0 for those that are being counted.
    """
    if id(node) in sizes:
        if not sizes[id(node)]:
            raise ValueError("an alias stands for a part of itself")
        return sizes[id(node)]
    sizes[id(node)] = 0
    parts = itertools.chain(*node.value) if isinstance(node, yaml.MappingNode) else node.value
    scalar = isinstance(node, yaml.ScalarNode)
    size = len(node.value) if scalar else sum(_expanded(part, sizes) for part in parts)
    sizes[id(node)] = 1 + size
    return 1 + size


def _json(path: Path) -> dict[str, Any]:
    try:
        return _mapping(strict_json.parse(_text(path)), path)
    except ValueError as error:
        raise CheckpointError(f"{path}: not valid JSON: {reason_of(error)}.") from error


def _mapping(value: object, path: Path) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: expected keys and values, got a {strict_json.kind(value)}.")
    return value


def _text(path: Path) -> str:
    try:
        check_regular(path)
        size = path.stat().st_size
        if size > _MAX_BYTES:
            raise CheckpointError(
                f"{path}: has {size:,} bytes, at most {_MAX_BYTES:,} are accepted."
            )
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise CheckpointError(f"{path}: not UTF-8 text: {error}.") from error
