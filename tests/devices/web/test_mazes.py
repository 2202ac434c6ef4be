"""The browser runtime reads the mazes that `trm_runtime` reads, and refuses what that refuses."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.devices.mazes import CONTRACT, MAZES, drawings, wanted
from tests.devices.web.conftest import WEB

READ = """
import { readFileSync } from "node:fs";
import { parseContract, readPuzzles, TrmError } from "./src/index.js";
const [contract, texts] = JSON.parse(readFileSync(process.argv[1], "utf8"));
const read = (text) => {
  try {
    return [...readPuzzles(parseContract(contract), text).data];
  } catch (error) {
    return error instanceof TrmError ? null : error.stack;
  }
};
console.log(JSON.stringify(texts.map(read)));
"""


def found(node: str, texts: Sequence[str], folder: Path) -> list[list[int] | None]:
    (folder / "texts.json").write_text(json.dumps([CONTRACT.to_json(), texts]), encoding="utf-8")
    script = [node, "--input-type=module", "-e", READ, str(folder / "texts.json")]
    done = subprocess.run(script, capture_output=True, text=True, cwd=WEB, check=True)
    return list(json.loads(done.stdout))


def test_mazes_are_read_as_by_python(node: str, tmp_path: Path) -> None:
    expected = [wanted(text, tmp_path) for text in MAZES.values()]
    own = found(node, list(MAZES.values()), tmp_path)
    assert dict(zip(MAZES, own, strict=True)) == dict(zip(MAZES, expected, strict=True))


@pytest.mark.parametrize("seed", [0, 1])
def test_no_drawing_is_read_that_python_refuses(seed: int, node: str, tmp_path: Path) -> None:
    texts = list(drawings(1000, seed))
    expected = [wanted(text, tmp_path) for text in texts]
    own = found(node, texts, tmp_path)
    triples = list(zip(texts, own, expected, strict=True))
    assert [one for one in triples if one[1] is not None and one[1] != one[2]] == []
    assert 200 < own.count(None) < 800
