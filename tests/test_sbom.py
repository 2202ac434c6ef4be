"""The bill of materials of each distribution names what it needs, and nothing else."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
TOOL = Path(sys.executable).with_name("cyclonedx-py").exists() or shutil.which("cyclonedx-py")
pytestmark = pytest.mark.skipif(not TOOL, reason="cyclonedx-bom is not installed")


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("dist")
    script = str(ROOT / "benchmarks" / "make_sbom.py")
    subprocess.run([sys.executable, script, str(folder)], check=True, capture_output=True)
    files = folder.glob("*.cdx.json")
    return {path.name.partition(".")[0]: json.loads(path.read_text()) for path in files}


def scopes(bill: Any) -> dict[str, str]:
    return {part["name"].lower(): part["scope"] for part in bill["components"]}


def test_both_are_cyclonedx_with_their_version(bills: dict[str, Any]) -> None:
    assert set(bills) == {"trm-export", "trm-runtime"}
    for name, bill in bills.items():
        assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
        root = bill["metadata"]["component"]
        assert (root["name"], root["version"]) == (name, importlib.metadata.version(name))
        for part in bill["components"]:
            assert part["version"] == importlib.metadata.version(part["name"])


def test_they_have_what_is_needed_and_no_tools(bills: dict[str, Any]) -> None:
    host, device = scopes(bills["trm-export"]), scopes(bills["trm-runtime"])
    for name in ("numpy", "tensorflow", "keras", "onnxruntime", "trm-runtime", "protobuf"):
        assert host[name] == "required"
    assert device["numpy"] == "required"
    assert {name for name, scope in device.items() if scope == "required"} == {"numpy"}
    assert device["onnxruntime"] == "optional"
    assert not {"pytest", "ruff", "mypy", "cyclonedx-bom"} & {*host, *device}


def test_every_reference_is_a_component_and_no_path_is_named(bills: dict[str, Any]) -> None:
    for bill in bills.values():
        known = {part["bom-ref"] for part in bill["components"]}
        known.add(bill["metadata"]["component"]["bom-ref"])
        for entry in bill["dependencies"]:
            assert {entry["ref"], *entry["dependsOn"]} <= known
        assert "file:" not in json.dumps(bill)
        assert str(ROOT) not in json.dumps(bill)
