"""Shapes: what may stand where, and what they look like as a schema and as a type."""

from __future__ import annotations

import pytest

from quorate_protocol.contents import CONTENT_NAMES, TYPE_NAMES
from quorate_server.shapes import ANY, TEXT, VALUE, XML, Field, Kind, ListShape, MapShape, Root, Shape, named_maps

_OPEN = MapShape("Open", (Field("a", TEXT, "A text."),), VALUE)
_CLOSED = MapShape("Closed", (Field("a", TEXT, "A text."), Field("b", VALUE, "A value.", guarded=False)))

_CONTENTS = ({*CONTENT_NAMES.values()} | {*TYPE_NAMES.values()}) - {"type", "deleted"}


def _taken(shape: Shape | None) -> set[str]:
    assert shape is not None
    return {content for content in _CONTENTS if shape.takes(content)}


@pytest.mark.parametrize(
    ("shape", "contents"),
    [
        (TEXT, {"type:text"}),
        (XML, {"type:xml-fragment"}),
        (VALUE, {"any", "json", "binary"}),
        (ListShape(VALUE), {"type:array"}),
        (ListShape(VALUE, or_value=True), {"type:array", "any", "json", "binary"}),
        (MapShape(), {"type:map"}),
        (MapShape(or_value=True), {"type:map", "any", "json", "binary"}),
        (ANY, _CONTENTS - {"doc", "type:doc"}),
    ],
)
def test_what_may_stand_for_a_shape(shape: Shape, contents: set[str]) -> None:
    assert _taken(shape) == contents


def test_a_text_holds_characters_in_a_row() -> None:
    assert _taken(TEXT.inside(None)) == {"string", "format", "embed"}
    assert TEXT.inside("key") is None


def test_xml_holds_elements_in_a_row_and_anything_inside_of_them() -> None:
    nodes = XML.inside(None)
    assert _taken(nodes) == {"type:xml-element", "type:xml-text", "type:xml-hook"}
    assert nodes is not None
    assert nodes.inside("attribute") == nodes.inside(None) == ANY
    assert XML.inside("key") is None


def test_a_list_holds_its_items_in_a_row() -> None:
    assert ListShape(_CLOSED).inside(None) is _CLOSED
    assert ListShape(_CLOSED).inside("key") is None


def test_a_map_holds_its_fields_and_under_other_keys_the_rest() -> None:
    assert _OPEN.inside("a") is TEXT
    assert _OPEN.inside("z") is VALUE
    assert _CLOSED.inside("z") is None
    assert _OPEN.inside(None) is None


def test_a_value_holds_nothing() -> None:
    assert VALUE.inside(None) is VALUE.inside("key") is None


@pytest.mark.parametrize(
    ("shape", "plain", "shared"),
    [
        (TEXT, "string", "Y.Text"),
        (XML, "string", "Y.XmlFragment"),
        (VALUE, "Json", "Json"),
        (ANY, "Json", "Json | Y.AbstractType<any>"),
        (ListShape(TEXT), "Array<string>", "Y.Array<Y.Text>"),
        (ListShape(VALUE, or_value=True), "Array<Json> | Json", "Y.Array<Json> | Json"),
        (_OPEN, "Open", "Y.Map<Y.Text | Json>"),
        (MapShape(rest=_CLOSED), "Record<string, Closed>", "Y.Map<Y.Map<Y.Text | Json>>"),
    ],
)
def test_types(shape: Shape, plain: str, shared: str) -> None:
    assert shape.typescript() == plain
    assert shape.shared_typescript() == shared


def test_a_schema_is_closed_where_nothing_else_may_stand() -> None:
    assert _CLOSED.json_schema() == {
        "title": "Closed",
        "type": "object",
        "properties": {"a": {"type": "string", "description": "A text."}, "b": {"description": "A value."}},
        "additionalProperties": False,
    }
    assert ListShape(_OPEN).json_schema() == {
        "type": "array",
        "items": {
            "title": "Open",
            "type": "object",
            "properties": {"a": {"type": "string", "description": "A text."}},
            "additionalProperties": {},
        },
    }
    assert ListShape(VALUE, or_value=True).json_schema() == {"anyOf": [{"type": "array", "items": {}}, {}]}


def test_the_guarded_part_leaves_out_fields_at_any_depth() -> None:
    shape = MapShape(rest=ListShape(_CLOSED, or_value=True))
    value = {"x": [{"a": "t", "b": 1}, {"b": 2}], "y": "a value instead"}
    assert shape.guarded(value) == {"x": [{"a": "t"}, {}], "y": "a value instead"}


def test_maps_with_a_name_are_found_parts_first() -> None:
    outer = MapShape("Outer", (Field("inner", ListShape(_OPEN), ""),), _CLOSED)
    assert list(named_maps(ListShape(outer))) == ["Open", "Closed", "Outer"]


def test_a_kind_finds_its_roots_and_discussions() -> None:
    kind = Kind(
        "k",
        "K",
        "",
        (
            Root("text", TEXT, guarded=True, summary="Body."),
            Root("other", TEXT, guarded=True, summary="Body.", is_optional=True),
            Root("notes", ListShape(VALUE), guarded=False, summary="Notes.", is_discussion=True),
        ),
    )
    assert kind.root("notes") is kind.roots[2]
    assert kind.root("stray") is None
    assert kind.discussions == {"notes"}
    assert kind.json_schema()["required"] == ["text", "notes"]
