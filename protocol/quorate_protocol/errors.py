"""What can go wrong, as one tree; the other packages hang their branches under `QuorateError`.

Which close code an error becomes is not said here but in `closing.py`, in one table.
"""

from typing import ClassVar


class QuorateError(Exception):
    """The root of every error that this project raises on purpose.

    QuorateError
    └── ProtocolError
        ├── LocalProtocolError        our own caller used this package wrongly
        └── RemoteProtocolError       the peer sent what it may not send
            ├── MalformedFrame        bytes that do not follow the grammar
            ├── LimitExceeded         more, longer or more often than allowed
            └── NameRefused           no document can be called that
    """


class ProtocolError(QuorateError):
    """The rules of a wire protocol were broken; the two branches tell by whom."""


class LocalProtocolError(ProtocolError):
    """Our own caller asked for what the state of the connection does not allow.

    A bug on this side of the wire: never shown to the peer. Nothing was changed.
    """

    def __init__(self, *, action: str, state: str) -> None:
        super().__init__(action, state)
        self.action = action
        self.state = state

    def __str__(self) -> str:
        return f"{self.action} is not possible while {self.state}"


class RemoteProtocolError(ProtocolError):
    """The peer broke the rules; only its own connection may suffer.

    `reason` is a short stable label, safe for metrics: it never holds what the peer sent.
    """

    reason: ClassVar[str] = "protocol_error"


class MalformedFrame(RemoteProtocolError):
    """Bytes that do not follow the grammar of `docs/protocol.md`.

    Args:
        expected: what the grammar wants at this place.
        received: what is there instead, in our words; never the peer's bytes.
        position: the offset in the frame or update, where it is known.
    """

    reason: ClassVar[str] = "malformed_frame"

    def __init__(self, *, expected: str, received: str, position: int | None = None) -> None:
        super().__init__(expected, received, position)
        self.expected = expected
        self.received = received
        self.position = position

    def __str__(self) -> str:
        where = "" if self.position is None else f" at byte {self.position}"
        return f"expected {self.expected}{where}, received {self.received}"


class LimitExceeded(RemoteProtocolError):
    """The peer passed one of the bounds of `Limits`.

    Args:
        limit_name: the field of `Limits`, a stable label.
        limit: its value.
        actual: what the peer sent or announced.
    """

    reason: ClassVar[str] = "limit_exceeded"

    def __init__(self, limit_name: str, limit: float, actual: float) -> None:
        super().__init__(limit_name, limit, actual)
        self.limit_name = limit_name
        self.limit = limit
        self.actual = actual

    def __str__(self) -> str:
        return f"{self.limit_name} is limited to {self.limit}, received {self.actual}"


class NameRefused(RemoteProtocolError):
    """No document can have this name.

    Args:
        problem: which rule of `names.py` it breaks, in our words; never the name itself.
    """

    reason: ClassVar[str] = "name_refused"

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the document name {self.problem}"
