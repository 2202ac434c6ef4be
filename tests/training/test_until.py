from __future__ import annotations

import datetime
import time

import pytest

from trm_export.training.until import parse_time
from trm_runtime.errors import UsageError

NOW = datetime.datetime(2026, 3, 4, 8, 30).astimezone()


def parsed(text: str) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(parse_time(text, NOW)).astimezone()


def test_a_clock_time_is_the_next_one() -> None:
    assert parsed("09:15") == NOW.replace(hour=9, minute=15)
    assert parsed("09:15:20") == NOW.replace(hour=9, minute=15, second=20)
    assert parsed("08:30") == NOW + datetime.timedelta(days=1)
    assert parsed("01:00") == NOW.replace(hour=1, minute=0) + datetime.timedelta(days=1)


def test_a_clock_time_may_name_its_zone() -> None:
    for zone in ("+14:00", "-11:00", "Z"):
        when = datetime.datetime.fromtimestamp(parse_time(f"03:00{zone}", NOW), datetime.UTC)
        assert NOW < when <= NOW + datetime.timedelta(days=1)
        clock = datetime.time.fromisoformat(f"03:00{zone}")
        assert when.astimezone(clock.tzinfo).timetz() == clock


def test_a_day_may_have_another_number_of_hours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    try:
        eve = datetime.datetime(2026, 3, 28, 8, 0).astimezone()  # clocks go forward in the night
        assert parse_time("07:00", eve) - eve.timestamp() == 22 * 3600
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_date_is_taken_as_it_is() -> None:
    assert parsed("2026-03-05T01:00") == NOW.replace(day=5, hour=1, minute=0)
    zoned = datetime.datetime(2026, 3, 5, 1, 0, tzinfo=datetime.UTC)
    assert parse_time("2026-03-05T01:00+00:00", NOW) == zoned.timestamp()


@pytest.mark.parametrize("text", ["soon", "25:00", "2026-13-01T00:00", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--until .*: expected a time such as 09:15 or 2026"):
        parse_time(text, NOW)


def test_a_time_that_has_passed_is_refused() -> None:
    with pytest.raises(UsageError, match=r"this time has passed; it is 2026-03-04 08:30\."):
        parse_time("2026-03-04T08:00", NOW)
    assert parse_time("2999-01-01T00:00") > time.time()
