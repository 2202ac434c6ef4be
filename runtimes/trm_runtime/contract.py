"""The step contract: everything a driver must know about an exported step, and its JSON form.

One call of an exported graph is one ACT step. The contract lists every input and output tensor, how
the carry of one step becomes the input of the next, and when a row is done. It is inside the
exported file and beside it. docs/contract.md is its specification, from which a driver in any
language can be written.

This is granularity "step". With granularity "block" a call is one pass of the reasoning network,
and `passes` calls, each with the carry of the previous one, are one step; only the outputs of the
last one are used. With granularity "loop" a call is the complete ACT loop by the learned rule:
there is no carry, and the outputs are those of the latched step, with the answers and their numbers
of steps.

Standard library only. Knows nothing about numpy, engines or puzzles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Any

from trm_runtime import strict_json, tensors_json
from trm_runtime.confidence import KEY as CONFIDENCE
from trm_runtime.confidence import Confidence, confidence_problems, read_confidence
from trm_runtime.contract_rules import (
    GRANULARITIES,
    HALT_KINDS,
    READABLE_VERSIONS,
    SCHEMA_VERSION,
    alphabet_problems,
    halt_problems,
    identifier_problems,
    number_problems,
    size_of,
    structure_problems,
    text_problems,
)
from trm_runtime.display import Shown, Table
from trm_runtime.errors import ContractError
from trm_runtime.message_text import counted
from trm_runtime.strict_json import Fields
from trm_runtime.symmetries import KEY as SYMMETRIES
from trm_runtime.symmetries import Symmetries, read_symmetries, symmetry_problems
from trm_runtime.tensors import AnySpec, CarrySpec, TensorSpec, shape_text, tensor_problems

__all__ = [
    "GRANULARITIES",
    "HALT_KINDS",
    "MAX_CONTRACT_BYTES",
    "METADATA_KEY",
    "SCHEMA_VERSION",
    "CarrySpec",
    "Confidence",
    "HaltRule",
    "MadeBy",
    "StepContract",
    "Symmetries",
    "TensorSpec",
]

METADATA_KEY = "trm_contract"  # key of the contract in a file (ONNX metadata_props)
MAX_CONTRACT_BYTES = 1 << 20  # usually about 3 kB; an alphabet of all Unicode fits
GOLDEN_INDEX = "golden.json"  # the member of a golden that describes it
GOLDEN_FORMAT = "trm-golden"
PUZZLE_TABLE_SUFFIX = ".puzzle_table.npy"  # of the artifact's name: its puzzle embeddings


@dataclass(frozen=True)
class HaltRule:
    """The learned halt rule: a row is done when its score is above the threshold.

    The score is `q_halt`, or `q_halt - q_continue` for kind "q_halt_minus_q_continue" (logits).
    `trained` is the threshold of the model itself, in a file that was tuned after its export; a
    driver does not need it. `settled` is the threshold of the other rule, by which a row is done
    when its states move less than that in a step.
    """

    kind: str = "q_halt"  # one of HALT_KINDS
    threshold: float = 0.0
    trained: float | None = None  # in the JSON only if not None
    settled: float | None = None  # relative movement, above 0; in the JSON only if not None

    def score(self, q_halt: Any, q_continue: Any) -> Any:
        """The number to compare with the threshold; numpy arrays or tensors of any framework."""
        return q_halt - q_continue if self.kind == "q_halt_minus_q_continue" else q_halt

    @property
    def untuned(self) -> HaltRule:
        """The rule of the model itself, before any tuning of the file."""
        return HaltRule(self.kind, self.threshold if self.trained is None else self.trained)

    def tuned(self, threshold: float) -> HaltRule:
        """This rule with another threshold; the model's own is kept in `trained`."""
        own = self.untuned.threshold
        return replace(self, threshold=threshold, trained=None if threshold == own else own)


@dataclass(frozen=True)
class MadeBy:
    """The origin of an exported file."""

    tool: str
    versions: Mapping[str, str]  # package -> version
    weights_sha256: str
    config_digest: str


