"""Inspect a `.tflite` file with LiteRT's schema: operators, weights, signatures, contract.

Runs nothing and opens no other file than the contract beside it. Knows nothing about Keras and
loads no interpreter.
"""

from __future__ import annotations

import os
import zipfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from trm_export.artifacts.host_kinds import HOST_KINDS
from trm_export.artifacts.sidecar import complaints, lost_contract, sidecar_state
from trm_export.artifacts.tflite_cost import tflite_cost
from trm_export.artifacts.tflite_micro import KINDS, NAMES, missing
from trm_export.device_cost import DeviceCost
from trm_export.errors import RejectedInputError
from trm_export.files import sha256_file
from trm_runtime.contract import StepContract
from trm_runtime.drivers.tflite_file import read_contract
from trm_runtime.regular_file import check_regular
from trm_runtime.tensors import Shape
from trm_runtime.verify import differences

NEWEST_IN_TFLITE_RUNTIME = {
    "ADD": 5, "BATCH_MATMUL": 4, "BROADCAST_TO": 3, "CAST": 5, "CONCATENATION": 4,
    "DEQUANTIZE": 5, "ELU": 1, "EQUAL": 4, "EXP": 2, "EXPAND_DIMS": 1, "FILL": 4, "FLOOR_MOD": 2,
    "FULLY_CONNECTED": 10, "GATHER": 6, "GELU": 2, "GREATER": 2, "GREATER_EQUAL": 3,
    "HARD_SWISH": 1, "LEAKY_RELU": 2, "LESS": 3, "LOG": 1, "LOGICAL_AND": 1, "LOGICAL_OR": 1,
    "LOGISTIC": 3, "MAXIMUM": 1, "MEAN": 3, "MINIMUM": 1, "MUL": 7, "NEG": 1, "PACK": 4, "PAD": 4,
    "QUANTIZE": 3, "REDUCE_ANY": 1, "REDUCE_PROD": 2, "RESHAPE": 1, "RSQRT": 2, "SELECT": 4,
    "SELECT_V2": 2, "SHAPE": 1, "SOFTMAX": 3, "SQUARE": 1, "SQUARED_DIFFERENCE": 2,
    "STRIDED_SLICE": 8, "SUB": 5,
    "TANH": 3, "TOPK_V2": 3, "TRANSPOSE": 6, "WHILE": 1, "ZEROS_LIKE": 1,
}  # fmt: skip
"""Operator -> newest version that tflite-runtime 2.14 opens, for the operators of our graphs; as
that engine reports. Operators that are not listed count as not supported."""

*_, _MICRO = HOST_KINDS["tflite"].targets
_MAX_BYTES = 1 << 31  # of a flatbuffer


