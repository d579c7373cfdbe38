"""`MemoryAudit`: the audit chain in lists, for the reference store; `audit_rows` says what each operation does."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from dataclasses import replace

from quorate_protocol.ids import DocumentName
from quorate_storage.act_stores import AuditHead, AuditRecord, Checkpoint
from quorate_storage.acts import AuditEvent
from quorate_storage.audit_rows import ChainWriter, Texts
from quorate_storage.transparency import FIRST_CHAIN, Frontier


class MemoryAudit:
    """An audit chain that ends with the process. Its bodies and hashes are those of `audit_rows`."""

    def __init__(self) -> None:
        self._writer = ChainWriter(Frontier(), FIRST_CHAIN)
        self._records: list[tuple[AuditRecord, str | None]] = []
        self._checkpoints: dict[int, Checkpoint] = {}

    def append_events(self, events: SequenceOf[AuditEvent]) -> None:
        """See `audit_rows.append_events`."""
        self._records += self._writer.extend(events)

    def read_head(self) -> AuditHead:
        """See `audit_rows.read_head`."""
        return self._writer.head()

    def event_count(self) -> int:
        """See `audit_rows.event_count`."""
        return len(self._records)

    def read_events(self, after: int, limit: int, artifact: DocumentName | None = None) -> SequenceOf[AuditRecord]:
        """See `audit_rows.read_events`."""
        beyond = self._records[max(after, 0) :]
        return [record for record, its in beyond if artifact in {None, its}][:limit]

    def read_texts(self, first: int, last: int, artifact: DocumentName | None = None) -> dict[int, Texts]:
        """See `audit_rows.read_texts`."""
        chosen = self._records[max(first - 1, 0) : max(last, 0)]
        return {record.sequence: record.texts for record, its in chosen if record.texts and artifact in {None, its}}

    def erase_texts(self, places: SequenceOf[tuple[int, str]]) -> int:
        """See `audit_rows.erase_texts`."""
        erased = 0
        for sequence, field in places:
            if 0 < sequence <= len(self._records):
                record, artifact = self._records[sequence - 1]
                kept = {name: text for name, text in record.texts.items() if name != field}
                erased += len(record.texts) - len(kept)
                self._records[sequence - 1] = (replace(record, texts=kept), artifact)
        return erased

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """See `audit_rows.save_checkpoint`."""
        self._checkpoints.setdefault(checkpoint.size, checkpoint)

    def list_checkpoints(self) -> SequenceOf[Checkpoint]:
        """See `audit_rows.list_checkpoints`."""
        return [checkpoint for _, checkpoint in sorted(self._checkpoints.items())]
