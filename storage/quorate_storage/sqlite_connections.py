"""One connection of aiosqlite, on whose thread whole transactions run.

aiosqlite runs every call to the driver on the connection's own thread, and each way there and back costs the event
loop more than most statements do: a statement of SQLAlchemy's asynchronous engine is four of them. So a transaction
goes there once, as one function, and finds SQLAlchemy's own synchronous connection there.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import aiosqlite
from sqlalchemy import URL, Connection, StaticPool, create_engine, event
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

Result = TypeVar("Result")

PAUSE_SECONDS = 0.02
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON")


class SqliteConnection:
    """A connection to a SQLite file. One transaction at a time; `begin` is the statement that begins each.

    Work runs on the connection's thread, so it must not touch what belongs to the event loop.
    """

    def __init__(self, driver: Any, connection: Connection) -> None:
        self.driver = driver
        """The connection of aiosqlite; untyped, for what runs a function on its thread is not public."""
        self._connection = connection

    @staticmethod
    async def open(url: URL, *, busy_seconds: float, begin: str) -> SqliteConnection:
        """Connect, and wait so long for the locks of others.

        Raises:
            sqlalchemy.exc.DBAPIError, sqlite3.Error: the file cannot be opened, or is none of SQLite's.
        """
        places, options = SQLiteDialect_pysqlite().create_connect_args(url.set(drivername="sqlite"))
        # Without the level the driver opens transactions by itself, late and never as IMMEDIATE.
        driver: Any = aiosqlite.connect(*places, **{**options, "isolation_level": None, "timeout": busy_seconds})
        # A server that was stopped on its way must not wait for a thread that nobody will end.
        driver._thread.daemon = True  # noqa: SLF001 - as SQLAlchemy does it
        await driver
        try:
            connection = await _on_thread(driver, _connect, driver._conn, begin, busy_seconds)  # noqa: SLF001
            return SqliteConnection(driver, connection)
        except BaseException:
            await driver.close()
            raise

    async def transact(self, work: Callable[[Connection], Result]) -> Result:
        """Run work in one transaction."""
        return await _on_thread(self.driver, _in_transaction, self._connection, work)

    async def run(self, function: Callable[..., Result], *arguments: object) -> Result:
        """Run a function of the driver's own connection, and what else it is given."""
        return await _on_thread(self.driver, function, self.driver._conn, *arguments)  # noqa: SLF001

    def start(self, answer: Callable[[object], None], function: Callable[..., object], *arguments: object) -> None:
        """Run a function as `run` does, but return at once; `answer` is told on the event loop what came of it."""
        work = partial(function, self.driver._conn, *arguments)  # noqa: SLF001 - as in `run`
        # Without a future of its own the driver only runs the function: one wake-up of the event loop instead of two.
        self.driver._tx.put_nowait((None, partial(_tell, asyncio.get_running_loop(), answer, work)))  # noqa: SLF001

    async def close(self) -> None:
        """Disconnect, whatever state the connection is in."""
        try:
            await _on_thread(self.driver, self._connection.invalidate)
        finally:
            await self.driver.close()


async def _on_thread(driver: Any, function: Callable[..., Result], *arguments: object) -> Result:
    # aiosqlite has no public way to run a function on its thread; its own methods use this one.
    result: Result = await driver._execute(function, *arguments)  # noqa: SLF001
    return result


def _tell(loop: asyncio.AbstractEventLoop, answer: Callable[[object], None], work: Callable[[], object]) -> None:
    try:
        outcome = work()
    except BaseException as error:  # noqa: BLE001 - whoever waits is told
        outcome = error
    loop.call_soon_threadsafe(answer, outcome)


def _connect(raw: sqlite3.Connection, begin: str, busy_seconds: float) -> Connection:
    engine = create_engine(
        "sqlite://",
        creator=lambda: raw,
        poolclass=StaticPool,
        hide_parameters=True,  # errors are logged, and what people write is not
    )

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(engine, "begin", start)
    for pragma in PRAGMAS:
        _set_pragma(raw, pragma, busy_seconds)
    return engine.connect()


def _set_pragma(raw: sqlite3.Connection, pragma: str, busy_seconds: float) -> None:
    """Set a pragma; the first change to the write-ahead log does not wait for others who make it, so we do."""
    until = time.monotonic() + busy_seconds
    while True:
        try:
            raw.execute(f"PRAGMA {pragma}")
        except sqlite3.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(PAUSE_SECONDS)
        else:
            return


def _in_transaction(connection: Connection, work: Callable[[Connection], Result]) -> Result:
    with connection.begin():
        return work(connection)
