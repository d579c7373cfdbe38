"""Access: the only way to learn what somebody may do with a document.

The rules are Cedar policies: the default that ships with the server and any that an operator adds. They are
read again when their files change, and connections that are open follow within seconds.
Whatever cannot be decided is denied.
"""

from __future__ import annotations

import enum
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import cedarpy

from quorate_protocol.ids import DocumentName
from quorate_server.errors import AccessDenied, NotAuthenticated, SettingsError
from quorate_server.kinds import kind_of
from quorate_server.users import User
from quorate_storage.stores import Revocation

log = logging.getLogger("quorate.server")


class Action(enum.StrEnum):
    """What can be done with a document; the names are those of the policies."""

    READ = "read"
    WRITE = "write"
    CREATE = "create"
    DELETE = "delete"
    RESTORE = "restore"
    ADMINISTER = "administer"


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """The default policies and those of a folder, and what the folder looked like."""

    stamp: tuple[tuple[str, int], ...]
    policies: cedarpy.PolicySet


class Access:
    """Decides by the policies in force and the tokens revoked."""

    def __init__(self, policy_folder: Path | None = None) -> None:
        self._folder = policy_folder
        self._stamp: tuple[tuple[str, int], ...] = ()
        self._policies = cedarpy.PolicySet.from_str(_default_policies())
        self._decisions: dict[tuple[object, ...], bool] = {}
        self._revocations: list[Revocation] = []
        self.generation = 0
        """Grows whenever decisions may have changed."""
        if policy_folder is not None:
            try:
                self.adopt(_read_policies(policy_folder))
            except (OSError, ValueError) as error:
                raise SettingsError(f"policies in {policy_folder}: {error}") from error

    def may(self, user: User, action: Action, name: DocumentName) -> bool:
        """Whether the policies permit `action`."""
        key = (user.id, user.role, user.groups, action, name)
        known = self._decisions.get(key)
        if known is None:
            if len(self._decisions) >= MAX_CACHED_DECISIONS:
                self._decisions.clear()
            known = self._decisions[key] = self._decide(user, action, name)
        return known

    def require(self, user: User, action: Action, name: DocumentName) -> None:
        """Do nothing if the policies permit `action`.

        Raises:
            AccessDenied: they do not.
        """
        if not self.may(user, action, name):
            raise AccessDenied(f"{user.id} ({user.role}) may not {action} {name!r}")

    def check_alive(self, user: User, *, now: float) -> None:
        """Do nothing if the user's proof still holds.

        Raises:
            NotAuthenticated: it expired or was revoked.
        """
        if user.expires_at is not None and now >= user.expires_at:
            raise NotAuthenticated("the token has expired")
        if any(_applies(revocation, user) for revocation in self._revocations):
            raise NotAuthenticated("access was revoked")

    def revoke(self, revocations: Iterable[Revocation]) -> None:
        """Add revocations; open connections follow at their next check."""
        self._revocations.extend(revocations)
        self.generation += 1

    def read_if_changed(self) -> PolicyFiles | None:
        """Read the operator's policy files if one was added, changed or removed; safe in any thread.

        A folder that does not parse is logged, and the rules in force stay.
        """
        if self._folder is None:
            return None
        try:
            found = _read_policies(self._folder)
        except (OSError, ValueError):
            log.exception("policies.unreadable", extra={"folder": str(self._folder)})
            return None
        return None if found.stamp == self._stamp else found

    def adopt(self, files: PolicyFiles) -> None:
        """Put policies in force. On the event loop only: decisions of the old ones must not be kept."""
        self._policies, self._stamp = files.policies, files.stamp
        self._decisions.clear()
        self.generation += 1
        log.info("policies.loaded", extra={"files": len(files.stamp)})

    def _decide(self, user: User, action: Action, name: DocumentName) -> bool:
        request = {
            "principal": {"type": "User", "id": user.id},
            "action": {"type": "Action", "id": str(action)},
            "resource": {"type": "Document", "id": name},
            "context": {},
        }
        groups = [{"type": "Group", "id": group} for group in sorted(user.groups)]
        entities: list[dict[str, object]] = [
            {
                "uid": {"type": "User", "id": user.id},
                "attrs": {"role": user.role, "name": user.name},
                "parents": groups,
            },
            {
                "uid": {"type": "Document", "id": name},
                "attrs": {"name": name, "kind": kind_of(name)},
                "parents": list[object](),
            },
        ]
        entities.extend({"uid": group, "attrs": {}, "parents": list[object]()} for group in groups)
        result = cedarpy.is_authorized(  # pyright: ignore[reportUnknownMemberType] - its stubs are bare
            request, self._policies, entities
        )
        if result.diagnostics.errors:
            log.error("policies.error", extra={"errors": [str(e) for e in result.diagnostics.errors]})
        return bool(result.allowed)


MAX_CACHED_DECISIONS = 5_000
"""About 2 MiB. A decision costs a quarter of a millisecond, so a miss is no harm."""


def _applies(revocation: Revocation, user: User) -> bool:
    """Whether `user` came with a token that this revokes. One without `iat` counts as old."""
    if revocation.token_id and user.token_id == revocation.token_id:
        return True
    return bool(revocation.subject) and user.id == revocation.subject and (user.issued_at or 0.0) <= revocation.at


def _default_policies() -> str:
    return resources.files("quorate_server").joinpath("policies/default.cedar").read_text("utf-8")


def _read_policies(folder: Path) -> PolicyFiles:
    files = sorted(folder.glob("*.cedar"))
    stamp = tuple((str(path), path.stat().st_mtime_ns) for path in files)
    texts = [_default_policies(), *(path.read_text("utf-8") for path in files)]
    return PolicyFiles(stamp, cedarpy.PolicySet.from_str("\n".join(texts)))
