"""A small training run that records its optimizer: ``run_worker.py OUT.keras MODE SIGNAL STEP``.

MODE is ``start`` or ``resume``; SIGNAL, if not 0, reaches the process at that step. The
optimizer's variables go to ``end.npz`` after every epoch and to ``begin.npz`` before the first
step of this process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from trm_export.api.frameworks import load_keras
from trm_runtime.lean_import import own_process

own_process()
load_keras()
import keras  # noqa: E402  (loaded as a command loads it, which takes half the time)

from tests.training.shallow import RECIPE as NAME  # noqa: E402
from tests.training.shallow import SHALLOW  # noqa: E402
from trm_export.model.presets import PRESETS  # noqa: E402
from trm_export.training import run  # noqa: E402
from trm_export.training.recipe import recipe_for  # noqa: E402

EPOCH = 12
OUT, MODE, SIGNAL, STEP = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
PRESETS[NAME] = SHALLOW
RECIPE = recipe_for(
    NAME, steps=4 * EPOCH, steps_per_epoch=EPOCH, batch_size=8, validate_every=1,
    validation_count=8, seed=5,
)  # fmt: skip


class Record(keras.callbacks.Callback):
    begun = False  # by any call of `fit`

    def write(self, name: str) -> None:
        tensors = [keras.ops.convert_to_tensor(v) for v in self.model.optimizer.variables]
        np.savez(OUT.with_name(name), *[np.asarray(tensor) for tensor in tensors])

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if not self.begun:
            self.write("begin.npz")
        Record.begun = True

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.write("end.npz")


class Recorded(run.ACTTrainer):
    def fit(self, *args: Any, callbacks: list[Any], **options: Any) -> Any:
        return super().fit(*args, callbacks=[Record(), *callbacks], **options)


def interrupted_batches(*args: Any) -> Iterator[Any]:
    for i, batch in enumerate(batches(*args)):
        if SIGNAL and i == STEP:
            os.kill(os.getpid(), SIGNAL)
        yield batch


batches = run._batches
run._batches = interrupted_batches
run.ACTTrainer = Recorded
result = run.train(RECIPE, OUT, resume=MODE == "resume", jit_compile=False)
sys.stdout.write(f"epochs={result.epochs} interrupted={result.interrupted}\n")
sys.stdout.write(f"files={[str(file) for file in result.files]}\n")
