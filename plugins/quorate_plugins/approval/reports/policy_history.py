"""Policy history: which policies held when, who wrote and approved them, and what they changed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from quorate_plugins.approval.reports.chronicle import PUBLISHED, Step, settings_of
from quorate_plugins.approval.reports.population import voices
from quorate_plugins.approval.reports.queries import Span, canonical, moment
from quorate_plugins.approval.reports.report import Report
from quorate_plugins.approval.reports.tables import Cell, Row, columns_of
from quorate_plugins.approval.requests import Evaluated, Request, State

_OPEN = frozenset({State.EVALUATING, State.PENDING, State.CHANGES_REQUESTED})
MOST_SHOWN = 200
"""A value in a difference that is longer, in characters of JSON, is cut."""


@dataclass(slots=True, kw_only=True)
class _Publication:
    """A policy that took effect; `open` are the requests that were open then and not evaluated by it yet."""

    step: Step
    version: int
    request: Request | None
    diff: tuple[str, ...] | None
    open: set[str]
    reevaluated: set[str] = field(default_factory=set[str])


class PolicyHistory(Report):
    """Each policy that was published in the period."""

    name = "policy_history"
    title = "Policy history"
    serves = ("SOC 2 CC5", "SOC 2 CC8")
    notes = (
        "A policy that no request names was published by an administrator, as the first one is.",
        "`difference` is against the version of the same policy before; empty where the chain does not hold them.",
        (
            "Open requests keep the stages that they were evaluated to; `reevaluated` counts those of them that were"
            " evaluated again by this version or a later one, because they were edited or submitted again."
        ),
    )
    columns = columns_of(
        {
            "sequence": "Event",
            "version": "Version",
            "policy": "Policy",
            "content_hash": "Content hash",
            "published_at": "Published",
            "published_by": "Published by",
            "request": "Request",
            "authors": "Authors",
            "approvers": "Approved by",
            "difference": "Difference",
            "open_requests": "Open requests then",
            "reevaluated": "Of them evaluated again",
        }
    )

    def begin(self) -> None:
        """Begin with no policies."""
        self._all: list[_Publication] = []
        self._settings: dict[str, Mapping[str, object] | None] = {}
        self._open: set[str] = set()

    def take(self, step: Step) -> None:
        """Follow policies, and which requests are open."""
        if step.logged.type == PUBLISHED:
            self._publish(step)
        if step.after is None:
            return
        (self._open.add if step.after.state in _OPEN else self._open.discard)(step.artifact)
        if isinstance(step.event, Evaluated):
            self._evaluate(step.artifact, step.event.policy_version)

    def _publish(self, step: Step) -> None:
        settings = settings_of(step)
        before = self._settings.get(step.artifact, {})
        found = _Publication(
            step=step,
            version=int(step.number("version") or 0),
            request=self.chronicle.requests.get(step.cause),
            diff=None if settings is None or before is None else tuple(differences(before, settings)),
            open=set(self._open),
        )
        self._settings[step.artifact] = settings
        self._all.append(found)

    def _evaluate(self, artifact: str, version: int) -> None:
        for found in self._all:
            if artifact in found.open and version >= found.version:
                found.reevaluated.add(artifact)

    def rows(self, span: Span) -> Iterable[Row]:
        """Return the publications of the period."""
        return [_row(found) for found in self._all if found.step.sequence in span]

    def totals(self, span: Span, rows: list[Row]) -> Row:
        """Return how many versions there are, and how many of them a request approved."""
        del span
        approved = sum(bool(row["request"]) for row in rows)
        return {"versions": len(rows), "approved_by_request": approved, "by_administrators": len(rows) - approved}


def _row(found: _Publication) -> dict[str, Cell]:
    step, request = found.step, found.request
    return {
        "sequence": step.sequence,
        "version": found.version,
        "policy": step.artifact,
        "content_hash": step.fact("content_hash"),
        "published_at": moment(step.at),
        "published_by": step.logged.actor,
        "request": step.cause,
        "authors": () if request is None else tuple(dict.fromkeys((request.requester, *request.contributors))),
        "approvers": () if request is None else voices(request, "approve"),
        "difference": found.diff,
        "open_requests": len(found.open),
        "reevaluated": len(found.reevaluated),
    }


def differences(before: object, after: object, path: str = "") -> Iterator[str]:
    """Yield what is different in two JSON values, one line each: `rules/low/effect: "forbid" -> "require"`."""
    left, right = _members(before), _members(after)
    if left is not None and right is not None:
        yield from _of_members(left, right, path)
    elif before != after:
        yield f"{path}: {_shown(before)} -> {_shown(after)}"


def _members(value: object) -> Mapping[str, object] | None:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else None


def _of_members(before: Mapping[str, object], after: Mapping[str, object], path: str) -> Iterator[str]:
    for key in sorted(before.keys() | after.keys()):
        yield from differences(before.get(key), after.get(key), f"{path}/{key}" if path else key)


def _shown(value: object) -> str:
    if value is None:
        return "nothing"
    text = canonical(value).decode()
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."
