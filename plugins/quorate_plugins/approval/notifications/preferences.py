"""How and when somebody wants to be told: the order of their channels, quiet hours, digests and what they mute.

Functions of their arguments only. All times are seconds since the epoch, and quiet hours are by the clocks of the
person's zone: what those show decides, so an hour that is repeated in autumn is as quiet each time.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Literal, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from quorate_plugins.approval.notifications.cleaning import SHOWN_LENGTH
from quorate_plugins.approval.notifications.quiet_hours import DAY_MINUTES, QuietHours, read_quiet
from quorate_plugins.approval.notifications.texts import EVENTS

IN_APP = "in_app"
CHANNELS = (IN_APP, "email", "slack", "teams", "sms", "webhook")
"""What somebody can be told through."""
DIGESTS = ("", "hourly", "daily")
DAILY_HOUR = 8
"""When a daily digest goes out, by the clocks of the person."""
UNMUTED = frozenset({"decided", "override_review"})
"""Whoever asks always learns the outcome, and an override is always reviewed."""
PRESSING = frozenset({"urgent", "emergency"})
"""The priorities that wait for nothing."""
EARLY = frozenset({"high", *PRESSING})
"""The priorities whose decisions are asked for at once, not in a digest."""
MOST_QUIET_HOURS = 20
LEAST_LOUD_MINUTES = 60
"""Of each day, so that nobody is out of reach for ever."""

_MINUTE = 60
_HOUR = 3600
_ONE_DAY = timedelta(days=1)
_MOST_MINUTES = 3 * DAY_MINUTES
_PARTS = frozenset({"channels", "quiet", "digest", "digests_outcomes", "mutes"})

Digest = Literal["", "hourly", "daily"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """How and when somebody wants to be told.

    Attributes:
        channels: their channels, the one to try first at the front; the application itself is always one.
        quiet: when they are left alone.
        digest: whether, and how often, several messages come as one.
        digests_outcomes: whether the outcomes of their own requests may wait for the digest too.
        mutes: the events they do not want to be told of outside of the application.

    Raises:
        ValueError: a channel, a digest or an event is not known, a channel is there twice, there are too many quiet
            hours, or they leave less than an hour of a day.
    """

    channels: tuple[str, ...] = (IN_APP, "email")
    quiet: tuple[QuietHours, ...] = ()
    digest: Digest = ""
    digests_outcomes: bool = False
    mutes: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        _check_known("channels", self.channels, CHANNELS)
        _check_known("mutes", sorted(self.mutes), EVENTS)
        _check_known("digest", (self.digest,), DIGESTS)
        if len(set(self.channels)) < len(self.channels):
            raise ValueError("channels: each is named once")
        if len(self.quiet) > MOST_QUIET_HOURS:
            raise ValueError(f"quiet: at most {MOST_QUIET_HOURS} of them")
        if DAY_MINUTES - len(self.quiet_minutes()) < LEAST_LOUD_MINUTES:
            raise ValueError("quiet: at least an hour of each day must be left")

    def quiet_minutes(self) -> frozenset[int]:
        """Return the minutes of the day, from 0 to 1439, that are in quiet hours."""
        return frozenset[int]().union(*(each.minutes() for each in self.quiet))


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """How a notice goes out.

    Attributes:
        channels: the application, which shows it at once, then the channel to use and those to fall back on, in order.
        not_before: when the others may have it, in seconds since the epoch.
        is_digest: whether the others have it together with what else is due at that time.
    """

    channels: tuple[str, ...]
    not_before: float
    is_digest: bool


def read_preferences(value: object) -> Preferences:
    """Return the preferences that a JSON object holds; what it leaves out is as usual.

    Raises:
        ValueError: it is no object with the parts of `Preferences`, or one of them is wrong.
    """
    if not isinstance(value, Mapping):
        raise ValueError("preferences are an object")  # noqa: TRY004 - it is data
    parts = cast("Mapping[object, object]", value)
    _check_known("preferences", (str(each) for each in parts), _PARTS)
    usual = Preferences()
    digests_outcomes = parts.get("digests_outcomes", False)
    if not isinstance(digests_outcomes, bool):
        raise ValueError("digests_outcomes: true or false")  # noqa: TRY004 - it is data
    digest = parts.get("digest", "")
    if not isinstance(digest, str):
        raise ValueError("digest: a text")  # noqa: TRY004 - it is data
    return Preferences(
        channels=_texts("channels", parts.get("channels", usual.channels)),
        quiet=tuple(read_quiet(each) for each in _list("quiet", parts.get("quiet", ()))),
        # What it may be is checked there.
        digest=cast("Digest", digest),
        digests_outcomes=digests_outcomes,
        mutes=frozenset(_texts("mutes", parts.get("mutes", ()))),
    )


def write_preferences(preferences: Preferences) -> dict[str, object]:
    """Return the JSON object that `read_preferences` makes the same of."""
    return {
        "channels": list(preferences.channels),
        "quiet": [{"start": each.start, "end": each.end} for each in preferences.quiet],
        "digest": preferences.digest,
        "digests_outcomes": preferences.digests_outcomes,
        "mutes": sorted(preferences.mutes),
    }


def plan(preferences: Preferences, event: str, priority: str, zone: str, now: float) -> Planned:
    """Return how, and when, a notice goes out to somebody.

    Urgent requests and overrides to review go out at once. `not_before` is never before `now`, and for all others never
    in quiet hours. An unknown zone is taken for UTC: nobody must miss a decision for that.

    Args:
        preferences: what they want.
        event: what they are told of, one of `EVENTS`.
        priority: the priority of the request.
        zone: the name of their time zone.
        now: seconds since the epoch.

    Raises:
        ValueError: `now` is no time.
    """
    if not math.isfinite(now):
        raise ValueError("now is in seconds since the epoch")
    channels = _with_inbox(preferences.channels)
    if event in preferences.mutes - UNMUTED:
        return Planned(channels=(IN_APP,), not_before=now, is_digest=False)
    if priority in PRESSING or event == "override_review":
        return Planned(channels=channels, not_before=now, is_digest=False)
    is_digest = _is_for_digest(preferences, event, priority)
    clock = _zone_named(zone)
    due = _next_digest(preferences.digest, clock, now) if is_digest else now
    return Planned(channels=channels, not_before=_after_quiet(preferences, clock, due), is_digest=is_digest)


def _with_inbox(channels: Iterable[str]) -> tuple[str, ...]:
    """Return channels with the one inside Quorate, which is the first."""
    return (IN_APP, *(each for each in channels if each != IN_APP))


def next_after_failure(channels: Sequence[str], failed: str) -> str | None:
    """Return the channel to fall back on when one of `channels` failed; `None` if there is no other, or no such one."""
    if failed not in channels:
        return None
    following = channels.index(failed) + 1
    return channels[following] if following < len(channels) else None


def _is_for_digest(preferences: Preferences, event: str, priority: str) -> bool:
    if not preferences.digest:
        return False
    if event == "decided":
        return preferences.digests_outcomes
    return not (event == "decision_wanted" and priority in EARLY)


def _next_digest(digest: Digest, zone: tzinfo, now: float) -> float:
    """Return the first moment from `now` at which a digest is due."""
    local = datetime.fromtimestamp(now, zone)
    if digest == "hourly":
        full = local.minute == local.second == local.microsecond == 0
        return now if full else now + _HOUR - (local.minute * _MINUTE + local.second + local.microsecond / 1e6)
    morning = local.replace(hour=DAILY_HOUR, minute=0, second=0, microsecond=0, fold=0)
    # A zone may leave out a whole day, and then two days of the calendar are one.
    mornings = ((morning + days * _ONE_DAY).timestamp() for days in range(4))
    return next((each for each in mornings if each >= now), now)


def _after_quiet(preferences: Preferences, zone: tzinfo, at: float) -> float:
    """Return the first moment from `at` that is not in quiet hours.

    It looks at one minute after the other, those of three days at most: whatever a zone does with its clocks, what they
    show at the result is what was asked for.
    """
    quiet = preferences.quiet_minutes()
    for _ in range(_MOST_MINUTES):
        local = datetime.fromtimestamp(at, zone)
        if local.hour * _MINUTE + local.minute not in quiet:
            break
        at = (at // _MINUTE + 1) * _MINUTE
    return at


def _zone_named(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ValueError, ZoneInfoNotFoundError, OSError):
        return UTC


def _check_known(what: str, values: Iterable[str], known: Iterable[str]) -> None:
    expected = sorted(known)
    for value in values:
        if value not in expected:
            raise ValueError(f"{what}: one of {', '.join(expected)}, not {value[:SHOWN_LENGTH]!r}")


def _list(what: str, value: object) -> Sequence[object]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{what}: a list")  # noqa: TRY004 - it is data
    return cast("Sequence[object]", value)


def _texts(what: str, value: object) -> tuple[str, ...]:
    texts = [each for each in _list(what, value) if isinstance(each, str)]
    if len(texts) != len(_list(what, value)):
        raise ValueError(f"{what}: a list of texts")
    return tuple(texts)
