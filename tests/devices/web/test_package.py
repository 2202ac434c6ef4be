"""The npm package: it packs, installs alone, and its types are those of what it exports."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.devices.shipped import ROOT, Made
from tests.devices.web.conftest import WEB

SCHEMA = ROOT / "runtimes" / "trm_runtime" / "contract.schema.json"
NAMES = re.compile(r"^export (?:class|const|function) (\w+)", re.MULTILINE)


@pytest.fixture(scope="module")
def npm(node: str) -> str:
    found = shutil.which("npm")
    if found is None:
        pytest.skip("npm is not installed; make test-devices installs it on Debian")
    return found


@pytest.fixture(scope="module")
def installed(npm: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the packed package is installed, and nothing else."""
    folder = tmp_path_factory.mktemp("npm")
    packed = subprocess.run(
        [npm, "pack", "--json", "--pack-destination", folder], capture_output=True, cwd=WEB
    )
    (folder / "package.json").write_text("{}", encoding="utf-8")
    name = json.loads(packed.stdout)[0]["filename"]
    options = ["--offline", "--no-package-lock", "--no-audit", "--no-fund"]
    subprocess.run([npm, "install", *options, f"./{name}"], check=True, cwd=folder)
    return folder


def test_the_package_has_what_it_needs_and_no_more(installed: Path) -> None:
    package = installed / "node_modules" / "trm-runtime-web"
    assert [path.name for path in (installed / "node_modules").glob("[!.]*")] == [package.name]
    found = {path.name for path in package.iterdir()}
    wanted = {"LICENSE", "README.md", "index.d.ts", "package.json", "src", "browser"}
    assert found == wanted | {"serve.mjs", "serve-browser.mjs", "step_server.d.ts"}
    license_ = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert (package / "LICENSE").read_text(encoding="utf-8") == license_


def test_the_package_solves_the_puzzles_of_its_readme(
    installed: Path, node: str, exported: Made
) -> None:
    readme = (WEB / "README.md").read_text(encoding="utf-8")
    example = re.findall(r"```js\n(.*?)```", readme, re.DOTALL)[0]
    file = json.dumps(str(exported("sudoku4.onnx")))
    example = example.replace(
        'await (await fetch("sudoku4.onnx")).arrayBuffer()',
        f'Uint8Array.from((await import("node:fs")).readFileSync({file})).buffer',
    )
    modules = installed / "node_modules"
    for name in ("onnxruntime-web", "onnxruntime-common", "@types", "protobufjs", "long"):
        if not (modules / name).exists():
            (modules / name).symlink_to(WEB / "node_modules" / name)
    (installed / "example.mjs").write_text(example, encoding="utf-8")
    done = subprocess.run([node, "example.mjs"], capture_output=True, text=True, cwd=installed)
    assert "34122143432112343214142341322341" in done.stdout, done.stderr
    assert "[ 'halted', 'halted' ]" in done.stdout


def compiled(*words: str | Path) -> None:
    """Checks types in the folder of the package; skips without a compiler."""
    compiler = WEB / "node_modules" / ".bin" / "tsc"
    if not compiler.exists():
        pytest.skip("runtimes/web/node_modules lacks typescript; run make test-devices")
    done = subprocess.run([compiler, *words], capture_output=True, text=True, cwd=WEB)
    assert done.returncode == 0, done.stdout


STRICT = ("--ignoreConfig", "--noEmit", "--strict", "--types", "")


@pytest.mark.parametrize(
    ("types", "module"), [("index.d.ts", "index.js"), ("step_server.d.ts", "step_server.js")]
)
def test_the_types_are_those_of_the_exports(types: str, module: str, node: str) -> None:
    compiled("-p", ".")
    compiled(*STRICT, types)
    typed = set(NAMES.findall((WEB / types).read_text(encoding="utf-8")))
    script = f'console.log(Object.keys(await import("./src/{module}")).join(" "))'
    done = subprocess.run(
        [node, "--input-type=module", "-e", script], capture_output=True, text=True, cwd=WEB
    )
    assert set(done.stdout.split()) == typed


def sample(schema: Any, kinds: Any) -> Any:
    """A value with every key that a part of the schema of the contract knows."""
    if "anyOf" in schema:
        return sample(schema["anyOf"][-1], kinds)
    if "$ref" in schema:
        return sample(kinds[schema["$ref"].rpartition("/")[2]], kinds)
    if "enum" in schema:
        return schema["enum"][0]
    if "properties" in schema:
        return {key: sample(value, kinds) for key, value in schema["properties"].items()}
    if "items" in schema:
        return [sample(schema["items"], kinds)]
    types = schema["type"]
    return {"string": "", "object": {}}.get(types if isinstance(types, str) else types[0], 1)


def test_every_key_of_a_contract_has_a_type(node: str, tmp_path: Path) -> None:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    written = json.dumps(sample(schema, schema["$defs"]))
    (tmp_path / "contract.ts").write_text(
        f'import type {{ StepContract }} from "{WEB}/index.js";\n'
        f"export const contract: Required<StepContract> = {written};\n",
        encoding="utf-8",
    )
    compiled(*STRICT, tmp_path / "contract.ts")


def test_the_version_is_that_of_the_device_package() -> None:
    import trm_runtime

    package = json.loads((WEB / "package.json").read_text(encoding="utf-8"))
    assert package["version"] == trm_runtime.__version__
