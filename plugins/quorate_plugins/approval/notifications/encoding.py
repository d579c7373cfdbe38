"""The JSON of messages, and how it is kept below what a receiver takes."""

from __future__ import annotations

import json
from collections.abc import Callable

from quorate_plugins.approval.notifications.messages import MAX_FACTS

_SHORTENINGS = ((3000, MAX_FACTS), (1000, 50), (300, 30), (40, 15), (40, 0))
"""The characters of a text and the number of facts, tried until a message is small enough."""


def encode(value: object) -> bytes:
    """Return the JSON that goes over the wire: ASCII, without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def fitting(build: Callable[[int, int], dict[str, object]], most_bytes: int) -> dict[str, object]:
    """Return the first of what `build` makes, with ever shorter texts and fewer facts, that is small enough."""
    for length, count in _SHORTENINGS[:-1]:
        built = build(length, count)
        if len(encode(built)) <= most_bytes:
            return built
    return build(*_SHORTENINGS[-1])
