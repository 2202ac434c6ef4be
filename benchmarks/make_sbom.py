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
from pathlib import Path
from typing import Any

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
    command = [tool, "environment", *options, "--of", "JSON", "-o", "-", sys.executable]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def trimmed(document: dict[str, Any], project: Path) -> dict[str, Any]:
    """The document of one distribution: its version, what it needs, no path of this machine."""
    from importlib.metadata import version

    facts = tomllib.loads((project / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    root = document["metadata"]["component"]
    root["version"] = version(facts["name"])
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in document["dependencies"]}
    extras = facts["optional-dependencies"].items()
    more = [need for name, wanted in extras if name not in TOOLS for need in wanted]
    names = {part["bom-ref"]: plain(part["name"]) for part in document["components"]}
    required = reachable(needs, names, facts["dependencies"])
    optional = reachable(needs, names, more) - required
    kept = [part for part in document["components"] if part["bom-ref"] in required | optional]
    for part in kept:
        part["scope"] = "required" if part["bom-ref"] in required else "optional"
        links = part.get("externalReferences", [])
        part["externalReferences"] = [x for x in links if not x["url"].startswith("file:")]
    refs = required | optional
    needs[root["bom-ref"]] = [ref for ref in needs[root["bom-ref"]] if ref in refs]
    tree = [
        {"ref": ref, "dependsOn": needs[ref]} for ref in needs if ref in {*refs, root["bom-ref"]}
    ]
    return {**document, "components": kept, "dependencies": tree}


def reachable(needs: dict[str, list[str]], names: dict[str, str], wanted: list[str]) -> set[str]:
    """The references of these requirements, and of all that they need in turn."""
    firsts = {plain(re.split(r"[^A-Za-z0-9._-]", need, maxsplit=1)[0]) for need in wanted}
    waiting = [ref for ref, name in names.items() if name in firsts]
    found: set[str] = set()
    while waiting:
        ref = waiting.pop()
        if ref not in found:
            found.add(ref)
            waiting += needs.get(ref, [])
    return found


def plain(name: str) -> str:
    """A name of a distribution as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "dist"))
