"""A real server in a process of its own, for tests that kill it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import httpx

from quorate_server.tokens import sign_token

SECRET = "a-secret-of-the-test-suite-with-enough-characters"


def token_for(subject: str, *, role: str = "editor", name: str = "", seconds: float = 3600) -> str:
    return sign_token(
        SECRET, subject=subject, name=name or subject, role=role, expires_seconds=seconds,
        now=time.time(),
    )  # fmt: skip


@dataclass
class ServerProcess:
    """`quorate serve` as a child. Keeps its port over restarts, so that clients find it again."""

    data: Path
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[str] | None = None
    log: Path | None = None

    async def start(self) -> ServerProcess:
        return await asyncio.to_thread(self.start_now)

    def start_now(self) -> ServerProcess:
        self.data.mkdir(parents=True, exist_ok=True)
        self.log = self.data / "server.log"
        way = () if {"--open", "--jwks"} & set(self.options) else ("--secret", SECRET)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable, "-m", "quorate_server", "serve", "--port", str(self.port),
                    "--data", str(self.data), *way, *self.options,
                ],
                stdout=subprocess.PIPE, stderr=log, text=True, env=os.environ | self.environment,
            )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()  # the ready line, or nothing if it ended
        match = re.search(r"ready on http://[^:]+:(\d+)", line)
        if match is None:
            self.kill_now()
            message = f"the server did not start: {line!r}\n{self.log.read_text()[-3000:]}"
            raise RuntimeError(message)
        self.port = int(match[1])
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def websocket_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}"

    def http(self, token: str = "") -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30)

    async def kill(self) -> None:
        """End it as a power cut would."""
        await asyncio.to_thread(self.kill_now)

    def kill_now(self) -> None:
        self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        return await asyncio.to_thread(self._end, signal.SIGTERM)

    def _end(self, how: signal.Signals) -> int:
        process = self.process
        assert process is not None
        process.send_signal(how)
        code = process.wait(timeout=30)
        if process.stdout is not None:
            process.stdout.close()
        self.process = None
        return code

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self.process is not None:
            await self.kill()
