"""What an approval request's content says, read once: its fields, its parts with a hash each, and its facts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import cast

from quorate_plugins.approval.directory import Directory
from quorate_plugins.approval.policies import PRIORITIES, TYPES, FieldRule, Template
from quorate_plugins.approval.refusals import ContentIncomplete
from quorate_server.hooks import KIND_NAMES, Artifact

COSMETIC = frozenset({"title"})
"""Members of `request` that no decision binds to."""
ROOTS = ("request", "fields", "attachments")
"""The guarded roots of a content."""
REASON_CHARACTERS = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A content at one moment. `parts` are its guarded parts (`request/subject`, `fields/role`) as JSON."""

    hash: str
    parts: Mapping[str, object]
    title: str
    type: str
    subject: str
    subject_version: str
    priority: str
    risk: str
    beneficiaries: tuple[str, ...]
    valid_until: float | None
    fields: Mapping[str, object]

    def part_hashes(self) -> dict[str, str]:
        """Return a hash of each part."""
        return {part: _hash(value) for part, value in self.parts.items()}

    def facts(self, directory: Directory, requester: str, owners: tuple[str, ...], now: float) -> dict[str, object]:
        """Return what conditions may speak of."""
        person = directory.people.get(requester)
        return {
            "request": {
                "type": self.type,
                "priority": self.priority,
                "risk": self.risk,
                "beneficiaries": list(self.beneficiaries),
                "fields": dict(self.fields),
                "tags": self.parts.get("request/compliance_tags", []),
            },
            "requester": {
                "id": requester,
                "roles": sorted(person.roles) if person else [],
                "groups": sorted(person.groups) if person else [],
                "team": person.team if person else "",
            },
            "subject": {"name": self.subject, "kind": self.subject.partition("/")[0], "owners": list(owners)},
            "now": datetime.fromtimestamp(now, UTC).isoformat(),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """A content as it was put up for decision. `settings` and `settings_hash` are of a policy that it publishes."""

    hash: str = ""
    parts: Mapping[str, object] = field(default_factory=dict[str, object])
    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    settings_hash: str = ""


def read_content(artifact: Artifact) -> Content:
    """Return what a content says now."""
    request = artifact.root_members("request")
    fields = artifact.root_members("fields")
    parts = {f"request/{key}": value for key, value in request.items() if key not in COSMETIC}
    parts |= {f"fields/{key}": value for key, value in fields.items()}
    parts["attachments"] = _attachments(artifact)
    return Content(
        hash=artifact.content_hash(),
        parts=parts,
        title=_text(request.get("title")),
        type=_text(request.get("type")),
        subject=_text(request.get("subject")),
        subject_version=_text(request.get("subject_version")),
        priority=_text(request.get("priority")) or "normal",
        risk=_text(request.get("risk_level")),
        beneficiaries=_texts(request.get("beneficiaries")),
        valid_until=_time(request.get("valid_until")),
        fields=fields,
    )


def _attachments(artifact: Artifact) -> list[object]:
    listed = artifact.root_json("attachments")
    found: list[object] = []
    for each in cast("list[object]", listed) if isinstance(listed, list) else []:
        if isinstance(each, Mapping):
            members = cast("Mapping[str, object]", each)
            found.append({key: members.get(key) for key in ("sha256", "size_bytes")})
    return found


def check_content(content: Content, template: Template) -> None:
    """Do nothing if a content has what its template asks for.

    Raises:
        ContentIncomplete: something is missing or wrong; all of it is named.
    """
    missing = _missing(content, template)
    wrong = _wrong(content, template)
    if missing or wrong:
        told = [f"{each} is missing" for each in missing] + [f"{key}: {why}" for key, why in wrong.items()]
        raise ContentIncomplete("; ".join(told), missing=missing, wrong=wrong)


def _missing(content: Content, template: Template) -> list[str]:
    missing = [f"fields/{key}" for key, rule in template.fields.items() if _is_missing(rule, content.fields.get(key))]
    return missing if content.parts.get("request/justification") else [*missing, "request/justification"]


def _wrong(content: Content, template: Template) -> dict[str, str]:
    """Return what is there and is not what it should be, with what that is."""
    wrong = {
        f"fields/{key}": f"expected {_wanted(rule)}"
        for key, rule in template.fields.items()
        if not _is_empty(content.fields.get(key)) and not _fits(rule, content.fields.get(key))
    }
    if content.priority not in PRIORITIES:
        wrong["request/priority"] = f"expected one of {', '.join(PRIORITIES)}"
    if "request/valid_until" in content.parts and content.valid_until is None:
        wrong["request/valid_until"] = "expected a time with its offset"
    return wrong


def _is_missing(rule: FieldRule, value: object) -> bool:
    return rule.is_required and _is_empty(value)


def check_type(content: Content) -> None:
    """Do nothing if a content says what type of request it is.

    Raises:
        ContentIncomplete: it does not.
    """
    if content.type not in TYPES:
        wrong = {"request/type": f"expected one of {', '.join(TYPES)}"}
        raise ContentIncomplete(f"request/type: {wrong['request/type']}, not {content.type!r}", missing=[], wrong=wrong)


def check_principal(content: Content) -> None:
    """Do nothing if a content says to whom a role is to be given, or from whom it is to be taken.

    Raises:
        ContentIncomplete: it does not.
    """
    if not principal_of(content):
        wrong = {"fields/principal": "expected `user:ID` or `group:NAME`"}
        raise ContentIncomplete(f"fields/principal: {wrong['fields/principal']}", missing=[], wrong=wrong)


def principal_of(content: Content) -> str:
    """Return to whom a role is to be given, or from whom it is to be taken; empty when it says nobody."""
    principal = content.fields.get("principal")
    kind, _, name = principal.partition(":") if isinstance(principal, str) else ("", "", "")
    return f"{kind}:{name}" if kind in {"user", "group"} and name else ""


def is_artifact(subject: str) -> bool:
    """Whether a subject is the name of an artifact: not a whole kind, nor everything."""
    kind, _, slug = subject.partition("/")
    return kind in KIND_NAMES and bool(slug)


def differences(before: Mapping[str, object], after: Mapping[str, object]) -> dict[str, object]:
    """Return the parts that differ, each with what it was `before` and is `after`."""
    return {
        part: {"before": before.get(part), "after": after.get(part)}
        for part in sorted(before.keys() | after.keys())
        if before.get(part) != after.get(part)
    }


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...]:
    listed = cast("list[object]", value) if isinstance(value, list) else []
    return tuple(each for each in listed if isinstance(each, str))


def _time(value: object) -> float | None:
    try:
        read = datetime.fromisoformat(value) if isinstance(value, str) and value else None
    except ValueError:
        return None
    return None if read is None or read.tzinfo is None else read.timestamp()


def _is_empty(value: object) -> bool:
    return value is None or value == ""


def _fits(rule: FieldRule, value: object) -> bool:
    kinds: dict[str, type | tuple[type, ...]] = {
        "string": str,
        "number": (int, float),
        "boolean": bool,
        "array": list,
        "object": Mapping,
    }
    is_type = isinstance(value, kinds[rule.type]) and not (rule.type == "number" and isinstance(value, bool))
    return is_type and (not rule.options or value in rule.options)


def _wanted(rule: FieldRule) -> str:
    return f"one of {', '.join(rule.options)}" if rule.options else f"a {rule.type}"


def is_guarded(part: str) -> bool:
    """Whether decisions bind to a part of a content, by its path."""
    root, _, member = part.partition("/")
    return root in ROOTS and not (root == "request" and member in COSMETIC)
