"""The directory: who people are, which roles and groups they have, who manages whom, and who stands in for whom.

It is the only truth about who may decide: a token says who somebody is, never what they are. Whoever keeps the
people of an organisation (a SCIM feed, a script, an administrator) puts them in by command; each change makes the
directory's version one greater, and decisions say on which version they relied.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Annotated

from quorate_plugins.approval.evaluator import Pool
from quorate_plugins.approval.stages import SORTED, Exclusion, Requirement


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody. `id` is the subject of their tokens; who is not `is_active` decides nothing."""

    id: str
    name: str = ""
    email: str = ""
    phone: str = ""
    roles: Annotated[frozenset[str], SORTED] = frozenset()
    groups: Annotated[frozenset[str], SORTED] = frozenset()
    team: str = ""
    manager: str = ""
    zone: str = "UTC"
    is_active: bool = True


RISKS = ("low", "medium", "high", "critical")
"""The levels of risk, the least first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegation:
    """That somebody decides for somebody else for a while. Times are in seconds since the epoch.

    Without `types`, `prefix` or `most_risk` it is for all types, subjects and risks, and with `request`, an artifact,
    for decisions on that one only. It is never handed on.
    """

    id: str
    principal: str
    delegate: str
    valid_from: float
    valid_to: float
    created_by: str
    types: Annotated[frozenset[str], SORTED] = frozenset()
    prefix: str = ""
    most_risk: str = ""
    request: str = ""
    is_out_of_office: bool = False
    revoked_at: float | None = None

    @property
    def ends_at(self) -> float:
        """When it stops being valid, by itself or because it was revoked."""
        return self.valid_to if self.revoked_at is None else min(self.valid_to, self.revoked_at)

    def is_valid_at(self, at: float) -> bool:
        """Whether it is valid at a moment."""
        return self.valid_from <= at < self.ends_at

    def overlaps(self, other: Delegation) -> bool:
        """Whether both are valid at some moment."""
        return max(self.valid_from, other.valid_from) < min(self.ends_at, other.ends_at)

    def why_not(self, *, at: float, request: str, type_: str, subject: str, risk: str) -> str:
        """Return why it is of no use for a request at a moment; empty when it is."""
        if self._is_revoked_at(at):
            return "revoked"
        if at < self.valid_from:
            return "not_yet_valid"
        if at >= self.valid_to:
            return "expired"
        is_meant = self.request in ("", request)
        return "" if is_meant and self._covers(type_, subject) and self._bears(risk) else "out_of_scope"

    def _covers(self, type_: str, subject: str) -> bool:
        return (not self.types or type_ in self.types) and subject.startswith(self.prefix)

    def _is_revoked_at(self, at: float) -> bool:
        return self.revoked_at is not None and self.revoked_at <= at

    def _bears(self, risk: str) -> bool:
        """Whether it reaches to such a risk; a limit that is no level lets nothing through."""
        return not self.most_risk or (self.most_risk in RISKS and _risk(risk) <= _risk(self.most_risk))


def _risk(level: str) -> int:
    """Return how risky a level is; an unknown one is the riskiest."""
    return RISKS.index(level) if level in RISKS else len(RISKS)


def finds_circle(delegations: Iterable[Delegation], new: Delegation) -> bool:
    """Whether a new delegation would close a circle with others that are all valid at one moment.

    One of the same id is what the new one replaces.
    """
    others = [each for each in delegations if each.id != new.id and each.overlaps(new)]
    return any(_leads_back(new, _valid_at(moment, others)) for moment in _beginnings(new, others))


def _beginnings(new: Delegation, others: Iterable[Delegation]) -> set[float]:
    """Return the moments to look at: more are valid together at no other than at one when one of them begins."""
    return {new.valid_from, *(each.valid_from for each in others if each.valid_from > new.valid_from)}


def _valid_at(moment: float, delegations: Iterable[Delegation]) -> list[Delegation]:
    return [each for each in delegations if each.is_valid_at(moment)]


def _leads_back(new: Delegation, others: Iterable[Delegation]) -> bool:
    """Whether others lead from the delegate to the principal."""
    handed: dict[str, set[str]] = {}
    for each in others:
        handed.setdefault(each.principal, set()).add(each.delegate)
    reached, ahead = {new.delegate}, [new.delegate]
    while ahead:
        further = handed.get(ahead.pop(), set()) - reached
        reached |= further
        ahead.extend(further)
    return new.principal in reached


@dataclass(frozen=True, slots=True, kw_only=True)
class Parties:
    """Who has to do with a request. `owners` are those of its subject, as far as the server knows them."""

    requester: str
    beneficiaries: tuple[str, ...] = ()
    contributors: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()


@dataclass(slots=True)
class Directory:
    """The people, by id, and the delegations between them, by id."""

    version: int = 0
    people: dict[str, Person] = field(default_factory=dict[str, Person])
    delegations: dict[str, Delegation] = field(default_factory=dict[str, Delegation])

    def is_active(self, person: str) -> bool:
        """Whether somebody is known and active."""
        found = self.people.get(person)
        return found is not None and found.is_active

    def printed_name(self, person_id: str) -> str:
        """Return the name that somebody signs with (21 CFR 11.50); their id when the directory has none."""
        person = self.people.get(person_id)
        return person_id if person is None or not person.name else person.name

    def names(self) -> dict[str, str]:
        """Return people's names by their ids."""
        return {key: person.name for key, person in self.people.items() if person.name}

    def members(self, groups: Collection[str]) -> list[str]:
        """Return who is in any of some groups."""
        return [each.id for each in self.people.values() if not each.groups.isdisjoint(groups)]

    def has_role(self, person: str, role: str) -> bool:
        """Whether somebody is known, active, and has a role."""
        return self.is_active(person) and role in self.people[person].roles

    def groups_of(self, person: str) -> frozenset[str]:
        """Return the groups of somebody; none of who is not known."""
        found = self.people.get(person)
        return frozenset() if found is None else found.groups

    def resolve(self, selector: str, parties: Parties) -> Iterator[str]:
        """Yield the active people whom a selector names."""
        return (person for person in self._named(selector, parties) if self.is_active(person))

    def _named(self, selector: str, parties: Parties) -> Iterable[str]:
        kind, _, name = selector.partition(":")
        match kind:
            case "user":
                return (name,)
            case "role" | "group":
                return self._members(kind, name)
            case "owner_of":
                return parties.owners
            case "manager_of":
                return self._managers(parties.beneficiaries if name == "beneficiary" else (parties.requester,))
            case _:
                return ()

    def _members(self, kind: str, name: str) -> Iterator[str]:
        people = self.people.values()
        return (each.id for each in people if name in (each.roles if kind == "role" else each.groups))

    def _managers(self, served: Iterable[str]) -> Iterator[str]:
        return (self.people[each].manager for each in served if each in self.people)

    def pool(self, requirement: Requirement, parties: Parties, added: Iterable[str] = ()) -> Pool:
        """Return who may decide a requirement, with those whom an escalation added."""
        weights: dict[str, float] = {}
        for selector in (*requirement.pool, *added):
            weight = requirement.weights.get(selector, 1.0)
            for person in self.resolve(selector, parties):
                weights[person] = max(weights.get(person, 0.0), weight)
        return Pool(weights=weights, excluded=frozenset(self.excluded(requirement, parties)))

    def excluded(self, requirement: Requirement, parties: Parties) -> set[str]:
        """Return whom separation of duties keeps from deciding a requirement."""
        found: set[str] = set()
        if Exclusion.REQUESTER in requirement.exclude:
            found.add(parties.requester)
        if Exclusion.BENEFICIARY in requirement.exclude:
            found.update(parties.beneficiaries)
        if Exclusion.CONTRIBUTOR in requirement.exclude:
            found.update(parties.contributors)
        if Exclusion.SAME_TEAM in requirement.exclude:
            found.update(self._team_of(parties.requester))
        return found

    def _team_of(self, person: str) -> list[str]:
        """Return who is in the same team as somebody, themselves included; nobody if they have none."""
        found = self.people.get(person)
        if found is None or not found.team:
            return []
        return [each.id for each in self.people.values() if each.team == found.team]

    def delegations_to(self, delegate: str) -> list[Delegation]:
        """Return the delegations to somebody, those that are over included."""
        return [each for each in self.delegations.values() if each.delegate == delegate]
