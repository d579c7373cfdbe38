"""What a shared type may hold: the shapes of which kinds of artifacts are made.

A shape says three things of a shared type, or of a value inside of one: what may be written there
(`inside`, `takes`), what it looks like as JSON (`json_schema`, `typescript`), and by which class of Yjs a client
reaches it (`shared_typescript`). Shapes are plain values and know no engine.

Contents are named as in `quorate_protocol.contents.CONTENT_NAMES`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, cast

VALUES: Final = frozenset({"any", "json", "binary"})
"""The contents that are plain values: JSON, and bytes, which the JSON view shows as base64."""

SUBDOCUMENTS: Final = frozenset({"doc", "type:doc"})
"""The contents that are documents inside of a document: no shape takes them."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Base of all shapes; by itself, any JSON value.

    `noun` is what a sentence calls it. `contents` are what may stand where this shape is declared.
    """

    noun: ClassVar[str] = "a JSON value"
    contents: ClassVar[frozenset[str]] = VALUES

    def takes(self, content: str) -> bool:
        """Tell whether such content may stand where this shape is declared."""
        return content in self.contents

    def inside(self, key: str | None) -> Shape | None:  # noqa: ARG002 - the others look at it
        """Return the shape of what stands inside, under a key or (None) in a row; None if nothing may."""
        return None

    def expected_inside(self) -> str:
        """Say what may stand inside."""
        return "nothing"

    def json_schema(self) -> dict[str, object]:
        """Return the JSON Schema of the JSON view."""
        return {}

    def typescript(self) -> str:
        """Return the TypeScript type of the JSON view."""
        return "Json"

    def shared_typescript(self) -> str:
        """Return the TypeScript type of what a Yjs client holds."""
        return self.typescript()

    def guarded(self, value: object) -> object:
        """Return the part of a JSON view of this shape that decisions bind to."""
        return value

    def parts(self) -> tuple[Shape, ...]:
        """Return the shapes that this one is made of."""
        return ()


@dataclass(frozen=True, slots=True)
class ValueShape(Shape):
    """Any JSON value, or bytes: it is replaced as a whole, and does not merge."""


@dataclass(frozen=True, slots=True)
class AnyShape(Shape):
    """Any JSON value, or a shared type with anything in it, subdocuments excepted."""

    noun: ClassVar[str] = "a JSON value or a shared type"

    def takes(self, content: str) -> bool:
        """Take everything but subdocuments."""
        return content not in SUBDOCUMENTS

    def inside(self, key: str | None) -> Shape:  # noqa: ARG002 - anything goes under any key
        """Let anything stand inside."""
        return self

    def expected_inside(self) -> str:
        """Say that anything may."""
        return "anything"

    def shared_typescript(self) -> str:
        """Return the type of what may be either."""
        return "Json | Y.AbstractType<any>"


@dataclass(frozen=True, slots=True)
class _CharacterShape(Shape):
    """What a text holds in a row: characters, marks of formatting, and embedded JSON."""

    noun: ClassVar[str] = "characters"
    contents: ClassVar[frozenset[str]] = frozenset({"string", "format", "embed"})


@dataclass(frozen=True, slots=True)
class _XmlNodeShape(Shape):
    """What a fragment of XML holds in a row: elements and texts, with anything inside."""

    noun: ClassVar[str] = "XML elements and texts"
    contents: ClassVar[frozenset[str]] = frozenset({"type:xml-element", "type:xml-text", "type:xml-hook"})

    def inside(self, key: str | None) -> Shape:  # noqa: ARG002 - attributes and children alike
        """Let anything stand inside: what an element holds is up to the editor's schema."""
        return ANY


@dataclass(frozen=True, slots=True)
class TextShape(Shape):
    """A text (`Y.Text`): characters, formatting, embedded JSON. Its JSON view is the bare string."""

    noun: ClassVar[str] = "a text (Y.Text)"
    contents: ClassVar[frozenset[str]] = frozenset({"type:text"})

    def inside(self, key: str | None) -> Shape | None:
        """Let characters stand in a row."""
        return None if key is not None else _CHARACTERS

    def expected_inside(self) -> str:
        """Say what may stand inside."""
        return _CHARACTERS.noun

    def json_schema(self) -> dict[str, object]:
        """Return the schema of a string."""
        return {"type": "string"}

    def typescript(self) -> str:
        """Return the type of a string."""
        return "string"

    def shared_typescript(self) -> str:
        """Return the class of Yjs."""
        return "Y.Text"


