"""The server under measurement: a process of its own, on a core of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

SERVER_CORE, GENERATOR_CORE = 0, 1
UNTHROTTLED = {"QUORATE_UPDATES_PER_SECOND": "1e9", "QUORATE_UPDATE_BYTES_PER_SECOND": "1000000000000"}
"""The throttle protects a server from programs like this one; what is measured lies behind it."""


@dataclass
class Measured:
    """A running server, and what it has used since a mark."""

    port: int
    process: psutil.Process
    _cpu: float = 0.0
    _at: float = 0.0

    def mark(self) -> None:
        """Begin to count."""
        self._cpu, self._at = self.cpu_seconds(), time.perf_counter()

    def cpu_seconds(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def cpu_share(self) -> float:
        """Return the share of a core used since the mark."""
        return (self.cpu_seconds() - self._cpu) / (time.perf_counter() - self._at)

    def resident_mib(self) -> float:
        return float(self.process.memory_info().rss) / 1024**2


@contextmanager
def measured_server(*, way: tuple[str, ...] = ("--open",), **environment: str) -> Iterator[Measured]:
    """Run `quorate serve`, open unless told otherwise, on SQLite in a new folder, without its throttle."""
    pin = ["taskset", "-c", str(SERVER_CORE)] if os.cpu_count() != 1 else []
    with tempfile.TemporaryDirectory() as folder:
        command = [*pin, sys.executable, "-m", "quorate_server", "serve", *way, "--port", "0", "--data", folder]
        child = subprocess.Popen(
            [*command, "--log-level", "warning"],
            stdout=subprocess.PIPE, text=True, env=os.environ | UNTHROTTLED | environment,
        )  # fmt: skip
        try:
            assert child.stdout is not None
            found = re.search(r"http://[^:]+:(\d+)", child.stdout.readline())
            assert found is not None, "the server did not start"
            yield Measured(int(found[1]), psutil.Process(child.pid))
        finally:
            child.terminate()
            child.wait(timeout=30)
            if child.stdout is not None:
                child.stdout.close()


def pin_generator() -> None:
    """Keep this process off the server's core."""
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {GENERATOR_CORE})
