"""A document of no kind as JSON: each root is read as what it looks like."""

from __future__ import annotations

from pycrdt import Array, Doc, Map, Text, XmlFragment

from quorate_protocol.deletions import is_inside, ranges_by_client
from quorate_protocol.parents import ParentFinder
from quorate_protocol.updates import DecodedUpdate, DeleteRange, decode_update
from quorate_server.crdt_types import AnyDoc, AnyRoot


def render_json(state: bytes) -> dict[str, object]:
    """Return the JSON view of an encoded state: one member for each root.

    Yjs does not store what a root is, only its content, so each is read as what it looks like: text as a
    string (formatting left out), a map as an object, a list as an array, XML as a string.
    Decoded from a copy: naming a root's kind would change the live document for its readers.
    """
    doc: AnyDoc = Doc()
    doc.apply_update(state)
    kinds = _root_kinds(decode_update(state))
    view: dict[str, object] = {}
    for name in sorted(doc.keys()):
        kind = kinds.get(name, Map)
        root = doc.get(name, type=kind)
        view[name] = str(root) if kind in {Text, XmlFragment} else root.to_py()
    return view


RootKind = type[AnyRoot]


def _root_kinds(listing: DecodedUpdate) -> dict[str, RootKind]:
    """Tell what each root looks like from what it contains; what is deleted, maybe not yet freed, tells nothing."""
    deleted = ranges_by_client(listing.deletes)
    kinds: dict[str, RootKind] = {}
    for struct, root in ParentFinder(listing.structs).children_of_roots():
        if struct.key is not None:  # what follows it under the same key does not repeat the key
            kinds[root] = Map
            continue
        if is_inside(DeleteRange(struct.client, struct.clock, struct.length), deleted.get(struct.client, [])):
            continue
        if struct.content in {"string", "format", "embed"}:
            kinds[root] = Text
        elif (struct.content or "").startswith("type:xml"):
            kinds[root] = XmlFragment
        elif struct.content not in {None, "deleted"}:
            kinds.setdefault(root, Array)
    return kinds
