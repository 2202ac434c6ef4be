#!/usr/bin/env bash
# What a machine with a GPU is needed for, as two commands of a few minutes each:
#
#   OUT=results bash benchmarks/gpu/run.sh goldens   # versions, recordings, TF32: 3 minutes
#   OUT=results bash benchmarks/gpu/run.sh train     # sudoku9-hard, or RECIPE=paper-sudoku-mlp
#
# Needs Python 3.11 or newer with PyTorch, JAX, numpy, h5py, typer and absl-py; no TensorFlow, and
# nothing is downloaded. What else is missing comes as wheels from the folder WHEELS, made by
#
#   pip download --no-deps -d wheels keras namex optree rich
#
# Everything written lies in OUT, no file over 16 MB and no more than two folders down. A run that
# was stopped goes on where OUT holds what it left. To try it without a GPU: GPU= COUNT=8
# MODELS=sudoku4 RECIPE=sudoku4 START= BATCH=8 EPOCH=4 STEPS=8 MINUTES=5 (with OMP_NUM_THREADS=1 on
# busy cores).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

OUT=${OUT:?the folder to write to}
PYTHON=${PYTHON:-python3}
WHEELS=${WHEELS:-}                  # folder of wheels to use
GPU=${GPU---require-gpu}            # empty: the CPU will do
BACKENDS=${BACKENDS:-jax torch}     # of goldens
COUNT=${COUNT:-2000}                # puzzles of a golden
STATES=${STATES:-8}                 # MB of states in a golden
MODELS=${MODELS:-sudoku9 maze11}
BACKEND=${BACKEND:-jax}             # of train
RECIPE=${RECIPE:-sudoku9-hard}
START=${START-artifacts/sudoku9.keras}  # weights to begin with; empty for random ones
MINUTES=${MINUTES:-9}               # of train, its last validation included
BATCH=${BATCH:-768}
RATE=${RATE:-0.0015}                # peak learning rate
STEPS=${STEPS:-60000}
EPOCH=${EPOCH:-3000}                # steps between two validations and two backups

mkdir -p "$OUT"
export PYTHONPATH="$PWD:$PWD/runtimes" PYTHONUNBUFFERED=1 CUBLAS_WORKSPACE_CONFIG=:4096:8
export XLA_PYTHON_CLIENT_PREALLOCATE=false
if [ -n "$WHEELS" ]; then
    SITE=$(mktemp -d)
    "$PYTHON" -m pip install -q --no-index --no-deps --no-compile --target "$SITE" "$WHEELS"/*.whl
    PYTHONPATH="$PYTHONPATH:$SITE"
fi

versions() {
    { nvidia-smi || echo "no nvidia-smi"; } 2>&1
    "$PYTHON" --version
    "$PYTHON" -m pip list 2>/dev/null | grep -iE '^(torch|jax|jaxlib|keras|numpy|tensorflow|nvidia-cublas|triton) ' || true
    git rev-parse HEAD 2>/dev/null || true
}

goldens() {
    local backend model
    versions | tee "$OUT/versions.txt"
    for backend in $BACKENDS; do
        for model in $MODELS; do
            echo "== $model on $backend"
            # shellcheck disable=SC2086 # GPU may be empty
            KERAS_BACKEND=$backend "$PYTHON" cli.py reference "artifacts/$model.keras" $GPU \
                --count "$COUNT" --states "$STATES" --batch-size 256 --no-control --force \
                -o "$OUT/$model-$backend.golden.npz"
        done
    done
    KERAS_BACKEND=torch "$PYTHON" benchmarks/gpu/compare_tf32.py artifacts/sudoku9.keras \
        --count "$COUNT" | tee "$OUT/tf32.json"
}

train() {
    local run="$OUT/train/$RECIPE.keras" until
    local -a begin=(--batch-size "$BATCH" --learning-rate "$RATE" --steps "$STEPS"
        --steps-per-epoch "$EPOCH" --validate-every 1)
    mkdir -p "$OUT/train"
    if [ -n "$START" ]; then begin+=(--from "$START"); fi
    if [ -e "${run%.keras}.recipe.json" ]; then begin=(--resume); fi
    until=$(date -d "+$MINUTES minutes" +%Y-%m-%dT%H:%M:%S)
    KERAS_BACKEND=$BACKEND "$PYTHON" cli.py train "$RECIPE" -o "$run" "${begin[@]}" \
        --until "$until"
    # of larger models: put together again with cat FILE.part* > FILE
    find "$OUT" -type f -size +15M -exec split -b 15M -d {} {}.part \; -delete
}

case ${1:-} in
    goldens) goldens ;;
    train) train ;;
    *) echo "Usage: OUT=FOLDER $0 goldens|train" >&2; exit 2 ;;
esac
ls -lR "$OUT"