@dataclass(frozen=True, slots=True)
class XmlShape(Shape):
    """A fragment of XML (`Y.XmlFragment`), as rich-text editors keep it. Its JSON view is the XML as a string."""

    noun: ClassVar[str] = "a fragment of XML (Y.XmlFragment)"
    contents: ClassVar[frozenset[str]] = frozenset({"type:xml-fragment"})

    def inside(self, key: str | None) -> Shape | None:
        """Let elements and texts stand in a row."""
        return None if key is not None else _XML_NODES

    def expected_inside(self) -> str:
        """Say what may stand inside."""
        return _XML_NODES.noun

    def json_schema(self) -> dict[str, object]:
        """Return the schema of a string of XML."""
        return {"type": "string", "contentMediaType": "application/xml"}

    def typescript(self) -> str:
        """Return the type of a string."""
        return "string"

    def shared_typescript(self) -> str:
        """Return the class of Yjs."""
        return "Y.XmlFragment"


@dataclass(frozen=True, slots=True)
class ListShape(Shape):
    """A list (`Y.Array`) of items of one shape. With `or_value`, nested, it may be one JSON value instead."""

    item: Shape
    or_value: bool = False

    noun: ClassVar[str] = "a list (Y.Array)"
    contents: ClassVar[frozenset[str]] = frozenset({"type:array"})

    def takes(self, content: str) -> bool:
        """Take a list, or a value where that may stand for one."""
        return content in self.contents or (self.or_value and content in VALUES)

    def inside(self, key: str | None) -> Shape | None:
        """Let items stand in a row."""
        return None if key is not None else self.item

    def expected_inside(self) -> str:
        """Say what may stand inside."""
        return "items without a key"

    def json_schema(self) -> dict[str, object]:
        """Return the schema of an array."""
        return _schema_or_value({"type": "array", "items": self.item.json_schema()}, or_value=self.or_value)

    def typescript(self) -> str:
        """Return the type of an array."""
        return _or_value(f"Array<{self.item.typescript()}>", or_value=self.or_value)

    def shared_typescript(self) -> str:
        """Return the class of Yjs."""
        return _or_value(f"Y.Array<{self.item.shared_typescript()}>", or_value=self.or_value)

    def guarded(self, value: object) -> object:
        """Return the guarded part of each item."""
        return [self.item.guarded(item) for item in cast("list[object]", value)] if isinstance(value, list) else value

    def parts(self) -> tuple[Shape, ...]:
        """Return the item's shape."""
        return (self.item,)


@dataclass(frozen=True, slots=True)
class Field:
    """A named entry of a map. Decisions do not bind to one that is not `guarded`."""

    name: str
    shape: Shape
    summary: str
    guarded: bool = True


