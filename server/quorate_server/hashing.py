"""`ContentHasher`: the content hash of a live artifact, kept up to date piece by piece.

The hash is SHA-256 over canonical JSON (RFC 8785) of the guarded parts, and of a large notebook that is seconds of
work. So the canonical bytes are kept in pieces, one for each item of a list and each entry of a map that is a root,
and an edit throws away only the pieces that it touches. Hashing then is making those again, joining all, and one
SHA-256. `views.content_hash` is the definition, and a test holds the two equal.

Observers must not hold the document that they observe: half of such a circle is not Python, and it is never freed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, cast

import rfc8785
from pycrdt import Doc

from quorate_server.crdt_types import AnyArray, AnyDoc, AnyMap
from quorate_server.kinds import KINDS
from quorate_server.shapes import Kind, ListShape, MapShape, Root
from quorate_server.views import entry_view, item_view, root_type, root_view

Pieces = list["bytes | None"] | dict[str, "bytes | None"]
"""Canonical JSON of a root's items or entries; `None` where it has to be made anew, empty where there is nothing."""

_NOTHING: Final = (b"[]", b"{}", b'""')
_WHOLE: Final = ""
"""The one entry of a root that is neither a list nor a map."""


class ContentHasher:
    """The hash of one document in memory. `close` it before the document goes."""

    def __init__(self, kind: Kind, doc: AnyDoc) -> None:
        self._kind = kind
        self._doc = doc
        self._roots = tuple(root for root in kind.roots if root.guarded)
        self._pieces: dict[str, Pieces] = {root.name: _blank(root, doc) for root in self._roots}
        self._marks: list[_Mark] = []
        self._subscriptions = [
            (shared, shared.observe_deep(_observer(root, self._pieces, self._marks)))
            for root in self._roots
            for shared in (doc.get(root.name, type=root_type(root)),)
        ]

    def close(self) -> None:
        """Follow the document no more."""
        for shared, subscription in self._subscriptions:
            shared.unobserve(subscription)
        self._subscriptions.clear()

    @property
    def is_primed(self) -> bool:
        """Whether most pieces are there, so that hashing is quick."""
        missing = sum(piece is None for pieces in self._pieces.values() for piece in _values(pieces))
        return missing <= _QUICK_PIECES

    def record(self) -> None:
        """Remember from now on what edits touch, until `adopt`: the pieces of the present state are made elsewhere."""
        self._marks.clear()
        self._marks.append(_RECORDING)

    def adopt(self, made: Mapping[str, Pieces]) -> None:
        """Take the pieces of the state at the time of `record`, without those that edits touched since."""
        marks = self._marks[1:]
        self._marks.clear()
        self._pieces.update(made)
        for mark in marks:
            _apply(self._pieces[mark.root], mark)

    def content_hash(self) -> str:
        """Return the hash of the content as it is now."""
        digest = hashlib.sha256(b'{"content":{')
        is_first = True
        with self._doc.transaction():
            for root in sorted(self._roots, key=lambda root: _order(root.name)):
                piece = self._root_bytes(root)
                if piece is not None:
                    digest.update((b"" if is_first else b",") + _canonical(root.name) + b":" + piece)
                    is_first = False
        digest.update(b'},"kind":' + _canonical(self._kind.name) + b"}")
        return digest.hexdigest()

    def pieces(self) -> dict[str, Pieces]:
        """Return every piece, made where it was missing."""
        with self._doc.transaction():
            for root in self._roots:
                self._fill(root)
        return self._pieces

    def _root_bytes(self, root: Root) -> bytes | None:
        """Return the canonical JSON of a root; `None` when the view leaves it out."""
        self._fill(root)
        pieces = self._pieces[root.name]
        if isinstance(pieces, list):
            whole = b"[" + b",".join(piece for piece in pieces if piece) + b"]"
        elif _WHOLE in pieces:
            whole = pieces[_WHOLE] or b""
        else:
            ordered = sorted(pieces.items(), key=_by_order)
            whole = b"{" + b",".join(_canonical(key) + b":" + piece for key, piece in ordered if piece) + b"}"
        return None if root.is_optional and whole in _NOTHING else whole

    def _fill(self, root: Root) -> None:
        """Make the pieces of a root that are missing."""
        shared = self._doc.get(root.name, type=root_type(root))
        pieces = self._pieces[root.name]
        if isinstance(pieces, list):
            for index, piece in enumerate(pieces):
                if piece is None:
                    pieces[index] = _item_bytes(root, cast("AnyArray", shared), index)
        elif _WHOLE in pieces:
            pieces[_WHOLE] = pieces[_WHOLE] or _canonical(root.shape.guarded(root_view(root, self._doc)))
        else:
            for key, piece in pieces.items():
                if piece is None:
                    pieces[key] = _entry_bytes(root, cast("AnyMap", shared), key)


