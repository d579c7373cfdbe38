"""What an artifact's content says, as JSON: the view of its declared root types, and the hash that decisions bind to.

What JSON cannot say is written as a string: bytes as base64, integers beyond 2**53 - 1 in decimal, and the floats
`NaN`, `Infinity` and `-Infinity` by these names. They are not turned into null, which would give a hash to two
contents. Numbers without a fraction are integers, since Yjs has one kind of number only.
Members come in the order of their names: Yjs has none.

Formatting and embeds of a text are not part of its view, and so not of what is guarded.
"""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Mapping
from typing import Any, Final, TypeGuard, cast

import rfc8785
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from quorate_server.crdt_types import AnyDoc, AnyMap, AnyRoot
from quorate_server.shapes import AnyShape, Kind, ListShape, MapShape, Root, Shape, TextShape, XmlShape

MAX_INTEGER: Final = 2**53 - 1
"""The highest integer that every reader of JSON reads exactly."""

_STRAY: Final = object()
"""Stands for what does not fit its shape: the view leaves it out."""


def view(kind: Kind, state: bytes) -> dict[str, object]:
    """Return the JSON view of a content: its declared root types, and inside of them what fits their shapes.

    A text is a string without its formatting, XML a string, a list an array, a map an object. What is stray or
    misshapen is left out.

    Args:
        kind: what the content is.
        state: all of it, as the engine encoded it.
    """
    doc: AnyDoc = Doc()
    doc.apply_update(state)
    return view_of(kind, doc)


def view_of(kind: Kind, doc: AnyDoc) -> dict[str, object]:
    """Return the JSON view of a content that is in memory; `doc` is not changed."""
    members: dict[str, object] = {}
    # One transaction for all of the reading: without it each access begins its own.
    with doc.transaction():
        for root in kind.roots:
            member = root_view(root, doc)
            if member or not root.is_optional:
                members[root.name] = member
    return members


def root_view(root: Root, doc: AnyDoc) -> object:
    """Return one root type of a content that is in memory as JSON."""
    return _render(root.shape, doc.get(root.name, type=_engine_type(root.shape)))


def root_type(root: Root) -> type[AnyRoot]:
    """Return the engine's type of a root."""
    return _engine_type(root.shape)


def item_view(root: Root, item: object) -> tuple[object] | None:
    """Return the JSON view of one item of a root that is a list; `None` when the view leaves it out."""
    assert isinstance(root.shape, ListShape), "only lists have items"
    return _found(_render(root.shape.item, item))


def entry_view(root: Root, key: str, value: object) -> tuple[object] | None:
    """Return the JSON view of one entry of a root that is a map; `None` when the view leaves it out."""
    inside = root.shape.inside(key)
    return None if inside is None else _found(_render(inside, value))


def _found(rendered: object) -> tuple[object] | None:
    return None if rendered is _STRAY else (rendered,)


def guarded_projection(kind: Kind, view: Mapping[str, object]) -> dict[str, object]:
    """Return of a JSON view what decisions bind to: its guarded root types, without the fields that are not."""
    return {root.name: root.shape.guarded(view[root.name]) for root in kind.roots if root.guarded and root.name in view}


def content_hash(kind_name: str, projection: Mapping[str, object]) -> str:
    """Return SHA-256, in hex, of the RFC 8785 canonical JSON of `{"kind": ..., "content": ...}`.

    Equal for equal contents, however they came about: 3 and 3.0 are the same number.
    """
    content = {"kind": kind_name, "content": _plain(dict(projection))}
    return hashlib.sha256(rfc8785.dumps(cast("dict[str, Any]", content))).hexdigest()


def _engine_type(shape: Shape) -> type[AnyRoot]:
    if isinstance(shape, TextShape):
        return Text
    if isinstance(shape, XmlShape):
        return XmlFragment
    return Array if isinstance(shape, ListShape) else Map


def _render(shape: Shape, value: object) -> object:
    """Return the JSON of what the engine holds; `_STRAY` when it does not fit."""
    if isinstance(shape, AnyShape):
        return _plain(value)
    if _is_shared(value):
        return _render_shared(shape, value)
    return _plain(value) if shape.takes("any") else _STRAY


def _render_shared(shape: Shape, shared: object) -> object:
    if isinstance(shape, TextShape):
        return str(shared) if isinstance(shared, Text) else _STRAY
    if isinstance(shape, XmlShape):
        return str(shared) if isinstance(shared, XmlFragment) else _STRAY
    if isinstance(shape, ListShape) and isinstance(shared, Array):
        items = (_render(shape.item, item) for item in shared)
        return [item for item in items if item is not _STRAY]
    return _render_map(shape, shared) if isinstance(shape, MapShape) and _is_map(shared) else _STRAY


def _render_map(shape: MapShape, shared: AnyMap) -> dict[str, object]:
    entries: dict[str, object] = {}
    for key, value in sorted(shared.items()):
        inside = shape.inside(key)
        entry = _STRAY if inside is None else _render(inside, value)
        if entry is not _STRAY:
            entries[key] = entry
    return entries


def _is_shared(value: object) -> bool:
    return isinstance(value, (Text, Array, Map, XmlFragment, XmlElement, XmlText, Doc))


def _is_map(value: object) -> TypeGuard[AnyMap]:
    return isinstance(value, Map)


def _plain(value: object) -> object:
    """Return any value as JSON, shared types and what is in them included."""
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (int, float)):
        return _plain_number(value)
    if isinstance(value, (bytes, bytearray)):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, (Map, Mapping)):
        return {key: _plain(entry) for key, entry in sorted(cast("Mapping[str, object]", value).items())}
    if isinstance(value, (Array, list, tuple)):
        return [_plain(item) for item in cast("list[object]", value)]
    return None if isinstance(value, Doc) else str(value)


def _plain_number(value: float) -> int | float | str:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if abs(value) <= MAX_INTEGER and value == int(value):
        return int(value)
    return str(value) if isinstance(value, int) else value
