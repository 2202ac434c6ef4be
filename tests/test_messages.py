"""The style of every message, read from the source of both packages.

- An error of this project begins with a capital letter, a value such as a path, an option
  (``--keep``) or a name and a colon (``onnx:``). It consists of full sentences and ends with a full
  stop, or with a colon if a list of `problems` follows. The text of another library's exception is
  quoted before the full stop, see `reason_of`.
- A problem is one line of such a list. It begins with a name, a value or a small letter and has no
  full stop at the end. A generator may yield full sentences instead, which are then joined.
- A number before a noun is written with `counted`: "1 cell", "2 cells".
- Some phrases are banned in the whole source, comments included, and in `docs/`.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("trm_export", "runtimes/trm_runtime")
DOCUMENTS = sorted((ROOT / "docs").glob("*.md"))

VALUE = "\0"  # stands for a value inside a message
START = re.compile(rf"[A-Z{VALUE}]|--[a-z]|[\w./-]+: ")
LINE_START = re.compile(rf"[a-z{VALUE}'\"]|--[a-z]|[\w./-]+: ")
SENTENCE = ("verdict",)  # values that are full sentences themselves
BANNED = re.compile(
    r"\b(can(not)? be had|spoil(t|ed)\b|refused unopened|at sea|(brought|brings?) .{0,40}to life"
    r"|good for nothing|who(se|m)ever|(some|any|every)body|nobody|a word (for|of)|free batch"
    r"|integer ports?|strangers|thinks\b|think (as|the same)|made small|there is no use for"
    r"|holds all it needs|has been said|is said\b|is told|by the gates of|for want of"
    r"|goes? on where|chatter"
    r"|neither is said|does not go with|lest\b|may not be had)",
    re.IGNORECASE,
)
NOUN = re.compile(
    r" (puzzle|cell|file|layer|row|epoch|tensor|part|pair|maze|slot|node|weight|problem|process"
    r"|identifier|operator)s\b"
)
TEXTS = {"split", "name", "kind", "self.name"}  # values before a noun that are not numbers


def sources() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@functools.cache
def own_errors() -> frozenset[str]:
    """The names of the errors of both packages, subclasses elsewhere included."""
    found, before = {"TRMError"}, 0
    trees = [tree(path) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    while len(found) > before:
        before = len(found)
        for node in (node for module in trees for node in ast.walk(module)):
            if isinstance(node, ast.ClassDef) and found & {ast.unparse(b) for b in node.bases}:
                found.add(node.name)
    return frozenset(found)


def text(node: ast.expr | None) -> str:
    """The literal text of a message, with VALUE for everything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(text(part) for part in node.values)
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return text(node.left) + text(node.right)
    return VALUE


def last_value(node: ast.expr) -> str:
    """The source of the value at the end of a message; empty if it ends in literal text."""
    while isinstance(node, (ast.JoinedStr, ast.BinOp)):
        node = node.values[-1] if isinstance(node, ast.JoinedStr) else node.right
    return ast.unparse(node.value) if isinstance(node, ast.FormattedValue) else ""


def only_repeats(message: str) -> bool:
    """Whether a message only repeats other texts: it has no words of its own."""
    return not re.search(r"[a-z]{2}", message)


