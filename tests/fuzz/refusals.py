"""The one way in which damaged bytes may fail."""

from collections.abc import Callable
from typing import TypeVar

from quorate_protocol.errors import RemoteProtocolError

_Result = TypeVar("_Result")


def attempt(action: Callable[[], _Result]) -> _Result | None:
    """Run what may refuse the peer's bytes; any other exception fails the test.

    Returns None for a refusal, which must say something.
    """
    try:
        return action()
    except RemoteProtocolError as error:
        message = str(error)
    assert message
    return None
