"""What somebody is told about an approval, and its words; the neighbours render it for each channel.

Functions of their arguments only; the neighbour `channels` speaks to the network. Whatever comes from people (titles,
reasons, names, facts) is cleaned of control characters and escaped for the format it goes into, so that nobody can add
a header, a link or markup to a message.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from string import Template
from urllib.parse import urlsplit

from quorate_plugins.approval.notifications.cleaning import (
    MAX_TEXT_LENGTH,
    SHOWN_LENGTH,
    clean,
    one_line,
    shortened,
    time_text,
)
from quorate_plugins.approval.notifications.texts import EVENTS, TEXTS, Templates

__all__ = [
    "EVENTS",
    "MAX_FACTS",
    "MAX_LINK_LENGTH",
    "MAX_REQUEST_LENGTH",
    "MAX_SUBJECT_LENGTH",
    "NOBODY",
    "Fact",
    "Notice",
    "Wording",
    "facts_of",
    "facts_of_one_line",
    "wording",
]

NOBODY = "the policy"
"""Who decided if nobody did."""
MAX_REQUEST_LENGTH = 512
MAX_LINK_LENGTH = 1024
MAX_SUBJECT_LENGTH = 200
MAX_FACTS = 100

_LATEST = 250_000_000_000.0
"""The year 9892; later ones have no date in every zone."""
_MAX_KEY_LENGTH = 200
_MOST_READ_OF_FACT = 4000
_LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
_KEY = re.compile(r"[!-~]{1,200}")
_LINK = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")

Fact = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What somebody is told about a request.

    Attributes:
        key: the same whenever the same is told again, so that a receiver can drop what it has; visible ASCII.
        event: one of `EVENTS`.
        request: the name of the request's artifact.
        revision: the revision of the content that it is about.
        title: what the request calls itself.
        type: the type of the request.
        risk: how risky it is.
        priority: how urgent it is.
        requester: the name of who asks.
        by: the name of who decided, or did what is told; empty if nobody did.
        on_behalf_of: the name of the one in whose place they did.
        state: the state the request is in now.
        reason: what they gave as a reason.
        due_at: when it is due, in seconds since the epoch.
        link: where one decides: an `https` URL; `http` is taken for this machine only.
        facts: more to know, as labels and values.

    Raises:
        ValueError: the key, the event, the request's name, the due date or the link is none of these.
    """

    key: str
    event: str
    request: str
    title: str
    requester: str
    link: str
    revision: int = 1
    type: str = ""
    risk: str = ""
    priority: str = ""
    by: str = ""
    on_behalf_of: str = ""
    state: str = ""
    reason: str = ""
    due_at: float | None = None
    facts: tuple[Fact, ...] = ()

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise ValueError(f"a notice's key is of 1 to {_MAX_KEY_LENGTH} visible ASCII characters")
        if self.event not in TEXTS:
            raise ValueError(f"a notice's event is one of {', '.join(EVENTS)}, not {self.event[:SHOWN_LENGTH]!r}")
        if not 0 < len(self.request) <= MAX_REQUEST_LENGTH:
            raise ValueError(f"a request's name is of 1 to {MAX_REQUEST_LENGTH} characters")
        if self.due_at is not None and not _is_moment(self.due_at):
            raise ValueError("a due date is in seconds since the epoch")
        _check_link(self.link)

    @property
    def decider(self) -> str:
        """Who decided, and in whose place."""
        by = self.by or NOBODY
        return f"{by} on behalf of {self.on_behalf_of}" if self.on_behalf_of else by


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """A notice in words: one line, and a sentence or more. Not escaped, and without control characters."""

    subject: str
    body: str


def wording(notice: Notice, *, zone: str = "UTC", templates: Templates | None = None) -> Wording:
    """Return a notice in words, with times in a zone. `templates` are checked ones, and go before `TEXTS`."""
    texts = {**TEXTS[notice.event], **(templates or {}).get(notice.event, {})}
    values = {
        "request": notice.request,
        "revision": str(notice.revision),
        "title": notice.title or notice.request,
        "type": notice.type,
        "risk": notice.risk,
        "priority": notice.priority,
        "requester": notice.requester,
        "by": notice.by or NOBODY,
        "on_behalf_of": notice.on_behalf_of,
        "decider": notice.decider,
        "state": notice.state.replace("_", " "),
        "reason": notice.reason,
        "due": time_text(notice.due_at, zone),
        "link": notice.link,
    }
    lines = {name: shortened(one_line(value), MAX_TEXT_LENGTH) for name, value in values.items()}
    subject = one_line(Template(texts["subject"]).substitute(lines))
    body = clean(Template(texts["body"]).substitute(lines))
    return Wording(subject=shortened(subject, MAX_SUBJECT_LENGTH), body=shortened(body, MAX_TEXT_LENGTH))


def facts_of(notice: Notice, *, zone: str = "UTC") -> list[Fact]:
    """Return what is to know about a request, as labels and values of one line each; up to `MAX_FACTS`."""
    told = (
        ("Request", notice.request),
        ("Revision", str(notice.revision)),
        ("Type", notice.type),
        ("Risk", notice.risk),
        ("Priority", notice.priority),
        ("Requested by", notice.requester),
        ("By", notice.decider if notice.by or notice.on_behalf_of else ""),
        ("State", notice.state.replace("_", " ")),
        ("Due", time_text(notice.due_at, zone)),
        *notice.facts,
    )
    return facts_of_one_line([(label, value) for label, value in told if value])


def facts_of_one_line(facts: Sequence[Fact]) -> list[Fact]:
    """Return facts as labels and values of one line each; up to `MAX_FACTS`."""
    read = ((label[:_MOST_READ_OF_FACT], value[:_MOST_READ_OF_FACT]) for label, value in facts[:MAX_FACTS])
    return [(one_line(label), one_line(value)) for label, value in read]


def _is_moment(seconds: float) -> bool:
    return math.isfinite(seconds) and 0 <= seconds <= _LATEST


def _check_link(link: str) -> None:
    if not _leads_to_host(link) or len(link) > MAX_LINK_LENGTH or not _LINK.fullmatch(link):
        raise ValueError(f"a notice's link is an `https` URL of up to {MAX_LINK_LENGTH} characters")


def _leads_to_host(link: str) -> bool:
    """Whether a link leads to a host in a way that is allowed: encrypted, or on this machine."""
    try:
        parts = urlsplit(link)
        host = parts.hostname
    except ValueError:
        return False
    return bool(host) and (parts.scheme == "https" or (link.startswith("http://") and host in _LOCAL_HOSTS))
