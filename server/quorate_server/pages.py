"""The web client: static files, from the installed package or from a checkout."""

from __future__ import annotations

from pathlib import Path, PurePath

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

_PACKAGED = Path(__file__).parent / "web"
_CHECKOUT = Path(__file__).parents[2] / "clients" / "js-demo"

HEADERS = {
    "Cache-Control": "no-cache",  # asks each time: the modules of two versions do not fit together
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "frame-ancestors 'none'",  # the rest of the policy is in the page itself
}
NOT_SERVED = frozenset({"node_modules", "tests"})


class Pages(StaticFiles):
    """The files of the web client, without those of its development."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Return a file with the headers that keep the page fresh and by itself."""
        if NOT_SERVED.intersection(PurePath(path).parts):
            raise HTTPException(404)
        response = await super().get_response(path, scope)
        response.headers.update(HEADERS)
        return response


def web_folder() -> Path | None:
    """Return the folder of the web client: the packaged copy, else the checkout's."""
    for folder in (_PACKAGED, _CHECKOUT):
        if (folder / "index.html").is_file():
            return folder
    return None


def page_routes() -> list[BaseRoute]:
    """Return the route of the web client; none when it was not installed."""
    folder = web_folder()
    return [] if folder is None else [Mount("/", Pages(directory=folder, html=True))]
