"""What new documents start with: the files of a folder, one file a document.

`FOLDER/text/welcome.md` is the seed of the document `text/welcome`, and `FOLDER/configuration/approvals.json`, a JSON
object of roots, that of the artifact `configuration/approvals`. A seed is deterministic to the byte (a fixed client
id, one transaction), so that two servers that seeded the same name would still merge to one content.

`FOLDER/commands.json` is for the demo: commands that it gives once, in order, when it starts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from pycrdt import Array, Doc, Map, Text
from pydantic import TypeAdapter, ValidationError

from quorate_protocol.ids import DocumentName
from quorate_server.crdt_types import AnyDoc, AnyMap
from quorate_server.documents import SEED_CLIENT_ID
from quorate_server.errors import SettingsError
from quorate_server.kinds import Kind, find_kind
from quorate_server.rooms import Seeder, no_seed
from quorate_server.shapes import AnyShape, ListShape, MapShape, Shape, TextShape

TEXT_ROOT = "text"
"""The Yjs root that holds the body of a plain text document."""
COMMANDS = "commands.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeededCommand:
    """A command that the demo gives: its name, and what it takes."""

    name: str
    values: dict[str, object]


_PACKAGED = Path(__file__).parent / "seeds" / "workspace"
_CHECKOUT = Path(__file__).parents[2] / "seeds" / "workspace"


def seeds_folder() -> Path | None:
    """Return the folder of the sample workspace: the packaged copy, else the checkout's."""
    return next((folder for folder in (_PACKAGED, _CHECKOUT) if folder.is_dir()), None)


def text_seed(text: str) -> bytes:
    """Return the update that makes an empty document hold `text`; the same bytes for the same text."""
    doc: Doc[Text] = Doc(client_id=SEED_CLIENT_ID)
    body = doc.get(TEXT_ROOT, type=Text)
    body += text
    return doc.get_update()


def content_seed(kind: Kind, content: Mapping[str, object]) -> bytes:
    """Return the update that makes an empty artifact say a JSON content; the same bytes for the same content.

    Raises:
        SettingsError: it has a root that is no map, list or text of this kind.
    """
    doc: AnyDoc = Doc(client_id=SEED_CLIENT_ID)
    with doc.transaction():
        for name, value in content.items():
            root = kind.root(name)
            if root is None:
                raise SettingsError(f"a content of kind {kind.name!r} has no root {name!r}")
            _fill_root(doc, name, root.shape, value)
    return doc.get_update()


def _fill_root(doc: AnyDoc, name: str, shape: Shape, value: object) -> None:
    if isinstance(shape, MapShape) and isinstance(value, dict):
        members: AnyMap = doc.get(name, type=Map)
        for key, member in cast("dict[str, object]", value).items():
            members[key] = _shared(shape.inside(key), member)
    elif isinstance(shape, ListShape) and isinstance(value, list):
        items: Array[object] = doc.get(name, type=Array)
        items.extend([_shared(shape.item, item) for item in cast("list[object]", value)])
    elif isinstance(shape, TextShape) and isinstance(value, str):
        body = doc.get(name, type=Text)
        body += value
    else:
        raise SettingsError(f"the root {name!r} is {shape.noun}, not {type(value).__name__}")


def _shared(shape: Shape | None, value: object) -> object:
    """Return a JSON value as what editors merge best, where the shape lets it be that: a map, a list or a text."""
    if isinstance(shape, TextShape) and isinstance(value, str):
        return Text(value)
    if isinstance(shape, (MapShape, AnyShape)) and isinstance(value, dict):
        members = cast("dict[str, object]", value)
        return Map({key: _shared(shape.inside(key), member) for key, member in members.items()})
    if isinstance(shape, ListShape) and not shape.or_value and isinstance(value, list):
        return Array([_shared(shape.item, item) for item in cast("list[object]", value)])
    return value


def seeder_from(folder: Path | None) -> Seeder:
    """Return the seeder of a folder, read once; without a folder nothing is seeded.

    Raises:
        SettingsError: a file is no seed of what it is named after.
    """
    if folder is None:
        return no_seed
    seeds = {_name_of(path, folder): text_seed(path.read_text("utf-8")) for path in sorted(folder.rglob("*.md"))}
    for path in _contents(folder):
        seeds[_name_of(path, folder)] = _content_of(path, folder)

    def seed(name: DocumentName) -> bytes:
        return seeds.get(name, b"")

    return seed


def seeded_names(folder: Path | None) -> list[str]:
    """Return the names of the documents that a folder seeds with a text."""
    return [] if folder is None else [_name_of(path, folder) for path in sorted(folder.rglob("*.md"))]


def seeded_artifacts(folder: Path | None) -> list[str]:
    """Return the names of the artifacts that a folder seeds with a JSON content."""
    return [] if folder is None else [_name_of(path, folder) for path in _contents(folder)]


def seeded_commands(folder: Path | None) -> list[SeededCommand]:
    """Return the commands of a folder, in their order.

    Raises:
        SettingsError: the file holds something else.
    """
    path = None if folder is None else folder / COMMANDS
    if path is None or not path.exists():
        return []
    try:
        return TypeAdapter(list[SeededCommand]).validate_json(path.read_bytes())
    except ValidationError as error:
        raise SettingsError(f"{COMMANDS} must be a list of objects with `name` and `values`: {error}") from error


def _contents(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.json") if path.parent != folder)


def _name_of(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _content_of(path: Path, folder: Path) -> bytes:
    name = _name_of(path, folder)
    kind = find_kind(DocumentName(name))
    if kind is None:
        raise SettingsError(f"{path.name} seeds {name!r}, which is no artifact")
    try:
        found: object = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise SettingsError(f"the seed of {name!r} is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise SettingsError(f"the seed of {name!r} must be a JSON object of roots")
    return content_seed(kind, cast("dict[str, object]", found))
