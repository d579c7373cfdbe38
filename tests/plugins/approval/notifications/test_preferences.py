from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quorate_plugins.approval.notifications.preferences import (
    CHANNELS,
    Planned,
    Preferences,
    next_after_failure,
    plan,
    read_preferences,
    write_preferences,
)
from quorate_plugins.approval.notifications.quiet_hours import QuietHours
from quorate_plugins.approval.notifications.texts import EVENTS
from quorate_plugins.approval.policies import PRIORITIES

BERLIN = "Europe/Berlin"
NIGHT = QuietHours(start="22:00", end="07:00")
ZONES = (BERLIN, "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia", "UTC", "Africa/Cairo")


def at(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


def local(instant: float, zone: str = BERLIN) -> str:
    return datetime.fromtimestamp(instant, ZoneInfo(zone)).isoformat(" ", "minutes")[:16]


def planned(
    preferences: Preferences, now: str, event: str = "decision_wanted", priority: str = "normal", fold: int = 0
) -> Planned:
    return plan(preferences, event, priority, BERLIN, at(now, fold=fold))


def due(preferences: Preferences, now: str, event: str = "decision_wanted", priority: str = "normal") -> str:
    return local(planned(preferences, now, event, priority).not_before)


def _without_gaps(hours: list[QuietHours]) -> bool:
    return len(frozenset[int]().union(*(each.minutes() for each in hours))) <= 1380


clocks = st.integers(0, 1439).map(lambda minute: f"{minute // 60:02}:{minute % 60:02}")
quiet = st.lists(
    st.tuples(clocks, clocks).filter(lambda ends: ends[0] != ends[1]).map(lambda e: QuietHours(start=e[0], end=e[1])),
    max_size=4,
).filter(_without_gaps)
preferences_of_all_kinds = st.builds(
    Preferences,
    channels=st.lists(st.sampled_from(CHANNELS), unique=True).map(tuple),
    quiet=quiet.map(tuple),
    digest=st.sampled_from(["", "hourly", "daily"]),
    digests_outcomes=st.booleans(),
    mutes=st.frozensets(st.sampled_from(EVENTS)),
)
# Around the changes of clocks of 2026, and any other time.
changes = [at(day, zone) for day in ("2026-03-29", "2026-10-25", "2026-04-05", "2026-10-04") for zone in ZONES]
times = st.one_of(
    st.builds(lambda day, off: day + off, st.sampled_from(changes), st.floats(-90000.0, 90000.0)),
    st.floats(0.0, 4e9),
    st.sampled_from([at("2011-12-29 12:00", "Pacific/Apia")]),
)


@settings(deadline=None)
@given(preferences_of_all_kinds, st.sampled_from(EVENTS), st.sampled_from(PRIORITIES), st.sampled_from(ZONES), times)
def test_nothing_goes_out_before_now_or_in_quiet_hours_or_much_later_than_it_could(
    preferences: Preferences, event: str, priority: str, zone: str, now: float
) -> None:
    result = plan(preferences, event, priority, zone, now)
    assert now <= result.not_before <= now + 3 * 86400
    assert result.channels[0] == "in_app"
    if priority in {"urgent", "emergency"} or event == "override_review" or result.channels == ("in_app",):
        return
    clock = datetime.fromtimestamp(result.not_before, ZoneInfo(zone))
    assert clock.hour * 60 + clock.minute not in preferences.quiet_minutes()


@settings(deadline=None)
@given(preferences_of_all_kinds, st.sampled_from(EVENTS), st.sampled_from(["urgent", "emergency"]), times)
def test_what_is_urgent_waits_for_nothing(preferences: Preferences, event: str, priority: str, now: float) -> None:
    result = plan(preferences, event, priority, BERLIN, now)
    assert (result.not_before, result.is_digest) == (now, False)


@settings(deadline=None)
@given(preferences_of_all_kinds, st.sampled_from(PRIORITIES), st.sampled_from(ZONES), times)
def test_nobody_can_mute_an_outcome_or_the_review_of_an_override(
    preferences: Preferences, priority: str, zone: str, now: float
) -> None:
    for event in ("decided", "override_review"):
        channels = plan(preferences, event, priority, zone, now).channels
        assert set(channels) == {"in_app", *preferences.channels}


@settings(deadline=None)
@given(preferences_of_all_kinds, st.sampled_from(ZONES), times)
def test_without_a_digest_a_quiet_minute_is_all_that_delays(preferences: Preferences, zone: str, now: float) -> None:
    result = plan(preferences, "decision_wanted", "high", zone, now)
    clock = datetime.fromtimestamp(now, ZoneInfo(zone))
    if clock.hour * 60 + clock.minute not in preferences.quiet_minutes():
        assert result.not_before == now
    elif "decision_wanted" not in preferences.mutes:
        before = datetime.fromtimestamp(result.not_before, ZoneInfo("UTC")) - timedelta(minutes=1)
        shown = before.astimezone(ZoneInfo(zone))
        assert shown.hour * 60 + shown.minute in preferences.quiet_minutes()


@settings(deadline=None)
@given(preferences_of_all_kinds)
def test_preferences_are_read_as_they_were_written(preferences: Preferences) -> None:
    assert read_preferences(write_preferences(preferences)) == preferences


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-06-01 12:00", "2026-06-01 12:00"),
        ("2026-06-01 21:59", "2026-06-01 21:59"),
        ("2026-06-01 22:00", "2026-06-02 07:00"),
        ("2026-06-02 03:00", "2026-06-02 07:00"),
        ("2026-06-02 07:00", "2026-06-02 07:00"),
        ("2026-03-29 01:30", "2026-03-29 07:00"),
        ("2026-10-25 01:30", "2026-10-25 07:00"),
    ],
)
def test_quiet_hours_delay_until_their_end_by_the_clocks_of_the_person(now: str, expected: str) -> None:
    assert due(Preferences(quiet=(NIGHT,)), now) == expected


