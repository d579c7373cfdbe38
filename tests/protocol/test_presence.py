import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate_protocol.awareness import AwarenessEntry
from quorate_protocol.ids import ClientId, UserId
from quorate_protocol.limits import Limits
from quorate_protocol.presence import FORGED, Presence, PresenceChange, RefusedEntry
from quorate_protocol.varints import MAX_SAFE_INTEGER

_FREE = Limits(awareness_changes_per_second=1e6)


def _entry(client: int, clock: int, state: str | None = "{}") -> AwarenessEntry:
    return AwarenessEntry(ClientId(client), clock, state)


class Room:
    """A room whose connections are named after their users: "ada" and "ada/2" are both Ada's."""

    def __init__(self, limits: Limits = _FREE) -> None:
        self.presence: Presence[str] = Presence(limits)
        self.now = 0.0

    def hears(self, socket: str, *entries: AwarenessEntry) -> PresenceChange:
        user = socket.partition("/")[0]
        stamp: Mapping[str, str] = {"name": user}
        return self.presence.apply(socket, entries, user=UserId(user), stamp=stamp, now=self.now)

    def leaves(self, socket: str) -> list[AwarenessEntry]:
        return self.presence.leave(socket, self.now)

    def present(self) -> dict[int, int]:
        return {entry.client: entry.clock for entry in self.presence.snapshot()}


def _stamped(name: str) -> str:
    return json.dumps({"user": {"name": name}}, separators=(",", ":"))


class TestAcceptRule:
    def test_a_first_word_is_passed_on_with_its_stamp(self) -> None:
        change = Room().hears("ada", _entry(1, 1))

        assert change.changed == [_entry(1, 1, _stamped("ada"))]
        assert not change.refused
        assert not change.answers

    def test_a_renewal_is_passed_on(self) -> None:
        room = Room()
        room.hears("ada", _entry(1, 1))

        assert room.hears("ada", _entry(1, 2)).changed == [_entry(1, 2, _stamped("ada"))]

    @pytest.mark.parametrize("clock", [0, 1, 2])
    def test_old_news_is_dropped_in_silence(self, clock: int) -> None:
        room = Room()
        room.hears("ada", _entry(1, 2))

        assert room.hears("ada", _entry(1, clock)) == PresenceChange()
        assert room.hears("bob", _entry(1, clock)) == PresenceChange()

    def test_the_first_clock_of_a_client_says_nothing(self) -> None:
        assert Room().hears("ada", _entry(1, 0)) == PresenceChange()

    @pytest.mark.parametrize("clock", [2, 3])
    def test_a_removal_is_passed_on(self, clock: int) -> None:
        room = Room()
        room.hears("ada", _entry(1, 2))

        assert room.hears("ada", _entry(1, clock, None)).changed == [_entry(1, clock, None)]
        assert room.present() == {}

    def test_the_removal_of_the_unknown_is_nothing(self) -> None:
        assert Room().hears("ada", _entry(1, 5, None)) == PresenceChange()

    def test_a_clock_that_cannot_grow_is_refused(self) -> None:
        change = Room().hears("ada", _entry(1, MAX_SAFE_INTEGER))

        assert change.refused == [RefusedEntry(ClientId(1), "clock_exhausted")]

    @pytest.mark.parametrize("state", ["[]", "x", '"ada"'])
    def test_a_state_that_is_no_object_is_refused(self, state: str) -> None:
        room = Room()

        change = room.hears("ada", _entry(1, 1, state), _entry(2, 1))

        assert change.refused == [RefusedEntry(ClientId(1), "not_an_object")]
        assert room.present() == {2: 1}

    @pytest.mark.parametrize("padding", ["x" * 50, "é" * 20])
    def test_a_state_over_the_limit_is_refused(self, padding: str) -> None:
        room = Room(Limits(awareness_entry_bytes=40))

        change = room.hears("ada", _entry(1, 1, json.dumps({"a": padding}, ensure_ascii=False)))

        assert change.refused == [RefusedEntry(ClientId(1), "too_large")]

    def test_a_connection_introduces_so_many_clients(self) -> None:
        room = Room(Limits(awareness_entries_per_connection=2))

        change = room.hears("ada", *(_entry(client, 1) for client in (1, 2, 3)))

        assert change.refused == [RefusedEntry(ClientId(3), "too_many_clients")]
        assert room.present() == {1: 1, 2: 1}


