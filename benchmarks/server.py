"""The server under measurement: a process of its own with its children, all on one core."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.contestants import UNTHROTTLED, Contestant

SERVER_CORE, GENERATOR_CORE = 0, 1


@dataclass
class Measured:
    """A running server, and what it has used since a mark."""

    port: int
    process: psutil.Process
    log: Path
    _cpu: float = 0.0
    _at: float = 0.0

    def mark(self) -> None:
        """Begin to count."""
        self._cpu, self._at = self.cpu_seconds(), time.perf_counter()

    def cpu_seconds(self) -> float:
        """Return what its processes have used so far: by the scheduler, to the nanosecond, or what is left of them."""
        ended = self.process.cpu_times()
        return sum(map(_scheduled_seconds, self._processes())) + float(ended.children_user + ended.children_system)

    def cpu_spent(self) -> float:
        """Return the seconds of a core used since the mark."""
        return self.cpu_seconds() - self._cpu

    def cpu_share(self) -> float:
        """Return the share of a core used since the mark."""
        return self.cpu_spent() / (time.perf_counter() - self._at)

    def resident_mib(self) -> float:
        return sum(float(process.memory_info().rss) for process in self._processes()) / 1024**2

    def errors(self) -> int:
        """Return how many tracebacks it has written."""
        return self.log.read_text("utf-8", errors="replace").count("Traceback")

    def _processes(self) -> list[psutil.Process]:
        return [self.process, *self.process.children(recursive=True)]


def _scheduled_seconds(process: psutil.Process) -> float:
    """Return the time that the threads of a process were on a core (Linux, sched-stats)."""
    spent = 0
    for thread in Path(f"/proc/{process.pid}/task").iterdir():
        try:
            spent += int((thread / "schedstat").read_text().split()[0])
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended between the two calls
    return spent / 1e9


@contextmanager
def measured_server(*, way: tuple[str, ...] = ("--open",), **environment: str) -> Generator[Measured]:
    """Run `quorate serve`, open unless told otherwise, on SQLite in a new folder, without its throttle."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "quorate_server", "serve", *way, "--port", "0", "--data", folder]
        with _running([*command, "--log-level", "warning"], dict(UNTHROTTLED) | environment) as server:
            yield server


@contextmanager
def running(contestant: Contestant, folder: Path) -> Generator[Measured]:
    """Run a contestant on the documents in a folder."""
    with _running(contestant.argv(folder), dict(contestant.environment)) as server:
        yield server


@contextmanager
def _running(command: list[str], environment: Mapping[str, str]) -> Generator[Measured]:
    pin = ["taskset", "-c", str(SERVER_CORE)] if os.cpu_count() != 1 else []
    with tempfile.NamedTemporaryFile() as log:
        child = subprocess.Popen(
            [*pin, *command], stdout=subprocess.PIPE, stderr=log, text=True,
            env=_without_our_own(os.environ | environment), cwd=Path(__file__).parents[1],
        )  # fmt: skip
        try:
            assert child.stdout is not None
            found = re.search(r"http://[^:]+:(\d+)", child.stdout.readline())
            if found is None:
                raise RuntimeError(f"{command[-1]} did not start: {Path(log.name).read_text('utf-8')[-1000:]}")
            yield Measured(int(found[1]), psutil.Process(child.pid), Path(log.name))
        finally:
            _end(child)


def _without_our_own(environment: dict[str, str]) -> dict[str, str]:
    """Leave out what is said to the benchmarks: the server knows each of its variables, and refuses others."""
    return {name: value for name, value in environment.items() if name != "QUORATE_TRACES"}


def _end(child: subprocess.Popen[str]) -> None:
    child.terminate()
    try:
        child.wait(timeout=30)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
    if child.stdout is not None:
        child.stdout.close()


def pin_generator() -> None:
    """Keep this process off the server's core."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {GENERATOR_CORE})
