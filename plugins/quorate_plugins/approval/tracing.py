"""Saying to pipelines by which approval they run: the command, the schema's route, and what goes with an execution."""

from __future__ import annotations

from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from quorate_plugins.approval.commands import About, Lineage
from quorate_plugins.approval.desk import Desk
from quorate_plugins.approval.handling import Handling, Visible
from quorate_plugins.approval.lineage import AUTHORISED, PATH, run_facets, schema, sequences_of
from quorate_plugins.approval.requests import Request
from quorate_server.hooks import Call, Conflict, DocumentName, LoggedEvent, Server

PAGE = 500


class Tracing(Handling):
    """Handles the command about lineage."""

    async def lineage(self, call: Call, command: About) -> Lineage:
        """Return the run facet of a request that is, or was, authorised, under a checkpoint that covers it."""
        async with Visible(call, command.artifact) as artifact:
            request = self.demand(artifact)
            if request.state not in AUTHORISED:
                raise Conflict(f"it is {request.state}: nothing runs by it")
            seal = await self.desk.server.seal_audit()
            events = await events_of(self.desk.server, artifact.name)
            sequences = sequences_of(request, (each for each in events if each.sequence <= seal.size))
            page = self.desk.delivering.page
            return Lineage(run_facets=run_facets(artifact.name, request, sequences, page=page, seal=seal))

    def routes(self) -> list[Route]:
        """Return the route of the facet's schema, which everybody may read: it is the same for all."""

        async def answer(_: HttpRequest) -> Response:
            return JSONResponse(schema(self.desk.delivering.page), media_type="application/schema+json")

        return [Route(PATH, answer, methods=["GET"])]


async def events_of(server: Server, name: DocumentName) -> list[LoggedEvent]:
    """Return the events of the audit chain that are about an artifact, in order.

    Raises:
        Conflict: one of them cannot be read.
        Unavailable: try again later.
    """
    found: list[LoggedEvent] = []
    after = 0
    while page := await server.read_audit(after=after, limit=PAGE, artifact=name):
        found += [entry.event for entry in page]
        after = page[-1].event.sequence
    return found


def facets_now(desk: Desk, name: DocumentName, request: Request, events: list[LoggedEvent]) -> dict[str, object]:
    """Return the run facet of a request in a unit of work: what it writes has no place in the chain yet."""
    return run_facets(name, request, sequences_of(request, events), page=desk.delivering.page)
