"""Writing JSON into the Yjs maps of a record so that readers see only what is new.

A member that is an object becomes a nested map and is changed member by member; lists and plain values are replaced
whole. `RECORD_ROOT` is the root map of every record: one member for each engine, and what the server itself says.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import cast

from pycrdt import Array, Map

from quorate_server.crdt_types import AnyDoc, AnyMap

RECORD_ROOT = "record"


def record_map(doc: AnyDoc) -> AnyMap:
    """Return the root map of a record."""
    root: AnyMap = doc.get(RECORD_ROOT, type=Map)
    return root


def write_member(key: str, value: object, before: object) -> Callable[[AnyDoc], None]:
    """Return the edit that sets a member of a record, which says `before`, to a JSON value; `None` takes it away."""

    def edit(doc: AnyDoc) -> None:
        _write(record_map(doc), key, value, before)

    return edit


def read_record(doc: AnyDoc) -> dict[str, object]:
    """Return a record as JSON."""
    with doc.transaction():  # without it each member that is read begins its own
        return cast("dict[str, object]", json.loads(str(record_map(doc))))


def read_member(doc: AnyDoc, key: str) -> object:
    """Return one member of a record as JSON; `None` when there is none."""
    with doc.transaction():
        return _json(record_map(doc), key)


def set_property(doc: AnyDoc, key: str, value: object) -> None:
    """Set a member of a content's `properties` to a JSON value; `None` takes it away."""
    properties: AnyMap = doc.get("properties", type=Map)
    _write(properties, key, value, _json(properties, key))


def _json(parent: AnyMap, key: str) -> object:
    present: object = parent.get(key)
    if isinstance(present, (Map, Array)):
        # The engine writes JSON five times as fast as its members can be read one by one.
        return json.loads(str(present))  # pyright: ignore[reportUnknownArgumentType] - any map or list
    return present


def _write(parent: AnyMap, key: str, value: object, before: object) -> None:
    """Set a member that says `before` now; only what differs is touched, for reading a map back costs the most."""
    if value is None:
        if key in parent:
            del parent[key]
    elif isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        present = parent.get(key)
        if isinstance(present, Map):
            was: Mapping[str, object] = cast("Mapping[str, object]", before) if isinstance(before, Mapping) else {}
            _write_members(present, members, was)  # pyright: ignore[reportUnknownArgumentType] - any map
        else:
            nested: AnyMap = Map()
            parent[key] = nested
            _write_members(nested, members, {})
    elif not is_same(before, value):
        parent[key] = value


def _write_members(parent: AnyMap, members: Mapping[str, object], before: Mapping[str, object]) -> None:
    for gone in before.keys() - members.keys():
        del parent[gone]
    for key, value in members.items():
        if key not in before or not is_same(before[key], value):
            _write(parent, key, value, before.get(key))


def is_same(one: object, other: object) -> bool:
    """Whether two JSON values are the same; 1 and True are different things to a reader of JSON, 1 and 1.0 are not."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        left, right = cast("Mapping[str, object]", one), cast("Mapping[str, object]", other)
        return left.keys() == right.keys() and all(is_same(left[key], right[key]) for key in left)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        here, there = cast("Sequence[object]", one), cast("Sequence[object]", other)
        return len(here) == len(there) and all(map(is_same, here, there))
    return one == other and isinstance(one, bool) == isinstance(other, bool)
