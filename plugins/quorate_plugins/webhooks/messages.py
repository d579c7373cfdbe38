"""What is posted, as Standard Webhooks: the message, its id and signature, and when a failed one is tried again.

Functions of their arguments only; the neighbour `posting` speaks to the network.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from standardwebhooks.webhooks import Webhook

from quorate_server.hooks import Change, cloud_event

RETRY_SECONDS = (5, 30, 120, 600, 1800, 3600, 7200, 14400, 21600, 28800)
"""Ten repetitions over 22 hours."""
JITTER = 0.2
LONGEST_RETRY_AFTER_SECONDS = 86400.0
MAX_DATA_BYTES = 16 * 1024
"""Standard Webhooks: payloads should stay below 20 kB."""


def message_id(endpoint: str, change: Change) -> str:
    """Return the `webhook-id` of a change for an endpoint: the same whenever it is posted."""
    return f"msg_{endpoint}_{change.position}"


def event_of(change: Change) -> dict[str, object]:
    """Return a change as the CloudEvent that is posted; data that is too large is left out, and said to be."""
    event = cloud_event(change)
    if len(encode(event["data"])) > MAX_DATA_BYTES:
        event["data"] = {"actor": change.actor, "truncated": True}
    return event


def test_event(endpoint: str, now: float) -> dict[str, object]:
    """Return a CloudEvent that tells of nothing, to see whether a receiver takes it."""
    return {
        "specversion": "1.0",
        "id": f"test-{endpoint}-{now}",
        "source": "urn:quorate",
        "type": "quorate.webhooks.test",
        "time": datetime.fromtimestamp(now, UTC).isoformat(),
        "datacontenttype": "application/json",
        "data": {"endpoint": endpoint},
    }


def encode(value: object) -> bytes:
    """Return the JSON that goes over the wire: ASCII, without spaces."""
    return json.dumps(value, separators=(",", ":")).encode()


def headers_of(message: str, body: bytes, secrets: Sequence[str], now: float) -> dict[str, str]:
    """Return the headers of a delivery, signed with each of some secrets."""
    at = datetime.fromtimestamp(int(now), UTC)
    signatures = [Webhook(secret).sign(message, at, body.decode()) for secret in secrets]
    return {
        "content-type": "application/cloudevents+json",
        "user-agent": "Quorate-Webhooks/1",
        "webhook-id": message,
        "webhook-timestamp": str(int(now)),
        "webhook-signature": " ".join(signatures),
    }


def retry_after(attempts: int, requested_seconds: float | None = None, *, spread: float | None = None) -> float | None:
    """Return in how many seconds to try again what failed, `attempts` times before this; `None` to give up.

    A receiver's own request is honoured, up to a day. `spread`, -1 to 1, is drawn at random if it is not given.
    """
    if attempts >= len(RETRY_SECONDS):
        return None
    drawn = random.uniform(-1.0, 1.0) if spread is None else spread  # noqa: S311 - it spreads, it hides nothing
    planned = RETRY_SECONDS[attempts] * (1.0 + JITTER * drawn)
    return max(planned, min(requested_seconds or 0.0, LONGEST_RETRY_AFTER_SECONDS))


def requested_seconds(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds of a `Retry-After`, which may also be a date; `None` if it cannot be read."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text[:9])
    try:
        at = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, at.timestamp() - now)
