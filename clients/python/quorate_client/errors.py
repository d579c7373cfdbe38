"""What can go wrong in the client, as one tree."""

from __future__ import annotations

from collections.abc import Mapping

from quorate_protocol.errors import QuorateError


class ClientError(QuorateError):
    """The root of the client's errors.

    ClientError
    ├── ProblemError      the server says no, and why
    ├── Disconnected      the server cannot be reached, for longer than the patience of the client
    ├── LineLost          a socket is gone; the client opens another, and only its own modules see this
    └── NotUnderstood     whoever answers does not speak this dialect
    """


class ProblemError(ClientError):
    """The server says no. `problem` holds the members of RFC 9457, extensions included.

    Nothing was changed, unless `status` is 503: then it may not be known.
    """

    def __init__(self, problem: Mapping[str, object]) -> None:
        super().__init__(problem)
        self.problem = dict(problem)

    def __str__(self) -> str:
        return f"{self.title} ({self.status} {self.code}): {self.detail}"

    @property
    def code(self) -> str:
        """What programs tell problems by: the last part of `type`, such as `permission-denied`."""
        return str(self.problem.get("type", "about:blank")).rpartition(":")[2]

    @property
    def status(self) -> int:
        """The HTTP status of the problem, 0 when it has none."""
        status = self.problem.get("status")
        return status if isinstance(status, int) else 0

    @property
    def title(self) -> str:
        """What kind of problem it is, for people."""
        return str(self.problem.get("title", ""))

    @property
    def detail(self) -> str:
        """What went wrong this time, for people."""
        return str(self.problem.get("detail", ""))

    @property
    def passes(self) -> bool:
        """Whether it may go away by itself, so that trying again is worth it."""
        return self.status >= _SERVERS_FAULT


_SERVERS_FAULT = 500


class Disconnected(ClientError):
    """The server cannot be reached. A command that was given may have been done: repeat it with the same key."""


class LineLost(ClientError):
    """A socket is gone: its cause is the text of this error."""


class NotUnderstood(ClientError):
    """Whoever answers at this address does not speak the dialect of `/channel`, or another version of it."""
