from __future__ import annotations

import importlib.metadata

import keras
import pytest

from trm_export.step import versions
from trm_export.step.versions import version_of


def test_the_module_that_is_loaded_tells_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    assert version_of("keras") == keras.__version__
    monkeypatch.setattr(keras, "__version__", "3.99.0.dev1")  # keras-nightly lies over keras
    assert version_of("keras") == "3.99.0.dev1"
    monkeypatch.setattr(versions, "installed_version", {}.get)  # keras-nightly alone
    assert version_of("keras") == "3.99.0.dev1"


def test_a_module_without_a_version_has_that_of_its_distribution(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(keras, "__version__")
    assert version_of("keras") == importlib.metadata.version("keras")