def pieces_of(kind: str, state: bytes) -> dict[str, Pieces]:
    """Return every piece of an encoded state; for a child process, when there is much of it."""
    doc: AnyDoc = Doc()
    doc.apply_update(state)
    hasher = ContentHasher(KINDS[kind], doc)
    try:
        return hasher.pieces()
    finally:
        hasher.close()


def _blank(root: Root, doc: AnyDoc) -> Pieces:
    shared = doc.get(root.name, type=root_type(root))
    blank: Pieces = {_WHOLE: None}
    if isinstance(root.shape, ListShape):
        blank = [None for _ in range(len(cast("AnyArray", shared)))]
    elif isinstance(root.shape, MapShape):
        blank = dict.fromkeys(cast("AnyMap", shared).keys())
    return blank


class _Mark(NamedTuple):
    """What one event says was touched: the place in a list or map, or how a list or map itself has changed."""

    root: str
    place: Any = None
    delta: Sequence[Mapping[str, int]] | None = None
    keys: Mapping[str, str] | None = None


_RECORDING: Final = _Mark("")
"""The head of the marks while they are recorded."""

_QUICK_PIECES: Final = 50


def _observer(root: Root, pieces: dict[str, Pieces], marks: list[_Mark]) -> Callable[[Sequence[Any]], None]:
    """Return the observer that marks what an edit touched; it holds pieces and marks, and nothing of the document."""
    is_list, is_map = isinstance(root.shape, ListShape), isinstance(root.shape, MapShape)

    def observe(events: Sequence[Any]) -> None:
        for event in events:
            path: list[Any] = event.path
            if not (is_list or is_map):
                mark = _Mark(root.name, _WHOLE)
            elif path:
                mark = _Mark(root.name, path[0])
            elif is_list:
                mark = _Mark(root.name, delta=_lengths(event.delta))
            else:
                mark = _Mark(root.name, keys={key: change["action"] for key, change in event.keys.items()})
            _apply(pieces[root.name], mark)
            if marks:
                marks.append(mark)

    return observe


def _lengths(delta: Sequence[Mapping[str, Any]]) -> list[dict[str, int]]:
    """Return a delta without what was inserted, which belongs to the document."""
    return [{do: what if isinstance(what, int) else len(what)} for step in delta for do, what in step.items()]


def _apply(pieces: Pieces, mark: _Mark) -> None:
    """Throw away what was touched."""
    if isinstance(pieces, list):
        if mark.delta is not None:
            _shift(pieces, mark.delta)
        elif mark.place < len(pieces):
            pieces[mark.place] = None
        return
    for key, action in ({mark.place: "update"} if mark.keys is None else mark.keys).items():
        if action == "delete":
            pieces.pop(key, None)
        else:
            pieces[key] = None


def _shift(items: list[bytes | None], delta: Sequence[Mapping[str, int]]) -> None:
    """Follow insertions into and deletions from a list."""
    place = 0
    for step in delta:
        for do, length in step.items():
            if do == "retain":
                place += length
            elif do == "delete":
                del items[place : place + length]
            elif do == "insert":
                items[place:place] = [None] * length
                place += length


def _item_bytes(root: Root, shared: AnyArray, index: int) -> bytes:
    shape = cast("ListShape", root.shape).item
    found = item_view(root, shared[index])
    return b"" if found is None else _canonical(shape.guarded(found[0]))


def _entry_bytes(root: Root, shared: AnyMap, key: str) -> bytes:
    found = entry_view(root, key, shared[key])
    if found is None:
        return b""
    guarded = cast("Mapping[str, object]", root.shape.guarded({key: found[0]}))
    return _canonical(guarded[key]) if key in guarded else b""


def _canonical(value: object) -> bytes:
    """Return the RFC 8785 form. Of a text it is what the standard library writes, a hundred times as fast."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).encode()
    return rfc8785.dumps(value)  # type: ignore[arg-type]  # JSON, which its type spells out recursively


def _values(pieces: Pieces) -> Sequence[bytes | None]:
    return pieces if isinstance(pieces, list) else list(pieces.values())


def _order(key: str) -> bytes:
    """RFC 8785 section 3.2.3: by UTF-16 code units."""
    return key.encode("utf-16-be")


def _by_order(entry: tuple[str, object]) -> bytes:
    return _order(entry[0])
