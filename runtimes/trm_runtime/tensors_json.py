"""The tensors of a contract in JSON: lists of objects, a key for each field of their dataclass.

Only an int8 tensor has the keys `scale` and `zero_point`. Standard library only. Knows nothing
about the meaning of the tensors.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, Callable, TypeVar

from trm_runtime.strict_json import Fields
from trm_runtime.tensors import DTYPES, AnySpec, CarrySpec, Scalar, Shape, TensorSpec

GRID_KEYS = ("scale", "zero_point")  # of int8 tensors alone

_TENSOR_KEYS = tuple(key for key in TensorSpec.__dataclass_fields__ if key not in GRID_KEYS)
_CARRY_KEYS = tuple(key for key in CarrySpec.__dataclass_fields__ if key not in GRID_KEYS)

_Spec = TypeVar("_Spec", TensorSpec, CarrySpec)


def document(specs: Iterable[AnySpec]) -> list[dict[str, Any]]:
    """Each tensor in JSON types."""
    return [
        {k: v for k, v in asdict(spec).items() if v is not None or k not in GRID_KEYS}
        for spec in specs
    ]


def read_tensors(fields: Fields, key: str) -> tuple[TensorSpec, ...]:
    """The valid tensors of that list; the others are only reported."""
    return tuple(_read_all(fields, key, _TENSOR_KEYS, _read_tensor))


def read_carry(fields: Fields, key: str) -> tuple[CarrySpec, ...]:
    """The same for a list of the carry."""
    return tuple(_read_all(fields, key, _CARRY_KEYS, _read_carry))


def _read_all(
    fields: Fields, key: str, keys: Sequence[str], read: Callable[[Fields], _Spec]
) -> Iterator[_Spec]:
    for index, value in enumerate(fields.items(key)):
        before = len(fields.problems)
        is_int8 = isinstance(value, dict) and value.get("dtype") == "int8"
        wanted = (*keys, *GRID_KEYS) if is_int8 else keys
        spec = read(Fields(value, f"{key}[{index}]", wanted, fields.problems))
        if len(fields.problems) == before:
            yield spec


def _read_tensor(fields: Fields) -> TensorSpec:
    dtype = fields.choice("dtype", DTYPES)
    return TensorSpec(fields.text("name"), dtype, _read_shape(fields), *_read_grid(fields, dtype))


def _read_carry(fields: Fields) -> CarrySpec:
    dtype = fields.choice("dtype", DTYPES)
    readers: dict[str, Callable[[str], Scalar]] = {
        "bool": fields.boolean,
        "int32": fields.integer,
        "int8": fields.integer,
        "float32": fields.number,
    }
    names = (fields.text("name"), fields.text("next"))
    shape, fill = _read_shape(fields), readers[dtype]("fill")
    return CarrySpec(*names, dtype, shape, fill, *_read_grid(fields, dtype))


def _read_grid(fields: Fields, dtype: str) -> tuple[float | None, int | None]:
    if dtype != "int8":
        return None, None
    return fields.number("scale"), fields.integer("zero_point")


def _read_shape(fields: Fields) -> Shape:
    sizes = fields.items("shape")
    if any(type(size) not in (int, type(None)) for size in sizes):
        fields.problems.append(f"{fields.at('shape')}: expected integers or null, got {sizes}")
        return ()
    return tuple(sizes)
