"""The time by which a training run has to stop, as a user writes it. Needs no framework."""

from __future__ import annotations

import datetime

from trm_runtime.errors import UsageError


def parse_time(text: str, now: datetime.datetime | None = None) -> float:
    """Seconds since 1970 of "09:15" (the next such time) or of an ISO date and time.

    Both are local times unless the text names a zone. Of a time that the clocks of a night have
    twice it is the first, or the second once the first has passed.

    Raises:
        UsageError: for anything else, and for a time that has passed.
    """
    now = now or datetime.datetime.now().astimezone()
    try:
        when = _time(text, now)
    except (ValueError, TypeError) as error:
        example = "a time such as 09:15 or 2026-01-31T09:15"
        raise UsageError(f"--until {text}: expected {example}.") from error
    if when <= now.timestamp():
        raise UsageError(f"--until {text}: this time has passed; it is {now:%Y-%m-%d %H:%M}.")
    return when


def _time(text: str, now: datetime.datetime) -> float:
    try:
        clock = datetime.time.fromisoformat(text)
    except ValueError:
        given = [datetime.datetime.fromisoformat(text)]
    else:
        today = now.astimezone(clock.tzinfo).date()
        days = (today + datetime.timedelta(later) for later in (0, 1))
        given = [datetime.datetime.combine(day, clock) for day in days]
    times = (when.replace(fold=fold).timestamp() for when in given for fold in (0, 1))
    return next((when for when in times if when > now.timestamp()), given[0].timestamp())
