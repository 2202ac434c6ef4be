"""A folder of generated code, as `inspect` reads it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.mutate_json import changed_text
from tests.fuzz.reader import Files, Reader
from tests.runtime.fakes import make_contract
from trm_export.artifacts.source_info import SIZES
from trm_export.own_files import SOURCE_MEMORY
from trm_runtime.file_kinds import SOURCE_CODE, SOURCE_CONTRACT

_CODE = b"int model(void) { return 1; }\n"


def _seeds() -> Sequence[Files]:
    contract = make_contract(batch=1).to_json().encode()
    texts = {SOURCE_CODE: _CODE, SOURCE_CONTRACT: contract}
    digests = {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}
    facts = {"tool": "trm-export", **dict.fromkeys(SIZES, 1000), "sha256": digests}
    return [{**texts, SOURCE_MEMORY: json.dumps(facts).encode()}]


def _changed(rng: Random, files: Files) -> Files:
    """One of the two documents is changed; the code stays."""
    name = rng.choice((SOURCE_CONTRACT, SOURCE_MEMORY))
    return {**files, name: changed_text(rng, files[name])}


def _call(folder: Path) -> Any:
    from trm_export.artifacts.inspection import inspect_file

    found = inspect_file(folder)
    return json.dumps({**found.to_json(), "path": "", "sidecar": ""}), tuple(found.problems)


READERS = (Reader("generated code", _seeds, _changed, _call),)
