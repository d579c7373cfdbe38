"""Writing JSON into the Yjs maps of a record so that readers see only what is new.

A member that is an object becomes a nested map and is changed member by member; lists and plain values are replaced
whole. `RECORD_ROOT` is the root map of every record: one member for each engine, and what the server itself says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import cast

from pycrdt import Array, Map

from quorate_server.crdt_types import AnyDoc, AnyMap

RECORD_ROOT = "record"


def record_map(doc: AnyDoc) -> AnyMap:
    """Return the root map of a record."""
    root: AnyMap = doc.get(RECORD_ROOT, type=Map)
    return root


def write_member(key: str, value: object) -> Callable[[AnyDoc], None]:
    """Return the edit that sets a member of a record to a JSON value; `None` takes the member away."""

    def edit(doc: AnyDoc) -> None:
        _write(record_map(doc), key, value)

    return edit


def read_record(doc: AnyDoc) -> dict[str, object]:
    """Return a record as JSON."""
    found = record_map(doc).to_py()
    return dict(found) if found else {}


def set_property(doc: AnyDoc, key: str, value: object) -> None:
    """Set a member of a content's `properties` to a JSON value; `None` takes it away."""
    _write(doc.get("properties", type=Map), key, value)


def _write(parent: AnyMap, key: str, value: object) -> None:
    present = parent.get(key)
    if value is None:
        if key in parent:
            del parent[key]
    elif isinstance(value, Mapping):
        members = cast("Mapping[str, object]", value)
        if isinstance(present, Map):
            _write_members(present, members)  # pyright: ignore[reportUnknownArgumentType] - any map
        else:
            nested: AnyMap = Map()
            parent[key] = nested
            _write_members(nested, members)
    elif _is_new(present, value):
        parent[key] = value


def _write_members(parent: AnyMap, members: Mapping[str, object]) -> None:
    for gone in [key for key in parent.keys() if key not in members]:  # noqa: SIM118 - the stubs of its iterator are wrong
        del parent[gone]
    for key, value in members.items():
        _write(parent, key, value)


def _is_new(present: object, value: object) -> bool:
    """Whether a value differs from what is there; 1, 1.0 and True are different things to a reader of JSON."""
    if isinstance(present, (Map, Array)):
        return True
    return present != value or isinstance(present, bool) != isinstance(value, bool)
