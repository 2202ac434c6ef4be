"""The versions of the packages that made a file."""

from __future__ import annotations

import importlib

from trm_runtime.file_kinds import installed_version


def version_of(package: str) -> str:
    """The version of an installed package that is also the name of its module.

    Another distribution may contain it, as `tf-nightly` does tensorflow: then it is what the module
    says.
    """
    return installed_version(package) or str(importlib.import_module(package).__version__)
