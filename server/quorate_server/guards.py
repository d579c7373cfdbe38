"""Guards: rules that look at an update before anybody sees it, and may have it undone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from quorate_protocol.ids import DocumentName
from quorate_protocol.updates import DecodedUpdate
from quorate_server.documents import LiveDocument, render_json
from quorate_server.kinds import find_kind
from quorate_server.users import User
from quorate_server.views import view_of


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardedUpdate:
    """What a guard judges: whose update it is, what it inserts and deletes, and the document after it.

    `roots` are the roots that it touches, of an artifact; of other documents they are not known, and it is empty.
    """

    name: DocumentName
    user: User
    update: DecodedUpdate
    document: LiveDocument
    roots: frozenset[str] = frozenset()

    def content_json(self) -> dict[str, object]:
        """Return the document with the update as JSON."""
        kind = find_kind(self.name)
        if kind is None:
            return render_json(self.document.encode())
        return self.document.look(lambda doc: view_of(kind, doc))


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
