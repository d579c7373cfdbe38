"""Changes as CloudEvents 1.0: the form in which the HTTP interface, `/channel` and webhooks tell of them."""

from __future__ import annotations

from datetime import UTC, datetime

from quorate_storage.acts import Change

SOURCE = "urn:quorate"
TYPE_PREFIX = "quorate."


def cloud_event(change: Change) -> dict[str, object]:
    """Return a change as a CloudEvent (JSON format): `id` is its position in the feed, `subject` the document."""
    return {
        "specversion": "1.0",
        "id": str(change.position),
        "source": SOURCE,
        "type": f"{TYPE_PREFIX}{change.type}",
        "subject": change.document,
        "time": datetime.fromtimestamp(change.at, UTC).isoformat(),
        "datacontenttype": "application/json",
        "data": {"actor": change.actor, **change.data},
    }
