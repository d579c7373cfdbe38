"""A client of Quorate's `/channel` in Python: commands, and the change feed, over reconnections.

    async with Client("http://127.0.0.1:8000", token=token) as client:
        await client.command("access.share", {"artifact": "text/a", "principal": "user:ben", "role": "viewer"})
        async for change in client.changes(after=0, types=["access.*"]):
            print(change.position, change.type, change.document)

It depends on `quorate_protocol` and `websockets` only. `client.py` is the place to start reading.
"""

from quorate_client.changes import Change
from quorate_client.client import Client
from quorate_client.errors import ClientError, Disconnected, LineLost, NotUnderstood, ProblemError
from quorate_client.lines import TokenSource

__all__ = [
    "Change",
    "Client",
    "ClientError",
    "Disconnected",
    "LineLost",
    "NotUnderstood",
    "ProblemError",
    "TokenSource",
]
