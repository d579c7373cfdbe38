"""`User`: a person or program whose identity was proved, and what the token says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from quorate_protocol.ids import UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who is on the other side, as the verified token says.

    `expires_at` is when the proof ends, in seconds since the epoch; `None` when it does not.
    `role` is the user's role in documents that say nothing else. Not `is_proven` is who merely says who they are.
    """

    id: UserId
    name: str
    groups: frozenset[str] = frozenset()
    role: str = "editor"
    token_id: str | None = None
    issued_at: float | None = None
    expires_at: float | None = None
    is_proven: bool = True
    claims: Mapping[str, object] = field(default_factory=dict[str, object])

    @property
    def stamp(self) -> dict[str, str]:
        """What presence of this user must say of them, whatever their client claims."""
        return {"id": self.id, "name": self.name} if self.name else {"id": self.id}


SERVER = User(id=UserId("quorate"), name="Quorate", role="owner")
"""The author of what the server itself writes, such as seeds."""
