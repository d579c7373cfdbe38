"""The web client: static files, from the installed package or from a checkout."""

from __future__ import annotations

from pathlib import Path

from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

_PACKAGED = Path(__file__).parent / "web"
_CHECKOUT = Path(__file__).parents[2] / "clients" / "js-demo"


def web_folder() -> Path | None:
    """Return the folder of the web client: the packaged copy, else the checkout's."""
    for folder in (_PACKAGED, _CHECKOUT):
        if (folder / "index.html").is_file():
            return folder
    return None


def page_routes() -> list[BaseRoute]:
    """Return the route of the web client; none when it was not installed."""
    folder = web_folder()
    return [] if folder is None else [Mount("/", StaticFiles(directory=folder, html=True))]
