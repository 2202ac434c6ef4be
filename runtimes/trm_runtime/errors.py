"""Every error this project raises on purpose, with the exit code a command ends with.

    TRMError                     1  a known failure; the message is for the user
     +- UsageError               2  an argument that is unknown, out of range or contradictory
     +- MissingExtraError        3  an optional package is not installed
     +- RejectedInputError       4  a file or an array that is damaged, refused or does not fit
     |   +- ContractError           a step contract that breaks its own rules
     |   +- ContractMismatchError   an engine that differs from its contract
     +- ParityError              5  a candidate that does not reproduce its reference
     +- NonfiniteError           6  a file that computes NaN or infinity

A message says which file or tensor, what was expected, what was found and what to do about it;
tests/test_messages.py of the repository checks its style.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import ClassVar

from trm_runtime.message_text import counted, fitted, listing

EXIT_CODES: Mapping[int, str] = {
    0: "ok",
    1: "known error",
    2: "usage",
    3: "a missing extra",
    4: "rejected or damaged input",
    5: "parity failed",
    6: "answers with NaN or infinity",
    7: "an answer changes a given cell of its puzzle",
    8: "the deadline ended a puzzle",
    130: "interrupted",
    143: "terminated",
}
"""The exit codes of all commands of both packages; docs/exit-codes.md explains them."""


def exit_codes_text() -> str:
    """All of them in one line, for `--help`."""
    return f"Exit codes: {', '.join(f'{code} {what}' for code, what in EXIT_CODES.items())}."


class OldFileWarning(UserWarning):
    """A file of an earlier version, which is read although less of it is checked."""


class TRMError(Exception):
    """A known failure. `exit_code` is that of the command."""

    exit_code: ClassVar[int] = 1


class UsageError(TRMError):
    """An option or argument that is unknown, out of range or contradicts another."""

    exit_code: ClassVar[int] = 2


class MissingExtraError(TRMError):
    """An optional package is needed and not installed; the message has the install command."""

    exit_code: ClassVar[int] = 3


class RejectedInputError(TRMError):
    """A file or an array that is damaged, refused or does not fit.

    `problems` lists everything that is wrong, at most 100 of it. The message has the first of them
    as lines under `summary`; it is shorter than 500 characters and printable, whatever the file is.
    `total` is the number of what is wrong where `problems` are only the first.
    """

    exit_code: ClassVar[int] = 4

    def __init__(
        self, summary: str, problems: Sequence[str] = (), total: int | None = None
    ) -> None:
        self.summary, self.problems = fitted(summary, problems)
        self._total = len(problems) if total is None else total
        super().__init__(listing(self.summary, self.problems, self._total))

    def __reduce__(self) -> tuple[type[RejectedInputError], tuple[str, tuple[str, ...], int]]:
        return type(self), (self.summary, self.problems, self._total)


class ContractError(RejectedInputError):
    """A step contract that breaks its own rules; `problems` lists every broken rule."""


class ContractMismatchError(RejectedInputError):
    """An engine that differs from its contract; `problems` lists every difference."""


class ParityError(TRMError):
    """A candidate that does not reproduce its reference."""

    exit_code: ClassVar[int] = 5


class NonfiniteError(TRMError):
    """A file that computes NaN or infinity for `bad` of so many puzzles."""

    exit_code: ClassVar[int] = 6

    def __init__(self, where: object, bad: int, puzzles: int, then: str = "") -> None:
        super().__init__(
            f"{where}: NaN or infinity ended {bad} of {counted(puzzles, 'puzzle')}"
            f"{then}; export the file again, or compare it with its model (`trm-export parity`)."
        )


def unreadable(path: object, error: OSError) -> RejectedInputError:
    """The error for a file that the system cannot read."""
    return RejectedInputError(f"{path}: cannot be read: {error.strerror or error}.")


@contextmanager
def reading(path: object) -> Iterator[None]:
    """Raises `unreadable` in the place of any OSError."""
    try:
        yield
    except OSError as error:
        raise unreadable(path, error) from error
