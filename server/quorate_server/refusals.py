"""What is kept of an edit that did not become part of a document."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from functools import partial

from quorate_protocol.ids import UserId
from quorate_server.batches import Batch, Incoming
from quorate_server.errors import Refused
from quorate_storage.acts import AuditEvent, Change, Row, SetAside
from quorate_storage.stores import Document


def refusal_rows(document: Document, refused: Sequence[Incoming], rule: str, refusal: Refused) -> list[Row]:
    """Return what is kept of refused updates of one author: each as their proposal, and the fact in audit and feed."""
    now = time.time()
    digest = hashlib.sha256(b"".join(incoming.update for incoming in refused)).hexdigest()
    facts = {"rule": rule, "reason": refusal.reason, "updates": len(refused), "sha256": digest}
    actor = refused[0].user.id
    proposals: list[Row] = [aside(document, "refused", incoming, refusal.reason) for incoming in refused]
    return [
        *proposals,
        AuditEvent(type="edit.refused", at=now, actor=actor, via="sync", artifact=document.name, facts=facts),
        Change(type="edit.refused", document=document.name, at=now, actor=actor, data=facts),
    ]


def answer_refused(batch: Batch, refused: Sequence[Incoming], refusal: Refused) -> None:
    """Tell the author of updates that they were refused, once that is durable."""
    for incoming in refused:
        batch.then.append(partial(incoming.fail, refusal))
        batch.otherwise.append(incoming.fail)
    session = refused[0].session
    if session is not None:
        answers = [session.encoder.notice(refusal.reason)]
        if (answer := session.encoder.saved(saved=False)) is not None:
            answers += [answer] * len(refused)
        batch.then.append(lambda: session.send(*answers))


def forgery_event(document: Document, actor: UserId) -> AuditEvent:
    """Return the event that somebody spoke for somebody else's presence."""
    return AuditEvent(type="presence.forged", at=time.time(), actor=actor, via="sync", artifact=document.name)


def aside(document: Document, cause: str, incoming: Incoming, reason: str) -> SetAside:
    """Return an update to set aside."""
    return SetAside(
        document=document.id,
        cause=cause,
        update=incoming.update,
        author=incoming.user.id,
        reason=reason,
        at=time.time(),
    )
