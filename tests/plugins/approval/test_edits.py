"""The classes of edits: what asks for less, and what does not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate_plugins.approval.edits import ALWAYS_SCOPE, class_of

PEOPLE, END = "request/beneficiaries", "request/valid_until"
SCOPE = ALWAYS_SCOPE | {"fields/tables", "fields/rows"}


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ({"request/justification": "why  so"}, {"request/justification": "why so\n"}, "cosmetic"),
        ({"request/justification": "why so"}, {"request/justification": "why not"}, "other"),
        ({PEOPLE: ["ann", "ben"]}, {PEOPLE: ["ben"]}, "narrowing"),
        ({PEOPLE: ["ann", "ben"]}, {PEOPLE: ["ben", "cat"]}, "widening"),
        ({PEOPLE: ["ann"]}, {PEOPLE: ["ann", "ben"]}, "widening"),
        ({PEOPLE: ["ann", "ben"]}, {PEOPLE: ["ben", "ann"]}, "widening"),
        ({"fields/rows": 10}, {"fields/rows": 9}, "narrowing"),
        ({"fields/rows": 10}, {"fields/rows": 10.5}, "widening"),
        ({"fields/rows": True}, {"fields/rows": False}, "widening"),
        ({"fields/rows": 10}, {}, "widening"),
        ({"fields/other": 10}, {"fields/other": 9}, "other"),
        ({}, {END: "2027-01-01T00:00:00+00:00"}, "narrowing"),
        ({END: "2027-01-01T00:00:00+00:00"}, {}, "widening"),
        ({END: "2027-01-01T00:00:00+00:00"}, {END: "2026-12-31T23:30:00-01:00"}, "widening"),
        ({END: "2027-01-01T00:00:00+00:00"}, {END: "2026-12-31T00:00:00+00:00"}, "narrowing"),
        ({END: "2027-01-01T00:00:00+00:00"}, {END: "soon"}, "widening"),
        ({END: "soon"}, {END: "2026-12-31T00:00:00+00:00"}, "widening"),
        ({PEOPLE: ["a", "b"], "fields/x": "1"}, {PEOPLE: ["a"], "fields/x": "2"}, "other"),
        ({PEOPLE: ["a", "b"], "fields/x": "1"}, {PEOPLE: ["a"], "fields/x": " 1"}, "narrowing"),
        ({PEOPLE: ["a", "b"], "fields/rows": 1}, {PEOPLE: ["a"], "fields/rows": 2}, "widening"),
        ({}, {}, "other"),
    ],
)
def test_an_edit_has_one_class(before: dict[str, object], after: dict[str, object], change: str) -> None:
    assert class_of(before, after, SCOPE) == change


parts = st.dictionaries(
    st.sampled_from([PEOPLE, END, "fields/tables", "fields/rows", "fields/other"]),
    st.one_of(st.lists(st.sampled_from("abc"), max_size=3), st.integers(0, 3), st.sampled_from(["x", " x", "y"])),
)


@given(parts, parts)
def test_what_asks_for_less_is_not_undone_by_asking_for_less(one: dict[str, object], other: dict[str, object]) -> None:
    """Of an edit and its undoing at most one is narrowing: no votes stay over a way there and back again."""
    assert {class_of(one, other, SCOPE), class_of(other, one, SCOPE)} != {"narrowing"}
