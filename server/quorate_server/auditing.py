"""Reading, sealing and verifying the audit chain, for engines and for the command line."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import BinaryIO, cast

from quorate_protocol.ids import DocumentName
from quorate_server.errors import Conflict, Unavailable
from quorate_server.hooks import AuditAttestation, AuditEntry, AuditStatus, Seal
from quorate_server.sealing import Sealer
from quorate_storage.act_stores import AuditHead, AuditRecord
from quorate_storage.audit_export import ExportWriter
from quorate_storage.audit_rows import BodyMalformed, read_body
from quorate_storage.audit_verification import Verification, verify_export
from quorate_storage.checkpoints import VerifierKey, read_checkpoint
from quorate_storage.errors import StorageUnavailable
from quorate_storage.stores import Store

AT_ONCE = 50
"""So many events are parsed on the event loop, which takes a millisecond or two; more are where nobody waits."""
PAGE = 1000
"""So many events are read at once."""
SPOOLED_BYTES = 16 * 1024 * 1024
"""An export that is longer than this is verified from a file instead of from memory."""


@dataclass(slots=True)
class Auditor:
    """The audit chain of one server. Every method raises `Unavailable` when the database cannot be reached."""

    store: Store
    sealer: Sealer

    async def read(self, *, after: int, limit: int, artifact: str) -> Sequence[AuditEntry]:
        """Return events beyond a sequence, in order.

        Raises:
            Conflict: an event is not what the audit chain writes: somebody has changed it.
        """
        only = DocumentName(artifact) if artifact else None
        try:
            found = await self.store.read_audit(after=after, limit=limit, artifact=only)
        except StorageUnavailable as error:
            raise _unavailable() from error
        if len(found) <= AT_ONCE:
            return [_entry(record) for record in found]
        return await asyncio.to_thread(lambda: [_entry(record) for record in found])

    async def seal(self) -> Seal:
        """Return the newest checkpoint, newly signed if there is news."""
        return _seal(await self.sealer.seal())

    async def status(self) -> AuditStatus:
        """Return how long the chain is, and how much of it is sealed."""
        try:
            head = await self.store.audit_head()
            newest = await self.sealer.newest()
        except StorageUnavailable as error:
            raise _unavailable() from error
        sealed_size, sealed_at = (0, None) if newest is None else (newest.size, newest.at)
        return AuditStatus(size=head.size, sealed_size=sealed_size, sealed_at=sealed_at)

    async def attest(self) -> AuditAttestation:
        """Verify all of the chain as anybody can who has an export, and return what that found."""
        seal = await self.seal()
        with SpooledTemporaryFile(max_size=SPOOLED_BYTES) as spooled:
            file = cast("BinaryIO", spooled)
            try:
                end = AuditHead(size=seal.size, chain=b"", root=seal.root)
                notes = await export_audit(self.store, read_checkpoint(seal.note).origin, file, end)
            except StorageUnavailable as error:
                raise _unavailable() from error
            file.seek(0)
            found = await asyncio.to_thread(self._verify, file)
        return AuditAttestation(
            verification=found,
            checkpoints=[_seal(note) for note in notes],
            verifier_key=self.sealer.verifier_key,
            sinks=self.sealer.sinks,
            seal=seal,
        )

    def _verify(self, file: BinaryIO) -> Verification:
        return verify_export(file, [VerifierKey.parse(self.sealer.verifier_key)], now=time.time())


async def export_audit(store: Store, origin: str, file: BinaryIO, end: AuditHead) -> Sequence[str]:
    """Write an export of the chain up to where it ended at some time; return the checkpoints that are in it.

    Raises:
        StorageUnavailable: the database cannot be reached; the file holds a part.
    """
    # Those that were cut since then would be of events that are not in the export.
    checkpoints = [one for one in await store.list_checkpoints() if one.size <= end.size]
    writer = ExportWriter(file, origin)
    after = 0
    while after < end.size and (page := await store.read_audit(after=after, limit=min(PAGE, end.size - after))):
        writer.write_events(page)
        after = page[-1].sequence
    writer.write_checkpoints(checkpoints)
    writer.finish(end)
    return [one.note for one in checkpoints]


def _seal(note: str) -> Seal:
    head = read_checkpoint(note)
    return Seal(size=head.size, root=head.root, note=note)


def _entry(record: AuditRecord) -> AuditEntry:
    try:
        event = read_body(record.body)
    except BodyMalformed as error:
        raise Conflict(f"event {record.sequence} of the audit chain is damaged: {error}") from error
    return AuditEntry(event=event, texts={name: text for name, (_, text) in record.texts.items()})


def _unavailable() -> Unavailable:
    return Unavailable("the database cannot be reached: try again")