@dataclass(frozen=True, repr=False)
class StepContract(Shown):
    """The description of one exported step.

    B is the batch, S the sequence length, V the vocabulary. Always present: the input `inputs`
    int32 (B, S); the carry `steps` int32 (B,) fill 0, `halted` bool (B,) fill True and one
    `current_<input>` for every input; the outputs `logits` float32 (B, S, V), `q_halt_logits` and
    `q_continue_logits` float32 (B,). An optional input is `puzzle_identifiers` int32 (B,), or
    instead `puzzle_embedding` float32 (B, W): for each row the embedding of its identifier in a
    table beside the file, `<file>.puzzle_table.npy`. The other carry tensors are the model's own. A
    block also has the carry `passes` int32 (B,) fill 0, the number of calls in the present step. A
    loop has no carry, and also the outputs `answers` int32 (B, S) and `steps` int32 (B,).

    `halted` may be int32 instead, 0 or 1 with fill 1, for engines without bool inputs and outputs.

    With int8 I/O every float32 tensor of the carry and the outputs is int8 instead, with its own
    scale and zero point; a tensor of the carry has the same as input and as output.

    Raises ContractError, listing every broken rule.
    """

    model_name: str
    precision: str
    batch: int | None  # None: any batch
    inputs: tuple[TensorSpec, ...]
    carry: tuple[CarrySpec, ...]
    outputs: tuple[TensorSpec, ...]
    halt: HaltRule
    max_steps: int  # the graph itself ends a row here
    made_by: MadeBy
    granularity: str = "step"  # one of GRANULARITIES
    passes: int = 1  # calls that make one step; more than 1 only in a block
    alphabet: tuple[str, ...] | None = None  # [id]: characters read as that id, the first printed
    num_puzzle_identifiers: int | None = None  # ids are 0..this-1; None without those inputs
    puzzle_table_sha256: str | None = None  # of the table's file; in the JSON only if not None
    confidence: Confidence | None = None  # in the JSON only if not None
    symmetries: Symmetries | None = None  # of the task; in the JSON only if not None
    schema_version: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        problems = self._problems()
        if problems:
            raise ContractError("The step contract is not valid:", problems)

    @property
    def summary(self) -> str:
        """The file in one line."""
        batch = "dynamic batch" if self.batch is None else f"batch {self.batch}"
        return (
            f"{self.model_name} in {self.precision}, granularity {self.granularity}, {batch}: "
            f"{counted(self.seq_len, 'cell')}, {counted(self.vocab_size, 'token id')}, at most "
            f"{counted(self.max_steps, 'step')}, halts if {self.halt.kind} > "
            f"{self.halt.threshold:g}"
        )

    def tables(self) -> tuple[Table, ...]:
        """Every tensor."""
        roles = ("input", self.inputs), ("carry", self.carry), ("output", self.outputs)
        rows = [
            (role, spec.name, spec.dtype, shape_text(spec.shape))
            for role, specs in roles
            for spec in specs
        ]
        heads = ("role", "tensor", "dtype", "shape")
        return (Table(self.summary, rows, heads, heads),)

    def _problems(self) -> list[str]:
        """Every broken rule."""
        tensors = (self.batch, self.inputs, self.carry, self.outputs)
        kind, halt, table = self.granularity, self.halt, self.puzzle_table_sha256
        return [
            *tensor_problems(*tensors),
            *structure_problems(kind, *tensors),
            *number_problems(kind, self.max_steps, self.passes, self.schema_version),
            *halt_problems(kind, halt.kind, halt.threshold, halt.trained, halt.settled),
            *identifier_problems(self.inputs, self.num_puzzle_identifiers, table),
            *alphabet_problems(self.alphabet, self.vocab_size),
            *confidence_problems(self.confidence, kind),
            *symmetry_problems(self.symmetries, self.seq_len, self.vocab_size),
            *text_problems(self._texts()),
        ]

    def _texts(self) -> dict[str, str]:
        """Every free text by the path of its key."""
        made = self.made_by
        specs: tuple[AnySpec, ...] = (*self.inputs, *self.carry, *self.outputs)
        return {
            "model_name": self.model_name,
            "precision": self.precision,
            "made_by.tool": made.tool,
            "made_by.weights_sha256": made.weights_sha256,
            "made_by.config_digest": made.config_digest,
            "made_by.versions": "".join(chain.from_iterable(made.versions.items())),
            "the names of tensors": "".join(spec.name for spec in specs),
        }

    @cached_property
    def by_name(self) -> tuple[Mapping[str, AnySpec], Mapping[str, AnySpec], Mapping[str, AnySpec]]:
        """Inputs, carry and outputs by their names."""
        inputs, carry, outputs = (
            {spec.name: spec for spec in specs} for specs in (self.inputs, self.carry, self.outputs)
        )
        return inputs, carry, outputs

    @cached_property
    def next_names(self) -> Mapping[str, str]:
        """The name that each tensor of the carry has as an output."""
        return {spec.name: spec.next for spec in self.carry}

    @cached_property
    def memo(self) -> dict[str, Any]:
        """What modules computed about it, by their names; no part of its value."""
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, which are the same whatever was computed about it."""
        return {name: value for name, value in vars(self).items() if name != "memo"}

    @property
    def seq_len(self) -> int:
        """S, the number of cells of a puzzle."""
        return size_of(self.inputs, "inputs", 1)

    @property
    def signature(self) -> str:
        """The name of the exported function, in formats that name functions."""
        return f"act_{self.granularity}"

    @cached_property
    def vocab_size(self) -> int:
        """V, the number of token ids."""
        return size_of(self.outputs, "logits", 2)

    def computed_in(self, mode: str | None) -> StepContract:
        """The contract of an engine that computes this file in a mode of its own, such as bf16.

        It has that precision, by which the engine is judged; an integer one is not changed.
        """
        if mode is None or self.precision not in ("fp32", "fp16"):
            return self
        return replace(self, precision=mode)

    def document(self) -> dict[str, Any]:
        """The contract in JSON types; a key that is optional and None is left out."""
        fields = {**asdict(self), "halt": _without_none(asdict(self.halt), OPTIONAL_HALT_KEYS)}
        for key in ("inputs", "carry", "outputs"):
            fields[key] = tensors_json.document(getattr(self, key))
        version = fields.pop("schema_version")
        return {"schema_version": version, **_without_none(fields, OPTIONAL_KEYS)}

    def to_json(self) -> str:
        """The contract as indented JSON text, ending in a newline."""
        text = json.dumps(self.document(), indent=2, ensure_ascii=False, allow_nan=False)
        head, key, tail = text.partition(f'\n  "{SYMMETRIES}": ')  # the last key
        return f"{head}{key}{_INTEGERS.sub(_one_line, tail)}\n"

    @classmethod
    def from_json(cls, text: str, where: str = "The step contract") -> StepContract:
        """Read the text of `to_json`, strictly; `where` is the origin, for messages.

        A contract of an older schema version is read as one of the newest, which it is when it is
        written again. Raises ContractError, listing every problem: bad JSON, a newer schema,
        unknown or missing keys, wrong types, broken rules.
        """
        try:
            value = strict_json.parse(text)
        except ValueError as error:
            raise ContractError(f"{where} is not valid JSON: {error}.") from error
        return _read_contract(value, where)


def schema_version_of(text: str) -> object:
    """The schema version in the text of a contract, as it is there; None without one."""
    try:
        value = strict_json.parse(text)
    except ValueError:
        return None
    return value.get("schema_version") if isinstance(value, dict) else None


_INTEGERS = re.compile(r"\[[\d,\s]+\]")


def _one_line(integers: re.Match[str]) -> str:
    """A list of integers on one line instead of one line for each."""
    return "[" + " ".join(integers[0][1:-1].split()) + "]"


def _without_none(fields: dict[str, Any], optional: Sequence[str]) -> dict[str, Any]:
    return {k: v for k, v in fields.items() if v is not None or k not in optional}


# --- reading -------------------------------------------------------------------------------------

OPTIONAL_KEYS = ("puzzle_table_sha256", CONFIDENCE, SYMMETRIES)
"""An older reader refuses only contracts that have one of these."""

OPTIONAL_HALT_KEYS = ("trained", "settled")  # of the halt rule, for the same reason

_KEYS = tuple(key for key in StepContract.__dataclass_fields__ if key not in OPTIONAL_KEYS)
_HALT_KEYS = tuple(key for key in HaltRule.__dataclass_fields__ if key not in OPTIONAL_HALT_KEYS)
_MADE_BY_KEYS = tuple(MadeBy.__dataclass_fields__)


def _read_contract(value: object, where: str) -> StepContract:
    _refuse_other_schema(value, where)
    problems: list[str] = []
    given = [key for key in OPTIONAL_KEYS if isinstance(value, dict) and key in value]
    fields = Fields(value, "", (*_KEYS, *given), problems)
    parts: dict[str, Any] = {
        "batch": fields.integer_or_null("batch"),
        "model_name": fields.text("model_name"),
        "precision": fields.text("precision"),
        "halt": _read_halt(fields),
        "max_steps": fields.integer("max_steps"),
        "made_by": _read_made_by(fields),
        "granularity": fields.choice("granularity", GRANULARITIES),
        "passes": fields.integer("passes"),
        "alphabet": fields.texts_or_null("alphabet"),
        "num_puzzle_identifiers": fields.integer_or_null("num_puzzle_identifiers"),
        "puzzle_table_sha256": fields.text_or_null("puzzle_table_sha256"),
        CONFIDENCE: read_confidence(fields),
        SYMMETRIES: read_symmetries(fields),
    }
    batch_is_known = not any(problem.startswith("batch:") for problem in problems)
    inputs = tensors_json.read_tensors(fields, "inputs")
    carry = tensors_json.read_carry(fields, "carry")
    outputs = tensors_json.read_tensors(fields, "outputs")
    if problems:
        if batch_is_known:
            problems += tensor_problems(parts["batch"], inputs, carry, outputs)
        raise ContractError(f"{where} is not valid:", problems)
    try:
        return StepContract(inputs=inputs, carry=carry, outputs=outputs, **parts)
    except ContractError as error:
        raise ContractError(f"{where} is not valid:", error.problems) from None


def _refuse_other_schema(value: object, where: str) -> None:
    """A newer schema may have other keys, so it is the only problem reported of such a file."""
    version = value.get("schema_version") if isinstance(value, dict) else None
    if type(version) is int and version > SCHEMA_VERSION:
        raise ContractError(
            f"{where} has schema_version {version}, but this trm-runtime reads up to "
            f"{SCHEMA_VERSION}; upgrade it with `pip install --upgrade trm-runtime`."
        )
    if version not in READABLE_VERSIONS or type(version) is not int:
        known = " or ".join(map(str, READABLE_VERSIONS))
        problem = f"schema_version: expected {known}, got {version!r:.60}"
        raise ContractError(f"{where} is not valid:", [problem])


def _read_halt(parent: Fields) -> HaltRule:
    halt = parent.values.get("halt")
    given = [key for key in OPTIONAL_HALT_KEYS if isinstance(halt, dict) and key in halt]
    fields = parent.object("halt", (*_HALT_KEYS, *given))
    kind, threshold = fields.choice("kind", HALT_KINDS), fields.number("threshold")
    others = {key: fields.number(key) for key in given if fields.values[key] is not None}
    return HaltRule(kind, threshold, **others)


def _read_made_by(parent: Fields) -> MadeBy:
    fields = parent.object("made_by", _MADE_BY_KEYS)
    texts = (fields.text("weights_sha256"), fields.text("config_digest"))
    return MadeBy(fields.text("tool"), fields.text_map("versions"), *texts)