@dataclass(frozen=True)
class TFLiteFileInfo:
    """The facts in a `.tflite` file; truthy unless it has a contract that a driver refuses."""

    path: str
    size: int  # bytes
    sha256: str
    signatures: tuple[str, ...]
    subgraphs: int
    operators: dict[str, int]  # builtin or custom operator -> count, over all subgraphs
    custom_operators: tuple[str, ...]  # Flex among them: what a plain interpreter lacks
    opens_in_tflite_runtime: bool  # 2.14, by the versions of its operators
    missing_in_tflite_micro: tuple[str, ...]  # operators, with dtypes where these matter
    weight_bytes: dict[str, int]  # dtype -> bytes of constants, each buffer once
    contract: StepContract | None
    contract_problems: tuple[str, ...]  # why it cannot be read, or how the graph differs from it
    sidecar: str  # "same", "differs", "missing" or why `<file>.json` cannot be read
    device: DeviceCost | None = None  # of an export that fits its contract

    def __bool__(self) -> bool:
        return not self.problems

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the file is damaged, or contradicts its contract."""
        return self.contract_problems

    @property
    def target(self) -> str | None:
        """The target of an export: tflite-micro if that lacks nothing of it, else None."""
        return None if self.missing_in_tflite_micro else _MICRO

    def to_json(self) -> dict[str, Any]:
        """The fields, ready for `json.dumps`."""
        contract = None if self.contract is None else self.contract.document()
        return {"kind": "tflite", **asdict(self), "contract": contract}


def inspect_tflite(path: str | os.PathLike[str]) -> TFLiteFileInfo:
    """What `path` holds. Raises RejectedInputError for a file that is missing or damaged."""
    file = Path(path)
    data = _read(file)
    contract, problems = _contract(file)
    model = _parse(file, data)
    try:
        return _described_file(file, data, model, contract, problems)
    except Exception as error:  # the generated reader checks nothing, so any exception is possible
        raise _damaged(file) from error


def _described_file(
    file: Path,
    data: bytes,
    model: Any,
    contract: StepContract | None,
    problems: tuple[str, ...],
) -> TFLiteFileInfo:
    codes = [_code(code) for code in model.operatorCodes]
    used = [codes[operator.opcodeIndex] for g in model.subgraphs for operator in g.operators]
    device = None
    if contract is not None:
        problems = _differences(model, contract)
        device = None if problems else tflite_cost(file, len(data), model, contract)
    return TFLiteFileInfo(
        path=str(file),
        size=len(data),
        sha256=sha256_file(file),
        signatures=tuple(_text(signature.signatureKey) for signature in _signatures(model)),
        subgraphs=len(model.subgraphs),
        operators=dict(Counter(name for name, _, _ in used).most_common()),
        custom_operators=tuple(sorted({name for name, _, custom in used if custom})),
        opens_in_tflite_runtime=all(_is_old(*code) for code in used),
        missing_in_tflite_micro=missing(model),
        weight_bytes=_weight_bytes(model),
        contract=contract,
        contract_problems=problems,
        sidecar=sidecar_state(file, contract),
        device=device,
    )


def _read(file: Path) -> bytes:
    try:
        check_regular(file)
        if file.stat().st_size > _MAX_BYTES:
            raise RejectedInputError(f"{file}: larger than 2 GiB, the limit of a TFLite file.")
        data = file.read_bytes()
    except OSError as error:
        raise RejectedInputError(f"{file}: cannot be read: {error.strerror}.") from error
    if data[4:8] != b"TFL3":
        raise RejectedInputError(f"{file}: not a TFLite file: no TFL3 at offset 4.")
    return data


def _parse(file: Path, data: bytes) -> Any:
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    except Exception as error:  # the generated reader checks nothing, so any exception is possible
        raise _damaged(file) from error
    if not (model.subgraphs and model.operatorCodes):
        raise _damaged(file)
    return model


def _damaged(file: Path) -> RejectedInputError:
    return RejectedInputError(
        f"{file}: a damaged TFLite file: truncated or changed; copy it again, or export it again."
    )


def _code(code: Any) -> tuple[str, int, bool]:
    """Name, version, and whether it is a custom operator."""
    if code.builtinCode == schema.BuiltinOperator.CUSTOM:
        return _text(code.customCode), code.version, True
    number = max(code.builtinCode, code.deprecatedBuiltinCode)
    return NAMES.get(number, f"operator {number}"), code.version, False


def _is_old(name: str, version: int, custom: bool) -> bool:
    return not custom and version <= NEWEST_IN_TFLITE_RUNTIME.get(name, 0)


def _weight_bytes(model: Any) -> dict[str, int]:
    dtypes = {t.buffer: KINDS[t.type] for graph in model.subgraphs for t in graph.tensors}
    total: Counter[str] = Counter()
    for number, dtype in dtypes.items():
        data = model.buffers[number].data
        total[dtype] += 0 if data is None else len(data)
    return {dtype: size for dtype, size in total.most_common() if size}


def _contract(file: Path) -> tuple[StepContract | None, tuple[str, ...]]:
    if not zipfile.is_zipfile(file):
        return None, lost_contract(file)
    try:
        return StepContract.from_json(read_contract(file), f"{file}: its step contract"), ()
    except RejectedInputError as error:
        return None, complaints(file, error)


def _differences(model: Any, contract: StepContract) -> tuple[str, ...]:
    for signature in _signatures(model):
        if _text(signature.signatureKey) == contract.signature:
            graph = model.subgraphs[signature.subgraphIndex]
            inputs, outputs = (
                {_text(entry.name): _described(graph.tensors[entry.tensorIndex]) for entry in side}
                for side in (signature.inputs or (), signature.outputs or ())
            )
            return differences(contract, inputs, outputs)
    known = ", ".join(_text(signature.signatureKey) for signature in _signatures(model))
    return (f"expected the signature {contract.signature!r}, got {known or 'none'}",)


def _signatures(model: Any) -> list[Any]:
    return model.signatureDefs or []


def _described(tensor: Any) -> tuple[str, Shape]:
    sizes = tensor.shape if tensor.shapeSignature is None else tensor.shapeSignature
    found = () if sizes is None else (int(size) for size in sizes)
    return KINDS[tensor.type], tuple(None if size < 0 else size for size in found)


def _text(name: bytes | str | None) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else name or ""
