"""Stages that go together, and each way in which they do not."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from quorate_plugins.approval.evaluator import Pool
from quorate_plugins.approval.stages import (
    MOST_REQUIREMENTS,
    MOST_STAGES,
    Exclusion,
    Node,
    Requirement,
    Stage,
    Threshold,
    check_selectors,
    read_stages,
)


def requirement(key: str = "r", **members: object) -> dict[str, object]:
    return {"id": key, "pool": ["role:steward"], **members}


def stage(key: str = "s", **members: object) -> dict[str, object]:
    return {"id": key, "requirements": [requirement()], **members}


def nested(depth: int) -> dict[str, object]:
    node: dict[str, object] = {"requirement": "r"}
    for _ in range(depth - 1):
        node = {"all": [node]}
    return node


def test_stages_are_read_as_they_are_written() -> None:
    first, second = read_stages(
        [
            stage("a", tree={"any": [{"requirement": "x"}, {"all": [{"requirement": "y"}]}]})
            | {"requirements": [requirement("x", exclude=["requester", "same_team"]), requirement("y")]},
            stage("b", needs=["a"], due="3d business", ladder={"levels": [{"after": "1d", "add": ["role:lead"]}]}),
        ]
    )
    assert list(first.root().leaves()) == ["x", "y"]
    assert first.root().depth() == 3
    assert first.requirement("x").exclude == {Exclusion.REQUESTER, Exclusion.SAME_TEAM}
    assert first.requirement("y").exclude == {Exclusion.REQUESTER, Exclusion.BENEFICIARY, Exclusion.CONTRIBUTOR}
    assert second.root() == Node(all=(Node(requirement="r"),))
    assert second.ladder is not None
    assert second.ladder.levels[0].add == ("role:lead",)


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ([], "expected 1 to 20 stages, got 0"),
        ([stage(f"s{n}") for n in range(MOST_STAGES + 1)], "expected 1 to 20 stages"),
        ([stage(), stage()], "each stage has an id of its own"),
        ([stage("")], "each stage has an id of its own"),
        ([stage(needs=["other"])], "which are no stages"),
        ([stage(needs=["s"])], "in a circle"),
        ([stage("a", needs=["b"]), stage("b", needs=["a"])], "in a circle"),
        ([stage(requirements=[])], "expected 1 to 30 requirements"),
        ([stage(requirements=[requirement(f"r{n}") for n in range(MOST_REQUIREMENTS + 1)])], "1 to 30 requirements"),
        ([stage(requirements=[requirement(), requirement()])], "each requirement has an id of its own"),
        ([stage(tree={"requirement": "other"})], "must name each of its requirements once"),
        ([stage(tree={"all": [{"requirement": "r"}, {"requirement": "r"}]})], "each of its requirements once"),
        ([stage(tree=nested(1), requirements=[requirement(), requirement("q")])], "each of its requirements once"),
        ([stage(tree=nested(6))], "at most 5 nodes deep"),
        ([stage(tree={})], "exactly one of `requirement`, `all` and `any`"),
        ([stage(tree={"all": [], "any": []})], "exactly one of `requirement`, `all` and `any`"),
        ([stage(tree=nested(1) | {"any": [nested(1)]})], "exactly one of `requirement`, `all` and `any`"),
        ([stage(due="soon")], "a duration must be"),
        ([stage(on_impossible="fallback")], "must say who is added"),
        ([stage(on_impossible="fallback", fallback=["everybody"])], "names nobody"),
        ([stage(ladder={"levels": [{"after": "1d", "add": ["boss"]}]})], "names nobody"),
        ([stage(ladder={"levels": []})], "from 1 to 8 levels"),
        ([stage(on_timeout="forget")], "on_timeout"),
        ([stage(requirements=[requirement(pool=[])])], "its pool names nobody"),
        ([stage(requirements=[requirement(pool=["role:"])])], "names nobody"),
        ([stage(requirements=[requirement(weights={"ann": 2})])], "names nobody"),
        ([stage(requirements=[requirement(weights={"user:ann": 0})])], "the weight of 'user:ann' must be above 0"),
        ([stage(requirements=[requirement(weights={"user:ann": -1})])], "the weight of 'user:ann' must be above 0"),
        ([stage(requirements=[requirement(deny=-1)])], "`deny` is a count of people"),
        ([stage(requirements=[requirement(distinct="x", approve={"weight": 2})])], "do not go together"),
        ([stage(requirements=[requirement(f"r{n}", distinct="x") for n in range(9)])], "at most 8 requirements"),
        ([stage(requirements=[requirement(aprove={"count": 2})])], "aprove"),
        ([stage(neds=["a"])], "neds"),
    ],
)
def test_stages_that_do_not_go_together_are_refused(written: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        read_stages(written)


@pytest.mark.parametrize(
    "written",
    [
        {},
        {"count": 1, "percent": 50},
        {"all": True, "count": 1},
        {"count": 0},
        {"count": 101},
        {"count": 1.5},
        {"percent": -1},
        {"percent": 101},
        {"percent": float("nan")},
        {"weight": 0},
        {"weight": float("inf")},
        {"cuont": 2, "all": True},
    ],
)
def test_what_is_no_threshold_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match=r"threshold|must be|valid integer|Unexpected"):
        read_stages([stage(requirements=[requirement(approve=written)])])


def test_a_tree_that_is_far_too_deep_is_refused_without_exhausting_the_stack() -> None:
    with pytest.raises(ValueError, match=r"(?i)recursion|deep"):
        read_stages([stage(tree=nested(400))])


@pytest.mark.parametrize("selector", ["", "ann", "user:", "team:x", "owner_of:me", "manager_of:boss", "Role:x"])
def test_what_names_nobody_is_no_selector(selector: str) -> None:
    with pytest.raises(ValueError, match="names nobody"):
        check_selectors([selector])


def test_the_selectors() -> None:
    relations = ["owner_of:subject", "manager_of:requester", "manager_of:beneficiary"]
    check_selectors(["user:a:b", "role:r", "group:g", *relations])


def test_a_set_is_the_same_json_in_every_process() -> None:
    """Else the record would change, and be sent to everybody, because a server was started again."""
    wanted = Requirement(id="r", pool=("role:x",), keeps=frozenset({"narrowing", "cosmetic"}))
    dumped = TypeAdapter(Requirement).dump_python(wanted, mode="json")
    assert dumped["exclude"] == ["beneficiary", "contributor", "requester"]
    assert dumped["keeps"] == ["cosmetic", "narrowing"]
    people = [f"person{number:02}" for number in range(40)]
    pool = TypeAdapter(Pool).dump_python(Pool(weights={}, excluded=frozenset(people)), mode="json")
    assert pool["excluded"] == people


def test_a_requirement_is_found_by_its_id() -> None:
    wanted = Requirement(id="r", pool=("role:x",), approve=Threshold(all=True))
    assert Stage(id="s", requirements=(wanted,)).requirement("r") is wanted