class TestOwners:
    def test_nobody_speaks_for_somebody_else(self) -> None:
        room = Room()
        room.hears("ada", _entry(1, 1))

        change = room.hears("eve", _entry(1, 9, '{"user":{"name":"ada"}}'))

        assert change.refused == [RefusedEntry(ClientId(1), FORGED)]
        assert change.changed == []
        assert room.present() == {1: 1}

    def test_it_tells_who_speaks_for_a_client(self) -> None:
        room = Room()
        assert room.presence.speaker_of(ClientId(1)) is None
        room.hears("ada", _entry(1, 1))
        assert room.presence.speaker_of(ClientId(1)) == "ada"
        room.leaves("ada")
        assert room.presence.speaker_of(ClientId(1)) is None

    def test_repeating_what_one_heard_of_others_is_no_forgery(self) -> None:
        """Stock clients do this with every change that they hear of."""
        room = Room()
        room.hears("ada", _entry(1, 1))

        assert room.hears("eve", _entry(1, 1)).refused == []

    def test_nobody_removes_somebody_else(self) -> None:
        """Stock clients do this when they have missed a renewal."""
        room = Room()
        room.hears("ada", _entry(1, 1))

        assert room.hears("bob", _entry(1, 1, None)).refused
        assert room.present() == {1: 1}

    def test_the_id_of_who_hides_is_still_theirs(self) -> None:
        room = Room()
        room.hears("ada", _entry(1, 1), _entry(1, 2, None))

        assert room.hears("eve", _entry(1, 3)).refused
        assert room.hears("ada", _entry(1, 3)).changed

    def test_the_id_of_who_has_left_is_free(self) -> None:
        room = Room()
        room.hears("ada", _entry(1, 1))
        room.leaves("ada")

        assert room.hears("bob", _entry(1, 3)).changed == [_entry(1, 3, _stamped("bob"))]

    def test_a_user_takes_an_id_along_to_a_new_connection(self) -> None:
        """The old connection is half dead, and its end comes late."""
        room = Room()
        room.hears("ada", _entry(1, 1))

        assert room.hears("ada/2", _entry(1, 2)).changed == [_entry(1, 2, _stamped("ada"))]
        assert room.leaves("ada") == []
        assert room.present() == {1: 2}
        assert room.leaves("ada/2") == [_entry(1, 3, None)]

    def test_leaving_removes_what_was_introduced(self) -> None:
        room = Room()
        room.hears("ada", _entry(1, 4), _entry(2, 1))
        room.hears("bob", _entry(3, 1))

        assert sorted(room.leaves("ada")) == [_entry(1, 5, None), _entry(2, 2, None)]
        assert room.leaves("ada") == []
        assert room.present() == {3: 1}

    def test_who_returns_is_told_that_it_is_believed_gone(self) -> None:
        """A client answers that with its state and a higher clock."""
        room = Room()
        room.hears("ada", _entry(1, 1))
        room.leaves("ada")

        change = room.hears("ada/2", _entry(1, 1))

        assert change.changed == []
        assert change.answers == [_entry(1, 2, None)]
        assert room.hears("ada/2", _entry(1, 3)).changed


class TestExpiry:
    def test_what_is_not_renewed_is_removed(self) -> None:
        room = Room()
        room.hears("ada", _entry(1, 1))
        room.now = 20
        room.hears("bob", _entry(2, 1))

        assert room.presence.expire(29.9) == []
        assert room.presence.expire(30) == [_entry(1, 2, None)]
        assert room.present() == {2: 1}

    def test_a_tab_in_the_background_comes_back(self) -> None:
        room = Room()
        room.hears("ada", _entry(1, 1))
        room.now = 40
        room.presence.expire(room.now)

        assert room.hears("ada", _entry(1, 2)).answers == [_entry(1, 2, None)]
        assert room.hears("ada", _entry(1, 3)).changed

    def test_nothing_is_remembered_for_ever(self) -> None:
        room = Room()
        room.hears("ada", _entry(1, 5))
        room.presence.expire(30)
        room.now = 3631
        room.presence.expire(room.now)

        assert room.hears("bob", _entry(1, 1)).changed == [_entry(1, 1, _stamped("bob"))]
        assert room.leaves("ada") == []

    def test_who_sleeps_for_minutes_is_still_remembered(self) -> None:
        """Everybody else still knows the higher clock of the removal."""
        room = Room()
        room.hears("ada", _entry(1, 5))
        room.leaves("ada")
        room.now = 600
        room.presence.expire(room.now)

        assert room.hears("ada/2", _entry(1, 5)).answers == [_entry(1, 6, None)]

    def test_only_so_many_are_remembered(self) -> None:
        room = Room()
        for client in range(1, 10_011):
            room.now = client / 1000
            room.hears("ada", _entry(client, 5))
            room.leaves("ada")
        room.presence.expire(room.now)

        assert room.hears("ada", _entry(10, 1)).changed
        assert room.hears("ada", _entry(11, 1)).answers


