"""The browser runtime accepts the contracts that `trm_runtime` accepts, and no others."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.devices.contracts import CONTRACTS, accepted, changed
from tests.devices.web.conftest import WEB

READ = """
import { readFileSync } from "node:fs";
import { parseContract, TrmError } from "./src/index.js";
const accepts = (text) => {
  try {
    return Boolean(parseContract(text));
  } catch (error) {
    return error instanceof TrmError ? false : error.stack;
  }
};
console.log(JSON.stringify(JSON.parse(readFileSync(process.argv[1], "utf8")).map(accepts)));
"""


@pytest.mark.parametrize("name", CONTRACTS)
def test_both_readers_accept_the_same(name: str, node: str, tmp_path: Path) -> None:
    texts = list(changed(CONTRACTS[name]))
    (tmp_path / "texts.json").write_text(json.dumps(texts), encoding="utf-8")
    script = [node, "--input-type=module", "-e", READ, str(tmp_path / "texts.json")]
    done = subprocess.run(script, capture_output=True, text=True, cwd=WEB, check=True)
    wanted, found = [accepted(text) for text in texts], json.loads(done.stdout)
    assert len(texts) > 1500
    assert 0 < sum(wanted) < len(wanted)
    differing = [texts[i] for i, (a, b) in enumerate(zip(wanted, found, strict=True)) if a != b]
    assert differing == []
