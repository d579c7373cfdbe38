"""What class of edit turned one content into another: whether it asks for less, and may leave decisions as they are.

A requirement says which classes leave its decisions (`keeps`); by default none does.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Final, cast

from quorate_plugins.approval.requests import Change

ALWAYS_SCOPE: Final = frozenset({"request/beneficiaries", "request/valid_until"})
"""The parts that say how much is asked for in every request: for whom, and until when."""


def class_of(before: Mapping[str, object], after: Mapping[str, object], scope: Collection[str]) -> Change:
    """Return the class of an edit by the parts of a content `before` and `after` it.

    * `cosmetic`: only white space of texts differs.
    * `narrowing`: what differs, white space aside, is in `scope`, and all of it asks for less than before.
    * `widening`: something in `scope` asks for more, or for something else.
    * `other`: something else differs.
    """
    changed = [part for part in before.keys() | after.keys() if before.get(part) != after.get(part)]
    told = [part for part in changed if not _is_same_words(before.get(part), after.get(part))]
    if not told:
        return "cosmetic" if changed else "other"
    if all(part in scope and _is_less(after.get(part), before.get(part)) for part in told):
        return "narrowing"
    return "widening" if all(part in scope for part in told) else "other"


def _is_same_words(one: object, other: object) -> bool:
    return isinstance(one, str) and isinstance(other, str) and one.split() == other.split()


def _is_less(new: object, old: object) -> bool:
    """Whether a value asks for less than another: fewer of the same, a smaller number, or an earlier end."""
    wanted, had = _list(new), _list(old)
    if wanted is not None and had is not None:
        return len(wanted) < len(had) and all(each in had for each in wanted)
    if _is_number(new) and _is_number(old):
        return cast("float", new) < cast("float", old)
    return _is_earlier(new, old)


def _list(value: object) -> list[object] | None:
    return cast("list[object]", value) if isinstance(value, list) else None


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_earlier(new: object, old: object) -> bool:
    """Whether an end is earlier; no end at all is the latest."""
    end = _time(new)
    if end is None:
        return False
    before = _time(old)
    return old is None if before is None else end < before


def _time(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    return None if found is None or found.tzinfo is None else found
