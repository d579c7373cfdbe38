"""The rules of presence in one room: whose word counts about whom, and what is passed on.

What the y-protocols leave to trust is decided here:

* A client id belongs to the connection that introduced it. Nobody else can speak for it, or remove
  it.
* Every state carries the `user` that the server vouches for, whatever the client wrote there.
* Changes are passed on at a bounded rate, the newest one last; a removal is passed on at once.
* Presence ends with its connection, or when it is not renewed.

Handing over. A client keeps its id when it reconnects, while its old connection may look alive for
a minute. So the id of a *gone* connection, or of one whose presence ran out, is free for anybody,
and the same *user* may move an id between its own connections at any time. A late end of the old
connection then finds that the id is not its own any more, and removes nothing. Where people are
anonymous, each connection needs a user id of its own for this to protect them.

Coming back. The room removed the client with a higher clock than the client itself knows, so its
next state looks old to everyone. The clients' own rule helps: told that it is gone, a live client
answers with its state and a clock beyond that. `PresenceChange.answers` holds these notices for the
sender alone. `@hocuspocus/provider` 4 moves its clock likewise but keeps the answer to itself: for a
connection that does not announce itself again, the room does so in its place.

Everything is pure: the time comes in as seconds of any clock that does not go back.
"""

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Generic, NamedTuple, TypeVar

from quorate_protocol.awareness import AwarenessEntry
from quorate_protocol.ids import ClientId, UserId
from quorate_protocol.limits import DEFAULT_LIMITS, Limits
from quorate_protocol.stamping import stamp_state
from quorate_protocol.varints import MAX_SAFE_INTEGER

ConnectionKey = TypeVar("ConnectionKey", bound=Hashable)

_BURST_SECONDS: Final = 1.0
"""How long a client must be still to save up a full burst of changes."""

_REMEMBERED_SECONDS: Final = 3600.0
"""How long the clock of somebody who is gone is kept.

Listeners keep it for good: a laptop that wakes up with its old clock would be present to the room
and invisible to everybody in it.
"""

_MAX_REMEMBERED: Final = 10_000
"""How many clocks of those who are gone are kept, at about 250 bytes each: a page load takes
one.
"""


FORGED: Final = "forged_client"
"""The reason of an entry that says something new about somebody else."""


class RefusedEntry(NamedTuple):
    """An entry that is not passed on. `reason` is a short stable label, safe for metrics."""

    client: ClientId
    reason: str


@dataclass(slots=True, kw_only=True)
class PresenceChange:
    """What follows from one awareness update of a peer."""

    changed: list[AwarenessEntry] = field(default_factory=list[AwarenessEntry])
    """To everyone, the sender included: its echo keeps the connection alive."""

    answers: list[AwarenessEntry] = field(default_factory=list[AwarenessEntry])
    """To the sender only: ids believed gone, so that a live client announces itself again."""

    refused: list[RefusedEntry] = field(default_factory=list[RefusedEntry])
    """To nobody. Not always ill will: a stock client that misses a renewal removes its peer.
    """


class _Speaker(NamedTuple, Generic[ConnectionKey]):
    """Who says something, and when."""

    owner: ConnectionKey
    user: UserId
    stamp: Mapping[str, str]
    now: float


class _Record(Generic[ConnectionKey]):
    """What the room knows of one client id; it outlives the state, so that old news stays old."""

    __slots__ = (
        "allowance",
        "client",
        "clock",
        "is_shown",
        "owner",
        "raw",
        "refilled_at",
        "seen_at",
        "stamp",
        "state",
        "user",
    )

    def __init__(self, client: ClientId, now: float, allowance: float) -> None:
        self.client = client
        self.owner: ConnectionKey | None = None
        self.user: UserId | None = None
        self.stamp: Mapping[str, str] = {}
        self.clock = 0
        self.raw: str | None = None
        self.state: str | None = None
        self.seen_at = now
        self.refilled_at = now
        self.allowance = allowance
        self.is_shown = False
        """Whether anybody was told of a state that a removal would have to take back."""

    def may_be_spoken_for_by(self, speaker: _Speaker[ConnectionKey]) -> bool:
        return self.owner is None or self.owner == speaker.owner or self.user == speaker.user

    def is_news(self, entry: AwarenessEntry) -> bool:
        """Apply the rule of y-protocols: the clock must grow, but a removal may keep it."""
        if entry.clock != self.clock:
            return entry.clock > self.clock
        return entry.state is None and self.state is not None

    def entry(self) -> AwarenessEntry:
        return AwarenessEntry(self.client, self.clock, self.state)


