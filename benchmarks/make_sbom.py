"""The software bill of materials of both distributions: CycloneDX 1.6 as JSON.

    python benchmarks/make_sbom.py dist        # or `make sbom`; needs cyclonedx-bom

`cyclonedx-py` lists every package of this environment. What the distribution does not need, tools
of developers say, is left out; what only one of its extras needs has the scope "optional".
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PROJECTS = {"trm-export": ROOT, "trm-runtime": ROOT / "runtimes"}
TOOLS = {"dev"}  # extras that users do not need


def main(folder: Path) -> None:
    """Writes `<distribution>.cdx.json` for each."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, project in PROJECTS.items():
        document = trimmed(listed(project), project)
        target = folder / f"{name}.cdx.json"
        target.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        print(f"{target}: {len(document['components'])} components")


def listed(project: Path) -> dict[str, Any]:
    """Every package of this environment, as the tool prints it."""
    beside = Path(sys.executable).with_name("cyclonedx-py")
    tool = str(beside) if beside.exists() else shutil.which("cyclonedx-py")
    if tool is None:
        sys.exit("cyclonedx-py is not installed; install it with `pip install cyclonedx-bom`.")
    options = ["--pyproject", str(project / "pyproject.toml"), "--output-reproducible"]
    options += ["--no-validate"]  # of the whole environment, which takes 10 s and is not shipped
    command = [tool, "environment", *options, "--of", "JSON", "-o", "-", sys.executable]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def trimmed(document: dict[str, Any], project: Path) -> dict[str, Any]:
    """The document of one distribution: its version, what it needs, no path of this machine."""
    facts = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    root = document["metadata"]["component"]
    root["version"] = version(facts["name"])
    extras = facts["optional-dependencies"].items()
    more = [need for name, wanted in extras if name not in TOOLS for need in wanted]
    required = needed(facts["dependencies"])
    refs = {part["bom-ref"]: plain(part["name"]) for part in document["components"]}
    wanted = required | needed(more)
    kept = [part for part in document["components"] if refs[part["bom-ref"]] in wanted]
    for part in kept:
        part["scope"] = "required" if refs[part["bom-ref"]] in required else "optional"
        links = part.get("externalReferences", [])
        part["externalReferences"] = [x for x in links if not x["url"].startswith("file:")]
    known = {root["bom-ref"], *(part["bom-ref"] for part in kept)}
    tree = [
        {"ref": entry["ref"], "dependsOn": [x for x in entry.get("dependsOn", []) if x in known]}
        for entry in document["dependencies"]
        if entry["ref"] in known
    ]
    return {**document, "components": kept, "dependencies": tree}


def needed(requirements: list[str]) -> set[str]:
    """The names of installed packages that these need, and of all that those need in turn."""
    waiting, found = [Requirement(text) for text in requirements], dict[str, set[str]]()
    while waiting:
        one = waiting.pop()
        name, extras = plain(one.name), {"", *one.extras}
        try:
            needs = [Requirement(text) for text in requires(name) or ()]
        except PackageNotFoundError:
            continue
        new = extras - found.setdefault(name, set())
        found[name] |= new
        waiting += [
            need
            for need in needs
            if any(need.marker is None or need.marker.evaluate({"extra": extra}) for extra in new)
        ]
    return set(found)


def plain(name: str) -> str:
    """A name of a distribution as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist"))
