"""Access: the only way to learn what somebody may do with a document.

Somebody holds the role that their token gives them everywhere, and the roles that were granted to them or to their
groups in the artifact or in all of its kind. What each role may do is said by Cedar policies: the default that ships
with the server and any that an operator adds. They are read again when their files change, and connections that are
open follow within seconds. A record is read by whoever may read its artifact. Whatever cannot be decided is denied.
"""

from __future__ import annotations

import enum
import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import cedarpy

from quorate_protocol.ids import DocumentName, UserId
from quorate_server.errors import AccessDenied, NotAuthenticated, SettingsError
from quorate_server.kinds import artifact_of, is_record, kind_of
from quorate_server.users import User
from quorate_storage.acts import Grant, Row
from quorate_storage.stores import Revocation

log = logging.getLogger("quorate.server")


class Action(enum.StrEnum):
    """What can be done with a document; the names are those of the policies."""

    READ = "read"
    COMMENT = "comment"
    REVIEW = "review"
    WRITE = "write"
    CREATE = "create"
    SHARE = "share"
    TRANSFER = "transfer"
    DELETE = "delete"
    RESTORE = "restore"
    ADMINISTER = "administer"


EVERYTHING = DocumentName("*")
"""Stands for the server as a whole, where something is done to no document in particular. No document is called so."""

ROLES = ("guest", "viewer", "commenter", "reviewer", "editor", "owner")
"""The roles, the weakest first."""


