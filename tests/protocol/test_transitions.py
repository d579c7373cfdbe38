import pytest

from quorate_protocol.errors import LocalProtocolError
from quorate_protocol.transitions import TRANSITIONS, AddressState, AddressTrigger, next_state

_FROM_CLIENTS = (AddressTrigger.FRAME, AddressTrigger.AUTHENTICATE, AddressTrigger.LEAVE)


def test_every_state_has_a_row() -> None:
    assert set(TRANSITIONS) == set(AddressState)


@pytest.mark.parametrize("state", AddressState)
@pytest.mark.parametrize("trigger", _FROM_CLIENTS)
def test_a_client_may_say_anything_in_any_state(state: AddressState, trigger: AddressTrigger) -> None:
    """What a peer sends must never be a mistake of ours."""
    assert next_state(state, trigger) in AddressState


def test_only_a_judged_token_opens_a_document() -> None:
    ways_in = {
        (state, trigger)
        for state, row in TRANSITIONS.items()
        for trigger, target in row.items()
        if target is AddressState.ESTABLISHED and state is not AddressState.ESTABLISHED
    }

    assert ways_in == {(AddressState.AUTHENTICATING, AddressTrigger.ACCEPT)}


def test_every_state_is_reached() -> None:
    reached = {target for row in TRANSITIONS.values() for target in row.values()}

    assert reached == set(AddressState)


def test_a_decision_out_of_turn_is_our_own_fault() -> None:
    with pytest.raises(LocalProtocolError, match="accept is not possible while the address is waiting"):
        next_state(AddressState.WAITING, AddressTrigger.ACCEPT)
