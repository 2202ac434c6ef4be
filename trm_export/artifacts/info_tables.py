"""The facts about an inspected file, as tables."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from trm_export.artifacts.inspection import ContractInfo
from trm_export.artifacts.onnx_info import OnnxFileInfo
from trm_export.artifacts.sidecar import differing_fields
from trm_export.artifacts.source_info import SourceInfo
from trm_export.artifacts.tflite_info import TFLiteFileInfo
from trm_export.checkpoints.keras_file import KerasFileInfo
from trm_export.device_cost import MemoryPart
from trm_runtime.confidence import Confidence
from trm_runtime.contract import StepContract
from trm_runtime.display import Table, bytes_text
from trm_runtime.message_text import counted
from trm_runtime.tensors import shape_text

FileInfo: TypeAlias = KerasFileInfo | OnnxFileInfo | TFLiteFileInfo | ContractInfo | SourceInfo
Rows: TypeAlias = list[tuple[str, str]]


def info_tables(info: FileInfo) -> tuple[Table, ...]:
    """The file itself, then its configuration, or its contract and tensors if it has them."""
    if isinstance(info, KerasFileInfo):
        return Table(info.path, _keras(info)), Table("Configuration", _plain(info.config))
    tables = [Table(info.path, rows)] if (rows := _file(info)) else []
    if info.contract is not None:
        tables.append(Table("Step contract", _contract(info.contract)))
        tables.append(Table("Tensors", _tensors(info.contract)))
    return tuple(tables)


def _file(info: ContractInfo | OnnxFileInfo | TFLiteFileInfo | SourceInfo) -> Rows:
    if isinstance(info, SourceInfo):
        rows = [*_export(info), *_kept(info), ("operators", "none: C functions")]
    elif isinstance(info, OnnxFileInfo):
        rows = _onnx(info)
    elif isinstance(info, TFLiteFileInfo):
        rows = _tflite(info)
    else:
        rows = _export(info) if info.sidecar else []
    return [*rows, *_device(info)]


def _keras(info: KerasFileInfo) -> Rows:
    return [
        ("kind", f"Keras model, {info.model_class}"),
        ("size", f"{bytes_text(info.size)} ({info.size:,} bytes)"),
        ("sha256", info.sha256),
        ("saved", f"{info.date_saved} by Keras {info.keras_version}"),
        ("parameters", f"{info.parameters:,} in {counted(len(info.tensors), 'tensor')}"),
        ("precision", info.dtype_policy or "unknown"),
        ("weights sha256", info.weights_sha256),
    ]


def _export(info: ContractInfo | SourceInfo) -> Rows:
    damage = info.checksum_problems
    return [
        ("kind", "C source" if info.kind == "c" else "SavedModel folder"),
        ("size", f"{bytes_text(info.size)} ({info.size:,} bytes)"),
        ("sha256", info.sha256 or ""),
        ("contract beside", _beside(info, info.contract)),
        ("checksums", "\n- ".join(("damaged:", *damage)) if damage else "fit"),
    ]


def _kept(info: SourceInfo) -> Rows:
    if info.contract.precision == "fp32":
        return []
    return [("kept in float", ", ".join(info.kept_in_float) or "nothing")]


def _device(
    info: ContractInfo | OnnxFileInfo | TFLiteFileInfo | SourceInfo,
) -> Rows:
    """What the file needs of a device; no rows where that is not known."""
    cost, contract = info.device, info.contract
    if cost is None or contract is None:
        return []
    ram = "not known in all" if cost.ram is None else f"{cost.ram:,} bytes"
    work = cost.macs_how
    if cost.macs_step is not None and cost.macs_puzzle is not None:
        steps = counted(contract.max_steps, "step")
        work = (
            f"{cost.macs_step:,} multiply-accumulates a step, {cost.macs_puzzle:,} a puzzle of "
            f"at most {steps} ({cost.macs_how})"
        )
    return [
        ("flash", f"{cost.flash:,} bytes ({cost.flash_how})"),
        ("RAM", "\n- ".join((f"{ram}:", *map(_part, cost.parts)))),
        ("work", work),
    ]


def _part(part: MemoryPart) -> str:
    size = "" if part.bytes is None else f"{part.bytes:,} bytes, "
    return f"{part.name}: {size}{part.how}"


def _onnx(info: OnnxFileInfo) -> Rows:
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
    operators = ", ".join(f"{name} {count}" for name, count in list(info.operators.items())[:8])
    weights = (f"{dtype} {bytes_text(size)}" for dtype, size in info.weight_bytes.items())
    old = "tflite-runtime 2.14" if info.opens_in_tflite_runtime else "not in tflite-runtime"
    rows = [
        ("kind", "TFLite model"),
        ("size", f"{bytes_text(info.size)} ({info.size:,} bytes)"),
        ("sha256", info.sha256),
        ("signatures", ", ".join(info.signatures) or "none"),
        ("opens in", f"LiteRT, {old}{_micro(info)}"),
        (
            "operators",
            f"{sum(info.operators.values()):,} in {counted(info.subgraphs, 'graph')} ({operators})",
        ),
        ("weights", ", ".join(weights) or "none"),
        ("contract", _contract_state(info)),
    ]
    if info.custom_operators:
        named = ", ".join(info.custom_operators[:8])
        rows.append(
            ("needs", f"custom operators, which a plain interpreter does not have: {named}")
        )
    return rows


def _micro(info: TFLiteFileInfo) -> str:
    lacking = info.missing_in_tflite_micro
    return f", not in tflite-micro: {', '.join(lacking)}" if lacking else ", tflite-micro"


def _contract_state(info: OnnxFileInfo | TFLiteFileInfo) -> str:
    if info.contract_problems:
        what = "cannot be read:" if info.contract is None else "does not fit this graph:"
        return "\n- ".join((what, *info.contract_problems))
    if info.contract is None:
        return "none: not an export of this tool, and no driver runs it"
    states = {"same": "fits the graph; the same beside the file", "missing": "fits the graph"}
    beside = _beside(info, info.contract)
    return states.get(info.sidecar, f"fits the graph; the one beside the file {beside}")


def _beside(
    info: ContractInfo | OnnxFileInfo | TFLiteFileInfo | SourceInfo, contract: StepContract
) -> str:
    """How the contract beside an export compares; where it differs, the fields."""
    if info.sidecar == "differs":
        return f"differs: {differing_fields(Path(info.path), contract)}"
    if info.sidecar in ("same", "missing"):
        return info.sidecar
    return f"cannot be read: {info.sidecar}"


def _contract(contract: StepContract) -> Rows:
    made_by, halt = contract.made_by, contract.halt
    own = "" if halt.trained is None else f" (tuned; the model's own is {halt.trained:g})"
    settled = "" if halt.settled is None else f"; settled if moved < {halt.settled:g}"
    versions = ", ".join(f"{name} {version}" for name, version in made_by.versions.items())
    return [
        ("model", f"{contract.model_name}, one {contract.granularity} per call"),
        ("precision", contract.precision),
        ("batch", "dynamic" if contract.batch is None else str(contract.batch)),
        ("puzzle", f"{contract.seq_len} tokens of {contract.vocab_size}"),
        ("halts", f"{halt.kind} > {halt.threshold:g}{own}, or step {contract.max_steps}{settled}"),
        ("confidence", _confidence(contract.confidence)),
        ("puzzle table", _table(contract)),
        ("alphabet", " ".join(entry or "-" for entry in contract.alphabet or ()) or "none"),
        ("made by", f"{made_by.tool} ({versions})"),
        ("weights sha256", made_by.weights_sha256),
        ("config digest", made_by.config_digest),
    ]


def _confidence(rule: Confidence | None) -> str:
    if rule is None:
        return "none"
    tries = "" if rule.tries == 1 else f", at most {rule.tries} tries"
    used = ", ".join(rule.used) or "a constant"
    return f"by {used}, fitted on {counted(rule.puzzles, 'puzzle')}{tries}"


def _table(contract: StepContract) -> str:
    count, external = contract.num_puzzle_identifiers, contract.puzzle_table_sha256
    if count is None:
        return "none"
    place = "internal" if external is None else f"in a file beside it, sha256 {external}"
    return f"{count:,} embeddings, {place}"


def _tensors(contract: StepContract) -> Rows:
    def row(role: str, name: str, dtype: str, shape: tuple[int | None, ...]) -> tuple[str, str]:
        return name, f"{role:<7}{dtype:<8} {shape_text(shape)}"

    return [
        *(row("input", t.name, t.dtype, t.shape) for t in contract.inputs),
        *(row("carry", t.name, t.dtype, t.shape) for t in contract.carry),
        *(row("output", t.name, t.dtype, t.shape) for t in contract.outputs),
    ]


def _plain(config: dict[str, object]) -> Rows:
    return [(name, str(value)) for name, value in config.items()]
