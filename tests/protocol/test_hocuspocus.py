import pytest

from quorate_protocol import hocuspocus
from quorate_protocol.errors import LimitExceeded, LocalProtocolError, MalformedFrame
from quorate_protocol.hocuspocus import HocuspocusConnection
from quorate_protocol.ids import DocumentName
from quorate_protocol.limits import Limits
from quorate_protocol.messages import (
    Authenticate,
    AwarenessChange,
    AwarenessQuery,
    CloseDocument,
    Ignored,
    Ping,
    Pong,
    Stateless,
    SyncStep1,
    SyncUpdate,
)
from quorate_protocol.transitions import AddressState
from tests.protocol.events import TOKEN, assert_events, assert_sent, established, token_for

_D = DocumentName("d")
_AUTHENTICATED = "01 64 02 02 0a 72 65 61 64 2d 77 72 69 74 65"
_STEP1 = bytes.fromhex("016400000100")
_UPDATE = bytes.fromhex("0164 0002 0e 010101002801016d016b017d0100".replace(" ", ""))
_RESET = "01 64 07 10 52 65 73 65 74 20 43 6f 6e 6e 65 63 74 69 6f 6e"


def _authenticate(name: str, token: str = "t", *, session: str | None = None, is_refresh: bool = False) -> Authenticate:
    address = name if session is None else f"{name}\0{session}"
    return Authenticate(address, DocumentName(name), session, token, None, is_refresh)


class TestFramesOfTheServer:
    """Recorded from the reference server, for the document "d"."""

    @pytest.mark.parametrize(
        ("frame", "expected"),
        [
            (hocuspocus.encode_authenticated("d", read_only=False), _AUTHENTICATED),
            (
                hocuspocus.encode_authenticated("d", read_only=True),
                "01 64 02 02 08 72 65 61 64 6f 6e 6c 79",
            ),
            (hocuspocus.encode_step1("d", b"\x00"), "01 64 00 00 01 00"),
            (hocuspocus.encode_step2("d", b"\x00\x00"), "01 64 00 01 02 00 00"),
            (hocuspocus.encode_update("d", _UPDATE[5:]), _UPDATE.hex(" ")),
            (hocuspocus.encode_sync_status("d", saved=True), "01 64 08 01"),
            (hocuspocus.encode_sync_status("d", saved=False), "01 64 08 00"),
            (hocuspocus.encode_stateless("d", "hi"), "01 64 05 02 68 69"),
            (hocuspocus.encode_awareness("d", b"\x00"), "01 64 01 01 00"),
            (hocuspocus.encode_token_request("d"), "01 64 02 00"),
            (
                hocuspocus.encode_permission_denied("d", "permission-denied"),
                "01 64 02 01 11 70 65 72 6d 69 73 73 69 6f 6e 2d 64 65 6e 69 65 64",
            ),
            (hocuspocus.encode_close("z", "Reset Connection"), _RESET.replace("64", "7a", 1)),
            (hocuspocus.encode_step1("é", b""), "02 c3 a9 00 00 00"),
        ],
    )
    def test_golden_frames(self, frame: bytes, expected: str) -> None:
        assert frame.hex(" ") == expected


