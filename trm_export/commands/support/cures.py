"""What may help where a file fails: the command to try, with the user's own paths and options."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trm_export.commands.support.command_line import command
from trm_export.commands.support.options import ModelOptions
from trm_export.errors import OtherWeightsError
from trm_runtime.file_kinds import kind_of
from trm_runtime.parity.gates import is_integer
from trm_runtime.parity.judge import VALUES

if TYPE_CHECKING:
    from trm_export import KeepSearch
    from trm_export.api.comparison import JudgedFile
    from trm_runtime.parity import ParityResult, Rung

_PERCENT, _MOST = 40.0, 90.0  # of bytes that float layers may add; with more fp16 is as small
_ROUNDED = 10  # percent
_ACCURACY, _SURE = VALUES[-1], 0.05
_ENGINE = "engine"  # the rung of a file against itself


def cure_of_export(
    model: object, choices: Mapping[str, Any], search: KeepSearch | None = None
) -> str | None:
    """The export to try after one with these keywords failed; None where nothing is known to help.

    Args:
        model: the path of the model.
        choices: keywords of `export`, and further options of the command.
        search: that of `auto_keep`, if it was asked for.
    """
    changes = _changes(choices, search)
    return None if changes is None else _export(model, {**choices, **changes})


def _export(model: object, choices: Mapping[str, Any]) -> str:
    options = dict(choices)
    return command(options.pop("format"), model, **options)


def _changes(choices: Mapping[str, Any], search: KeepSearch | None) -> dict[str, Any] | None:
    precision = choices["precision"]
    percent = _PERCENT if search is None else _more(search.needed)
    if is_integer(precision) and percent is not None:
        return {"auto_keep": percent}
    whole = {"integer_io": False, "keep": (), "auto_keep": None, "auto_keep_count": None}
    if precision == "int4":
        return {"precision": "int8", **whole}
    if is_integer(precision):
        micro = choices.get("target") == "tflite-micro"  # which has no fp16
        return {"precision": "fp32" if micro else "fp16", **whole}
    if precision == "fp16":
        return {"precision": "fp32", **whole}
    if choices["format"] == "saved-model":
        return None
    path = choices.get("output")
    folder = None if path is None else Path(path).with_name(f"{Path(path).stem}_saved_model")
    return {"format": "saved-model", "target": None, "output": folder}


def _more(needed: float | None) -> float | None:
    """A round budget that has room for the next layer."""
    if needed is None or needed > _MOST:
        return None
    return float(_ROUNDED * math.ceil((needed + 1) / _ROUNDED))


def cure_of_parity(
    model: Path,
    file: JudgedFile,
    options: ModelOptions,
    *,
    explained: bool,
    gate: Path | None = None,
    golden: Path | None = None,
    engine: str | None = None,
) -> str | None:
    """The command to try after the file failed; None where nothing is known to help.

    An export is not proposed where gates were given, because it is judged by those of its
    precision.
    """
    broken, made = file.result.broken, vars(options)
    if broken is None or file.result.of_other_model or _by_chance(file.result, broken):
        return None
    if not file.result.same_weights or broken.name not in (*VALUES, _ENGINE):
        return export_again(model, file.path, options)
    if broken.name == _ENGINE and kind_of(file.path).is_other(engine):
        return None  # --explain runs the engine on which the file is right
    if broken.name == _ENGINE or file.contract.precision == "fp32":
        given = {"golden": golden, "gate": gate, **made}
        return None if explained else command("parity", model, file.path, explain=True, **given)
    if gate is not None:
        return None
    from trm_export.api.again import choices_of_file, in_its_place

    found = choices_of_file(file.path)
    if not is_integer(found["precision"]):
        return cure_of_export(model, {**found, **made})
    percent = _MOST if found["keep"] else _PERCENT
    count = None if broken.name == VALUES[0] else file.result.puzzles
    search = {"auto_keep": percent, "auto_keep_count": count, "keep": ()}
    return _export(model, {**found, **search, **in_its_place(file.path), **made})


def _by_chance(result: ParityResult, broken: Rung) -> bool:
    """Whether so few puzzles were compared that another file may fail as this one does.

    The verdict then says how many to compare.
    """
    if broken.needed is None:
        return False
    score = result.accuracy
    return broken.name != _ACCURACY or (score is not None and score.p_value > _SURE)


def export_again(model: Path, file: Path, options: ModelOptions) -> str:
    """The export of this model in the place of the file, with the same choices."""
    from trm_export.api.again import choices_of_file, in_its_place

    return _export(model, {**choices_of_file(file), **in_its_place(file), **vars(options)})


@contextmanager
def with_cure(model: Path, options: ModelOptions) -> Iterator[None]:
    """An OtherWeightsError of the block gets the commands that export its files again as notes.

    A file of another model is not replaced by one of this model.
    """
    try:
        yield
    except OtherWeightsError as error:
        again = [file for file in error.files if file not in error.others]
        for line in lines(export_again(model, file, options) for file in again):
            error.add_note(line)
        raise


def lines(cures: Iterable[str | None]) -> list[str]:
    """The commands as lines of a message, each once."""
    return [f"Try: {one}" for one in dict.fromkeys(cures) if one is not None]