def test_quiet_hours_that_end_in_an_hour_that_is_left_out_end_when_the_clocks_jump() -> None:
    assert due(Preferences(quiet=(QuietHours(start="22:00", end="02:30"),)), "2026-03-29 01:00") == "2026-03-29 03:00"


def test_quiet_hours_in_an_hour_that_is_repeated_are_quiet_both_times() -> None:
    preferences = Preferences(quiet=(QuietHours(start="02:00", end="02:30"),))
    for fold in (0, 1):
        result = planned(preferences, "2026-10-25 02:10", fold=fold)
        assert result.not_before == at("2026-10-25 02:30", fold=fold)


def test_quiet_hours_that_touch_are_one() -> None:
    preferences = Preferences(quiet=(NIGHT, QuietHours(start="07:00", end="09:00")))
    assert due(preferences, "2026-06-01 23:00") == "2026-06-02 09:00"


@pytest.mark.parametrize(
    ("digest", "now", "expected"),
    [
        ("hourly", "2026-06-01 12:10", "2026-06-01 13:00"),
        ("hourly", "2026-06-01 12:00", "2026-06-01 12:00"),
        ("daily", "2026-06-01 07:59", "2026-06-01 08:00"),
        ("daily", "2026-06-01 08:01", "2026-06-02 08:00"),
        ("daily", "2026-03-28 09:00", "2026-03-29 08:00"),
        ("daily", "2026-10-24 09:00", "2026-10-25 08:00"),
    ],
)
def test_a_digest_goes_out_at_the_full_hour_or_in_the_morning(digest: Any, now: str, expected: str) -> None:
    assert due(Preferences(digest=digest), now) == expected


def test_a_digest_in_quiet_hours_waits_for_their_end() -> None:
    preferences = Preferences(digest="daily", quiet=(QuietHours(start="20:00", end="09:30"),))
    assert due(preferences, "2026-06-01 12:00") == "2026-06-02 09:30"


@pytest.mark.parametrize(
    ("event", "priority", "is_digest"),
    [
        ("decision_wanted", "low", True),
        ("decision_wanted", "normal", True),
        ("decision_wanted", "high", False),
        ("decision_wanted", "urgent", False),
        ("reminder", "high", True),
        ("reminder", "emergency", False),
        ("not_needed", "normal", True),
        ("decided", "normal", False),
        ("override_review", "low", False),
    ],
)
def test_a_digest_collects_all_but_pressing_decisions_and_outcomes(event: str, priority: str, is_digest: bool) -> None:  # noqa: FBT001
    assert planned(Preferences(digest="daily"), "2026-06-01 12:00", event, priority).is_digest is is_digest


def test_outcomes_are_in_a_digest_of_whoever_chose_so() -> None:
    assert planned(Preferences(digest="daily", digests_outcomes=True), "2026-06-01 12:00", "decided").is_digest


def test_what_is_muted_is_in_the_application_only() -> None:
    result = planned(Preferences(mutes=frozenset({"reminder"}), quiet=(NIGHT,)), "2026-06-01 23:00", "reminder")
    assert result == Planned(channels=("in_app",), not_before=at("2026-06-01 23:00"), is_digest=False)


def test_the_application_is_first_and_the_others_keep_their_order() -> None:
    assert planned(Preferences(channels=("sms", "in_app", "slack")), "2026-06-01 12:00").channels == (
        "in_app",
        "sms",
        "slack",
    )


def test_an_unknown_zone_is_taken_for_utc() -> None:
    now = at("2026-06-01 23:00", "UTC")
    assert plan(Preferences(quiet=(NIGHT,)), "reminder", "low", "Mars/Olympus", now).not_before == now + 8 * 3600


@pytest.mark.parametrize("now", [float("nan"), float("inf")])
def test_a_plan_is_made_for_a_moment(now: float) -> None:
    with pytest.raises(ValueError, match="epoch"):
        plan(Preferences(), "reminder", "low", "UTC", now)


def test_the_next_channel_is_tried_until_there_is_none() -> None:
    channels = ("in_app", "email", "slack")
    assert next_after_failure(channels, "in_app") == "email"
    assert next_after_failure(channels, "email") == "slack"
    assert next_after_failure(channels, "slack") is None
    assert next_after_failure(channels, "pigeon") is None
    assert next_after_failure((), "email") is None


def test_who_says_nothing_is_told_in_the_application_and_by_email() -> None:
    assert read_preferences({}) == Preferences(channels=("in_app", "email"))


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        {"colour": "red"},
        {"channels": "email"},
        {"channels": [5]},
        {"channels": ["pigeon"]},
        {"channels": ["email", "email"]},
        {"quiet": {}},
        {"quiet": ["22:00"]},
        {"quiet": [{"start": "22:00"}]},
        {"quiet": [{"start": "22:00", "end": 7}]},
        {"quiet": [{"start": "22:00", "end": "07:00", "zone": "UTC"}]},
        {"quiet": [{"start": "24:00", "end": "07:00"}]},
        {"quiet": [{"start": "7:00", "end": "22:00"}]},
        {"quiet": [{"start": "22:00", "end": "22:00"}]},
        {"quiet": [{"start": "00:00", "end": "12:00"}, {"start": "12:00", "end": "23:01"}]},
        {"quiet": [{"start": "22:00", "end": "23:00"}] * 21},
        {"digest": "weekly"},
        {"digest": None},
        {"digests_outcomes": 1},
        {"mutes": "reminder"},
        {"mutes": ["unheard_of"]},
    ],
)
def test_preferences_that_make_no_sense_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_preferences(value)
