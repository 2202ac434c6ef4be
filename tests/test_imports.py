"""Arrows go from heavy to light: cli -> trm_export -> trm_runtime, and never back."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import trm_export
import trm_runtime

HOST = Path(trm_export.__file__).parent
DEVICE = Path(trm_runtime.__file__).parent
COMMANDS = HOST / "commands"
FRAMEWORKS = {"jax", "keras", "tensorflow", "tf2onnx", "torch"}
HEAVY = FRAMEWORKS | {"h5py", "matplotlib", "numpy", "onnx", "onnxruntime", "rich"}


def imported(file: Path) -> Iterator[str]:
    """Every module a file names in an import, at any depth of the code."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def names_any(module: str, packages: set[str]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in packages)


def offences(files: list[Path], packages: set[str]) -> list[str]:
    assert files
    return [
        f"{file.name}: {module}"
        for file in files
        for module in imported(file)
        if names_any(module, packages)
    ]


def loaded_by(statement: str) -> set[str]:
    """Top-level packages that a statement adds to a fresh interpreter."""
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in json.loads(done.stdout.splitlines()[-1])}


def test_the_device_never_names_the_host_or_its_tools() -> None:
    banned = (FRAMEWORKS - {"tensorflow"}) | {"matplotlib", "onnx", "rich", "trm_export", "typer"}
    assert offences(list(DEVICE.rglob("*.py")), banned) == []
    drivers = {DEVICE / "drivers" / "saved_model.py"}
    assert offences(sorted(set(DEVICE.rglob("*.py")) - drivers), {"tensorflow"}) == []


def test_the_library_does_not_know_its_command_line() -> None:
    launcher = HOST / "__main__.py"
    library = [f for f in HOST.rglob("*.py") if COMMANDS not in f.parents and f != launcher]
    assert offences(library, {"trm_export.commands", "typer", "rich", "argparse", "click"}) == []


def test_commands_import_nothing_deeper_than_the_public_functions() -> None:
    public = {"trm_export.api", "trm_export.errors", "trm_export.commands", "trm_export.version"}
    around = {"trm_export.file_commit.recover", "trm_export.leftovers"}  # of a kill, any command's
    deeper = [
        f"{file.name}: {module}"
        for file in COMMANDS.rglob("*.py")
        for module in imported(file)
        if names_any(module, {"trm_export"})
        and not names_any(module, public | around)
        and any(
            (HOST / f"{part}{end}").exists()
            for part in module.split(".")[1:2]
            for end in ("", ".py")
        )
    ]
    assert deeper == []


def test_only_the_library_is_imported_by_commands_not_the_frameworks() -> None:
    files = [file for file in COMMANDS.rglob("*.py") if file.name != "frameworks.py"]
    assert offences(files, FRAMEWORKS) == []


def test_importing_the_package_loads_nothing_heavy() -> None:
    assert loaded_by("import trm_export, trm_export.errors, trm_export.files") & HEAVY == set()


@pytest.mark.parametrize(
    "module",
    ["checkpoints.keras_file", "step.weights", "artifacts.inspection", "artifacts.onnx_info",
     "artifacts.host_kinds", "tasks", "exporters.choices", "training.recipe", "training.run_files",
     "halting.curve", "halting.tuning", "artifacts.contract_rewrite", "api.arguments",
     "api.loading", "api.exporting", "api.importing", "api.inspecting", "api.training",
     "api.comparing", "api.comparing_files", "api.recording", "api.tuning", "api.benching",
     "api.evaluating",
     "api.planning", "api.reporting", "api.demonstration", "api.profiling", "explain.profile",
     "api.recording_files", "parity.recording"],
)  # fmt: skip
def test_these_need_no_framework(module: str) -> None:
    assert loaded_by(f"import trm_export.{module}") & FRAMEWORKS == set()


def test_the_model_classes_are_loaded_on_first_use() -> None:
    assert {"TRM", "TRMInner", "TRMReasoningModule"} <= set(dir(trm_export))
    loaded = loaded_by("from trm_export import TRM, TRMInner, TRMReasoningModule")
    assert "keras" in loaded
    assert trm_export.TRM.__name__ == "TRM"
    with pytest.raises(AttributeError, match="has no attribute 'TRN'"):
        _ = trm_export.TRN
