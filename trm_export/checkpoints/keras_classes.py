"""Find the classes that a `.keras` file would create, and check that each of them is trusted.

Keras imports whatever module a configuration names. So every class in it must come from a package
that the caller has named, or be one of Keras's plain building blocks. Does not import Keras.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from importlib.machinery import PathFinder
from typing import Any

from trm_export.errors import UsageError

_KERAS = (
    "keras", "keras.layers", "keras.initializers", "keras.regularizers", "keras.constraints",
    "keras.activations", "keras.dtype_policies", "keras.random", "keras.models", "keras.src.models",
    "keras.quantizers",
)  # fmt: skip
_CODE = ("Lambda", "TorchModuleWrapper", "TFSMLayer", "JaxLayer", "FlaxLayer", "__lambda__")
"""Building blocks that hold or load code."""
_PLAIN = ("__tuple__", "__tensor__", "__numpy__", "__bytes__", "__ellipsis__", "__slice__")
"""How Keras writes values that JSON has no type for."""
_FUNCTION = ("builtins", "function")  # an activation, by its name


def named_classes(value: object, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every object inside a configuration that names a class, with its place."""
    if isinstance(value, dict):
        if "class_name" in value:
            yield path, value
        for key, item in value.items():
            yield from named_classes(item, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from named_classes(item, f"{path}[{index}]")


def origin(config: dict[str, Any]) -> str | None:
    """The package of a model's class; None for Keras, for this tool and for an invalid name."""
    module = config.get("module")
    if not isinstance(module, str) or not all(part.isidentifier() for part in module.split(".")):
        return None
    package = module.partition(".")[0]
    return None if package in ("keras", "builtins", "trm_export") else package


def without_module(found: dict[str, Any]) -> bool:
    """Whether a class was saved from a notebook or a script, so that the file has no module of it.

    Keras also leaves it out for a registered class.
    """
    if found.get("module") not in (None, "__main__") or found["class_name"] in (*_CODE, *_PLAIN):
        return False
    return found.get("registered_name") is not None


def notebook_remedy(name: object) -> str:
    """What to do about such a class that no trusted package has."""
    return (
        f"the class {name!r} was saved from a notebook or a script, so the file does not say where "
        "its code is; put it into a module and pass --trust-module MODULE, or import it from there "
        "and save the model again"
    )


def is_of(module: str, packages: Sequence[str]) -> bool:
    """Whether a module is one of the packages or inside one."""
    return any(module == name or module.startswith(f"{name}.") for name in packages)


def is_there(module: str) -> bool:
    """Whether Python finds a module; nothing is imported."""
    name, *inner = module.split(".")
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:  # no name, or that of a running script
        return False
    for part in inner:
        if spec is None or spec.submodule_search_locations is None:
            return False
        spec = PathFinder.find_spec(part, spec.submodule_search_locations)
    return spec is not None


def require_modules(names: Sequence[str]) -> None:
    """UsageError for a module that does not exist, before any of its code runs."""
    missing = ", ".join(repr(name) for name in names if not is_there(name))
    if missing:
        raise UsageError(
            f"--trust-module: there is no module {missing}; install its package here, or set "
            "PYTHONPATH to the folder that holds it."
        )


def untrusted(config: dict[str, Any], trusted: Sequence[str]) -> Iterator[str]:
    """A problem for every class that is neither trusted nor a plain building block of Keras."""
    if not isinstance(config.get("class_name"), str) or not isinstance(config.get("config"), dict):
        yield "config.json does not describe a model: it has no class_name and config"
    for path, found in named_classes(config, ""):
        name, module = found["class_name"], found.get("module")
        where = f"{path}: " if path else ""
        if name in _CODE:
            yield f"{where}{name} contains code, which is not accepted in a file"
        elif without_module(found):
            if not trusted:
                yield f"{where}{notebook_remedy(name)}"
        elif not _is_fine(name, module, trusted):
            kind = found.get("registered_name") or name
            yield (
                f"{where}names the class {kind!r} of {module!r}, expected one of "
                f"{', '.join(trusted)} or of Keras; if you trust its package, add --trust-module"
            )


def _is_fine(name: object, module: object, trusted: Sequence[str]) -> bool:
    if name in _PLAIN:
        return True
    if not isinstance(module, str) or not isinstance(name, str):
        return False
    return (module, name) == _FUNCTION or module in _KERAS or is_of(module, trusted)
