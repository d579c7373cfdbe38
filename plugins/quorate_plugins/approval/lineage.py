"""The run facet of OpenLineage that says by which approval a run is authorised. Pure; its schema is beside it.

A pipeline puts `run_facets` into `run.facets` of its events, and the approval is a node of the lineage: this run was
authorised by that request, of that content, by those people, at these places of the audit chain.

Source: OpenLineage specification 2-0-2, "Custom facet naming": a key with a prefix of one's own, `_producer`, and a
`_schemaURL` that names an immutable version.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Final, cast

from quorate_plugins.approval.reports.queries import moment
from quorate_plugins.approval.requests import Decision, Request, State
from quorate_server.hooks import LoggedEvent, Seal

KEY: Final = "quorate_approval"
NAME: Final = "QuorateApprovalRunFacet"
VERSION: Final = "1-0-0"
"""Another one with every change of the schema: what was sent names the schema that it follows."""
PATH: Final = f"/lineage/{VERSION}/{NAME}.json"
"""Where the schema is below `/api/engines/approvals`."""

AUTHORISED = frozenset({State.APPROVED, State.OVERRIDDEN, State.EXECUTING, State.FULFILLED, State.FULFILMENT_FAILED})
"""States of a request by which something runs, or ran."""
_BASES = frozenset({"submitted", "evaluated", "edited", "overrode", "execution_started", "execution_ended"})


def run_facets(
    artifact: str, request: Request, sequences: Mapping[str, int], *, page: str, seal: Seal | None = None
) -> dict[str, object]:
    """Return what belongs into `run.facets` of a run that a request authorises.

    Args:
        artifact: the request's artifact.
        request: one whose state is in `AUTHORISED`.
        sequences: places in the audit chain, as `sequences_of` finds them.
        page: the address of the server, without a slash at its end.
        seal: a checkpoint that covers these places.
    """
    facet: dict[str, object] = {
        "_producer": page,
        "_schemaURL": f"{schema_url(page)}#/$defs/{NAME}",
        "request": artifact,
        "type": request.type,
        "revision": request.revision,
        "contentHash": request.content_hash,
        "subject": request.subject,
        "requester": request.requester,
        "outcome": "overridden" if request.outcome == "override" else "approved",
        "basis": request.outcome,
        "resolvedAt": moment(request.resolved_at),
        "resolvedBy": request.resolved_by,
        "validUntil": moment(request.valid_until),
        "policyVersion": request.policy_version,
        "templateVersion": request.template_version,
        "deciders": [_decider(each, sequences) for each in request.counted()],
        "auditSequences": sorted(set(sequences.values())),
        "checkpoint": _checkpoint(seal),
    }
    return {KEY: {key: value for key, value in facet.items() if value is not None}}


def _decider(decision: Decision, sequences: Mapping[str, int]) -> dict[str, object]:
    said: dict[str, object] = {
        "actor": decision.actor,
        "principal": decision.principal,
        "verdict": decision.verdict,
        "stage": decision.stage,
        "contentHash": decision.content_hash,
        "decidedAt": moment(decision.at),
        "auditSequence": sequences.get(decision.id),
    }
    return {key: value for key, value in said.items() if value is not None}


def _checkpoint(seal: Seal | None) -> dict[str, object] | None:
    return None if seal is None else {"size": seal.size, "root": seal.root.hex(), "note": seal.note}


def sequences_of(request: Request, events: Iterable[LoggedEvent]) -> dict[str, int]:
    """Return where in the audit chain an approval rests: by decision that counts, and by kind of the other events.

    Of a kind it is the newest one. Events of other artifacts, or of no request, count for nothing.
    """
    counted = {each.id for each in request.counted()}
    found: dict[str, int] = {}
    for logged in events:
        event = _members(logged.facts.get("event"))
        kind, decision = event.get("kind"), _members(event.get("decision")).get("id")
        if isinstance(decision, str) and decision in counted:
            found[decision] = logged.sequence
        elif isinstance(kind, str) and kind in _BASES:
            found[kind] = logged.sequence
    return found


def _members(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else {}


def schema_url(page: str) -> str:
    """Return where a server has the schema of the facet."""
    return f"{page}/api/engines/approvals{PATH}"


def schema(page: str) -> dict[str, object]:
    """Return the JSON Schema of the facet, as the server of an address has it."""
    text = resources.files("quorate_plugins.approval").joinpath(f"{NAME}.json").read_text("utf-8")
    read: dict[str, object] = json.loads(text)
    return {"$schema": read["$schema"], "$id": schema_url(page), **read}
