"""The server inside somebody else's application, on a server that does not know our ASGI extension."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from quorate_server.app import Quorate
from quorate_server.channels import AsgiChannel
from quorate_server.settings import Settings
from tests.system.peers import DIALECTS, until
from tests.system.servers import SECRET, token_for


@dataclass
class Host:
    quorate: Quorate
    port: int


def hosted_by_fastapi(quorate: Quorate) -> Any:
    app = FastAPI(lifespan=quorate.lifespan)
    app.mount("/collaboration", quorate.app)
    return app


def hosted_by_starlette(quorate: Quorate) -> Any:
    return Starlette(routes=[Mount("/collaboration", app=quorate.app)], lifespan=quorate.lifespan)


@asynccontextmanager
async def hosted(app: Any, quorate: Quorate) -> AsyncIterator[Host]:
    config = uvicorn.Config(app, port=0, ws="websockets-sansio", log_config=None, lifespan="on", access_log=False)
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    await until(lambda: server.started or serving.done(), "the host started")
    yield Host(quorate, server.servers[0].sockets[0].getsockname()[1])
    server.should_exit = True
    await serving


@pytest.mark.parametrize("host", [hosted_by_fastapi, hosted_by_starlette])
@pytest.mark.parametrize("dialect", list(DIALECTS))
async def test_the_server_works_mounted_on_plain_asgi(dialect: str, host: Any, tmp_path: Path) -> None:
    quorate = Quorate(Settings(data=str(tmp_path), secret=SECRET))
    async with hosted(host(quorate), quorate) as running:
        base = f"127.0.0.1:{running.port}/collaboration"
        kind = DIALECTS[dialect]
        anna = await kind(f"ws://{base}", "text/a%25", token_for("anna")).synced()
        ben = await kind(f"ws://{base}", "text/a%25", token_for("ben")).synced()
        assert {type(c.channel) for c in quorate.connections} == {AsgiChannel}

        anna.text += "hello"
        await until(lambda: str(ben.text) == "hello", "Ben sees it")
        ben.set_presence(1, '{"user":{}}')
        await until(lambda: ben.doc.client_id in anna.present(), "Anna sees Ben")
        headers = {"Authorization": f"Bearer {token_for('script')}"}
        async with httpx.AsyncClient(base_url=f"http://{base}", headers=headers) as http:
            [document] = (await http.get("/api/documents")).json()["documents"]
        expected = "text/a%" if dialect == "y-websocket" else "text/a%25"
        assert document["name"] == expected
        for peer in (anna, ben):
            await peer.close()
        await until(lambda: not quorate.connections, "the sockets are gone")
