from __future__ import annotations

import datetime
import time
from collections.abc import Iterator

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


@pytest.fixture
def summer_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clocks that change in the nights to 29 March and 25 October 2026."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.usefixtures("summer_time")
def test_a_day_may_have_another_number_of_hours() -> None:
    eve = datetime.datetime(2026, 3, 28, 8, 0).astimezone()
    assert parse_time("07:00", eve) - eve.timestamp() == 22 * 3600


@pytest.mark.usefixtures("summer_time")
@pytest.mark.parametrize("text", ["02:30", "2026-10-25T02:30"])
def test_a_time_that_comes_twice_is_the_next_of_the_two(text: str) -> None:
    first = datetime.datetime(2026, 10, 25, 0, 30, tzinfo=datetime.UTC).timestamp()
    for minutes, expected in ((-90, first), (-10, first), (0, first + 3600), (50, first + 3600)):
        now = datetime.datetime.fromtimestamp(first + 60 * minutes).astimezone()
        assert parse_time(text, now) == expected


@pytest.mark.usefixtures("summer_time")
def test_a_time_that_the_clocks_leave_out_is_after_the_change() -> None:
    before = datetime.datetime(2026, 3, 29, 1, 20).astimezone()
    assert parse_time("02:30", before) - before.timestamp() == 70 * 60


def test_a_date_is_taken_as_it_is() -> None:
    assert parsed("2026-03-05T01:00") == NOW.replace(day=5, hour=1, minute=0)
    zoned = datetime.datetime(2026, 3, 5, 1, 0, tzinfo=datetime.UTC)
    assert parse_time("2026-03-05T01:00+00:00", NOW) == zoned.timestamp()
    assert parse_time("9999-12-31T08:00") > zoned.timestamp()


@pytest.mark.parametrize("text", ["soon", "25:00", "2026-13-01T00:00", ""])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"--until .*: expected a time such as 09:15 or 2026"):
        parse_time(text, NOW)


def test_a_time_that_has_passed_is_refused() -> None:
    with pytest.raises(UsageError, match=r"this time has passed; it is 2026-03-04 08:30\."):
        parse_time("2026-03-04T08:00", NOW)
    assert parse_time("2999-01-01T00:00") > time.time()
