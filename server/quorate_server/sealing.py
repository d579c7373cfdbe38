"""`Sealer`: signs checkpoints of the audit chain, and publishes them where the database's administrator is not.

What came after the newest checkpoint can still be changed unseen by whoever holds the database; so the interval is
how long that is possible. A checkpoint is cut regularly, when many events came, and at once for what must not wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from pathlib import Path

from quorate_server.errors import SettingsError, Unavailable
from quorate_server.settings import Settings
from quorate_storage.act_stores import Checkpoint
from quorate_storage.acts import AuditEvent, Row
from quorate_storage.checkpoints import SigningKey, TreeHead
from quorate_storage.errors import StorageError, StorageUnavailable
from quorate_storage.stores import Store

log = logging.getLogger("quorate.server")

EVENTS_TO_SEAL = 1000
"""So many events are sealed without waiting for the interval."""

KEY_FILE = "audit.key"
"""Beside it, `.pub` holds the verifier's half."""


class Sealer:
    """Cuts checkpoints of one server's chain. `verifier_key` is what verifiers need, as text."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._every_seconds = settings.audit_checkpoint_seconds
        self._origin = settings.audit_origin
        self._key = _load_key(settings)
        self._folder = Path(settings.audit_checkpoints) if settings.audit_checkpoints else None
        self._newest: Checkpoint | None = None
        self.unsealed = 0
        """How many events came since the newest checkpoint, of those that this process wrote."""
        self._many = asyncio.Event()
        self._turn = asyncio.Lock()
        self.verifier_key = str(self._key.verifier_key)

    @property
    def sealed_size(self) -> int:
        """How many events the newest checkpoint covers."""
        return 0 if self._newest is None else self._newest.size

    @property
    def sinks(self) -> tuple[str, ...]:
        """Where checkpoints are published, beside the database."""
        return () if self._folder is None else (f"folder:{self._folder}",)

    async def newest(self) -> Checkpoint | None:
        """Return the newest checkpoint, also one of an earlier run; `None` before the first.

        Raises:
            StorageUnavailable: the database cannot be reached.
        """
        if self._newest is None:
            checkpoints = await self._store.list_checkpoints()
            self._newest = checkpoints[-1] if checkpoints else None
        return self._newest

    def hear(self, rows: Sequence[Row]) -> None:
        """Count events that became durable."""
        self.unsealed += sum(isinstance(row, AuditEvent) for row in rows)
        if self.unsealed >= EVENTS_TO_SEAL:
            self._many.set()

    async def seal(self) -> str:
        """Cut a checkpoint of all events so far, unless the newest covers them; return the newest.

        Raises:
            Unavailable: the database cannot be reached.
        """
        async with self._turn:
            try:
                head = await self._store.audit_head()
                if self._newest is not None and self._newest.size == head.size:
                    return self._newest.note
                note = self._key.sign_checkpoint(TreeHead(origin=self._origin, size=head.size, root=head.root))
                checkpoint = Checkpoint(size=head.size, note=note, at=time.time())
                await self._store.save_checkpoint(checkpoint)
            except StorageUnavailable as error:
                raise Unavailable("the database cannot be reached: try again") from error
            self._newest = checkpoint
            self.unsealed = 0
            await asyncio.to_thread(self._publish, checkpoint)
            log.info("audit.sealed", extra={"size": checkpoint.size})
            return note

    async def run(self) -> None:
        """Cut checkpoints until cancelled."""
        while True:
            self._many.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._every_seconds):
                    await self._many.wait()
            if not self.unsealed:
                continue
            try:
                await self.seal()
            except Unavailable:
                log.warning("audit.not_sealed")
            except Exception:
                log.exception("audit.not_sealed")

    def _publish(self, checkpoint: Checkpoint) -> None:
        """Write a checkpoint into the folder for them, whole or not at all; it is never replaced."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{checkpoint.size:020d}.checkpoint"
        partial = path.with_suffix(".partial")
        partial.write_text(checkpoint.note, "utf-8")
        if not path.exists():
            partial.rename(path)
        else:
            partial.unlink()


def _load_key(settings: Settings) -> SigningKey:
    """Return the key that signs, made at the first start.

    Raises:
        SettingsError: it can be neither read nor made.
    """
    path = Path(settings.audit_key) if settings.audit_key else Path(settings.data) / KEY_FILE
    try:
        if path.exists():
            return SigningKey.load(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        key = SigningKey.generate(settings.audit_origin)
        key.save(path)
        path.with_name(path.name + ".pub").write_text(f"{key.verifier_key}\n", "utf-8")
    except (OSError, StorageError) as error:
        raise SettingsError(f"the key of the audit log: {error}") from error
    return key