def errors(path: Path) -> Iterator[tuple[int, ast.expr, bool]]:
    """Line, message, and whether problems follow, of every error that is constructed."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Call) and node.args:
            name = ast.unparse(node.func).rpartition(".")[2]
            if name in own_errors():
                follow = len(node.args) > 1 or any(k.arg == "problems" for k in node.keywords)
                yield node.lineno, node.args[0], follow


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every problem: what is yielded, or appended to `problems`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Yield):
            yield node.lineno, text(node.value)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "problems.append":
            yield node.lineno, text(node.args[0])


def wrong_in(message: str) -> Iterator[str]:
    if "  " in message or re.search(r" [.,;:](?![a-z])", message):
        yield "an extra space"
    if message.endswith(".."):
        yield "two full stops"


def wrong_with_error(node: ast.expr, follow: bool) -> Iterator[str]:
    message = text(node)
    if only_repeats(message):
        return
    yield from wrong_in(message)
    if not START.match(message):
        yield "begins with neither a capital letter, nor a value, nor an option"
    end = ":" if follow else "."
    sentence = last_value(node).rpartition(".")[2] in SENTENCE
    if not message.endswith(end) and not sentence:
        yield f"does not end in {end!r}"


def wrong_with_line(message: str) -> Iterator[str]:
    if only_repeats(message) or " " not in message:
        return
    yield from wrong_in(message)
    if message.endswith((".", ":")):
        if not START.match(message):
            yield "a sentence that begins with a small letter"
    elif not LINE_START.match(message):
        yield "a line that begins with a capital letter"


@pytest.mark.parametrize("path", sources(), ids=named)
def test_every_error_is_a_sentence(path: Path) -> None:
    found = [
        f"{named(path)}:{line}: {reason}: {text(node)!r}"
        for line, node, follow in errors(path)
        for reason in wrong_with_error(node, follow)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", sources(), ids=named)
def test_every_problem_is_a_line(path: Path) -> None:
    found = [
        f"{named(path)}:{line}: {reason}: {message!r}"
        for line, message in lines(path)
        for reason in wrong_with_line(message)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", [*sources(), *DOCUMENTS], ids=named)
def test_banned_phrases(path: Path) -> None:
    numbered = enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
    found = [f"{named(path)}:{n}: {line.strip()}" for n, line in numbered if BANNED.search(line)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", sources(), ids=named)
def test_numbers_agree_with_their_nouns(path: Path) -> None:
    strings = (node for node in ast.walk(tree(path)) if isinstance(node, ast.JoinedStr))
    found = [
        f"{named(path)}:{node.lineno}: {ast.unparse(node)}"
        for node in strings
        if any(_is_uncounted(node, place) for place in range(len(node.values) - 1))
    ]
    assert not found, "\n".join(found)


def _is_uncounted(node: ast.JoinedStr, place: int) -> bool:
    """Whether a number that may be 1 is followed by a plural noun."""
    value, after = node.values[place], text(node.values[place + 1])
    before = text(node.values[place - 1]) if place else ""
    if not isinstance(value, ast.FormattedValue) or not NOUN.match(after):
        return False
    name = ast.unparse(value.value)
    of_a_range = before.endswith((" to ", " of ", " or "))
    is_large = "," in text(value.format_spec) or name.isupper()
    return not (of_a_range or is_large or name in TEXTS)


@pytest.mark.parametrize(
    ("source", "reasons"),
    [
        ('UsageError(f"{path}: expected a file.")', []),
        ('UsageError("--keep needs a smaller precision.")', []),
        ('CheckpointError(f"{path}: refused:", problems)', []),
        ('ParityError(f"{path} was not written: {result.verdict}")', []),
        ("UsageError(str(error))", []),
        ('UsageError("expected a file")', ["begins", "does not end in '.'"]),
        ('UsageError(f"{path}: cannot be read: {error}")', ["does not end in '.'"]),
        ('CheckpointError(f"{path}: refused.", problems)', ["does not end in ':'"]),
        ('UsageError("Two  spaces.")', ["an extra space"]),
        ('UsageError("One sentence" + f" of {count}..")', ["two full stops"]),
    ],
)
def test_the_rules_themselves(source: str, reasons: list[str]) -> None:
    call = ast.parse(source, mode="eval").body
    assert isinstance(call, ast.Call)
    found = list(wrong_with_error(call.args[0], len(call.args) > 1))
    assert len(found) == len(reasons)
    assert all(one.startswith(reason) for one, reason in zip(found, reasons, strict=True))
    assert {"UsageError", "CheckpointError", "ParityError", "NoControlError"} <= own_errors()
