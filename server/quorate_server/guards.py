"""Guards: rules that look at an update before anybody sees it, and may have it undone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from quorate_protocol.ids import DocumentName
from quorate_protocol.updates import DecodedUpdate
from quorate_server.documents import LiveDocument
from quorate_server.users import User


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedUpdate:
    """What a guard judges: whose update it is, what it inserts and deletes, and the document after it."""

    name: DocumentName
    user: User
    update: DecodedUpdate
    document: LiveDocument


Guard = Callable[[GuardedUpdate], None]
"""Looks at an update before anybody sees it and raises `Refused` to have it undone."""
