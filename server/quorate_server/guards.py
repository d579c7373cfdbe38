"""Guards: rules that look at an update before anybody sees it, and may have it undone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from quorate_protocol.ids import DocumentName
from quorate_protocol.updates import DecodedUpdate
from quorate_server.documents import LiveDocument
from quorate_server.kinds import Kind
from quorate_server.users import User
from quorate_server.views import view_of


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedUpdate:
    """What a guard judges: whose update it is, what it inserts and deletes, and the artifact after it.

    `roots` are the roots that it touches. Documents that are no artifacts have no guards.
    """

    name: DocumentName
    kind: Kind
    user: User
    update: DecodedUpdate
    document: LiveDocument
    roots: frozenset[str]

    def content_json(self) -> dict[str, object]:
        """Return the artifact with the update as JSON."""
        return self.document.look(lambda doc: view_of(self.kind, doc))


class Guard(Protocol):
    """Looks at updates before anybody sees them."""

    def guarded_roots(self, name: DocumentName) -> frozenset[str]:
        """Return the roots of a document that it must see updates of: no other is shown to it."""
        ...

    def guard(self, update: GuardedUpdate) -> None:
        """Do nothing, or have the update undone.

        Raises:
            Refused: it is undone, and its author is told the reason.
        """
        ...
