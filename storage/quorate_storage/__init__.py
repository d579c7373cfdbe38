"""The durable log, its snapshots and what else must survive a power cut.

Start with `stores`: it says what a store promises. The contract tests are in `testing`.
"""

from quorate_storage.compaction import CompactionRule, Fold, Folded, Verify, compact
from quorate_storage.databases import SqlSettings
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
from quorate_storage.memory import MemoryStore
from quorate_storage.redis_fabric import RedisFabric
from quorate_storage.sql import SqlStore
from quorate_storage.stores import (
    Document,
    Lease,
    LogEntry,
    LogSize,
    Revocation,
    SetAside,
    Snapshot,
    Store,
    StoredState,
    Version,
)

__all__ = [
    "CompactionRefused",
    "CompactionRule",
    "Delivery",
    "Document",
    "DocumentExists",
    "DocumentMissing",
    "Done",
    "Fabric",
    "FabricUnavailable",
    "Fold",
    "Folded",
    "Frame",
    "Holder",
    "Journal",
    "JournalObserver",
    "JournalSettings",
    "Lease",
    "LeaseHeld",
    "LeaseKeeper",
    "LeaseLost",
    "LeaseSettings",
    "LogEntry",
    "LogSize",
    "Lost",
    "MemoryFabric",
    "MemoryNetwork",
    "MemoryStore",
    "RedisFabric",
    "Revocation",
    "SchemaTooNew",
    "SequenceConflict",
    "SetAside",
    "Snapshot",
    "SqlSettings",
    "SqlStore",
    "StorageError",
    "StorageUnavailable",
    "Store",
    "StoredState",
    "ValueRefused",
    "Verify",
    "Version",
    "compact",
]
