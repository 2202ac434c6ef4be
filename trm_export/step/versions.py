"""The versions of the packages that made a file."""

from __future__ import annotations

import importlib

from trm_runtime.file_kinds import installed_version


def version_of(package: str) -> str:
    """The version of an installed package, by the name of the distribution that is usual.

    Another may contain it, as `tf-nightly` does tensorflow: then it is what the module says.
    """
    module = package.replace("-", "_")
    return installed_version(package) or str(importlib.import_module(module).__version__)
