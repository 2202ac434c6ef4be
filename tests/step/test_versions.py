from __future__ import annotations

import keras
import pytest

from trm_export.step import versions
from trm_export.step.versions import version_of


def test_a_package_of_another_distribution_tells_its_version(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert version_of("keras") == keras.__version__
    monkeypatch.setattr(versions, "installed_version", {}.get)  # as with keras-nightly
    monkeypatch.setattr(keras, "__version__", "3.99.0.dev1")
    assert version_of("keras") == "3.99.0.dev1"