class TestHandshake:
    def test_a_token_is_handed_out(self) -> None:
        connection = HocuspocusConnection()

        events = connection.receive_frame(TOKEN)

        assert_events(events, Authenticate("d", _D, None, "rw", "4.8.0", is_refresh=False))
        assert connection.state_of("d") is AddressState.AUTHENTICATING
        assert not connection.is_authenticated

    def test_a_token_without_a_version_comes_from_version_3(self) -> None:
        [event] = HocuspocusConnection().receive_frame(token_for("d"))

        assert_events([event], _authenticate("d"))

    def test_what_comes_before_the_answer_waits_for_it_in_order(self) -> None:
        connection = HocuspocusConnection()
        connection.receive_frame(TOKEN)
        assert_events(connection.receive_frame(_STEP1))
        assert_events(connection.receive_frame(bytes.fromhex("01640106010100027b7d")))

        events = connection.accept("d", read_only=False)

        assert_events(
            events,
            SyncStep1("d", b"\x00"),
            AwarenessChange("d", b"\x01\x01\x00\x02{}"),
        )
        assert_sent(connection, _AUTHENTICATED)
        assert connection.is_authenticated
        assert connection.addresses == ["d"]

    def test_what_comes_before_the_token_waits_too(self) -> None:
        connection = HocuspocusConnection()
        connection.receive_frame(_STEP1)
        assert connection.state_of("d") is AddressState.WAITING
        connection.receive_frame(TOKEN)

        assert_events(connection.accept("d", read_only=True), SyncStep1("d", b"\x00"))

    def test_a_denied_client_may_try_again_on_the_same_socket(self) -> None:
        connection = HocuspocusConnection()
        connection.receive_frame(token_for("d", "bad"))
        connection.receive_frame(_STEP1)
        connection.deny("d", "no")
        assert_sent(connection, "01 64 02 01 02 6e 6f")

        assert_events(connection.receive_frame(_STEP1), Ignored("d", "not_open"))
        assert_events(connection.receive_frame(token_for("d", "good")), _authenticate("d", "good"))
        assert_events(connection.accept("d", read_only=False))

    def test_who_edits_and_leaves_at_once_has_edited(self) -> None:
        connection = HocuspocusConnection()
        for frame in (TOKEN, _UPDATE, bytes.fromhex("016407")):
            connection.receive_frame(frame)

        events = connection.accept("d", read_only=False)

        assert_events(
            events,
            SyncUpdate("d", _UPDATE[5:], is_step2=False),
            CloseDocument("d", "provider_initiated"),
        )
        assert connection.addresses == []

    def test_who_leaves_and_returns_at_once_is_judged_again(self) -> None:
        connection = HocuspocusConnection()
        for frame in (token_for("d", "1"), bytes.fromhex("016407"), token_for("d", "2"), _STEP1):
            connection.receive_frame(frame)

        events = connection.accept("d", read_only=False)

        assert_events(events, CloseDocument("d", "provider_initiated"), _authenticate("d", "2"))
        assert_events(connection.accept("d", read_only=False), SyncStep1("d", b"\x00"))

    def test_a_second_token_is_a_refresh(self) -> None:
        connection = established()

        assert_events(connection.receive_frame(token_for("d", "2")), _authenticate("d", "2", is_refresh=True))
        assert_events(connection.accept("d", read_only=True))
        assert_sent(connection, "01 64 02 02 08 72 65 61 64 6f 6e 6c 79")

    @pytest.mark.parametrize("frame", ["01640201", "01640200", "0164020005", "01640205", "0164020001ff"])
    def test_a_malformed_token_changes_nothing(self, frame: str) -> None:
        connection = HocuspocusConnection()

        with pytest.raises(MalformedFrame):
            connection.receive_frame(bytes.fromhex(frame))

        assert connection.state_of("d") is AddressState.UNKNOWN


