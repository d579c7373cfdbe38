"""`Artifact`: an artifact that is open, its content and its record, for commands and engines.

While it is open its documents stay in memory. What its methods return is a copy of this moment; to act on what was
read, read it inside a unit of work (see `work`), where nothing can come in between.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Hashable
from contextlib import asynccontextmanager
from typing import TypeVar, cast

from quorate_protocol.ids import DocumentName
from quorate_server.crdt_types import AnyDoc
from quorate_server.documents import LiveDocument
from quorate_server.errors import AccessDenied, DocumentNotFound
from quorate_server.kinds import (
    KINDS,
    find_kind,
    record_name,
)
from quorate_server.records import read_member, read_record
from quorate_server.room import Room
from quorate_server.rooms import Rooms
from quorate_server.users import SERVER, User
from quorate_server.views import root_view, view_of

T = TypeVar("T")


class Artifact:
    """One artifact. `name` is that of its content, `kind` what the name declares."""

    def __init__(self, rooms: Rooms, content: Room, record: Room) -> None:
        self._rooms = rooms
        self.content_room = content
        self.record_room = record
        self.name: DocumentName = content.name
        declared = find_kind(content.name)
        assert declared is not None, "only artifacts have records"
        self._declared = declared
        self.kind = declared.name

    @property
    def sequence(self) -> int:
        """The newest place in the content's log, maybe not durable yet."""
        return self.content_room.newest_place

    def read_content(self, reader: Callable[[AnyDoc], T]) -> T:
        """Return what `reader` finds in the content's Yjs document, which it must neither change nor keep."""
        return self.content_room.live.look(reader)

    def content_json(self) -> dict[str, object]:
        """Return the content as JSON, as its kind says."""
        return self.read_content(lambda doc: view_of(self._declared, doc))

    def root_json(self, name: str) -> object:
        """Return one root of the content as JSON; `None` when the kind has no such root."""
        root = self._declared.root(name)
        return None if root is None else self.read_content(lambda doc: root_view(root, doc))

    def record_json(self) -> dict[str, object]:
        """Return the record as JSON."""
        return self.record_room.live.look(read_record)

    def record_member(self, key: str) -> object:
        """Return one member of the record as JSON; `None` when there is none."""
        return self.record_room.live.look(lambda doc: read_member(doc, key))

    @property
    def record_version(self) -> Hashable:
        """Something that is equal as long as the record is the same, in one run of the server."""
        live = self.record_room.live
        return live.serial, live.version

    def root_members(self, name: str) -> dict[str, object]:
        """Return the members of a root that is a map; none when it is not, or is empty."""
        return _members(self.root_json(name))

    def record_section(self, key: str) -> dict[str, object]:
        """Return the members of a member of the record; none when there is no such map."""
        return _members(self.record_member(key))

    def content_hash(self) -> str:
        """Return the hash of the guarded parts of the content, as they are now.

        SHA-256 in hex, over RFC 8785 canonical JSON. Two contents of one kind that say the same have the same. Of a
        large content it takes long when it is asked for first: await `prepare_hash` before.
        """
        return self.content_room.live.hasher(self._declared).content_hash()

    async def prepare_hash(self) -> None:
        """Have what `content_hash` needs made where nobody waits for it; edits that come meanwhile are minded."""
        live = self.content_room.live
        hasher = live.hasher(self._declared)
        if hasher.is_primed:
            return
        hasher.record()
        pieces = await self._rooms.hash_pieces(self.kind, live.encode())
        if live is self.content_room.live:
            hasher.adopt(pieces)

    def diff(self, fork: LiveDocument) -> dict[str, dict[str, object]]:
        """Return the roots that a fork says otherwise, each as JSON `before` (here) and `after` (there)."""
        here, there = self.content_json(), fork.look(lambda doc: view_of(self._declared, doc))
        return {
            name: {"before": here.get(name), "after": there.get(name)}
            for name in sorted(here.keys() | there.keys())
            if here.get(name) != there.get(name)
        }

    def fork(self) -> LiveDocument:
        """Return a copy of the content that can be edited apart; what `Work.merge` brings back. Close it in the end."""
        return LiveDocument(state=self.content_room.live.encode())


def _members(value: object) -> dict[str, object]:
    return dict(cast("dict[str, object]", value)) if isinstance(value, dict) else {}


@asynccontextmanager
async def open_artifact(rooms: Rooms, name: DocumentName, user: User = SERVER) -> AsyncGenerator[Artifact]:
    """Keep an artifact open.

    Raises:
        DocumentNotFound: there is none of that name.
        DocumentDeleted: a tombstone stands there.
        Unavailable: the store fails, or the server is stopping.
    """
    if find_kind(name) is None:
        raise DocumentNotFound(f"{name!r} is no artifact: expected `kind/slug`, of {', '.join(KINDS)}")
    try:
        content = await rooms.open(name, user, may_create=False)
    except AccessDenied as error:
        raise DocumentNotFound(f"there is no artifact {name!r}") from error
    content.pins += 1
    try:
        record = await rooms.open(record_name(name), SERVER, may_create=True)
        record.pins += 1
        try:
            yield Artifact(rooms, content, record)
        finally:
            record.pins -= 1
    finally:
        content.pins -= 1
