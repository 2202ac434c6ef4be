"""What a training run leaves for `--resume`: recipe, states, scores and log."""

from __future__ import annotations

import functools
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.fuzz import mutate_npy
from tests.fuzz.mutate_bytes import damaged
from tests.fuzz.mutate_json import changed_text
from tests.fuzz.mutate_zip import Member, archive, edited, members_of
from tests.fuzz.reader import Files, Reader
from trm_export.training.recipe import recipe_for
from trm_export.training.run_files import RunFiles

_OUTPUT, _RECIPE, _LOG = "m.keras", "m.recipe.json", "m.csv"
_STATE, _SCORES = "m.backup/state-0.npz", "m.backup/scores.json"
_ABOUT = "about.npy"


@functools.cache
def _seeds() -> Sequence[Files]:
    """A run of sudoku4 that has done two epochs."""
    recipe = json.loads(json.dumps(asdict(recipe_for("sudoku4"))))
    about = {"epoch": 2, "step": 7, "recipe": recipe, "names": ["a [2, 3]", "b []"]}
    file = io.BytesIO()
    text = np.frombuffer(json.dumps(about).encode(), np.uint8)
    np.savez(file, **{"00000": np.ones((2, 3), "f4"), "00001": np.array(3), "about": text})
    model = b"a model"
    scores = {hashlib.sha256(model).hexdigest(): 0.5}
    return [{
        _OUTPUT: model, _RECIPE: json.dumps(recipe).encode(), _STATE: _with_digest(file.getvalue()),
        _SCORES: json.dumps(scores).encode(),
        _LOG: b"epoch,ce,lesson,val_exact\n0,1.5,1,\n1,1.25,1,0.75\n",
    }]  # fmt: skip


def _with_digest(data: bytes) -> bytes:
    return data + hashlib.sha256(data).digest()


def _mutate(rng: Random, files: Files) -> Files:
    """One of the files, its digest mostly right."""
    name = rng.choice((_RECIPE, _STATE, _STATE, _STATE, _SCORES, _LOG))
    data = files[name]
    if name == _STATE:
        found = _with_digest(archive(edited(rng, members_of(data), _inside)))
        return {**files, name: damaged(rng, data) if rng.random() < 0.1 else found}
    return {**files, name: damaged(rng, data) if name == _LOG else changed_text(rng, data)}


def _inside(rng: Random, member: Member) -> bytes:
    if member.name != _ABOUT or not member.data:
        return mutate_npy.changed(rng, member.data) if member.data else b""
    file = io.BytesIO()
    text = changed_text(rng, np.load(io.BytesIO(member.data)).tobytes())
    np.save(file, np.frombuffer(text, np.uint8))
    return file.getvalue()


def _call(folder: Path) -> Any:
    """All that is read before a framework is loaded; the log is read with Keras there."""
    from trm_export.training.curriculum import _logged
    from trm_export.training.run_log import best_logged, logged

    files = RunFiles(folder / _OUTPUT)
    state = files.state()
    arrays = [] if state is None else [(a.shape, a.tobytes()) for a in state.arrays]
    rows = logged(folder / _LOG)
    found = repr(files.recorded()), arrays, files.score(), best_logged(rows), _logged(rows)
    return *found, files.finished_epochs


def _load() -> None:
    import trm_export.training.curriculum  # noqa: F401


READERS = (Reader("run", _seeds, _mutate, _call, prepare=_load),)
