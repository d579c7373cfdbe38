"""Finds Node.js and the packages of `package.json`, and talks to long-lived Node processes.

On a developer's machine a missing Node.js skips the tests that need it, by name. Where `CI` is
`true`, nothing may skip.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import pytest

PEERS = Path(__file__).parent
_INSTALL_SECONDS = 300


def require_node() -> str:
    """Return the path of Node.js, once the packages are installed; else skip, or fail in CI."""
    node = shutil.which("node")
    if node is None:
        _give_up("needs Node.js, which is not on this machine")
    if not _is_installed():
        npm = shutil.which("npm")
        if npm is None:
            _give_up("needs npm to install tests/peers, which is not on this machine")
        install = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=PEERS,
            capture_output=True,
            text=True,
            timeout=_INSTALL_SECONDS,
            check=False,
        )
        if install.returncode != 0:
            _give_up(f"needs the packages of tests/peers: {install.stderr.strip()[-300:]}")
    return node


def _is_installed() -> bool:
    wanted = json.loads((PEERS / "package.json").read_text("utf-8"))["dependencies"]
    return all((PEERS / "node_modules" / name).is_dir() for name in wanted)


def _give_up(reason: str) -> NoReturn:
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


class OracleError(Exception):
    """The original threw; the text is its message."""


class NodeProgram:
    """A Node process that answers one line of JSON with another."""

    def __init__(self, node: str, program: str) -> None:
        self._process = subprocess.Popen(
            [node, str(PEERS / program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=10)
        self._process.stdout.close()

    def ask(self, operation: str, **arguments: Any) -> Any:
        """Run one operation of the program and return its value; `OracleError` if it threw."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"operation": operation, **arguments}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the Node program died; its complaint is on stderr"
        answer = json.loads(line)
        if "error" in answer:
            raise OracleError(answer["error"])
        return answer.get("value")


class Oracle(NodeProgram):
    """The originals themselves, see `oracle.js`."""

    def __init__(self, node: str) -> None:
        super().__init__(node, "oracle.js")
