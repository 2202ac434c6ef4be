"""The versions of the packages that made a file."""

from __future__ import annotations

import importlib

from trm_runtime.file_kinds import installed_version


def version_of(package: str) -> str:
    """The version of a package that an export has loaded, by the name of its distribution.

    The module itself says it: another distribution may contain it, as `tf-nightly` does tensorflow,
    or lie over it, as `keras-nightly` over keras, which TensorFlow 2.22.0rc0 brings.
    """
    module = importlib.import_module(package.replace("-", "_"))
    return str(getattr(module, "__version__", None) or installed_version(package))