class TestOpenDocuments:
    def test_what_a_client_says(self) -> None:
        connection = established()
        for frame, event in (
            ("01 64 00 00 01 00", SyncStep1("d", b"\x00")),
            ("01 64 00 01 02 00 00", SyncUpdate("d", b"\x00\x00", is_step2=True)),
            ("01 64 00 02 02 00 00", SyncUpdate("d", b"\x00\x00", is_step2=False)),
            ("01 64 01 01 00", AwarenessChange("d", b"\x00")),
            ("01 64 03", AwarenessQuery("d")),
            ("01 64 05 02 68 69", Stateless("d", "hi")),
            ("01 64 08 01", Ignored("d", "unknown_type")),
            ("01 64 63", Ignored("d", "unknown_type")),
        ):
            assert_events(connection.receive_frame(bytes.fromhex(frame)), event)
        assert_sent(connection)

    def test_leaving_is_confirmed(self) -> None:
        connection = established()

        events = connection.receive_frame(bytes.fromhex("016407"))

        assert_events(events, CloseDocument("d", "provider_initiated"))
        assert_sent(connection, "01 64 07 12 " + b"provider_initiated".hex(" "))
        assert connection.state_of("d") is AddressState.UNKNOWN

    @pytest.mark.parametrize("frame", ["016406 0178", "016404 000100"])
    def test_what_only_servers_may_send_closes_the_document(self, frame: str) -> None:
        connection = established()
        connection.receive_frame(token_for("e"))
        connection.accept("e", read_only=False)
        connection.frames_to_send()

        events = connection.receive_frame(bytes.fromhex(frame))

        assert_events(events, CloseDocument("d", "Reset Connection"))
        assert_sent(connection, _RESET)
        assert connection.addresses == ["e"]

    def test_frames_under_way_to_a_closed_document_are_ignored(self) -> None:
        connection = established()
        connection.close("d", "bye")
        assert_sent(connection, "01 64 07 03 62 79 65")

        assert_events(connection.receive_frame(_UPDATE), Ignored("d", "not_open"))
        assert_events(connection.receive_frame(bytes.fromhex("016407")), Ignored("d", "not_open"))
        assert connection.state_of("d") is AddressState.UNKNOWN

    @pytest.mark.parametrize("frame", ["0164", "01", "05ab", "01640003 0100", "016400", "016405 02c328"])
    def test_malformed_frames(self, frame: str) -> None:
        with pytest.raises(MalformedFrame):
            established().receive_frame(bytes.fromhex(frame))

    def test_an_address_that_is_not_utf8_is_malformed(self) -> None:
        with pytest.raises(MalformedFrame, match="expected UTF-8"):
            HocuspocusConnection().receive_frame(bytes.fromhex("01ff00000100"))

    def test_a_ping_is_answered_by_itself(self) -> None:
        connection = HocuspocusConnection()

        assert_events(connection.receive_frame(b"\x09"), Ping())
        assert_events(connection.receive_frame(b"\x0a"), Pong())
        assert_sent(connection, "0a")


class TestSessions:
    def test_two_sessions_of_a_document_are_two_addresses(self) -> None:
        connection = established()

        events = connection.receive_frame(b"\x04d\0s1\x02\x00\x01t")

        assert_events(events, _authenticate("d", session="s1"))
        connection.accept("d\0s1", read_only=False)
        assert connection.addresses == ["d", "d\0s1"]
        assert_events(connection.receive_frame(b"\x04d\0s1\x00\x00\x01\x00"), SyncStep1("d\0s1", b"\x00"))

    def test_an_unknown_session_falls_back_to_the_plain_name(self) -> None:
        assert_events(established().receive_frame(b"\x04d\0s9\x00\x00\x01\x00"), SyncStep1("d", b"\x00"))


class TestDecisionsOutOfTurn:
    def test_accepting_whom_nobody_knows_is_our_own_fault(self) -> None:
        with pytest.raises(LocalProtocolError, match="accept is not possible"):
            HocuspocusConnection().accept("d", read_only=False)

    def test_accepting_without_a_token_is_our_own_fault(self) -> None:
        connection = HocuspocusConnection()
        connection.receive_frame(_STEP1)

        with pytest.raises(LocalProtocolError, match="while the address is waiting"):
            connection.accept("d", read_only=False)
        assert not connection.is_authenticated

    def test_closing_what_the_client_has_left_says_nothing(self) -> None:
        connection = established()
        connection.receive_frame(bytes.fromhex("016407"))
        connection.frames_to_send()

        connection.close("d", "late")
        connection.deny("d", "late")

        assert_sent(connection)

    def test_denying_an_open_document_closes_it(self) -> None:
        connection = established()

        connection.deny("d", "gone")

        assert_sent(connection, "01 64 02 01 04 67 6f 6e 65")
        assert connection.state_of("d") is AddressState.CLOSED


