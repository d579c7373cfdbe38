"""Who may decide, by the directory; and who may stand in for whom."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quorate_plugins.approval.directory import Delegation, Directory, Parties, Person, finds_circle
from quorate_plugins.approval.stages import Exclusion, Requirement

NOW = 1000.0


def people(*listed: Person) -> Directory:
    return Directory(people={each.id: each for each in listed})


COMPANY = people(
    Person(id="ann", roles=frozenset({"steward"}), groups=frozenset({"dba"}), team="red", manager="eve"),
    Person(id="ben", roles=frozenset({"steward"}), team="blue", manager="gone"),
    Person(id="cat", groups=frozenset({"dba"}), team="red", manager="nobody"),
    Person(id="dan", roles=frozenset({"steward"}), team="blue", is_active=False),
    Person(id="eve", team="red"),
    Person(id="gone", is_active=False),
)
PARTIES = Parties(requester="ann", beneficiaries=("ben",), contributors=("cat",), owners=("cat", "dan", "stranger"))


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ("user:ann", {"ann"}),
        ("user:dan", set()),
        ("user:stranger", set()),
        ("role:steward", {"ann", "ben"}),
        ("role:none", set()),
        ("group:dba", {"ann", "cat"}),
        ("owner_of:subject", {"cat"}),
        ("manager_of:requester", {"eve"}),
        ("manager_of:beneficiary", set()),
        ("nonsense:requester", set()),
        ("", set()),
    ],
)
def test_whom_a_selector_names(selector: str, expected: set[str]) -> None:
    assert set(COMPANY.resolve(selector, PARTIES)) == expected


def test_the_manager_of_a_stranger_is_nobody() -> None:
    assert list(COMPANY.resolve("manager_of:requester", Parties(requester="stranger"))) == []
    assert list(COMPANY.resolve("manager_of:requester", Parties(requester="cat"))) == []


def excluded(*kinds: Exclusion) -> frozenset[str]:
    wanted = Requirement(id="r", pool=("role:steward", "group:dba"), exclude=frozenset(kinds))
    return COMPANY.pool(wanted, PARTIES).excluded


def test_whom_separation_of_duties_excludes() -> None:
    assert excluded() == set()
    assert excluded(Exclusion.REQUESTER) == {"ann"}
    assert excluded(Exclusion.BENEFICIARY, Exclusion.CONTRIBUTOR) == {"ben", "cat"}
    assert excluded(Exclusion.SAME_TEAM) == {"ann", "cat", "eve"}


def test_the_team_of_nobody_is_not_that_of_others_without_one() -> None:
    alone = people(Person(id="ann"), Person(id="ben"))
    wanted = Requirement(id="r", pool=("user:ben",), exclude=frozenset({Exclusion.SAME_TEAM}))
    assert alone.pool(wanted, Parties(requester="ann")).eligible == {"ben"}
    assert alone.pool(wanted, Parties(requester="stranger")).eligible == {"ben"}


def test_who_is_excluded_is_so_though_an_escalation_adds_them() -> None:
    wanted = Requirement(id="r", pool=("role:steward",))
    assert COMPANY.pool(wanted, PARTIES).eligible == set()
    assert COMPANY.pool(wanted, PARTIES, ("group:dba", "user:eve")).eligible == {"eve"}


def test_the_greatest_of_somebodys_weights_counts() -> None:
    wanted = Requirement(id="r", pool=("role:steward", "group:dba"), weights={"group:dba": 3.0, "role:steward": 0.5})
    assert COMPANY.pool(wanted, PARTIES).weights == {"ann": 3.0, "ben": 0.5, "cat": 3.0}


def test_inactive_and_unknown_people() -> None:
    assert COMPANY.is_active("ann")
    assert not COMPANY.is_active("dan")
    assert not COMPANY.is_active("stranger")
    assert COMPANY.groups_of("cat") == {"dba"}
    assert COMPANY.groups_of("stranger") == frozenset()


def hand(principal: str, delegate: str, start: float = 0, end: float = 2 * NOW, **more: object) -> Delegation:
    plain = Delegation(
        id=f"{principal}-{delegate}-{start}",
        principal=principal,
        delegate=delegate,
        valid_from=start,
        valid_to=end,
        created_by=principal,
    )
    return replace(plain, **more)  # type: ignore[arg-type]


def why(delegation: Delegation, *, at: float = NOW, risk: str = "medium", subject: str = "db/prod") -> str:
    return delegation.why_not(request="approval/one", at=at, type_="access_grant", subject=subject, risk=risk)


def test_when_a_delegation_is_valid() -> None:
    one = hand("ann", "ben", 100, 200)
    assert [why(one, at=at) for at in (99, 100, 199, 200)] == ["not_yet_valid", "", "", "expired"]
    assert [why(replace(one, revoked_at=150), at=at) for at in (149, 150)] == ["", "revoked"]


def test_what_a_delegation_is_for() -> None:
    assert why(hand("ann", "ben", types=frozenset({"access_grant"}))) == ""
    assert why(hand("ann", "ben", types=frozenset({"schema_change"}))) == "out_of_scope"
    assert why(hand("ann", "ben", prefix="db/")) == ""
    assert why(hand("ann", "ben", prefix="lake/")) == "out_of_scope"
    limited = hand("ann", "ben", most_risk="medium")
    assert [why(limited, risk=risk) for risk in ("low", "medium")] == ["", ""]
    assert [why(limited, risk=risk) for risk in ("high", "critical", "", "unheard-of")] == ["out_of_scope"] * 4
    assert why(hand("ann", "ben"), risk="unheard-of") == ""


def test_a_limit_that_is_no_level_of_risk_lets_nothing_through() -> None:
    assert why(hand("ann", "ben", most_risk="mediun"), risk="low") == "out_of_scope"


def test_delegations_to_somebody() -> None:
    one, other = hand("ann", "ben"), hand("cat", "eve")
    assert Directory(delegations={"1": one, "2": other}).delegations_to("ben") == [one]


def test_a_circle_is_found() -> None:
    assert finds_circle([], hand("ann", "ann"))
    assert finds_circle([hand("ann", "ben")], hand("ben", "ann"))
    assert finds_circle([hand("ann", "ben"), hand("ben", "cat")], hand("cat", "ann"))
    assert not finds_circle([hand("ann", "ben"), hand("ann", "cat")], hand("cat", "ben"))
    assert not finds_circle([hand("ben", "cat"), hand("cat", "ben")], hand("ann", "ben"))  # a circle, but not by it


def test_there_is_no_circle_when_not_all_are_valid_at_one_moment() -> None:
    assert not finds_circle([hand("ann", "ben", 0, 100)], hand("ben", "ann", 100, 200))
    assert finds_circle([hand("ann", "ben", 0, 101)], hand("ben", "ann", 100, 200))
    early, late = hand("ann", "ben", 0, 50), hand("ben", "cat", 50, 100)
    assert not finds_circle([early, late], hand("cat", "ann", 0, 100))
    assert finds_circle([early, replace(late, valid_from=49)], hand("cat", "ann", 0, 100))
    assert not finds_circle([early, replace(late, valid_from=49)], hand("cat", "ann", 60, 100))


def test_what_was_revoked_closes_no_circle() -> None:
    given = hand("ann", "ben", revoked_at=10.0)
    assert not finds_circle([given], hand("ben", "ann", 10))
    assert finds_circle([given], hand("ben", "ann", 9))


def test_a_delegation_that_is_replaced_closes_no_circle_with_what_replaces_it() -> None:
    given = hand("ann", "ben")
    assert not finds_circle([given], replace(hand("ben", "ann"), id=given.id))
