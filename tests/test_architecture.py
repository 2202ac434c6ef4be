"""docs/architecture.md is true, and nobody refers to a document that is not here."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tests.test_imports import DEVICE, HOST, imported

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
LAYERS = re.findall(r"^\| `(\w+)` \|", PAGE.partition("## Borders")[2], re.MULTILINE)
SOURCES = (".py", ".md", ".toml", ".j2")


def members() -> dict[str, list[Path]]:
    """What lies directly in `trm_export`: its folders and modules, and their files."""
    found = {path.stem: [path] for path in HOST.glob("[!_]*.py")}
    folders = [path.parent for path in HOST.glob("*/__init__.py")]
    return {**found, **{folder.name: list(folder.rglob("*.py")) for folder in folders}}


def test_the_table_of_borders_has_every_member_of_the_host() -> None:
    assert sorted(LAYERS) == sorted(members())


def test_a_row_imports_only_from_rows_above_it() -> None:
    assert list(climbs()) == []


def climbs() -> Iterator[str]:
    """Imports that go from a row to one below it."""
    for name, files in members().items():
        for file in files:
            for module in imported(file):
                package, _, rest = module.partition(".")
                target = rest.partition(".")[0]
                below = LAYERS[LAYERS.index(name) + 1 :]
                if package == "trm_export" and target in below:
                    yield f"{file.relative_to(HOST)}: {module}"


def test_every_path_in_the_page_exists() -> None:
    places = (ROOT, HOST, ROOT / "runtimes", DEVICE)
    paths = re.findall(r"`([\w/]+/[\w./]*)`", PAGE)
    assert len(paths) > 5
    for path in paths:
        assert any((place / path).exists() for place in places), path


def test_every_document_that_is_referred_to_is_here() -> None:
    referred = []
    folders = (HOST, DEVICE, ROOT / "docs", ROOT / "tests", ROOT / "benchmarks")
    files = [*ROOT.glob("*"), *(file for folder in folders for file in folder.rglob("*"))]
    for file in files:
        if file.suffix in SOURCES:
            referred += [(file, name) for name in re.findall(r"docs/[\w/-]+\.md", read(file))]
    assert len(referred) > 5
    assert [(f.name, name) for f, name in referred if not (ROOT / name).is_file()] == []
    for link in re.findall(r"\]\(([\w/.-]+)\)", "".join(map(read, (ROOT / "docs").glob("*.md")))):
        assert (ROOT / "docs" / link).exists(), link


def test_every_page_has_its_place_in_the_site() -> None:
    pages = {page.name for page in (ROOT / "docs").glob("*.md")}
    listed = re.findall(r"^ +- (?:Home: )?([\w-]+\.md)$", read(ROOT / "mkdocs.yml"), re.MULTILINE)
    assert sorted(listed) == sorted(pages)
    linked = re.findall(r"\]\(([\w-]+\.md)\)", read(ROOT / "docs" / "index.md"))
    assert sorted(linked) == sorted(pages - {"index.md"})


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")
