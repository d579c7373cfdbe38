"""Who may do what: decisions that are remembered are those that the policies would give."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

import pytest

from quorate_protocol.ids import DocumentName, UserId
from quorate_server.access import ROLES, Access, Action
from quorate_server.users import User


def test_the_policies_that_ship_look_at_roles_and_records_only() -> None:
    """`Access` remembers their decisions by these two things alone."""
    text = resources.files("quorate_server").joinpath("policies/default.cedar").read_text("utf-8")
    policies = "\n".join(line for line in text.splitlines() if not line.startswith("//"))

    looked_at = set(re.findall(r"(?:principal|resource|context)(?:\.\w+|\s+(?:==|in|is|has)\b)", policies))

    assert looked_at == {"principal.roles", "resource.is_record"}


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", ["text/a", "text/a/record", "*"])
def test_a_remembered_decision_is_the_one_that_the_policies_give(role: str, name: str) -> None:
    access = Access()
    for user in (User(id=UserId("anna"), name="Anna", role=role), User(id=UserId("bert"), name="Bert", role=role)):
        for action in Action:
            expected = access.explain(user, action, DocumentName(name)).is_allowed
            assert access.may(user, action, DocumentName(name)) == expected, (user.id, action)


def test_a_policy_of_the_operator_may_look_at_who_it_is(tmp_path: Path) -> None:
    rule = 'forbid (principal == User::"bert", action, resource);'
    (tmp_path / "no_bert.cedar").write_text(rule, "utf-8")
    access, name = Access(tmp_path), DocumentName("text/a")

    assert access.may(User(id=UserId("anna"), name="Anna"), Action.READ, name)
    assert not access.may(User(id=UserId("bert"), name="Bert"), Action.READ, name)