class Granted(NamedTuple):
    """A role that was given to a principal, and by whom: a `Grant` without its scope and time.

    Every document has at least its owner's, and all are in memory; so documents share what is alike.
    """

    principal: str
    role: str
    by: UserId


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRole:
    """A role that somebody holds, and why: by their token, or by what was granted in `scope`."""

    role: str
    scope: str = ""
    granted: Granted | None = None

    def __str__(self) -> str:
        if self.granted is None:
            return f"{self.role}, by the token"
        return f"{self.role}, granted to {self.granted.principal} in {self.scope} by {self.granted.by}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Whether somebody may do something, the roles they hold, and the ids of the policies that decided.

    No policy at all means that none permits it.
    """

    is_allowed: bool
    roles: tuple[HeldRole, ...]
    policies: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PolicyFiles:
    """The default policies and those of a folder, and what the folder looked like."""

    stamp: tuple[tuple[str, int], ...]
    policies: cedarpy.PolicySet
    names: dict[str, str]
    """The `@id` of each policy, by the name that the engine gives it."""


class Access:
    """Decides by the policies in force and the tokens revoked."""

    def __init__(self, policy_folder: Path | None = None) -> None:
        self._folder = policy_folder
        self._stamp: tuple[tuple[str, int], ...] = ()
        default = _policies_of((), _default_policies())
        self._policies, self._names = default.policies, default.names
        self._decisions: dict[DocumentName, dict[tuple[object, ...], bool]] = {}
        self._by_roles: dict[tuple[frozenset[str], bool, Action], bool] = {}
        self._changed: dict[str, int] = {}
        self._rules_changed = 0
        self._grants: dict[str, tuple[Granted, ...]] = {}
        self._alike: dict[tuple[Granted, ...], tuple[Granted, ...]] = {}
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
        if not self._stamp:  # policies that ship with the server: decided once for all who hold the same roles
            return self._decide(user, action, name)
        key = (user.id, user.role, user.groups, user.is_proven, action)
        decisions = self._decisions.get(name)
        if decisions is None:
            if len(self._decisions) >= MAX_CACHED_DOCUMENTS:
                self._decisions.clear()
            decisions = self._decisions[name] = {}
        known = decisions.get(key)
        if known is None:
            if len(decisions) >= MAX_CACHED_DECISIONS:
                decisions.clear()
            known = decisions[key] = self._decide(user, action, name)
        return known

    def _decide(self, user: User, action: Action, name: DocumentName) -> bool:
        """Ask the policies; those that ship with the server only once for all who hold the same roles.

        They look at the roles that somebody holds and at whether it is a record, and a test holds them to that. What
        an operator adds may look at anything.
        """
        if self._stamp:
            return self.explain(user, action, name).is_allowed
        seen = (frozenset(held.role for held in self.roles_of(user, name)), is_record(name), action)
        known = self._by_roles.get(seen)
        if known is None:
            if len(self._by_roles) >= MAX_CACHED_DECISIONS:
                self._by_roles.clear()
            known = self._by_roles[seen] = self.explain(user, action, name).is_allowed
        return known

    def require(self, user: User, action: Action, name: DocumentName) -> None:
        """Do nothing if the policies permit `action`.

        Raises:
            AccessDenied: they do not.
        """
        if not self.may(user, action, name):
            roles = ", ".join(sorted({held.role for held in self.roles_of(user, name)}))
            raise AccessDenied(f"{user.id} ({roles}) may not {action} {name!r}")

    def roles_of(self, user: User, name: DocumentName) -> tuple[HeldRole, ...]:
        """Return every role that somebody holds in an artifact or its record, and why."""
        held = [HeldRole(role=user.role)]
        if name == EVERYTHING:
            return tuple(held)  # no grant in a document reaches beyond documents
        principals = [f"user:{user.id}"] if user.is_proven else []
        principals += [f"group:{group}" for group in sorted(user.groups)]
        artifact = artifact_of(name)
        for scope in (artifact, f"{_KIND_SCOPE}{kind_of(artifact)}"):
            grants = self._grants.get(scope, ())
            held += [HeldRole(role=one.role, scope=scope, granted=one) for one in grants if one.principal in principals]
        return tuple(held)

    def granted_in(self, scope: str) -> tuple[Granted, ...]:
        """Return the roles granted in a scope, by principal."""
        return self._grants.get(scope, ())

    def follow(self, rows: Iterable[Row]) -> None:
        """Take note of grants that became durable; open connections follow at their next check."""
        for row in rows:
            if not isinstance(row, Grant):
                continue
            self._keep(row)
            self.generation += 1
            if len(self._changed) >= MAX_CHANGED_SCOPES:
                self._changed.clear()
                self._rules_changed = self.generation
            self._changed[row.scope] = self.generation
            if row.scope.startswith(_KIND_SCOPE):
                self._decisions.clear()
            else:
                self._decisions.pop(DocumentName(row.scope), None)
                self._decisions.pop(DocumentName(f"{row.scope}/record"), None)

    def _keep(self, grant: Grant) -> None:
        kept = [one for one in self._grants.get(grant.scope, ()) if one.principal != grant.principal]
        if grant.role is not None:
            kept.append(Granted(grant.principal, grant.role, grant.by))
        if not kept:
            self._grants.pop(grant.scope, None)
            return
        if len(self._alike) >= MAX_ALIKE:
            self._alike.clear()
        granted = tuple(sorted(kept))
        self._grants[grant.scope] = self._alike.setdefault(granted, granted)

    def has_changed(self, since: int, names: Iterable[DocumentName]) -> bool:
        """Whether decisions about any of some documents may have changed after a generation."""
        if self._rules_changed > since:
            return True
        changed = self._changed.get
        return any(
            changed(artifact_of(name), 0) > since or changed(f"{_KIND_SCOPE}{kind_of(name)}", 0) > since
            for name in names
        )

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
        self._rules_changed = self.generation = self.generation + 1

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
        self._policies, self._names, self._stamp = files.policies, files.names, files.stamp
        self._decisions.clear()
        self._by_roles.clear()
        self._rules_changed = self.generation = self.generation + 1
        log.info("policies.loaded", extra={"files": len(files.stamp)})

    def explain(self, user: User, action: Action, name: DocumentName) -> Verdict:
        """Decide by the policies, and say why."""
        roles = self.roles_of(user, name)
        request = {
            "principal": {"type": "User", "id": user.id},
            "action": {"type": "Action", "id": str(action)},
            "resource": {"type": "Document", "id": name},
            "context": {},
        }
        result = cedarpy.is_authorized(  # pyright: ignore[reportUnknownMemberType] - its stubs are bare
            request, self._policies, _entities(user, roles, name)
        )
        if result.diagnostics.errors:
            log.error("policies.error", extra={"errors": [str(e) for e in result.diagnostics.errors]})
        reasons = tuple(self._names.get(str(reason), str(reason)) for reason in result.diagnostics.reasons)
        return Verdict(is_allowed=bool(result.allowed), roles=roles, policies=reasons)


def _entities(user: User, roles: tuple[HeldRole, ...], name: DocumentName) -> list[dict[str, object]]:
    """Return what the policies can see."""
    groups = [{"type": "Group", "id": group} for group in sorted(user.groups)]
    held = sorted({each.role for each in roles}, key=_rank)
    entities: list[dict[str, object]] = [
        {
            "uid": {"type": "User", "id": user.id},
            "attrs": {"role": held[-1], "roles": held, "name": user.name},
            "parents": groups,
        },
        {
            "uid": {"type": "Document", "id": name},
            "attrs": {"name": name, "kind": kind_of(name), "is_record": is_record(name)},
            "parents": list[object](),
        },
    ]
    entities.extend({"uid": group, "attrs": {}, "parents": list[object]()} for group in groups)
    return entities


def _rank(role: str) -> int:
    return ROLES.index(role) if role in ROLES else -1


MAX_CACHED_DOCUMENTS = 5_000
MAX_CACHED_DECISIONS = 500
"""For one document. A decision costs a quarter of a millisecond: much of what it costs to let somebody in."""

MAX_CHANGED_SCOPES = 5_000
"""Beyond this every open connection looks anew, instead of those that a change concerns."""

MAX_ALIKE = 5_000
"""Ways of having granted roles that are remembered to be shared. Beyond this documents share from the beginning."""

_KIND_SCOPE = "kind:"


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
    return _policies_of(stamp, "\n".join(texts))


def _policies_of(stamp: tuple[tuple[str, int], ...], text: str) -> PolicyFiles:
    policies = cedarpy.PolicySet.from_str(text)
    parsed: dict[str, dict[str, dict[str, str]]] = json.loads(cedarpy.policies_to_json_str(text))["staticPolicies"]
    names = {key: policy.get("annotations", {}).get("id", key) for key, policy in parsed.items()}
    return PolicyFiles(stamp, policies, names)
