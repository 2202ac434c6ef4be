"""The configuration of a checkpoint, and the source of each value.

`--set` overrides all_config.yaml and dataset.json. The shapes of the tensors override neither: a
contradiction is a problem. A value without a source is never guessed, it is a problem too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from trm_export.errors import UsageError
from trm_export.importing.folder import CONFIG, DATASET, Folder
from trm_export.importing.shapes import EMBED, ShapeFact
from trm_export.model.config import LIMITS, POSITIVE, TRMConfig
from trm_export.model.layers import NORM_EPSILON
from trm_export.tasks import TASKS
from trm_runtime.message_text import shown

TENSORS, CONSTANT, OPTION = "tensors", "official constant", "--set"
_WHOLE, _NUMBER, _FLAG, _NAME = "an integer", "a number", "true or false", "a name"

_ARCH = {  # key of all_config.yaml -> field, kind
    "H_cycles": ("h_cycles", _WHOLE), "L_cycles": ("l_cycles", _WHOLE),
    "L_layers": ("l_layers", _WHOLE), "hidden_size": ("hidden_size", _WHOLE),
    "num_heads": ("num_heads", _WHOLE), "expansion": ("expansion", _NUMBER),
    "pos_encodings": ("pos_encodings", _NAME), "mlp_t": ("mixer", _FLAG),
    "puzzle_emb_ndim": ("puzzle_emb_ndim", _WHOLE), "puzzle_emb_len": ("puzzle_emb_len", _WHOLE),
    "halt_max_steps": ("halt_max_steps", _WHOLE), "no_ACT_continue": ("no_act_continue", _FLAG),
    "halt_exploration_prob": ("halt_exploration_prob", _NUMBER),
    "rope_theta": ("rope_theta", _NUMBER),
}  # fmt: skip
_UNUSED = {"name", "loss", "H_layers", "forward_dtype", "rms_norm_eps"}
_DATASET = ("vocab_size", "seq_len", "num_puzzle_identifiers")
_KINDS = {**dict(_ARCH.values()), **dict.fromkeys(_DATASET, _WHOLE), "halt_threshold": _NUMBER}
SETTABLE = tuple(sorted(set(_KINDS) - {"mixer"}))
_LARGEST = {**{name: most for name, (_, most) in LIMITS.items()}, **POSITIVE}
_FROM_TENSORS = ("vocab_size", "hidden_size", "l_layers", "mixer", "puzzle_emb_ndim",
                 "num_puzzle_identifiers")  # fmt: skip
_NEEDED = ("seq_len", "puzzle_emb_len", "num_heads", "pos_encodings", "expansion", "h_cycles",
           "l_cycles", "halt_max_steps", "no_act_continue")  # fmt: skip


@dataclass(frozen=True)
class Setting:
    """One field of `TRMConfig`."""

    name: str
    value: Any
    source: str  # "--set", a file, "tensors" or "official constant", perhaps with a remark


@dataclass(frozen=True)
class Settings:
    """The known part of the configuration; complete if there are no problems."""

    values: tuple[Setting, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    def arguments(self) -> dict[str, Any]:
        """Constructor arguments of the TRM."""
        return {setting.name: setting.value for setting in self.values}


def parse_given(texts: Sequence[str]) -> dict[str, Setting]:
    """The settings in ``["num_heads=8"]``; UsageError, naming every wrong one, for others."""
    settings, problems = {}, []
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().lower()  # official names differ in capitals alone
        if not equals or name not in SETTABLE:
            problems.append(f"{text!r} is not NAME=VALUE with one of {', '.join(SETTABLE)}")
        elif name in settings:
            problems.append(f"{name} is given twice")
        elif (parsed := _parsed(value.strip(), _KINDS[name])) is None:
            problems.append(f"{name} must be {_KINDS[name]}, got {value!r}")
        else:
            settings[name] = Setting(name, parsed, OPTION)
    if problems:
        raise UsageError(f"--set: {'; '.join(problems)}.")
    return settings


def resolve(
    facts: Mapping[str, ShapeFact], folder: Folder, given: Mapping[str, Setting]
) -> Settings:
    """The configuration from these sources, with every problem and every missing value."""
    problems: list[str] = [*_foreign(folder)]
    documented, wrong = _documented(folder, given)
    found = {**documented, **given}
    problems += wrong.values()
    problems += _merge(found, facts)
    oversized = dict(_oversized(found))
    problems += oversized.values()
    if "hidden_size" in found and "vocab_size" in found:
        _conclude(found, facts)
        problems += _missing({*found, *wrong, *oversized}, folder)
    else:
        problems.append(f"{EMBED}: missing, so the sizes are not known")
    fields = [name for name in TRMConfig.__dataclass_fields__ if name in found]
    values = tuple(found[name] for name in fields)
    notes = (*_notes(folder), *_unused(found, given), *_oddities(found))
    return Settings(values, tuple(problems), notes)


def _documented(
    folder: Folder, given: Mapping[str, Setting]
) -> tuple[dict[str, Setting], dict[str, str]]:
    """The settings in the documents, and a problem for each value of a wrong kind, unless given."""
    settings, problems = dict[str, Setting](), dict[str, str]()
    config, data = folder.config_name, folder.dataset_name
    arch = ((field, f"arch.{key}", folder.arch[key], kind, config)
            for key, (field, kind) in _ARCH.items() if key in folder.arch)  # fmt: skip
    dataset = folder.dataset or {}
    sizes = ((key, key, dataset[key], _WHOLE, data) for key in _DATASET if key in dataset)
    for field, key, value, kind, source in (*arch, *sizes):
        if field in given:
            continue
        parsed = _parsed(value, kind)
        if parsed is None:
            problems[field] = f"{source}: {key}: expected {kind}, got {shown(value)}"
        else:
            settings[field] = Setting(field, parsed, source)
    if "mixer" in settings:
        mixer = "mlp" if settings["mixer"].value else "attention"
        settings["mixer"] = Setting("mixer", mixer, config)
    return settings, problems


def _parsed(value: Any, kind: str) -> Any:
    """The value in that kind, from YAML or from text; None if it is of another."""
    flags = {"true": True, "false": False}
    if kind == _FLAG:
        named = flags.get(value.lower()) if isinstance(value, str) else None
        return value if isinstance(value, bool) else named
    if kind == _NAME:
        return value if isinstance(value, str) else None
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    if kind == _NUMBER:
        return number
    return int(number) if number.is_integer() and abs(number) < 1 << 53 else None


def _foreign(folder: Folder) -> Iterator[str]:
    """Settings of the run that this network does not support."""
    arch, file = folder.arch, folder.config_name
    name = arch.get("name", "trm@")
    if not isinstance(name, str) or name.partition("@")[0].rpartition(".")[2] != "trm":
        yield f"{file}: arch.name is {shown(name)}, expected recursive_reasoning.trm"
    epsilon = arch.get("rms_norm_eps", NORM_EPSILON)
    if _parsed(epsilon, _NUMBER) != NORM_EPSILON:
        yield f"{file}: arch.rms_norm_eps is {shown(epsilon)}, only {NORM_EPSILON} is supported"


def _merge(found: dict[str, Setting], facts: Mapping[str, ShapeFact]) -> Iterator[str]:
    """Adds facts from the tensors that no other source has; yields contradictions.

    After a contradiction the fact from the tensors is used, to find further problems.
    """
    learned = found.get("pos_encodings")
    if learned and learned.value != "learned" and "pos_encodings" in facts:
        yield _contradiction(found.pop("pos_encodings"), facts["pos_encodings"])
    for name in _FROM_TENSORS:
        if name not in facts:
            continue
        if name in found and found[name].value != facts[name].value:
            yield _contradiction(found.pop(name), facts[name])
        found.setdefault(name, Setting(name, facts[name].value, TENSORS))


def _oversized(found: dict[str, Setting]) -> Iterator[tuple[str, str]]:
    """Sizes that need too much memory or time for any tensors, and the problem; removes them."""
    for name, limit in _LARGEST.items():
        if name in found and found[name].value > limit:
            setting = found[name]
            most = f"at most {limit:g} is accepted"
            yield name, f"{name}: {setting.source} has {setting.value}, {most}"
            del found[name]


def _contradiction(setting: Setting, fact: ShapeFact) -> str:
    return f"{setting.name}: {setting.source} has {setting.value}, but {fact}"


def _conclude(found: dict[str, Setting], facts: Mapping[str, ShapeFact]) -> None:
    """Adds what follows from the rest."""

    def add(name: str, value: Any, source: str) -> None:
        found.setdefault(name, Setting(name, value, source))

    add("puzzle_emb_ndim", 0, f"{TENSORS}: no puzzle table")
    if not found["puzzle_emb_ndim"].value:
        found.pop("num_puzzle_identifiers", None)
    mixed = "mixer" in found and found["mixer"].value == "mlp"
    if "pos_encodings" in facts:
        add("pos_encodings", "learned", TENSORS)
    elif mixed and ("pos_encodings" not in found or found["pos_encodings"].value == "rope"):
        found["pos_encodings"] = Setting("pos_encodings", "none", f"{TENSORS}: token mixer")
    if mixed:
        add("num_heads", 1, "not used by the token mixer")
    if "expansion" in facts:
        add("expansion", facts["expansion"].value, TENSORS)
    if "positions" in facts:
        _share_positions(found, facts["positions"].value)
    add("rope_theta", 10000.0, CONSTANT)
    add("halt_exploration_prob", 0.1, f"{CONSTANT}, for training")
    if "l_layers" in found:
        found["h_layers"] = Setting("h_layers", found["l_layers"].value, "shared with l_layers")
    found["family"] = Setting("family", "paper", CONSTANT)


def _share_positions(found: dict[str, Setting], positions: int) -> None:
    """Positions are a prefix and the tokens: one follows from the other."""
    if "puzzle_emb_len" in found:
        hidden, ndim = found["hidden_size"].value, found["puzzle_emb_ndim"].value
        prefix = found["puzzle_emb_len"].value or -(-ndim // max(hidden, 1))
        if "seq_len" not in found and positions > prefix:
            found["seq_len"] = Setting("seq_len", positions - prefix, TENSORS)
    elif "seq_len" in found and positions >= found["seq_len"].value:
        prefix = positions - found["seq_len"].value
        found["puzzle_emb_len"] = Setting("puzzle_emb_len", prefix, TENSORS)


def _missing(known: Collection[str], folder: Folder) -> Iterator[str]:
    """What to do about needed fields that no source has; wrong values are known."""
    names = [name for name in _NEEDED if name not in known]
    if names:
        options = " ".join(f"--set {name}=..." for name in names)
        if folder.config is not None and not folder.arch:
            yield f"{folder.config_file}: found, but it has no section `arch` and none of its keys"
        yield (
            f"{', '.join(names)}: not known, and not in the tensors; put the run's {CONFIG} and "
            f"{DATASET} beside the checkpoint, or give: {options}"
        )


def _notes(folder: Folder) -> Iterator[str]:
    if folder.config is None:
        yield f"no {CONFIG} beside the checkpoint"
    elif not folder.arch:
        yield f"{folder.config_name} has no arch section"
    if folder.dataset is None:
        yield f"no {DATASET} beside the checkpoint; sizes come from the tensors"
    unknown = [f"arch.{key}" for key in folder.arch if key not in _ARCH and key not in _UNUSED]
    if unknown:
        yield f"{folder.config_name}: unknown and not used: {', '.join(unknown)}"


def _unused(found: Mapping[str, Setting], given: Mapping[str, Setting]) -> Iterator[str]:
    """Given settings that the model does not have, or that it does not use."""
    values = {name: setting.value for name, setting in found.items()}
    encodings = values.get("pos_encodings")
    unused = {
        "num_puzzle_identifiers": (
            "num_puzzle_identifiers" not in values, "the checkpoint has no puzzle table",
        ),
        "num_heads": (values.get("mixer") == "mlp", "the token mixer has no heads"),
        "rope_theta": (encodings != "rope", "the model has no rope"),
    }  # fmt: skip
    if "pos_encodings" in given:
        changed = given["pos_encodings"].value != encodings
        unused["pos_encodings"] = changed, "the token mixer has no rope"
    for name, (true, reason) in unused.items():
        if true and name in given:
            yield f"{OPTION} {name}={given[name].value} is not used, because {reason}"


def _oddities(found: Mapping[str, Setting]) -> Iterator[str]:
    """Configurations that can be built, but that the official code does not run."""
    prefix, ndim = (found.get(name) for name in ("puzzle_emb_len", "puzzle_emb_ndim"))
    if prefix and prefix.value and ndim and not ndim.value:
        yield (
            f"puzzle_emb_len is {prefix.value} without puzzle embeddings, which the official code "
            "does not support: the prefix is zeros"
        )


def alphabet(values: Mapping[str, Any], folder: Folder) -> Setting | None:
    """The characters of a task's tokens, if both the data set and the sizes match that task."""
    paths = str((folder.config or {}).get("data_paths")).lower()
    for task in TASKS.values():
        sizes = (task.seq_len, task.vocab_size) == (values["seq_len"], values["vocab_size"])
        if sizes and task.name.rstrip("0123456789") in paths:
            return Setting("alphabet", task.alphabet, f"{folder.config_name}: data_paths")
    return None
