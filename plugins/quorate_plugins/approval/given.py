"""`GivenRoles`: which roles requests have given to whom, so that taking one back leaves what another one gave."""

from __future__ import annotations

import json
from collections.abc import Mapping

from quorate_server.hooks import Artifact, Server, Work

GIVEN = "approval_given"
"""The section of the record that says which role was given to whom."""
ROLES = ("viewer", "commenter", "reviewer", "editor", "owner")
"""The roles that a request can give, the weakest first."""
_PREFIX = "given/"


class GivenRoles:
    """The roles that requests gave and did not take back. What is in memory is what was durable last."""

    def __init__(self) -> None:
        self._given: dict[str, Mapping[str, object]] = {}

    async def load(self, server: Server) -> None:
        """Read what was kept."""
        for key, value in (await server.read_values(_PREFIX)).items():
            self._given[key.removeprefix(_PREFIX)] = json.loads(value)

    def put(self, work: Work, request: str, given: Mapping[str, object]) -> None:
        """Keep what a request gave; an empty `role` takes it away."""
        work.put(_PREFIX + request, json.dumps(given).encode() if given.get("role") else None)

    def remember(self, artifact: Artifact) -> None:
        """Take note of what is durable now in a request's record."""
        given = artifact.record_section(GIVEN)
        if given.get("role"):
            self._given[artifact.name] = given
        else:
            self._given.pop(artifact.name, None)

    def role_without(self, request: str, scope: str, principal: str) -> str:
        """Return the strongest role that somebody has in something by other requests; empty for none."""
        wanted = (scope, principal)
        others = [
            str(given["role"])
            for name, given in self._given.items()
            if name != request and (given["scope"], given["principal"]) == wanted
        ]
        return max(others, key=ROLES.index, default="")