class TestBounds:
    def test_documents_that_wait(self) -> None:
        connection = HocuspocusConnection(Limits(pending_documents=2))
        for name in ("a", "b"):
            connection.receive_frame(token_for(name))
        assert connection.should_pause

        with pytest.raises(LimitExceeded, match="pending_documents is limited to 2, received 3"):
            connection.receive_frame(token_for("c"))
        connection.accept("a", read_only=False)
        assert not connection.should_pause
        assert_events(connection.receive_frame(token_for("c")), _authenticate("c"))

    def test_frames_that_wait_for_one_document(self) -> None:
        connection = HocuspocusConnection(Limits(handshake_frames=2))
        connection.receive_frame(TOKEN)
        for _ in range(2):
            assert not connection.should_pause
            connection.receive_frame(_STEP1)
        assert connection.should_pause

        with pytest.raises(LimitExceeded, match="handshake_frames is limited to 2, received 3"):
            connection.receive_frame(_STEP1)

    def test_bytes_that_wait_before_anybody_is_known_count_together(self) -> None:
        connection = HocuspocusConnection(Limits(handshake_bytes=20))
        for name in ("a", "b"):
            connection.receive_frame(token_for(name))
            connection.receive_frame(hocuspocus.encode_step1(name, b"\x00" * 4))
        assert connection.should_pause

        with pytest.raises(LimitExceeded, match="handshake_bytes is limited to 20, received 24"):
            connection.receive_frame(hocuspocus.encode_step1("b", b"\x00"))

    def test_bytes_that_wait_afterwards_count_for_each_document(self) -> None:
        connection = established("z", Limits(handshake_bytes=20))
        for name in ("a", "b"):
            connection.receive_frame(token_for(name))
            connection.receive_frame(hocuspocus.encode_step1(name, b"\x00" * 4))
            connection.receive_frame(hocuspocus.encode_step1(name, b"\x00"))

        assert_events(
            connection.accept("a", read_only=False),
            SyncStep1("a", b"\x00" * 4),
            SyncStep1("a", b"\x00"),
        )

    def test_a_token_is_bounded(self) -> None:
        with pytest.raises(LimitExceeded, match="handshake_bytes"):
            HocuspocusConnection(Limits(handshake_bytes=20)).receive_frame(token_for("d", "t" * 20))

    def test_waiting_without_a_token_does_not_pause(self) -> None:
        """The token may be the very next frame, and nobody would be there to judge anything."""
        connection = HocuspocusConnection(Limits(pending_documents=1))
        connection.receive_frame(_STEP1)

        assert not connection.should_pause

    def test_one_document_too_many_is_denied_alone(self) -> None:
        connection = established("a", Limits(documents_per_socket=2))
        connection.receive_frame(token_for("b"))
        connection.accept("b", read_only=False)
        connection.frames_to_send()

        events = connection.receive_frame(token_for("c"))

        assert_events(events, Ignored("c", "documents_per_socket"))
        assert_sent(connection, "01 63 02 01 14 " + b"documents_per_socket".hex(" "))
        assert connection.addresses == ["a", "b"]

    @pytest.mark.parametrize("name", ["", "x" * 100])
    def test_a_refused_name_is_denied_alone(self, name: str) -> None:
        connection = established("a", Limits(name_bytes=20, session_bytes=10))

        assert_events(connection.receive_frame(token_for(name)), Ignored("", "name_refused"))
        assert_events(
            connection.receive_frame(hocuspocus.encode_step1(name, b"\x00")),
            Ignored("", "name_refused"),
        )
        assert connection.frames_to_send() == [hocuspocus.encode_permission_denied(name, "name_refused")]
        assert connection.addresses == ["a"]

    def test_frames_over_the_limit(self) -> None:
        connection = established("d", Limits(frame_bytes=100, stateless_bytes=10))

        with pytest.raises(LimitExceeded, match="frame_bytes"):
            connection.receive_frame(b"\x00" * 101)
        with pytest.raises(LimitExceeded, match="stateless_bytes"):
            connection.receive_frame(hocuspocus.encode_stateless("d", "x" * 11))

    def test_denied_addresses_are_forgotten_in_the_end(self) -> None:
        connection = HocuspocusConnection(Limits(documents_per_socket=2))
        for name in ("a", "b", "c"):
            connection.receive_frame(token_for(name))
            connection.deny(name, "no")

        states = [connection.state_of(name) for name in ("a", "b", "c")]

        assert states == [AddressState.UNKNOWN, AddressState.CLOSED, AddressState.CLOSED]
