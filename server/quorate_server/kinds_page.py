"""What the declared kinds look like from outside: a page, the types of the web client, and a schema.

    python -m quorate_server.kinds_page

brings `docs/kinds.md` and `clients/js-demo/kinds.d.ts` of a checkout up to date; a test compares them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from quorate_server.kinds import KINDS
from quorate_server.shapes import Field, Kind, MapShape, Root, named_maps

CHECKOUT: Final = Path(__file__).parents[2]
PAGE: Final = Path("docs", "kinds.md")
TYPES: Final = Path("clients", "js-demo", "kinds.d.ts")

_INTRODUCTION: Final = """\
# Kinds of artifacts

This page is drawn from `server/quorate_server/kinds.py`.
Run `python -m quorate_server.kinds_page` to bring it up to date.
A document called `kind/slug` is an artifact of that kind, and its content holds the root types that are listed here.
An update that does not fit is refused: its author is told what was expected and what came.
A document with any other name is a plain document, in which an editor may keep whatever it likes.

Decisions bind to what is guarded: the content hash is made of it.
In a discussion those may write too who may comment but not edit.
Where several root types stand for the same thing, each is there for the editors that use it.
What is called a value is any JSON; it is replaced as a whole, and does not merge.
No field of a map has to be there.
"""

_TYPES_HEAD: Final = """\
// Drawn from server/quorate_server/kinds.py: run `python -m quorate_server.kinds_page` to bring it up to date.
import type * as Y from 'yjs'

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }
"""


def kinds_markdown() -> str:
    """Return the page of all kinds, as Markdown."""
    lines = [line for kind in KINDS.values() for line in _kind_section(kind)]
    return "\n".join([_INTRODUCTION.rstrip(), *lines, *_shared_section(), ""])


def kinds_typescript() -> str:
    """Return the types of the JSON view and of the root types of all kinds, as a TypeScript declaration file."""
    maps = {name: shape for kind in KINDS.values() for name, shape in _maps_of(kind).items()}
    parts = [_TYPES_HEAD, *(_interface(shape) for shape in maps.values())]
    for kind in KINDS.values():
        views = [(root, root.shape.typescript(), root.is_optional) for root in kind.roots]
        shared = [(root, root.shape.shared_typescript(), False) for root in kind.roots]
        parts.append(_members(f"{_pascal(kind)}View", f"The JSON view: {kind.summary}", views))
        parts.append(_members(f"{_pascal(kind)}Roots", "Its root types, as a Yjs client gets them by name.", shared))
    for name, suffix in (("Views", "View"), ("Roots", "Roots")):
        rows = "".join(f"  {kind.name}: {_pascal(kind)}{suffix}\n" for kind in KINDS.values())
        parts.append(f"/** By the name of the kind. */\nexport interface {name} {{\n{rows}}}\n")
    return "\n".join(parts)


def kinds_schema() -> list[dict[str, object]]:
    """Return all kinds for programs: each with its root types and the JSON Schema of its view."""
    return [
        {
            "name": kind.name,
            "title": kind.title,
            "summary": kind.summary,
            "roots": [
                {
                    "name": root.name,
                    "type": root.shape.shared_typescript(),
                    "summary": root.summary,
                    "guarded": root.guarded,
                    "discussion": root.is_discussion,
                    "optional": root.is_optional,
                }
                for root in kind.roots
            ],
            "schema": kind.json_schema(),
        }
        for kind in KINDS.values()
    ]


# The page


def _kind_section(kind: Kind) -> Iterator[str]:
    yield f"\n## {kind.title}: `{kind.name}/...`\n"
    yield f"{kind.summary}\n"
    yield "| root type | is | guarded | what it holds |"
    yield "|---|---|---|---|"
    for root in kind.roots:
        discussion = " A discussion." if root.is_discussion else ""
        yield f"| `{root.name}` | {_cell(_holds(root))} | {_yes(is_so=root.guarded)} | {root.summary}{discussion} |"
    for name, shape in _maps_of(kind).items():
        if name not in _shared_maps():
            yield from _fields_table(shape, f"\n`{name}`")


def _shared_section() -> Iterator[str]:
    yield "\n## In every kind"
    for name, shape in _shared_maps().items():
        yield from _fields_table(shape, f"\n`{name}`, never guarded")


def _fields_table(shape: MapShape, title: str) -> Iterator[str]:
    yield f"{title}{'' if shape.rest is None else '; other keys hold values'}:\n"
    yield "| field | is | guarded | what it says |"
    yield "|---|---|---|---|"
    for field in shape.fields:
        is_guarded = _yes(is_so=field.guarded and shape.name not in _shared_maps())
        yield f"| `{field.name}` | {_cell(_called(field))} | {is_guarded} | {field.summary} |"


def _shared_maps() -> dict[str, MapShape]:
    """Return the maps that all kinds have in common."""
    first, *others = (_maps_of(kind) for kind in KINDS.values())
    return {name: shape for name, shape in first.items() if all(name in other for other in others)}


def _holds(root: Root) -> str:
    shape = root.shape
    outside = f"`{shape.shared_typescript().partition('<')[0]}`"
    inside = shape.name if isinstance(shape, MapShape) and shape.name else ""
    if not inside and shape.parts():
        inside = shape.parts()[-1].typescript()
    return f"{outside} of `{inside}`" if inside else outside


def _called(field: Field) -> str:
    shared, plain = field.shape.shared_typescript(), field.shape.typescript()
    return "value" if shared == plain == "Json" else f"`{shared}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _yes(*, is_so: bool) -> str:
    return "yes" if is_so else "no"


# The types


def _maps_of(kind: Kind) -> dict[str, MapShape]:
    return {name: shape for root in kind.roots for name, shape in named_maps(root.shape).items()}


def _interface(shape: MapShape) -> str:
    rows = "".join(_member(field.name, field.shape.typescript(), field.summary, "?") for field in shape.fields)
    rest = "" if shape.rest is None else "  [key: string]: unknown\n"
    return f"export interface {shape.name} {{\n{rows}{rest}}}\n"


def _members(name: str, summary: str, members: Sequence[tuple[Root, str, bool]]) -> str:
    rows = "".join(_member(root.name, kind, root.summary, "?" if may_lack else "") for root, kind, may_lack in members)
    return f"/** {summary} */\nexport interface {name} {{\n{rows}}}\n"


def _member(name: str, kind: str, summary: str, mark: str) -> str:
    quoted = name if name.isidentifier() else f"'{name}'"
    return f"  /** {summary} */\n  {quoted}{mark}: {kind}\n"


def _pascal(kind: Kind) -> str:
    return kind.name.capitalize()


def main() -> None:
    """Write both files anew."""
    (CHECKOUT / PAGE).write_text(kinds_markdown(), encoding="utf-8")
    (CHECKOUT / TYPES).write_text(kinds_typescript(), encoding="utf-8")


if __name__ == "__main__":
    main()