class TestRate:
    def test_beyond_the_rate_only_the_newest_is_passed_on(self) -> None:
        room = Room(Limits(awareness_changes_per_second=2))
        passed = [bool(room.hears("ada", _entry(1, clock)).changed) for clock in range(1, 6)]

        assert passed == [True, True, False, False, False]
        assert room.present() == {1: 5}
        assert room.presence.flush(0.4) == []
        assert room.presence.flush(0.5) == [_entry(1, 5, _stamped("ada"))]
        assert room.presence.flush(9) == []

    def test_due_tells_when_to_flush(self) -> None:
        room = Room(Limits(awareness_changes_per_second=2))
        assert room.presence.due(0) is None
        for clock in range(1, 4):
            room.hears("ada", _entry(1, clock))

        assert room.presence.due(0) == pytest.approx(0.5)
        assert room.presence.due(0.2) == pytest.approx(0.3)
        assert room.presence.due(5) == 0
        assert room.presence.flush(5)
        assert room.presence.due(5) is None

    def test_each_client_has_its_own_rate(self) -> None:
        room = Room(Limits(awareness_changes_per_second=1))

        assert room.hears("ada", _entry(1, 1)).changed
        assert not room.hears("ada", _entry(1, 2)).changed
        assert room.hears("bob", _entry(2, 1)).changed

    def test_a_removal_does_not_wait(self) -> None:
        room = Room(Limits(awareness_changes_per_second=1))
        room.hears("ada", _entry(1, 1), _entry(1, 2))

        assert room.hears("ada", _entry(1, 3, None)).changed == [_entry(1, 3, None)]
        assert room.presence.flush(9) == []

    def test_removals_are_no_way_around_the_rate(self) -> None:
        room = Room(Limits(awareness_changes_per_second=1))

        entries = [_entry(1, n, None if n % 2 == 0 else "{}") for n in range(1, 101)]
        relayed = room.hears("ada", *entries).changed

        assert relayed == [_entry(1, 1, _stamped("ada")), _entry(1, 2, None)]

    def test_a_removal_takes_back_what_a_newcomer_was_shown(self) -> None:
        room = Room(Limits(awareness_changes_per_second=1))
        room.hears("ada", _entry(1, 1), _entry(1, 2, None), _entry(1, 3))
        assert room.present() == {1: 3}

        assert room.hears("ada", _entry(1, 4, None)).changed == [_entry(1, 4, None)]


_WORDS = st.tuples(
    st.sampled_from(["ada", "ada/2", "bob", "eve"]),
    st.integers(1, 3),
    st.integers(0, 8),
    st.sampled_from([None, "{}", "[]", '{"cursor":1}']),
)
_STEPS = st.one_of(_WORDS, st.sampled_from(["ada", "ada/2", "bob", "eve"]), st.integers(0, 40), st.none())


@given(st.lists(_STEPS, max_size=40))
def test_a_listener_sees_what_the_room_knows(
    steps: list[tuple[str, int, int, str | None] | str | int | None],
) -> None:
    """Whoever hears everything that is passed on ends with the room's own view.

    A string is a connection that leaves, a number is time that passes, None a flush.
    """
    room = Room(Limits(awareness_changes_per_second=2))
    heard: dict[int, AwarenessEntry] = {}
    for step in steps:
        if isinstance(step, tuple):
            passed_on = room.hears(step[0], _entry(*step[1:])).changed
        elif isinstance(step, str):
            passed_on = room.leaves(step)
        elif isinstance(step, int):
            room.now += step
            passed_on = room.presence.expire(room.now)
        else:
            passed_on = room.presence.flush(room.now)
        for entry in passed_on:
            known = heard.get(entry.client)
            assert known is None or entry.clock >= known.clock or entry.state is None
            heard[entry.client] = entry
    room.now += 1
    heard.update((entry.client, entry) for entry in room.presence.flush(room.now))

    alive = {client: entry.clock for client, entry in heard.items() if entry.state is not None}
    assert alive == {entry.client: entry.clock for entry in room.presence.snapshot()}
