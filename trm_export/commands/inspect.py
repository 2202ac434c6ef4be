"""`trm-export inspect FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trm_export.commands.support.options import AsJson

if TYPE_CHECKING:
    from trm_export.artifacts.inspection import ContractInfo
    from trm_export.artifacts.onnx_info import OnnxFileInfo
    from trm_export.artifacts.tflite_info import TFLiteFileInfo
    from trm_export.checkpoints.keras_file import KerasFileInfo
    from trm_runtime.contract import StepContract

Rows = list[tuple[str, str]]

TrustModule = Annotated[
    list[str] | None,
    typer.Option(help="Package of the model's class, whose name may be in the file; not imported."),
]


def inspect(
    file: Annotated[
        Path, typer.Argument(help="A .keras, .onnx, .tflite or .json file, or a folder.")
    ],
    trust_module: TrustModule = None,
    as_json: AsJson = False,
) -> None:
    """Show what a file holds: contract, sizes, versions, weights. Loads no TensorFlow.

    Exit code 4 for an export that is damaged or does not fit its contract.
    """
    from trm_export.artifacts.inspection import inspect_file
    from trm_export.commands.support.console import emit, show_table
    from trm_export.errors import RejectedInputError

    info = inspect_file(file, trust_module or ())
    if as_json:
        emit(info.to_json())
    else:
        for title, rows in _tables(info):
            show_table(title, rows)
    if not info:
        raise typer.Exit(RejectedInputError.exit_code)


def _tables(
    info: KerasFileInfo | OnnxFileInfo | TFLiteFileInfo | ContractInfo,
) -> list[tuple[str, Rows]]:
    from trm_export.artifacts.inspection import ContractInfo
    from trm_export.artifacts.onnx_info import OnnxFileInfo
    from trm_export.checkpoints.keras_file import KerasFileInfo

    if isinstance(info, KerasFileInfo):
        return [(info.path, _keras(info)), ("Configuration", _plain(info.config))]
    if isinstance(info, ContractInfo):
        tables = [(info.path, _export(info))] if info.sidecar else []
    elif isinstance(info, OnnxFileInfo):
        tables = [(info.path, _onnx(info))]
    else:
        tables = [(info.path, _tflite(info))]
    if info.contract is not None:
        tables.append(("Step contract", _contract(info.contract)))
        tables.append(("Tensors", _tensors(info.contract)))
    return tables


def _keras(info: KerasFileInfo) -> Rows:
    from trm_export.commands.support.console import bytes_text

    return [
        ("kind", f"Keras model, {info.model_class}"),
        ("size", f"{bytes_text(info.size)} ({info.size:,} bytes)"),
        ("sha256", info.sha256),
        ("saved", f"{info.date_saved} by Keras {info.keras_version}"),
        ("parameters", f"{info.parameters:,} in {len(info.tensors)} tensors"),
        ("precision", info.dtype_policy or "not said"),
        ("weights sha256", info.weights_sha256),
    ]


def _export(info: ContractInfo) -> Rows:
    from trm_export.commands.support.console import bytes_text
    from trm_runtime.file_kinds import KINDS

    damage = info.checksum_problems
    return [
        ("kind", KINDS[info.kind].label),
        ("size", f"{bytes_text(info.size)} ({info.size:,} bytes)"),
        ("contract beside", info.sidecar or ""),
        ("checksums", "\n- ".join(("damaged:", *damage)) if damage else "fit"),
    ]


def _onnx(info: OnnxFileInfo) -> Rows:
    from trm_export.commands.support.console import bytes_text

    opsets = ", ".join(f"{name or 'ai.onnx'} {version}" for name, version in info.opsets.items())
    operators = ", ".join(f"{name} {count}" for name, count in list(info.nodes.items())[:8])
    weights = (f"{dtype} {bytes_text(size)}" for dtype, size in info.weight_bytes.items())
    rows = [
        ("kind", "ONNX model"),
        ("size", f"{bytes_text(info.size)} ({info.size:,} bytes)"),
        ("sha256", info.sha256),
        ("made by", info.producer or "unknown"),
        ("opset", f"{opsets}; IR {info.ir_version}"),
        ("opens in", f"onnxruntime {info.oldest_onnxruntime or 'newer than 1.20'} or later"),
        ("nodes", f"{sum(info.nodes.values()):,} ({operators})"),
        ("weights", ", ".join(weights) or "none"),
        ("contract", _contract_state(info)),
    ]
    if info.contract is not None or not info:
        rows.append(("checksum", info.checksum_problem or "fits"))
    if info.external_tensors:
        named = ", ".join(info.external_tensors[:8])
        rows.append(("refused", f"tensors kept in other files: {named}"))
    return rows


def _tflite(info: TFLiteFileInfo) -> Rows:
    from trm_export.commands.support.console import bytes_text

    operators = ", ".join(f"{name} {count}" for name, count in list(info.operators.items())[:8])
    weights = (f"{dtype} {bytes_text(size)}" for dtype, size in info.weight_bytes.items())
    old = "and in tflite-runtime 2.14" if info.opens_in_tflite_runtime else "not in tflite-runtime"
    rows = [
        ("kind", "TFLite model"),
        ("size", f"{bytes_text(info.size)} ({info.size:,} bytes)"),
        ("sha256", info.sha256),
        ("signatures", ", ".join(info.signatures) or "none"),
        ("opens in", f"LiteRT, {old}"),
        ("operators", f"{sum(info.operators.values()):,} in {info.subgraphs} graphs ({operators})"),
        ("weights", ", ".join(weights) or "none"),
        ("contract", _contract_state(info)),
    ]
    if info.custom_operators:
        named = ", ".join(info.custom_operators[:8])
        rows.append(("needs", f"operators that no plain interpreter has: {named}"))
    return rows


def _contract_state(info: OnnxFileInfo | TFLiteFileInfo) -> str:
    if info.contract_problems:
        what = "cannot be read:" if info.contract is None else "does not fit this graph:"
        return "\n- ".join((what, *info.contract_problems))
    if info.contract is None:
        return "none: not an export of this tool, no driver will run it"
    states = {"same": "fits the graph; the same beside the file", "missing": "fits the graph"}
    other = "fits the graph; the one beside the file is another: "
    return states.get(info.sidecar, f"{other}{info.sidecar}")


def _contract(contract: StepContract) -> Rows:
    made_by, halt = contract.made_by, contract.halt
    own = "" if halt.trained is None else f" (tuned; the model's own is {halt.trained:g})"
    versions = ", ".join(f"{name} {version}" for name, version in made_by.versions.items())
    return [
        ("model", f"{contract.model_name}, one {contract.granularity} per call"),
        ("precision", contract.precision),
        ("batch", "free" if contract.batch is None else str(contract.batch)),
        ("puzzle", f"{contract.seq_len} tokens of {contract.vocab_size}"),
        ("halts", f"{halt.kind} > {halt.threshold:g}{own}, or step {contract.max_steps}"),
        ("puzzle table", _table(contract)),
        ("alphabet", " ".join(entry or "-" for entry in contract.alphabet or ()) or "none"),
        ("made by", f"{made_by.tool} ({versions})"),
        ("weights sha256", made_by.weights_sha256),
        ("config digest", made_by.config_digest),
    ]


def _table(contract: StepContract) -> str:
    count, external = contract.num_puzzle_identifiers, contract.puzzle_table_sha256
    if count is None:
        return "none"
    place = "inside" if external is None else f"in a file beside it, sha256 {external}"
    return f"{count:,} embeddings, {place}"


def _tensors(contract: StepContract) -> Rows:
    from trm_runtime.tensors import shape_text

    def row(role: str, name: str, dtype: str, shape: tuple[int | None, ...]) -> tuple[str, str]:
        return name, f"{role:<7}{dtype:<8} {shape_text(shape)}"

    return [
        *(row("input", t.name, t.dtype, t.shape) for t in contract.inputs),
        *(row("carry", t.name, t.dtype, t.shape) for t in contract.carry),
        *(row("output", t.name, t.dtype, t.shape) for t in contract.outputs),
    ]


def _plain(config: dict[str, object]) -> Rows:
    return [(name, str(value)) for name, value in config.items()]
