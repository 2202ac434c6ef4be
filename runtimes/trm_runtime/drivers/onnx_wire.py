"""An ONNX file without the onnx package: its metadata, and tensors with data in other files.

An engine would open such files by the path in the model; an untrusted model could name any path.
Reads the protobuf wire format (https://protobuf.dev/programming-guides/encoding/) of the messages
of onnx.proto that can contain a tensor, and skips all others.
"""

from __future__ import annotations

from collections.abc import Iterator
from mmap import mmap
from typing import Union

# message -> field number -> message of that field, from onnx.proto
_CHILDREN = {
    "ModelProto": {7: "GraphProto", 20: "TrainingInfoProto", 25: "FunctionProto"},
    "TrainingInfoProto": {1: "GraphProto", 2: "GraphProto"},
    "FunctionProto": {7: "NodeProto", 11: "AttributeProto"},
    "GraphProto": {1: "NodeProto", 5: "TensorProto", 15: "SparseTensorProto"},
    "NodeProto": {5: "AttributeProto"},
    "AttributeProto": {
        5: "TensorProto",
        6: "GraphProto",
        10: "TensorProto",
        11: "GraphProto",
        22: "SparseTensorProto",
        23: "SparseTensorProto",
    },
    "SparseTensorProto": {1: "TensorProto", 2: "TensorProto"},
    "TensorProto": {},
}
_TENSOR_NAME, _EXTERNAL_DATA, _DATA_LOCATION = 8, 13, 14
_METADATA = 14  # of ModelProto; each entry has a key and a value
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_FIXED_SIZE = {1: 8, 5: 4}  # wire type -> bytes

_Value = Union[int, memoryview]


def external_tensors(model: bytes | mmap) -> list[str]:
    """Names of the tensors whose data are outside the model.

    Raises ValueError if the bytes are not a complete protobuf message.
    """
    found = []
    waiting = [("ModelProto", memoryview(model))]
    while waiting:
        kind, message = waiting.pop()
        children = _CHILDREN[kind]
        name, outside = "(unnamed)", False
        for field, value in _fields(message):
            if isinstance(value, memoryview) and field in children:
                waiting.append((children[field], value))
            elif isinstance(value, memoryview) and field == _TENSOR_NAME:
                name = bytes(value).decode("utf-8", "replace")
            outside |= field == _EXTERNAL_DATA or (field == _DATA_LOCATION and value == 1)
        if kind == "TensorProto" and outside:
            found.append(name)
    return sorted(found)


def metadata_value(model: bytes | mmap, key: str) -> memoryview | None:
    """The value of the first metadata entry of that key, as it is in the file.

    Raises ValueError if the bytes are not a complete protobuf message.
    """
    found = _metadata(memoryview(model), key)
    return None if found is None else found[0]


def with_metadata(model: bytes, key: str, value: bytes) -> bytes:
    """The model with another value in its first metadata entry of that key.

    Every other byte is unchanged. Raises ValueError if the bytes are not a complete protobuf
    message, or one without such an entry.
    """
    found = _metadata(memoryview(model), key)
    if found is None:
        raise ValueError(f"it has no metadata entry {key!r}")
    _, place = found
    entry = _written(_ENTRY_KEY, key.encode()) + _written(_ENTRY_VALUE, value)
    return model[: place.start] + _written(_METADATA, entry) + model[place.stop :]


def _metadata(model: memoryview, key: str) -> tuple[memoryview, slice] | None:
    """The value of the first entry of that key, and the position of the complete entry."""
    wanted = memoryview(key.encode())
    for field, entry, place in _places(model):
        if field == _METADATA and isinstance(entry, memoryview):
            parts = dict(_fields(entry))
            value = parts.get(_ENTRY_VALUE, memoryview(b""))
            if parts.get(_ENTRY_KEY) == wanted and isinstance(value, memoryview):
                return value, place
    return None


def _written(field: int, value: bytes) -> bytes:
    """A field of bytes as protobuf writes it."""
    return _varint_bytes(field << 3 | 2) + _varint_bytes(len(value)) + value


def _varint_bytes(number: int) -> bytes:
    low, high = number & 127, number >> 7
    return bytes([low | 128]) + _varint_bytes(high) if high else bytes([low])


def _fields(message: memoryview) -> Iterator[tuple[int, _Value]]:
    """Every field of one message: its number, and its value as a number or as bytes."""
    return ((field, value) for field, value, _ in _places(message))


def _places(message: memoryview) -> Iterator[tuple[int, _Value, slice]]:
    """Every field of one message, as `_fields`, and its position with key and length."""
    at = 0
    while at < len(message):
        start = at
        key, at = _varint(message, at)
        field, wire_type = key >> 3, key & 7
        if field == 0:
            raise ValueError("a field has the number 0")
        if wire_type == 0:
            value, at = _varint(message, at)
            yield field, value, slice(start, at)
            continue
        if wire_type == 2:
            size, at = _varint(message, at)
        elif wire_type in _FIXED_SIZE:
            size = _FIXED_SIZE[wire_type]
        else:
            raise ValueError(f"unknown wire type {wire_type}")
        if size > len(message) - at:
            raise ValueError("it ends in the middle of a field")
        yield field, message[at : at + size], slice(start, at + size)
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(message):
            raise ValueError("it ends in the middle of a number")
        byte = message[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number has more than ten bytes")
