"""Average the weights of checkpoints of one training run (Izmailov et al. 2018, arXiv 1803.05407).

    python benchmarks/average_checkpoints.py a.keras b.keras -o average.keras

The learning rate of a run that is stopped early is still high, so its checkpoints lie around the
point that a lower rate would have reached. Everything but the weights is that of the first.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from trm_export.checkpoints.loading import load_model
from trm_export.files import atomic_write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checkpoints", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    models = [load_model(path) for path in options.checkpoints]
    weights = zip(*(model.get_weights() for model in models), strict=True)
    models[0].set_weights([np.mean(same, axis=0) for same in weights])
    with atomic_write(options.output) as temporary:
        models[0].save(temporary)


if __name__ == "__main__":
    main()
