"""What the documents tell people to type exists and runs."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runtime.fakes import make_contract
from tests.runtime.graphs import build, write
from trm_export.commands.support.app import COMMANDS, run

ROOT = Path(__file__).parents[1]
PAGES = sorted(path for path in (ROOT / "docs").rglob("*.md") if path.parent.name != "sudoku9")
DOCUMENTS = [ROOT / "README.md", ROOT / "examples" / "README.md", *PAGES]
LINK = re.compile(r"\]\(([^)\s]+)\)")
TOP = "CHANGELOG.md CITATION.cff CONTRIBUTING.md LICENSE Makefile README.md SECURITY.md"
FILES = {*TOP.split(), "cli.py", "mkdocs.yml", "pyproject.toml"}
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(document: Path, *languages: str) -> list[str]:
    found = BLOCK.findall(document.read_text(encoding="utf-8"))
    return [text for language, text in found if language in languages]


def lines(*programs: str) -> list[list[str]]:
    """The words of every documented line that begins with one of the programs."""
    found = []
    for document in DOCUMENTS:
        for block in blocks(document, "bash", ""):
            for line in block.replace("\\\n", " ").splitlines():
                if line.split()[:1] and line.split()[0] in programs:
                    found.append(shlex.split(line, comments=True))
    return found


def shown(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert run([command, "--help"]) == 0
    return capsys.readouterr().out


def test_every_command_is_documented_and_every_documented_one_exists(
    capsys: pytest.CaptureFixture[str],
) -> None:
    used = lines("trm-export")
    assert {words[1] for words in used} == set(COMMANDS)
    for _, command, *rest in used:
        options = re.findall(r"(?<!\S)--?[a-z][a-z-]*", shown(command, capsys))
        assert {word for word in rest if word.startswith("-")} <= set(options)


def test_every_option_in_the_text_exists(capsys: pytest.CaptureFixture[str]) -> None:
    known = "".join(shown(command, capsys) for command in COMMANDS)
    known += subprocess.run(["make", "-C", ROOT, "help"], capture_output=True, text=True).stdout
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for option in re.findall(r"`(--[a-z-]+)", text):
        assert option in known, option
    for target in re.findall(r"^make (\w+)", text, re.MULTILINE):
        assert f"make {target} " in known


def test_every_script_exists() -> None:
    scripts = [words[1] for words in lines("python") if words[1] != "-m"]
    manifest = json.loads((ROOT / "artifacts" / "manifest.json").read_text())
    runs = [run for entry in manifest.values() for run in entry["runs"]]
    after = [shlex.split(line)[1] for run in runs for line in run.get("then", ())]
    assert scripts
    assert after
    assert all((ROOT / script).is_file() for script in (*scripts, *after))


def test_the_manifest_tells_how_each_checkpoint_was_made() -> None:
    manifest = json.loads((ROOT / "artifacts" / "manifest.json").read_text())
    documented = [words for words in lines("trm-export") if words[1] == "train"]
    for entry in manifest.values():
        for training in entry["runs"]:
            words = shlex.split(training["command"])
            assert any(sorted(words) == sorted(other) for other in documented), words


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_the_python_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    contract = make_contract()
    write(tmp_path / "model.onnx", build(contract))
    shutil.copy(ROOT / "artifacts" / "sudoku4.keras", tmp_path / "model.keras")
    examples = blocks(ROOT / "README.md", "python")
    assert len(examples) == 3
    names: dict[str, Any] = {"puzzles": np.ones((3, contract.seq_len), np.int32)}
    for example in examples:
        exec(compile(example, "README.md", "exec"), names)
    assert names["report"]
    assert names["result"].path == Path("model-int8.tflite")
    assert tuple(names["outputs"]["logits"].shape) == (2, 81, 11)
    assert (tmp_path / "mine.keras").exists()
    assert len(names["solution"].texts) == 3


def test_the_folders_are_the_real_ones() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Files")[2]
    block = BLOCK.findall(text)[0][1]
    told = [line.split()[0].rstrip("/") for line in block.splitlines()]
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    folders = {line.partition("/")[0] for line in tracked.stdout.splitlines() if "/" in line}
    others = {name for name in folders if not name.startswith(".")}
    assert set(told) == (others or set(told))
    assert len(told) == len(set(told))
    assert all(line.split(maxsplit=1)[1] for line in block.splitlines())


def test_nothing_else_lies_beside_the_folders() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    files = {name for name in tracked.stdout.splitlines() if "/" not in name}
    assert {name for name in files if not name.startswith(".")} == (files and FILES)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_leads_to_a_file(document: Path) -> None:
    for link in LINK.findall(document.read_text(encoding="utf-8")):
        target = link.partition("#")[0]
        if target and "://" not in target:
            assert (document.parent / target).exists(), link


def test_readme_and_site_name_every_page() -> None:
    readme = set(LINK.findall((ROOT / "README.md").read_text(encoding="utf-8")))
    site = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in PAGES:
        assert page.relative_to(ROOT).as_posix() in readme
        assert page.relative_to(ROOT / "docs").as_posix() in site


def test_the_parameters_agree_in_words() -> None:
    from trm_export.checkpoints.keras_file import inspect_keras

    text = (ROOT / "docs" / "checkpoints.md").read_text(encoding="utf-8")
    for name, entry in json.loads((ROOT / "artifacts" / "manifest.json").read_text()).items():
        whole = inspect_keras(ROOT / "artifacts" / entry["file"]).parameters
        assert f"| `{name}` | {whole:,} ({entry['parameters']:,}) |" in text
