"""What a room decides of an update before it is applied: whose client ids it uses, and whether it fits the kind.

Three things can be said against an update. It may be *refused*: it is applied and undone in one step, so that its
author's client comes back to what is shared; it is kept as a proposal, and the author is told why. It may be
*rejected*: applying it would hurt others (it continues somebody else's client id, whose next edit would then clash),
so it never is, and its connection ends. And in an artifact it may be *early*: it builds on what has not come, and
what cannot be seen whole cannot be judged; its author is asked for all of it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from quorate_protocol.dividing import divide
from quorate_protocol.ids import ClientId, DocumentId, DocumentName, UserId
from quorate_protocol.updates import EMPTY_UPDATE, UpdateExtent
from quorate_server.batches import Incoming
from quorate_server.documents import SEED_CLIENT_ID, SERVER_CLIENT_ID, LiveDocument
from quorate_server.kinds import Kind, artifact_of, find_kind, is_record
from quorate_server.outlines import Outline
from quorate_server.records import RECORD_ROOT
from quorate_server.users import SERVER, User
from quorate_storage.acts import Writer

MAX_REFUSED_BYTES = 256 * 1024
"""A larger update is not applied and undone but rejected: what it leaves behind in the document would not be small."""


class Outcome(enum.Enum):
    """What is to be done with an update that does not simply take effect."""

    REFUSED = "refused"
    REJECTED = "rejected"
    EARLY = "early"


@dataclass(frozen=True, slots=True)
class Objection:
    """What is said against an update. `rule` is a short stable label, `reason` a sentence for the person."""

    outcome: Outcome
    rule: str
    reason: str


NO_ROOTS: frozenset[str] = frozenset()


class Screening:
    """The rules of one live document. `claims` gathers client ids that are somebody's from now on.

    An id is its first writer's, once what they wrote with it is in the document: an update that is turned away
    claims nothing. Until then it is whose `speaker_of` says it is, who hears of presence; everybody can see the ids
    there, and nobody may take one before its owner has written anything.
    """

    __slots__ = (
        "_document",
        "_ends",
        "_is_judged",
        "_live",
        "_outline",
        "_speaker_of",
        "_writers",
        "claims",
        "is_artifact",
        "is_record",
        "kind",
        "roots",
        "touched",
    )

    def __init__(
        self,
        document: DocumentId,
        name: DocumentName,
        live: LiveDocument,
        writers: Mapping[ClientId, UserId],
        speaker_of: Callable[[ClientId], UserId | None],
    ) -> None:
        self.kind: Kind | None = find_kind(artifact_of(name))
        self.is_record = is_record(name)
        self.is_artifact = self.kind is not None
        self.roots = _roots(self.kind, is_record=self.is_record)
        self.claims: list[Writer] = []
        self.touched = NO_ROOTS
        """The roots that updates nothing stood against have touched, since this was emptied."""
        self._document = document
        self._live = live
        self._speaker_of = speaker_of
        self._writers = dict(writers)
        if SEED_CLIENT_ID in live.known():  # people's documents may use so small a number, too
            self._writers.setdefault(SEED_CLIENT_ID, SERVER.id)
        self._outline: Outline | None = None
        self._is_judged = False
        self._ends = live.known() if self.is_artifact else {}

    @property
    def lacks_outline(self) -> bool:
        """Whether the outline is needed to judge edits, and not there yet."""
        return self._outline is None and self.kind is not None and not self.is_record

    def adopt(self, outline: Outline) -> None:
        """Take an outline of the document as it is now, made elsewhere."""
        self._outline = outline

    def screen(self, incoming: Incoming, extent: UpdateExtent) -> Objection | None:
        """Say what stands against an update, `None` when it may take effect. In their order, and once each."""
        self._is_judged = False
        fresh = self._fresh(incoming.user, extent.ends)
        for client in fresh:
            owner = self._owner_of(client, incoming.user)
            if owner is not None and owner != incoming.user.id:
                return _spoofed(client, owner)
        if self.kind is not None:
            if not extent.is_ready(self._ends) and divide(incoming.update, self._ends).lacks:
                return Objection(Outcome.EARLY, "early", "the update builds on edits that the server has not seen")
            objection = self._judge(incoming, extent)
            if objection is not None:
                return objection
        self._claim(fresh, incoming.user)
        return None

    def allows(self, user: User, ends: Mapping[ClientId, int]) -> bool:
        """Whether nothing stands against edits of a plain document that reach so far; their client ids are claimed."""
        fresh = self._fresh(user, ends)
        if any(self._owner_of(client, user) not in {None, user.id} for client in fresh):
            return False
        self._claim(fresh, user)
        return True

    def claim(self, user: User, extent: UpdateExtent) -> None:
        """Let the client ids of an update be its author's, before it is applied in spite of an objection."""
        self._claim(self._fresh(user, extent.ends), user)

    def confirm(self, updates: Sequence[bytes], extents: Sequence[UpdateExtent | None], emitted: bytes) -> None:
        """Take note of what became of updates that were screened.

        Typing comes out as it went in. Of entries that several set under one key at once only the engine knows
        which it keeps: what it says then is learned too.
        """
        is_plain = len(updates) == 1 and emitted == updates[0]
        if is_plain or self._outline is None or all(extent is not None and extent.is_typing for extent in extents):
            return
        self._outline.learn(emitted or EMPTY_UPDATE)

    def learn(self, update: bytes) -> None:
        """Take note of what the server itself wrote into the document, or undid."""
        if self._outline is not None:
            self._outline.learn(update or EMPTY_UPDATE)
        if self.kind is not None:
            self._ends = self._live.known()

    def retract(self) -> None:
        """Forget the update that was screened last, which will not be applied."""
        if self._is_judged:
            self._ends = self._live.known()
            if self._outline is not None:
                self._outline.truncate(self._ends)

    def _judge(self, incoming: Incoming, extent: UpdateExtent) -> Objection | None:
        assert self.kind is not None
        self._is_judged = True
        session = incoming.session
        if self.is_record:
            if self._live.covers(incoming.update):
                return None
            return _refusal("record", "the record is written by the server only: use a command", incoming.update)
        if self._outline is None:
            self._outline = Outline.of(self.kind, self._live.encode())
        judgement = self._outline.judge(incoming.update, extent)
        for client, end in extent.ends.items():
            if end > self._ends.get(client, 0):
                self._ends[client] = end
        if judgement.fault is not None:
            return _refusal("shape", judgement.fault, incoming.update)
        if session is not None and not session.may_write:
            outside = sorted(judgement.roots - self.kind.discussions)
            if outside:
                return _refusal("comments_only", f"you may comment, but not change {outside[0]!r}", incoming.update)
        self.touched |= judgement.roots
        return None

    def _fresh(self, user: User, ends: Mapping[ClientId, int]) -> list[ClientId]:
        """Return the client ids with which edits say something new, and that are not known as their author's."""
        return [
            client
            for client, end in ends.items()
            if self._writers.get(client) != user.id and not self._live.knows(client, end)
        ]

    def _owner_of(self, client: ClientId, user: User) -> UserId | None:
        if client == SERVER_CLIENT_ID:
            return SERVER.id
        owner = self._writers.get(client)
        return self._speaker_of(client) if owner is None and user.is_proven else owner

    def _claim(self, clients: Sequence[ClientId], user: User) -> None:
        if not user.is_proven:  # where nobody proves who they are, an id is nobody's
            return
        for client in clients:
            self._writers[client] = user.id
            self.claims.append(Writer(document=self._document, client=client, user=user.id))


def _spoofed(client: ClientId, owner: UserId) -> Objection:
    whose = "the server" if owner == SERVER.id else "somebody else"
    reason = f"the client id {client} belongs to {whose} in this document: reload to get your own"
    return Objection(Outcome.REJECTED, "client_id", reason)


def _refusal(rule: str, reason: str, update: bytes) -> Objection:
    outcome = Outcome.REFUSED if len(update) <= MAX_REFUSED_BYTES else Outcome.REJECTED
    return Objection(outcome, rule, reason)


def _roots(kind: Kind | None, *, is_record: bool) -> tuple[str, ...]:
    """Return the roots that the server may create in a document."""
    if is_record:
        return (RECORD_ROOT,)
    return () if kind is None else tuple(root.name for root in kind.roots)
