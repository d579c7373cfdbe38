"""The durable log, its snapshots and what else must survive a power cut.

Start with `stores`: it says what a store promises. The contract tests are in `testing`.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from quorate_storage.act_stores import (
    ActStore,
    Attribution,
    AuditHead,
    AuditRecord,
    Checkpoint,
    Unannounced,
)
from quorate_storage.acts import (
    Act,
    Announced,
    AuditEvent,
    Change,
    Cursor,
    Effect,
    EffectOutcome,
    EngineValue,
    Erasure,
    Grant,
    Json,
    Reply,
    Row,
    SetAside,
    WakeUp,
    Writer,
    new_act_id,
)
from quorate_storage.compaction import CompactionRule, Fold, Folded, Verify, compact, fold_and_verify
from quorate_storage.errors import (
    CompactionRefused,
    DocumentExists,
    DocumentMissing,
    LeaseHeld,
    LeaseLost,
    SchemaTooNew,
    SequenceConflict,
    StorageError,
    StorageUnavailable,
    ValueRefused,
)
from quorate_storage.fabric import (
    Delivery,
    Fabric,
    FabricUnavailable,
    Frame,
    Lost,
    MemoryFabric,
    MemoryNetwork,
)
from quorate_storage.journal import Done, Journal, JournalObserver, JournalSettings
from quorate_storage.leases import Holder, LeaseKeeper, LeaseSettings
from quorate_storage.stores import (
    Document,
    Lease,
    LogEntry,
    LogReader,
    LogSize,
    PromptStore,
    Revocation,
    Snapshot,
    Store,
    StoredLog,
    StoredState,
    Version,
)

if TYPE_CHECKING:
    from quorate_storage.databases import SqlSettings
    from quorate_storage.memory import MemoryStore
    from quorate_storage.redis_fabric import RedisFabric
    from quorate_storage.sql import SqlStore

__all__ = [
    "Act",
    "ActStore",
    "Announced",
    "Attribution",
    "AuditEvent",
    "AuditHead",
    "AuditRecord",
    "Change",
    "Checkpoint",
    "CompactionRefused",
    "CompactionRule",
    "Cursor",
    "Delivery",
    "Document",
    "DocumentExists",
    "DocumentMissing",
    "Done",
    "Effect",
    "EffectOutcome",
    "EngineValue",
    "Erasure",
    "Fabric",
    "FabricUnavailable",
    "Fold",
    "Folded",
    "Frame",
    "Grant",
    "Holder",
    "Journal",
    "JournalObserver",
    "JournalSettings",
    "Json",
    "Lease",
    "LeaseHeld",
    "LeaseKeeper",
    "LeaseLost",
    "LeaseSettings",
    "LogEntry",
    "LogReader",
    "LogSize",
    "Lost",
    "MemoryFabric",
    "MemoryNetwork",
    "MemoryStore",
    "PromptStore",
    "RedisFabric",
    "Reply",
    "Revocation",
    "Row",
    "SchemaTooNew",
    "SequenceConflict",
    "SetAside",
    "Snapshot",
    "SqlSettings",
    "SqlStore",
    "StorageError",
    "StorageUnavailable",
    "Store",
    "StoredLog",
    "StoredState",
    "Unannounced",
    "ValueRefused",
    "Verify",
    "Version",
    "WakeUp",
    "Writer",
    "compact",
    "fold_and_verify",
    "new_act_id",
]


_WHEN_ASKED_FOR = {
    "MemoryStore": "quorate_storage.memory",
    "RedisFabric": "quorate_storage.redis_fabric",
    "SqlSettings": "quorate_storage.databases",
    "SqlStore": "quorate_storage.sql",
}
"""Where these are: the client for Redis takes 7 MiB, and SQLAlchemy half of the time that a process takes to begin."""


def __getattr__(name: str) -> object:
    """Return what is loaded only when somebody asks for it."""
    if name not in _WHEN_ASKED_FOR:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHEN_ASKED_FOR[name]), name)
