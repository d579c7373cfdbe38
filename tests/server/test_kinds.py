"""Kinds: their names and declarations, the JSON view, the content hash, and the pages drawn from them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text, XmlElement, XmlFragment, XmlText

from quorate_protocol.errors import NameRefused
from quorate_protocol.ids import DocumentName
from quorate_protocol.updates import measure_update
from quorate_server.kinds import (
    KINDS,
    artifact_of,
    check_name,
    content_hash,
    find_kind,
    guarded_projection,
    is_record,
    kind_of,
    record_name,
    view,
)
from quorate_server.kinds_page import CHECKOUT, PAGE, TYPES, kinds_markdown, kinds_schema, kinds_typescript
from quorate_server.outlines import Outline
from quorate_server.seeding import TEXT_ROOT, text_seed
from quorate_server.shapes import named_maps

# Names


@pytest.mark.parametrize(
    ("name", "kind", "is_a_record"),
    [
        ("plan/x", "plan", False),
        ("code/a/b", "code", False),
        ("plan/", None, False),
        ("plan", None, False),
        ("notes/x", None, False),
        ("plan/record", "plan", False),
        ("plan//record", "plan", False),
        ("notes/x/record", None, False),
        ("plan/x/record", None, True),
        ("plan/a/b/record", None, True),
    ],
)
def test_what_a_name_declares(name: str, kind: str | None, *, is_a_record: bool) -> None:
    document = DocumentName(name)
    found = find_kind(document)
    assert (found.name if found else None) == kind
    assert is_record(document) is is_a_record
    if found is not None:
        assert kind_of(document) == kind


def test_a_record_has_the_kind_of_its_artifact_and_no_shape() -> None:
    assert kind_of(DocumentName("plan/x/record")) == "plan"
    assert kind_of(DocumentName("notes/x/record")) == "text"


@given(st.sampled_from(sorted(KINDS)), st.text(min_size=1, max_size=20))
def test_an_artifact_and_its_record_name_each_other(kind: str, slug: str) -> None:
    name = DocumentName(f"{kind}/{slug}")
    if is_record(name):
        with pytest.raises(NameRefused, match="only artifacts have records"):
            record_name(name)
        return
    record = record_name(name)
    assert record == f"{name}/record"
    assert is_record(record)
    assert artifact_of(record) == name
    assert artifact_of(name) == name
    check_name(name)
    check_name(record)


def test_a_plain_document_has_no_record() -> None:
    with pytest.raises(NameRefused, match="only artifacts have records"):
        record_name(DocumentName("my-room"))
    assert artifact_of(DocumentName("my-room/record")) == "my-room/record"


def test_a_record_has_no_record() -> None:
    with pytest.raises(NameRefused, match="records have none"):
        check_name(DocumentName("text/a/record/record"))


# Declarations


def test_the_kinds_are_those_of_the_design() -> None:
    assert list(KINDS) == [
        "approval", "plan", "notebook", "text", "code",
        "configuration", "workflow", "diagram", "spreadsheet", "presentation",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_every_kind_has_a_discussion_and_something_guarded(kind: Any) -> None:
    comments = kind.root("comments")
    assert comments.is_discussion
    assert not comments.guarded
    assert any(root.guarded for root in kind.roots)
    assert len({root.name for root in kind.roots}) == len(kind.roots)


def test_a_map_has_one_meaning_in_all_kinds() -> None:
    shapes: dict[str, object] = {}
    for kind in KINDS.values():
        for root in kind.roots:
            for name, shape in named_maps(root.shape).items():
                assert shapes.setdefault(name, shape) == shape


def _judged(kind: str, doc: Doc[Any]) -> str | None:
    update = doc.get_update()
    return Outline(KINDS[kind]).judge(update, measure_update(update)).fault


def test_a_seed_fits_the_kind_text() -> None:
    seed = text_seed("hello")
    judgement = Outline(KINDS["text"]).judge(seed, measure_update(seed))
    assert judgement.fault is None
    assert judgement.roots == {TEXT_ROOT}


@pytest.mark.parametrize(
    ("root", "value"),
    [
        ("default", XmlFragment([XmlElement("paragraph", {"level": "1"}, [XmlText("hi")])])),
        ("prosemirror", XmlFragment([XmlElement("paragraph", {}, [XmlText("hi")])])),
        ("document-store", XmlFragment([XmlElement("blockgroup", {}, [XmlElement("blockcontainer")])])),
        ("quill", Text("hi")),
        ("codemirror", Text("hi")),
        ("monaco", Text("hi")),
        ("threads", Map({"t": Map({"comments": Array([Map({"body": "hi"})])})})),
    ],
)
def test_stock_editors_find_their_root_in_a_text(root: str, value: Any) -> None:
    doc: Doc[Any] = Doc()
    doc[root] = value
    assert _judged("text", doc) is None


def test_a_notebook_is_what_jupyter_writes() -> None:
    doc: Doc[Any] = Doc()
    outputs = Array([Map({"output_type": "stream", "name": "stdout", "text": Text("1\n")}), {"output_type": "error"}])
    cell = {"id": "a", "cell_type": "code", "source": Text("print(1)"), "metadata": Map({"trusted": True})}
    doc["cells"] = Array([Map({**cell, "outputs": outputs, "execution_count": 1, "execution_state": "idle"})])
    doc["meta"] = Map({"nbformat": 4, "nbformat_minor": 5, "metadata": Map({"kernelspec": Map({"name": "python3"})})})
    doc["state"] = Map({"dirty": False, "path": "a.ipynb"})
    assert _judged("notebook", doc) is None


# The view and the hash


def _approval() -> Doc[Any]:
    doc: Doc[Any] = Doc()
    tags = Array(["gdpr"])
    doc["request"] = Map({"title": "Access", "priority": 3, "justification": Text("Because."), "compliance_tags": tags})
    doc["fields"] = Map({"rows": 3, "scope": Map({"tables": Array(["a", "b"])})})
    doc["attachments"] = Array([Map({"name": "a.pdf", "sha256": "00", "size_bytes": 5})])
    doc["comments"] = Map({"c1": Map({"body": Text("Why?")})})
    return doc


def test_the_view_holds_the_declared_roots_as_their_shapes_say() -> None:
    doc = _approval()
    doc["stray"] = Text("x")
    assert view(KINDS["approval"], doc.get_update()) == {
        "request": {"title": "Access", "priority": 3, "justification": "Because.", "compliance_tags": ["gdpr"]},
        "fields": {"rows": 3, "scope": {"tables": ["a", "b"]}},
        "attachments": [{"name": "a.pdf", "sha256": "00", "size_bytes": 5}],
        "comments": {"c1": {"body": "Why?"}},
    }


def test_the_view_of_an_empty_document_holds_all_roots_but_optional_ones() -> None:
    empty = Doc[Any]().get_update()
    assert view(KINDS["text"], empty) == {"text": ""}
    assert view(KINDS["plan"], empty) == {"plan": {}, "steps": []}


def test_the_view_leaves_out_what_does_not_fit() -> None:
    doc: Doc[Any] = Doc()
    doc["plan"] = Map({"description": 1, "parameters": Text("x"), "title": Map()})
    doc["steps"] = Array([1, Map({"id": "a", "needs": Array([Map(), "b"])}), Text("x")])
    doc["comments"] = Text("x")
    expected = {"plan": {}, "steps": [{"id": "a", "needs": ["b"]}]}
    assert view(KINDS["plan"], doc.get_update()) == expected


def test_rich_text_is_shown_as_xml_and_formatting_of_a_text_is_left_out() -> None:
    doc: Doc[Any] = Doc()
    doc["default"] = XmlFragment([XmlElement("p", {"a": "1"}, [XmlText("hi")])])
    text = doc.get("text", type=Text)
    text.insert(0, "bold", {"bold": True})
    expected = {"text": "bold", "default": '<p a="1">hi</p>'}
    assert view(KINDS["text"], doc.get_update()) == expected


def test_what_json_cannot_say_becomes_a_string() -> None:
    doc: Doc[Any] = Doc()
    odd = {"nan": float("nan"), "up": float("inf"), "down": float("-inf"), "bytes": b"\x00\xff", "half": 0.5}
    doc["fields"] = Map({"odd": odd, "list": Array([3.0, None, True])})
    fields = view(KINDS["approval"], doc.get_update())["fields"]
    odd_view = {"nan": "NaN", "up": "Infinity", "down": "-Infinity", "bytes": "AP8=", "half": 0.5}
    assert fields == {"odd": odd_view, "list": [3, None, True]}
    json.dumps(fields, allow_nan=False)


def test_the_guarded_projection_holds_what_decisions_bind_to() -> None:
    kind = KINDS["approval"]
    projection = guarded_projection(kind, view(kind, _approval().get_update()))
    assert projection == {
        "request": {"priority": 3, "justification": "Because.", "compliance_tags": ["gdpr"]},
        "fields": {"rows": 3, "scope": {"tables": ["a", "b"]}},
        "attachments": [{"sha256": "00", "size_bytes": 5}],
    }


def _hash_of(doc: Doc[Any]) -> str:
    kind = KINDS["approval"]
    return content_hash(kind.name, guarded_projection(kind, view(kind, doc.get_update())))


def test_comments_and_titles_do_not_change_the_hash_and_guarded_edits_do() -> None:
    doc = _approval()
    before = _hash_of(doc)
    doc.get("comments", type=Map)["c2"] = Map({"body": Text("Well.")})
    doc.get("request", type=Map)["title"] = "Another"
    assert _hash_of(doc) == before
    reason = doc.get("request", type=Map)["justification"]
    reason.insert(0, "!")
    assert _hash_of(doc) != before
    del reason[0:1]
    assert _hash_of(doc) == before


def test_the_hash_is_sha256_over_canonical_json() -> None:
    assert content_hash("plan", {"b": 3.0, "a": [True, None]}) == content_hash("plan", {"a": [True, None], "b": 3})
    # printf '{"content":{},"kind":"plan"}' | sha256sum
    assert content_hash("plan", {}) == "d814f0eea1ce7b8373a9f4406cbb305e0c83a30c115427e1021e94983bfd3a90"
    assert content_hash("plan", {}) != content_hash("text", {})


def test_numbers_beyond_json_have_a_hash_of_their_own() -> None:
    hashes = {content_hash("plan", {"n": n}) for n in (2**53, 2**53 + 1, float("nan"), float("inf"), None)}
    assert len(hashes) == 5
    assert content_hash("plan", {"n": 2**53 + 1}) == content_hash("plan", {"n": str(2**53 + 1)})


# What is drawn from the declarations


def test_the_page_says_what_is_declared() -> None:
    """`python -m quorate_server.kinds_page` brings both files up to date."""
    assert (CHECKOUT / PAGE).read_text(encoding="utf-8") == kinds_markdown()


def test_the_types_of_the_web_client_are_what_is_declared() -> None:
    assert (CHECKOUT / TYPES).read_text(encoding="utf-8") == kinds_typescript()


def test_the_schema_names_every_root_and_is_json() -> None:
    schema = json.loads(json.dumps(kinds_schema()))
    assert {kind["name"]: [root["name"] for root in kind["roots"]] for kind in schema} == {
        kind.name: [root.name for root in kind.roots] for kind in KINDS.values()
    }
    [plan] = [kind for kind in schema if kind["name"] == "plan"]
    assert plan["schema"]["properties"]["steps"]["items"]["title"] == "PlanStep"