class Presence(Generic[ConnectionKey]):
    """Who is present in one room.

    `ConnectionKey` is whatever names a connection to the caller. An instance belongs to the room's
    one task.
    """

    def __init__(self, limits: Limits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._rate = limits.awareness_changes_per_second
        # A rate below one still lets a single change through.
        self._burst = max(1.0, self._rate * _BURST_SECONDS)
        self._records: dict[ClientId, _Record[ConnectionKey]] = {}
        self._owned: dict[ConnectionKey, set[ClientId]] = {}
        self._held_back: dict[ClientId, _Record[ConnectionKey]] = {}

    # Public.

    def apply(
        self,
        owner: ConnectionKey,
        entries: Iterable[AwarenessEntry],
        *,
        user: UserId,
        stamp: Mapping[str, str],
        now: float,
        announces_again: bool = True,
    ) -> PresenceChange:
        """Take in what a connection says, and tell what to pass on.

        An entry that says nothing new is dropped in silence: y-websocket clients repeat everything
        they hear. A change over the rate is kept, shown by `snapshot`, and handed out by a later
        `flush`.

        Args:
            owner: the connection that speaks.
            entries: as they came.
            user: who is connected, as verified.
            stamp: what is known of the user; written over the same keys of the state's `user`.
            now: seconds.
            announces_again: whether the client answers the news of its own removal. One that does
                not must speak of itself alone: repeated hearsay would bring back who is gone.
        """
        change = PresenceChange()
        speaker = _Speaker(owner, user, stamp, now)
        for entry in entries:
            record = self._records.get(entry.client)
            # y-protocols: a client never seen has clock 0; and nobody needs the removal of the
            # unknown.
            is_news = entry.clock > 0 and entry.state is not None if record is None else record.is_news(entry)
            if is_news:
                self._take_in(change, speaker, record, entry)
            elif (
                record is not None
                and record.state is None
                and entry.state is not None
                and record.may_be_spoken_for_by(speaker)
            ):
                change.answers.append(record.entry())
                if not announces_again:
                    # The clock that the client has taken for itself once it reads the answer.
                    self._take_in(change, speaker, record, entry._replace(clock=record.clock + 1))
        return change

    def leave(self, owner: ConnectionKey, now: float) -> list[AwarenessEntry]:
        """Remove what a connection introduced and still owns; returns the removals for everyone.

        Its ids are free from now on. Leaving twice changes nothing.
        """
        removals: list[AwarenessEntry] = []
        for client in self._owned.pop(owner, ()):
            record = self._records[client]
            record.owner = None
            if record.state is not None:
                removals.append(self._remove(record, now))
        return removals

    def expire(self, now: float) -> list[AwarenessEntry]:
        """Remove what was not renewed in time; returns the removals for everyone.

        A live client that was merely late, as in a tab in the background, hears of its removal and
        announces itself again. Also forgets the clocks of those that are gone for an hour.
        """
        outdated = now - self._limits.awareness_timeout_seconds
        removals: list[AwarenessEntry] = []
        for record in [each for each in self._records.values() if each.seen_at <= outdated]:
            self._release(record)
            if record.state is not None:
                removals.append(self._remove(record, now))
        self._forget_gone(now)
        return removals

    def snapshot(self) -> list[AwarenessEntry]:
        """List everybody who is present, for somebody who just came."""
        present = [record for record in self._records.values() if record.state is not None]
        for record in present:
            record.is_shown = True
        return [record.entry() for record in present]

    def speaker_of(self, client: ClientId) -> UserId | None:
        """Return who speaks for a client id now, `None` when nobody does."""
        record = self._records.get(client)
        return None if record is None or record.owner is None else record.user

    def flush(self, now: float) -> list[AwarenessEntry]:
        """Hand out the changes that the rate held back and now lets pass, each client's newest."""
        due = [record for record in self._held_back.values() if self._has_allowance(record, now)]
        return [self._relay(record) for record in due]

    def due(self, now: float) -> float | None:
        """Tell in how many seconds a `flush` will have something; None if nothing is held back."""
        if not self._held_back:
            return None
        for record in self._held_back.values():
            self._refill(record, now)
        most = max(record.allowance for record in self._held_back.values())
        return max(0.0, 1.0 - most) / self._rate

    # Private: one entry that is news.

    def _take_in(
        self,
        change: PresenceChange,
        speaker: _Speaker[ConnectionKey],
        record: _Record[ConnectionKey] | None,
        entry: AwarenessEntry,
    ) -> None:
        reason = self._why_refused(speaker, record, entry)
        state = None
        if reason is None and entry.state is not None:
            state = self._stamped(speaker, record, entry.state)
            reason = None if state is not None else "not_an_object"
        if reason is not None:
            change.refused.append(RefusedEntry(entry.client, reason))
            return
        record = self._bind(speaker, entry.client)
        record.clock, record.raw, record.state = entry.clock, entry.state, state
        record.stamp = speaker.stamp
        record.seen_at = speaker.now
        self._pass_on(change, record, speaker.now)

    def _why_refused(
        self,
        speaker: _Speaker[ConnectionKey],
        record: _Record[ConnectionKey] | None,
        entry: AwarenessEntry,
    ) -> str | None:
        if record is not None and not record.may_be_spoken_for_by(speaker):
            # Stock clients repeat what they heard of others; only news about somebody else is a forgery.
            is_news = entry.state is not None and entry.clock > record.clock
            return FORGED if is_news else "foreign_client"
        if entry.clock >= MAX_SAFE_INTEGER:
            # Nobody could ever remove it: a removal needs a higher clock.
            return "clock_exhausted"
        if entry.state is not None and self._is_too_large(entry.state):
            return "too_large"
        owned = self._owned.get(speaker.owner, ())
        if entry.client not in owned and len(owned) >= self._limits.awareness_entries_per_connection:
            return "too_many_clients"
        return None

    def _is_too_large(self, raw: str) -> bool:
        limit = self._limits.awareness_entry_bytes
        return len(raw) > limit or (not raw.isascii() and len(raw.encode()) > limit)

    @staticmethod
    def _stamped(speaker: _Speaker[ConnectionKey], record: _Record[ConnectionKey] | None, raw: str) -> str | None:
        # A renewal repeats the state every 15 seconds: no need to parse it again.
        if record is not None and record.raw == raw and record.stamp == speaker.stamp:
            return record.state
        return stamp_state(raw, speaker.stamp)

    # Private: what is passed on, and when.

    def _pass_on(self, change: PresenceChange, record: _Record[ConnectionKey], now: float) -> None:
        if record.state is not None and not self._has_allowance(record, now):
            self._held_back[record.client] = record
        elif record.state is not None or record.is_shown:
            # A removal never waits. One that takes nothing back is not passed on: it must not be a
            # way around the rate.
            change.changed.append(self._relay(record))
        else:
            self._held_back.pop(record.client, None)

    def _relay(self, record: _Record[ConnectionKey]) -> AwarenessEntry:
        self._held_back.pop(record.client, None)
        if record.state is not None:
            record.allowance -= 1.0
        record.is_shown = record.state is not None
        return record.entry()

    def _remove(self, record: _Record[ConnectionKey], now: float) -> AwarenessEntry:
        """Remove in the room's own name, which takes a higher clock than the client's last."""
        record.clock += 1
        record.raw = record.state = None
        record.seen_at = now
        return self._relay(record)

    def _has_allowance(self, record: _Record[ConnectionKey], now: float) -> bool:
        self._refill(record, now)
        return record.allowance >= 1.0

    def _refill(self, record: _Record[ConnectionKey], now: float) -> None:
        gained = (now - record.refilled_at) * self._rate
        record.allowance = min(self._burst, record.allowance + gained)
        record.refilled_at = now

    # Private: who owns an id.

    def _bind(self, speaker: _Speaker[ConnectionKey], client: ClientId) -> _Record[ConnectionKey]:
        """Let a client id belong to the connection that speaks for it."""
        record = self._records.get(client)
        if record is None:
            record = self._records[client] = _Record(client, speaker.now, self._burst)
        if record.owner != speaker.owner:
            self._release(record)
            record.owner, record.user = speaker.owner, speaker.user
            self._owned.setdefault(speaker.owner, set()).add(client)
        return record

    def _forget_gone(self, now: float) -> None:
        gone = [each for each in self._records.values() if each.state is None and each.owner is None]
        gone.sort(key=lambda record: record.seen_at)
        spare = len(gone) - _MAX_REMEMBERED
        for position, record in enumerate(gone):
            if position >= spare and record.seen_at > now - _REMEMBERED_SECONDS:
                break
            del self._records[record.client]

    def _release(self, record: _Record[ConnectionKey]) -> None:
        if record.owner is None:
            return
        owned = self._owned[record.owner]
        owned.discard(record.client)
        if not owned:
            del self._owned[record.owner]
        record.owner = None
