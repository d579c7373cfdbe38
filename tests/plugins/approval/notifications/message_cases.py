"""Notices to render, usual and wild ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from quorate_plugins.approval.directory import Person
from quorate_plugins.approval.notifications.mail import email_message
from quorate_plugins.approval.notifications.messages import EVENTS, Notice

from .local_servers import parsed

SENDER = "Quorate <approvals@example.org>"
ADA = Person(id="ada", name="Ada Lovelace", email="ada@example.org", zone="Europe/Berlin")
NOTICE = Notice(
    key="evt_17_ada",
    event="decision_wanted",
    request="approvals/orders",
    revision=3,
    title="Orders: new column",
    type="schema_change",
    risk="high",
    priority="normal",
    requester="Ben",
    reason="Finance needs it.",
    due_at=1772640000.0,
    link="https://quorate.example/approvals/orders?tab=decide&x=1",
    facts=(("Rows", "12"),),
)
DECIDED = replace(NOTICE, event="decided", state="approved", by="Cleo", on_behalf_of="Dan")
texts = st.text(st.characters(blacklist_categories=()), max_size=400)
wild = st.builds(
    replace,
    st.just(NOTICE),
    event=st.sampled_from(EVENTS),
    title=texts,
    reason=texts,
    requester=texts,
    by=texts,
    on_behalf_of=texts,
    state=texts,
    type=texts,
    facts=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
)


def parts_of(notice: Notice, **options: Any) -> tuple[str, str]:
    message = parsed(email_message(notice, ADA, SENDER, **options).as_bytes())
    plain, page = message.get_body(("plain",)), message.get_body(("html",))
    assert plain is not None
    assert page is not None
    return plain.get_content(), page.get_content()


def huge(character: str) -> Notice:
    text = character * 60_000
    facts = tuple((text, text) for _ in range(200))
    return replace(DECIDED, title=text, reason=text, by=text, requester=text, type=text, state=text, facts=facts)
