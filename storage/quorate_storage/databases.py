"""What SQLite and PostgreSQL have in common: bounded operations, transactions, kinds of failure.

The neighbours `sqlite` and `postgres` say how each connects, locks and appends.
"""

from __future__ import annotations

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Connection
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from quorate_storage.batches import Batch
from quorate_storage.errors import StorageUnavailable, ValueRefused
from quorate_storage.stores import Lease, LogReader

Result = TypeVar("Result")

FAILURES = (
    DBAPIError,
    PoolTimeout,
    sqlite3.Error,
    OSError,
    TimeoutError,
)
"""All that a database, its driver or the way to it raises; a refused connection is an `OSError`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlSettings:
    """How the SQL store talks to its database.

    `operation_seconds` bounds each operation: a database that hangs becomes `StorageUnavailable`.
    `readers` is how many connections read at the same time.
    """

    operation_seconds: float = 10.0
    readers: int = 4


class Database(ABC):
    """A database that runs the work of a transaction, as a function of a connection, on whatever thread suits it.

    An operation that takes too long is given up by its caller but not interrupted: it ends by
    itself, wholly done or wholly undone, and holds what it holds until then. So neither a cancelled
    caller nor a hanging disk leaves a connection in the middle of a transaction.
    """

    def __init__(self, settings: SqlSettings) -> None:
        self.settings = settings
        self._running: set[asyncio.Task[object]] = set()

    async def read(self, work: Callable[[Connection], Result]) -> Result:
        """Run work that only reads, and sees one moment of the database."""
        return await self._bounded(self._read(work))

    async def write(self, work: Callable[[Connection], Result]) -> Result:
        """Run work that writes, in one transaction.

        When two writers collide on a unique key the later one runs again, and then sees the row.
        """
        try:
            return await self._bounded(self._write(work))
        except IntegrityError:
            pass
        try:
            return await self._bounded(self._write(work))
        except IntegrityError as error:
            raise StorageUnavailable(_describe(error)) from error

    async def append(self, batch: Batch, lease: Lease) -> bool:
        """Write a batch in as few round trips as the database allows.

        Returns:
            False, with nothing written, when the lease is not the newest or the batch does not
            simply continue every log; `log_rows.append_with_care` then finds out why.
        """
        try:
            return await self._bounded(self._append(batch, lease))
        except IntegrityError:
            return False

    def start_append(self, batch: Batch, lease: Lease, answer: Callable[[bool | Exception], None]) -> bool:
        """Begin to `append` and return at once, if that is cheaper here and can be done now.

        Args:
            batch: what to write.
            lease: the right to do so.
            answer: told, on the event loop, what `append` would return or raise.

        Returns:
            False when nothing was begun and nobody will be told.
        """
        del batch, lease, answer
        return False

    def log_reader(self) -> LogReader | None:
        """See `Store.log_reader`."""
        return None

    async def close(self) -> None:
        """Disconnect, after what is still running."""
        if self._running:
            await asyncio.wait(self._running, timeout=self.settings.operation_seconds)

    @abstractmethod
    async def open(self, prepare: Callable[[Connection], None]) -> None:
        """Connect and run `prepare` while no other process can run its own."""

    @abstractmethod
    async def _read(self, work: Callable[[Connection], Result]) -> Result:
        """Run work in a transaction that sees one moment."""

    @abstractmethod
    async def _write(self, work: Callable[[Connection], Result]) -> Result: ...

    @abstractmethod
    async def _append(self, batch: Batch, lease: Lease) -> bool: ...

    async def _bounded(self, operation: Coroutine[object, object, Result]) -> Result:
        """Wait for an operation as long as the settings allow, and name its failure."""
        task = asyncio.create_task(operation)
        self._running.add(task)
        task.add_done_callback(self._forget)
        await asyncio.wait((task,), timeout=self.settings.operation_seconds)
        if not task.done():
            raise StorageUnavailable(f"no answer within {self.settings.operation_seconds:g} s")
        try:
            return task.result()
        except IntegrityError:
            raise
        except Exception as error:
            named = name_failure(error)
            if named is error:
                raise
            raise named from named.__cause__

    def _forget(self, task: asyncio.Task[object]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            # Marks the error as seen: whoever gave the operation up has raised its own.
            task.exception()


def name_failure(error: Exception) -> Exception:
    """Return the error of ours for one of a database; any other as it is."""
    if isinstance(error, UnicodeError | OverflowError):
        return ValueRefused(type(error).__name__)
    if not isinstance(error, FAILURES):
        return error
    if _is_about_a_value(error):
        # Its text and its causes quote the value, which is nobody's business in a log.
        return ValueRefused(_class_of(error))
    unavailable = StorageUnavailable(_describe(error))
    unavailable.__cause__ = error
    return unavailable


def _is_about_a_value(error: BaseException) -> bool:
    """Tell whether a database refused what it was given, which no repetition changes."""
    if isinstance(error, DataError):
        return True
    if not isinstance(error, DBAPIError) or error.orig is None:
        return False
    # Class 22 of the SQL standard is "data exception".
    return str(getattr(error.orig, "sqlstate", None)).startswith("22")


def _class_of(error: BaseException) -> str:
    cause = error.orig if isinstance(error, DBAPIError) else error
    return type((cause and cause.__cause__) or cause).__name__


def _describe(error: BaseException) -> str:
    """Name an error without its statement and parameters."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    text = str(cause).partition("\n")[0]
    return f"{type(cause).__name__}: {text}" if text else type(cause).__name__
