"""`python -m benchmarks [--short]`: run every scenario, print a table, keep it in `benchmarks/results/`."""

from __future__ import annotations

import asyncio
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path

import uvloop

from benchmarks import scenarios
from benchmarks.scenarios import Row
from benchmarks.server import pin_generator

COLUMNS = (
    "updates/s in",
    "delivered/s",
    "p50",
    "p99",
    "all synced",
    "server core",
    "generator",
    "µs an update",
    "memory",
    "note",
)


async def run(*, is_short: bool) -> list[Row]:
    scale = 1 if is_short else 10
    rows = [await scenarios.fan_out(readers, 400 * scale) for readers in (10, 50, 200)]
    rows.append(await scenarios.many_writers(20, 100 * scale))
    rows.append(await scenarios.many_documents(50 * scale, 2.0 if is_short else 10.0))
    rows += await scenarios.lazy_peer(20 if is_short else 100, 2.0 if is_short else 15.0)
    rows += [await scenarios.cold_load(clients) for clients in (1, 100)]
    rows.append(await scenarios.presence_storm(100, 2.0 if is_short else 5.0))
    return rows


def table(rows: list[Row]) -> str:
    used = [column for column in COLUMNS if any(column in row.figures for row in rows)]
    lines = ["| scenario | " + " | ".join(used) + " |", "|---" * (len(used) + 1) + "|"]
    lines += [
        f"| {row.scenario} | " + " | ".join(row.figures.get(column, "") for column in used) + " |" for row in rows
    ]
    return "\n".join(lines)


def main() -> None:
    is_short = "--short" in sys.argv
    pin_generator()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        rows = runner.run(run(is_short=is_short))
    facts = (
        f"{time.strftime('%Y-%m-%d')}, {platform.machine()}, Linux, Python {platform.python_version()}, "
        f"pycrdt {version('pycrdt')}; server on one core, generator on another; SQLite, durable, defaults."
    )
    text = f"{facts}\n\n{table(rows)}\n"
    print(text)
    if not is_short:
        folder = Path(__file__).parent / "results"
        folder.mkdir(exist_ok=True)
        (folder / f"{time.strftime('%Y-%m-%d')}.md").write_text(f"# Measured {text}", "utf-8")


if __name__ == "__main__":
    main()
