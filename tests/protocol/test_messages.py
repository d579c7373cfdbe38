from quorate_protocol.ids import DocumentName
from quorate_protocol.messages import Authenticate, Ping, Pong


def test_beats_have_no_address() -> None:
    assert Ping().address == Pong().address == ""


def test_a_token_is_not_shown() -> None:
    event = Authenticate("d", DocumentName("d"), None, "very-secret", "4.8.0", is_refresh=False)

    assert "very-secret" not in repr(event)
    assert "very-secret" not in f"{event}"
    assert "'4.8.0'" in repr(event)
