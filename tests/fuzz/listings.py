"""Brings the listing of an update by Yjs, and ours, into one form to compare them in."""

from typing import Any

from quorate_protocol.updates import DecodedUpdate, Struct

_CONTENTS = {
    "ContentAny": "any",
    "ContentBinary": "binary",
    "ContentDeleted": "deleted",
    "ContentDoc": "doc",
    "ContentEmbed": "embed",
    "ContentFormat": "format",
    "ContentJSON": "json",
    "ContentString": "string",
}
_TYPES = {
    "YArray": "type:array",
    "YMap": "type:map",
    "YText": "type:text",
    "YXmlElement": "type:xml-element",
    "YXmlFragment": "type:xml-fragment",
    "YXmlHook": "type:xml-hook",
    "YXmlText": "type:xml-text",
}
_KINDS = {"Item": "item", "GC": "gc", "Skip": "skip"}


def ours(update: DecodedUpdate) -> tuple[list[Struct], list[tuple[int, int, int]]]:
    """List what we read, deleted ranges sorted: Yjs groups them by client."""
    return list(update.structs), sorted(update.deletes)


def theirs(listing: dict[str, Any]) -> tuple[list[Struct], list[tuple[int, int, int]]]:
    """List what Yjs read."""
    structs = [_struct(each) for each in listing["structs"]]
    return structs, sorted(tuple(each) for each in listing["deletes"])


def _struct(listed: dict[str, Any]) -> Struct:
    return Struct(
        client=listed["client"],
        clock=listed["clock"],
        length=listed["length"],
        kind=_KINDS[listed["kind"]],  # type: ignore[arg-type]  # mypy widens the values to str
        content=_content(listed),
        parent=_id(listed.get("parent")),
        key=listed.get("key"),
        origin=_id(listed.get("origin")),
        right_origin=_id(listed.get("rightOrigin")),
    )


def _content(listed: dict[str, Any]) -> str | None:
    if listed["kind"] != "Item":
        return None
    return _TYPES[listed["type"]] if listed["type"] else _CONTENTS[listed["content"]]


def _id(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