@dataclass(frozen=True, slots=True)
class MapShape(Shape):
    """A map (`Y.Map`) of declared fields; other keys hold `rest`, and are refused without it.

    `name` is what pages and types call it. No field has to be there. With `or_value`, nested, it may be one JSON
    value instead.
    """

    name: str = ""
    fields: tuple[Field, ...] = ()
    rest: Shape | None = None
    or_value: bool = False

    noun: ClassVar[str] = "a map (Y.Map)"
    contents: ClassVar[frozenset[str]] = frozenset({"type:map"})

    def takes(self, content: str) -> bool:
        """Take a map, or a value where that may stand for one."""
        return content in self.contents or (self.or_value and content in VALUES)

    def inside(self, key: str | None) -> Shape | None:
        """Let what was declared stand under its key, and what else is allowed under any other."""
        if key is None:
            return None
        return next((field.shape for field in self.fields if field.name == key), self.rest)

    def expected_inside(self) -> str:
        """Say what may stand inside."""
        if self.rest is not None:
            return "entries with a key"
        return f"one of the fields {', '.join(field.name for field in self.fields)}"

    def json_schema(self) -> dict[str, object]:
        """Return the schema of an object."""
        members = {field.name: {**field.shape.json_schema(), "description": field.summary} for field in self.fields}
        rest = False if self.rest is None else self.rest.json_schema()
        schema: dict[str, object] = {"type": "object", "properties": members, "additionalProperties": rest}
        return _schema_or_value({"title": self.name, **schema} if self.name else schema, or_value=self.or_value)

    def typescript(self) -> str:
        """Return the name of the type of an object, or of a record when it has none."""
        plain = self.name or f"Record<string, {self.rest.typescript() if self.rest else 'never'}>"
        return _or_value(plain, or_value=self.or_value)

    def shared_typescript(self) -> str:
        """Return the class of Yjs."""
        shapes = [*(field.shape for field in self.fields), *([self.rest] if self.rest else [])]
        members = dict.fromkeys(shape.shared_typescript() for shape in shapes)
        return _or_value(f"Y.Map<{' | '.join(members) or 'never'}>", or_value=self.or_value)

    def guarded(self, value: object) -> object:
        """Return the guarded part of each guarded entry."""
        if not isinstance(value, Mapping):
            return value
        by_name = {field.name: field for field in self.fields}
        entries: dict[str, object] = {}
        for key, entry in cast("Mapping[str, object]", value).items():
            field = by_name.get(key)
            shape = self.rest if field is None else field.shape
            if field is None or field.guarded:
                entries[key] = entry if shape is None else shape.guarded(entry)
        return entries

    def parts(self) -> tuple[Shape, ...]:
        """Return the shapes of the fields and of the rest."""
        shapes = tuple(field.shape for field in self.fields)
        return shapes if self.rest is None else (*shapes, self.rest)


@dataclass(frozen=True, slots=True)
class Root:
    """A root type of a content.

    Decisions bind to it when it is `guarded`. In a discussion those may write too who may not edit. The
    JSON view leaves an optional one out while it is empty: one of several places where editors keep the same thing.
    """

    name: str
    shape: Shape
    guarded: bool
    summary: str
    is_discussion: bool = False
    is_optional: bool = False


@dataclass(frozen=True, slots=True)
class Kind:
    """What an artifact is: the first part of its name, and the root types of its content."""

    name: str
    title: str
    summary: str
    roots: tuple[Root, ...]

    def root(self, name: str) -> Root | None:
        """Return the root type of that name; None when none is declared."""
        return next((root for root in self.roots if root.name == name), None)

    @property
    def discussions(self) -> frozenset[str]:
        """The names of the root types in which a commenter may write."""
        return frozenset(root.name for root in self.roots if root.is_discussion)

    def json_schema(self) -> dict[str, object]:
        """Return the JSON Schema of the JSON view."""
        members = {root.name: {**root.shape.json_schema(), "description": root.summary} for root in self.roots}
        return {
            "title": self.title,
            "description": self.summary,
            "type": "object",
            "properties": members,
            "required": [root.name for root in self.roots if not root.is_optional],
            "additionalProperties": False,
        }


TEXT: Final = TextShape()
XML: Final = XmlShape()
VALUE: Final = ValueShape()
ANY: Final = AnyShape()

_CHARACTERS: Final = _CharacterShape()
_XML_NODES: Final = _XmlNodeShape()


def named_maps(shape: Shape) -> dict[str, MapShape]:
    """Return the maps with a name that a shape is made of, itself included, parts before wholes."""
    found: dict[str, MapShape] = {}
    for part in shape.parts():
        found |= named_maps(part)
    if isinstance(shape, MapShape) and shape.name:
        found[shape.name] = shape
    return found


def _or_value(typescript: str, *, or_value: bool) -> str:
    return f"{typescript} | Json" if or_value else typescript


def _schema_or_value(schema: dict[str, object], *, or_value: bool) -> dict[str, object]:
    # Anything goes; the first says what is meant.
    return {"anyOf": [schema, {}]} if or_value else schema
