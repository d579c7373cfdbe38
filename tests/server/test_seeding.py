"""Seeds of artifacts: JSON files that become contents, the same bytes wherever they are read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Doc, Map, Text

from quorate_protocol.ids import DocumentName
from quorate_server.errors import SettingsError
from quorate_server.kinds import KINDS
from quorate_server.seeding import (
    content_seed,
    seeded_artifacts,
    seeded_commands,
    seeded_names,
    seeder_from,
    seeds_folder,
)
from quorate_server.views import view_of

CONTENT: dict[str, Any] = {
    "request": {"title": "A", "justification": "needed", "compliance_tags": ["sox"], "beneficiaries": []},
    "fields": {"change": {"table": "orders", "columns": ["a", "b"]}, "is_breaking": False, "rows": 12},
    "attachments": [{"name": "plan.pdf", "size_bytes": 3}],
    "comments": {"c1": {"author": "ann", "body": "Why?", "replies": [{"author": "ben", "body": "Because."}]}},
}


def opened(seed: bytes) -> Doc[Any]:
    doc: Doc[Any] = Doc()
    doc.apply_update(seed)
    return doc


def test_a_seed_says_its_content_and_is_the_same_bytes_each_time() -> None:
    kind = KINDS["approval"]
    seed = content_seed(kind, CONTENT)
    assert seed == content_seed(kind, json.loads(json.dumps(CONTENT)))
    shown = view_of(kind, opened(seed))
    assert {key: shown[key] for key in CONTENT} == CONTENT


def test_what_people_write_together_is_a_text_and_maps_merge() -> None:
    doc = opened(content_seed(KINDS["approval"], CONTENT))
    assert isinstance(doc.get("request", type=Map)["justification"], Text)
    assert isinstance(doc.get("fields", type=Map)["change"], Map)


@pytest.mark.parametrize("content", [{"nothing": {}}, {"request": []}, {"attachments": {}}, {"fields": "text"}])
def test_what_is_no_content_of_its_kind_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(SettingsError, match="root"):
        content_seed(KINDS["approval"], content)


@pytest.mark.parametrize("text", ["[", "[]", '{"nothing": 1}'])
def test_a_file_that_is_no_seed_stops_the_server_before_it_starts(tmp_path: Path, text: str) -> None:
    (tmp_path / "approval").mkdir()
    (tmp_path / "approval" / "one.json").write_text(text)
    with pytest.raises(SettingsError):
        seeder_from(tmp_path)


def test_a_file_that_names_no_artifact_is_refused(tmp_path: Path) -> None:
    (tmp_path / "somewhere").mkdir()
    (tmp_path / "somewhere" / "one.json").write_text("{}")
    with pytest.raises(SettingsError, match="no artifact"):
        seeder_from(tmp_path)


@pytest.mark.parametrize("text", ["{}", '[{"name": 1, "values": {}}]', '[{"command": "a"}]'])
def test_commands_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "commands.json").write_text(text)
    with pytest.raises(SettingsError, match=r"commands\.json"):
        seeded_commands(tmp_path)
    assert seeded_artifacts(tmp_path) == []


def test_the_sample_workspace_is_whole() -> None:
    folder = seeds_folder()
    seed = seeder_from(folder)
    for name in (*seeded_names(folder), *seeded_artifacts(folder)):
        assert seed(DocumentName(name))
    assert seeded_commands(folder)
    assert seed(DocumentName("text/other")) == b""
