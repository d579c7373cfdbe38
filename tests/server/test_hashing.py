"""The content hash that is kept piece by piece equals the one that its definition gives, and quickly."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text

from quorate_protocol.ids import DocumentName
from quorate_server.artifacts import open_artifact
from quorate_server.hashing import ContentHasher, _canonical, pieces_of
from quorate_server.kinds import KINDS, content_hash, guarded_projection, view
from tests.server.houses import Guest, open_room, open_rooms, until

NOTEBOOK = KINDS["notebook"]


def defined(kind: str, doc: Doc[Any]) -> str:
    """The hash by its definition: everything anew, from the bytes."""
    return content_hash(kind, guarded_projection(KINDS[kind], view(KINDS[kind], doc.get_update())))


@given(st.text())
def test_a_text_is_canonical_as_the_standard_library_writes_it(text: str) -> None:
    assert _canonical(text) == rfc8785.dumps(text)


def test_the_definition_can_be_followed_by_hand() -> None:
    doc: Doc[Any] = Doc()
    doc.get("request", type=Map).update({"title": "cosmetic", "subject": "table/x", "priority": 3})
    doc.get("comments", type=Map)["c"] = Map({"author": "anna"})
    guarded = (
        '{"content":{"attachments":[],"fields":{},"request":{"priority":3,"subject":"table/x"}},"kind":"approval"}'
    )
    assert defined("approval", doc) == hashlib.sha256(guarded.encode()).hexdigest()
    assert ContentHasher(KINDS["approval"], doc).content_hash() == defined("approval", doc)


@pytest.mark.parametrize("kind", list(KINDS))
def test_an_empty_content_has_its_hash(kind: str) -> None:
    doc: Doc[Any] = Doc()
    assert ContentHasher(KINDS[kind], doc).content_hash() == defined(kind, doc)
    # Only a text may be left out of the view while it is empty: the pieces know of no other case.
    optional = [root for root in KINDS[kind].roots if root.guarded and root.is_optional]
    assert all(type(root.shape).__name__ in {"TextShape", "XmlShape"} for root in optional)


STEPS = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 20), st.sampled_from(["a", "bé\n", 7, 2.5, True, None])),
    max_size=40,
)


def edit_notebook(doc: Doc[Any], step: tuple[int, int, object]) -> None:
    what, where, value = step
    cells, meta = doc.get("cells", type=Array), doc.get("meta", type=Map)
    if what <= 2 or not len(cells):
        cells.insert(where % (len(cells) + 1), Map({"id": f"c{where}", "source": Text("x = 1"), "metadata": Map()}))
    elif what == 3:
        del cells[where % len(cells)]
    elif what == 4:
        cells[where % len(cells)]["source"].insert(0, str(value))
    elif what == 5:
        cells[where % len(cells)]["metadata"][f"k{where % 3}"] = value
    elif what == 6:
        cells[where % len(cells)]["execution_count"] = where  # not guarded
    elif what == 7:
        meta[f"k{where % 4}"] = value
    elif what == 8 and f"k{where % 4}" in meta:
        del meta[f"k{where % 4}"]
    else:
        doc.get("comments", type=Map)["c"] = Map({"author": str(value)})


@settings(deadline=None)
@given(st.lists(STEPS, min_size=1, max_size=5), st.integers(0, 4))
def test_after_any_edits_it_equals_its_definition(rounds: list[list[tuple[int, int, object]]], moved: int) -> None:
    """However edits fall into transactions, and whether pieces are made here or elsewhere while edits come."""
    doc: Doc[Any] = Doc()
    hasher = ContentHasher(NOTEBOOK, doc)
    for number, steps in enumerate(rounds):
        made = None
        if number == moved:
            hasher.record()
            made = pieces_of("notebook", doc.get_update())
        with doc.transaction():
            for step in steps[: len(steps) // 2]:
                edit_notebook(doc, step)
        for step in steps[len(steps) // 2 :]:
            edit_notebook(doc, step)
        if made is not None:
            hasher.adopt(made)
        assert hasher.content_hash() == defined("notebook", doc)
    hasher.close()


async def test_a_notebook_of_5_mb_does_not_keep_the_loop() -> None:
    """Its pieces are made elsewhere, edits that come meanwhile count, and hashing after an edit is quick.

    Quick is told by what is done again, not by the clock: the pieces of the one cell that was touched.
    """
    name = DocumentName("notebook/large")
    async with open_rooms() as rooms:
        room = await open_room(rooms, name)
        anna = Guest(room, "anna")
        cells = anna.doc.get("cells", type=Array)
        with anna.doc.transaction():
            for number in range(1000):
                cells.append(Map({"id": f"c{number}", "source": Text(f"line = {number}\n" * 480)}))
        anna.send(anna.made[-1])
        await until(lambda: room.is_durable, "durable")
        async with open_artifact(rooms, name) as artifact:
            state = room.live.encode()
            assert len(state) > 5_000_000
            preparing = asyncio.create_task(artifact.prepare_hash())
            await asyncio.sleep(0)  # the state is on its way to the child
            anna.made.clear()
            cells[500]["source"] += "meanwhile"
            del cells[3]
            for made in anna.made:
                anna.send(made)
            room.hand_over()
            await preparing

            hasher = room.live.hasher(NOTEBOOK)
            missing = [piece for piece in hasher._pieces["cells"] if piece is None]
            assert len(missing) == 1
            assert artifact.content_hash() == defined("notebook", anna.doc)


def test_canonical_json_of_pieces_is_json() -> None:
    doc: Doc[Any] = Doc()
    doc.get("cells", type=Array).append(Map({"id": "a", "source": Text('quote " and \u2028')}))
    [piece] = pieces_of("notebook", doc.get_update())["cells"]
    assert json.loads(piece or b"") == {"id": "a", "source": 'quote " and \u2028'}
