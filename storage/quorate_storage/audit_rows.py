"""The rows of the audit chain: how an event becomes one, and what transactions do, as functions of a connection.

A body is RFC 8785 canonical JSON with exactly these members, `artifact` only where there is one:

    {"actor": {"sub": "anna", "via": "api"}, "artifact": "approval/7", "facts": {...}, "seq": 12,
     "texts": {"reason": "<hexadecimal SHA-256(salt || text)>"}, "ts": "2025-06-15T15:06:40.123456Z",
     "type": "request.submitted", "v": 1}

`ts` is RFC 3339 in UTC with six digits of a second and `Z`. `seq` counts from 1 without gaps; the event of `seq` 1
is always `log.opened`, whose fact `log` is a random name of this chain. What hashes are taken of a body is in
`transparency`; the neighbour `memory_audit` keeps the same rows in lists.
"""

from __future__ import annotations

import json
import math
import re
import secrets
from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Sequence as SequenceOf
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import cast
from uuid import UUID

import rfc8785
from sqlalchemy import ColumnElement, Connection, LargeBinary, Text, delete, func, insert, select, update
from sqlalchemy import cast as as_type

from quorate_protocol.ids import DocumentName, UserId
from quorate_storage.act_stores import AuditHead, AuditRecord, Checkpoint
from quorate_storage.acts import AuditEvent
from quorate_storage.errors import StorageError
from quorate_storage.tables import audit, audit_head, audit_texts, checkpoints
from quorate_storage.transparency import Frontier, chain_hash, commitment, leaf_hash

GENESIS = "log.opened"
"""The type of the first event."""

SERVER = UserId("server")
SALT_BYTES = 16
LARGEST_INTEGER = 2**53 - 1
"""Beyond this a JSON number does not keep an integer; RFC 8785 refuses it."""

MOST_NESTED = 32
"""How deep facts may be nested; what is deeper is left out."""

VERSION = 1
MEMBERS = frozenset({"v", "seq", "ts", "type", "actor", "artifact", "facts", "texts"})
"""What the body of an event has; `artifact` may be missing."""

_TIME_LENGTH = len("2025-06-15T15:06:40.123456Z")

Texts = Mapping[str, tuple[bytes, str]]
"""Salt and text by field."""


class BodyMalformed(StorageError):
    """The body of an event is not what the audit log writes."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the body {self.problem}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedEvent:
    """What the body of an event says. `commitments` are hexadecimal hashes by field, `at` seconds since the epoch."""

    sequence: int
    time: str
    at: float
    type: str
    actor: str
    via: str
    artifact: str | None
    facts: Mapping[str, object]
    commitments: Mapping[str, str]


# From an event to its rows, and back


class ChainWriter:
    """The end of a chain, to which events are added one after the other.

    `frontier` and `chain` are what the chain ends with, and grow with it. It writes nothing anywhere: the caller
    stores the records that it returns.
    """

    def __init__(self, frontier: Frontier, chain: bytes) -> None:
        self.frontier = frontier
        self.chain = chain

    def extend(self, events: SequenceOf[AuditEvent]) -> list[tuple[AuditRecord, str | None]]:
        """Return the records that events become, each with its artifact; a new chain gets its first event before."""
        records: list[tuple[AuditRecord, str | None]] = []
        for event in events:
            if self.frontier.size == 0:
                facts = {"log": secrets.token_hex(SALT_BYTES), "tree": "rfc6962-sha256"}
                genesis = AuditEvent(type=GENESIS, at=event.at, actor=SERVER, via="server", facts=facts)
                records.append(self._add(genesis))
            records.append(self._add(event))
        return records

    def head(self) -> AuditHead:
        """Return where the chain ends now."""
        return AuditHead(size=self.frontier.size, chain=self.chain, root=self.frontier.root())

    def _add(self, event: AuditEvent) -> tuple[AuditRecord, str | None]:
        sequence = self.frontier.size + 1
        texts = {
            storable_text(field): (secrets.token_bytes(SALT_BYTES), storable_text(text))
            for field, text in event.texts.items()
        }
        body = build_body(event, sequence, texts)
        leaf = leaf_hash(body)
        self.frontier.append(leaf)
        self.chain = chain_hash(self.chain, leaf)
        artifact = event.artifact and storable_text(event.artifact)
        return AuditRecord(sequence=sequence, body=body, chain=self.chain, texts=texts), artifact


def build_body(event: AuditEvent, sequence: int, texts: Texts) -> bytes:
    """Return the canonical bytes of an event at its place, with a commitment to each text."""
    body: dict[str, object] = {
        "v": VERSION,
        "seq": sequence,
        "ts": format_time(event.at),
        "type": storable_text(event.type),
        "actor": {"sub": storable_text(event.actor), "via": storable_text(event.via)},
        "facts": plain_json(event.facts),
        "texts": {field: commitment(salt, text) for field, (salt, text) in texts.items()},
    }
    if event.artifact is not None:
        body["artifact"] = storable_text(event.artifact)
    return canonical(body)


def canonical(value: object) -> bytes:
    """Return plain JSON as RFC 8785 canonical bytes.

    Raises:
        rfc8785.CanonicalizationError: it is not plain, see `plain_json`.
    """
    return rfc8785.dumps(value)  # type: ignore[arg-type]  # the library's type is recursive and covers dict and list only


def plain_json(value: object, depth: int = 0) -> object:
    """Return a value as JSON that RFC 8785 takes, the same for the same value, whatever it was.

    Facts come from engines and plugins, and none of their mistakes may undo the state change that they are about.
    An integer beyond 2^53 - 1 becomes its digits as text, a float that is no number its name; a date, decimal, UUID
    or path its text, bytes their hexadecimal, a set a sorted list, an enumeration its value. A lone surrogate or a NUL
    becomes U+FFFD. Of anything else, and of what is nested too deep, only the name of its type remains.
    """
    if isinstance(value, Enum):
        return plain_json(value.value, depth)
    if isinstance(value, int | float):
        return value if isinstance(value, bool) else _plain_number(value)
    if isinstance(value, str | Decimal | UUID | date | PurePath):
        return storable_text(str(value))
    return None if value is None else _plain_container(value, depth)


def storable_text(text: str) -> str:
    """Return a text that UTF-8, canonical JSON and both databases can hold: U+FFFD for what they cannot."""
    if not text.isascii():
        text = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text.replace("\0", "\ufffd")


def format_time(at: float) -> str:
    """Return seconds since the epoch in RFC 3339; a time that no calendar holds becomes the epoch."""
    try:
        moment = datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        moment = datetime.fromtimestamp(0, UTC)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def _plain_number(value: float) -> object:
    if isinstance(value, int):
        if abs(value) <= LARGEST_INTEGER:
            return int(value)
        # Python writes no decimal digits of an integer that has more than a few thousand.
        return str(int(value)) if value.bit_length() < 10_000 else hex(value)  # noqa: PLR2004
    if math.isfinite(value):
        return float(value)
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _plain_container(value: object, depth: int) -> object:
    if isinstance(value, bytes | bytearray | memoryview):
        return value.hex()
    if depth < MOST_NESTED:
        if isinstance(value, Mapping):
            members = cast("Mapping[object, object]", value)
            return {str(plain_json(key, MOST_NESTED)): plain_json(one, depth + 1) for key, one in members.items()}
        if isinstance(value, SequenceOf):
            return [plain_json(member, depth + 1) for member in cast("SequenceOf[object]", value)]
        if isinstance(value, AbstractSet):
            several = cast("AbstractSet[object]", value)
            return sorted((plain_json(member, depth + 1) for member in several), key=canonical)
    return f"<{type(value).__name__}>"


def parse_body(body: bytes) -> LoggedEvent:
    """Return what a body says.

    Raises:
        BodyMalformed: it is not RFC 8785 canonical JSON, or not of the form that this module documents.
    """
    return _logged(_parse_canonical(body))


def read_body(body: bytes) -> LoggedEvent:
    """Return what a body says, without looking whether it is canonical: many times as fast, and no verification.

    Raises:
        BodyMalformed: it is not JSON, or not of the form that this module documents.
    """
    try:
        return _logged(_object(json.loads(body)) or {})
    except (ValueError, RecursionError) as error:
        raise BodyMalformed("is no JSON") from error


def _logged(value: dict[str, object]) -> LoggedEvent:
    actor, sequence = _object(value.get("actor")), value.get("seq")
    facts, texts = _object(value.get("facts")), _object(value.get("texts"))
    if value.get("v") != VERSION or type(sequence) is not int or actor is None or facts is None or texts is None:
        raise BodyMalformed("is of no known form")
    words = (value.get("type"), actor.get("sub"), actor.get("via"), value.get("ts"), value.get("artifact", ""))
    if not all(isinstance(word, str) for word in (*words, *texts.values())) or value.keys() - MEMBERS:
        raise BodyMalformed("is of no known form")
    time = cast("str", value["ts"])
    return LoggedEvent(
        sequence=sequence,
        time=time,
        at=_seconds(time),
        type=cast("str", value["type"]),
        actor=cast("str", actor["sub"]),
        via=cast("str", actor["via"]),
        artifact=cast("str | None", value.get("artifact")),
        facts=facts,
        commitments=cast("dict[str, str]", texts),
    )


def _object(value: object) -> dict[str, object] | None:
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def _parse_canonical(body: bytes) -> dict[str, object]:
    try:
        text = body.decode()
        # The C encoder agrees with RFC 8785 on all but floats and the order of keys beyond U+FFFF, and is fast.
        if text.isascii() and _FLOAT.search(text) is None:
            value = _object(json.loads(text)) or {}
            is_canonical = _ENCODER.encode(value) == text
        else:
            value = _object(json.loads(text, parse_int=_integer)) or {}
            is_canonical = canonical(value) == body
    except (ValueError, RecursionError) as error:
        raise BodyMalformed("is not canonical JSON") from error
    if not is_canonical:
        raise BodyMalformed("is not canonical JSON")
    return value


def _integer(digits: str) -> float:
    # Beyond 2^53 a canonical number without a fraction is a float.
    number = float(digits)
    return int(number) if abs(number) <= LARGEST_INTEGER else number


# What begins like a float, or an integer that may be one; some texts look like that too, which costs time only.
_FLOAT = re.compile(r"(?:\":|[,\[])-?(?:[0-9]+[.eE]|[0-9]{16}|[NI])")
_ENCODER = json.JSONEncoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _seconds(time: str) -> float:
    try:
        if (len(time), time[-1:], time[19:20]) != (_TIME_LENGTH, "Z", "."):
            raise BodyMalformed("has no time")
        return datetime.fromisoformat(time).timestamp()
    except (ValueError, OverflowError) as error:
        raise BodyMalformed("has no time") from error


# The rows

# SQLite keeps what it is given, whatever the column: what somebody wrote there must be read to be told.
_BYTES = [as_type(column, LargeBinary).label(column.name) for column in (audit.c.body, audit.c.chain)]
_TEXTS = [as_type(audit_texts.c.salt, LargeBinary).label("salt"), as_type(audit_texts.c.text, Text).label("text")]

_IS_HEAD = audit_head.c.id == 1
_LOCK_HEAD = select(audit_head).where(_IS_HEAD).with_for_update()
_MOVE_HEAD = update(audit_head).where(_IS_HEAD)
_INSERT_EVENTS, _INSERT_TEXTS = insert(audit), insert(audit_texts)


def append_events(connection: Connection, events: SequenceOf[AuditEvent]) -> None:
    """Write events at the end of the chain, in their order, before them the first event if the chain is empty.

    The row of the head is locked until the transaction ends: events of all writers are in one order, without gaps.

    Raises:
        FrontierDamaged: the row of the head is not what this function wrote; nothing was written.
    """
    if not events:
        return
    row = connection.execute(_LOCK_HEAD).one()
    writer = ChainWriter(Frontier.unpack(row.frontier), row.chain)
    records = writer.extend(events)
    connection.execute(
        _INSERT_EVENTS,
        [
            {"sequence": record.sequence, "body": record.body, "chain": record.chain, "artifact": artifact}
            for record, artifact in records
        ],
    )
    texts = [
        {"sequence": record.sequence, "field": field, "salt": salt, "text": text}
        for record, _ in records
        for field, (salt, text) in record.texts.items()
    ]
    if texts:
        connection.execute(_INSERT_TEXTS, texts)
    end = {"size": writer.frontier.size, "chain": writer.chain, "frontier": writer.frontier.pack()}
    connection.execute(_MOVE_HEAD, end)


def read_head(connection: Connection) -> AuditHead:
    """Return where the chain ends."""
    row = connection.execute(select(audit_head).where(audit_head.c.id == 1)).one()
    return AuditHead(size=row.size, chain=row.chain, root=Frontier.unpack(row.frontier).root())


def event_count(connection: Connection) -> int:
    """Return how many events are really there; it equals the size of the head unless rows were taken away."""
    return connection.scalar(select(func.count()).select_from(audit)) or 0


def read_events(
    connection: Connection, after: int, limit: int, artifact: DocumentName | None = None
) -> SequenceOf[AuditRecord]:
    """Return events beyond a sequence, in order, of one artifact or of all, with the texts that are not erased."""
    query = select(audit.c.sequence, *_BYTES).where(audit.c.sequence > after)
    if artifact is not None:
        query = query.where(audit.c.artifact == artifact)
    rows = connection.execute(query.order_by(audit.c.sequence).limit(limit)).all()
    if not rows:
        return []
    texts = read_texts(connection, rows[0].sequence, rows[-1].sequence, artifact)
    return [
        AuditRecord(sequence=row.sequence, body=row.body, chain=row.chain, texts=texts.get(row.sequence, {}))
        for row in rows
    ]


def read_texts(
    connection: Connection, first: int, last: int, artifact: DocumentName | None = None
) -> Mapping[int, Texts]:
    """Return the personal texts of the events from `first` to `last`, of one artifact or of all, by sequence."""
    chosen: ColumnElement[bool] = audit_texts.c.sequence.between(first, last)
    if artifact is not None:
        ours = select(audit.c.sequence).where(audit.c.artifact == artifact, audit.c.sequence.between(first, last))
        chosen = chosen & audit_texts.c.sequence.in_(ours)
    found: defaultdict[int, dict[str, tuple[bytes, str]]] = defaultdict(dict)
    query = select(audit_texts.c.sequence, audit_texts.c.field, *_TEXTS).where(chosen)
    for row in connection.execute(query.order_by(audit_texts.c.field)):
        found[row.sequence][row.field] = (row.salt, row.text)
    return found


def erase_texts(connection: Connection, places: SequenceOf[tuple[int, str]]) -> int:
    """Delete salts and texts by sequence and field; return how many there were.

    The chain holds commitments only, so every hash, proof and checkpoint stays valid. SQLite overwrites what it
    deletes here; copies in backups, and for a while in a write-ahead log, are the operator's to delete.
    """
    is_sqlite = connection.dialect.name == "sqlite"
    before = connection.exec_driver_sql("PRAGMA secure_delete").scalar() if is_sqlite else None
    if is_sqlite:
        connection.exec_driver_sql("PRAGMA secure_delete=ON")
    erased = 0
    for sequence, field in places:
        is_it = (audit_texts.c.sequence == sequence, audit_texts.c.field == field)
        erased += connection.execute(delete(audit_texts).where(*is_it)).rowcount
    if is_sqlite:
        connection.exec_driver_sql(f"PRAGMA secure_delete={before}")
    return erased


def save_checkpoint(connection: Connection, checkpoint: Checkpoint) -> None:
    """Keep a checkpoint; one of the same size that is there stays."""
    known = select(checkpoints.c.size).where(checkpoints.c.size == checkpoint.size)
    if connection.execute(known).first() is None:
        values = {"size": checkpoint.size, "note": checkpoint.note, "at": checkpoint.at}
        connection.execute(insert(checkpoints).values(values))


def list_checkpoints(connection: Connection) -> SequenceOf[Checkpoint]:
    """Return all checkpoints, the smallest first."""
    rows = connection.execute(select(checkpoints).order_by(checkpoints.c.size))
    return [Checkpoint(size=row.size, note=row.note, at=row.at) for row in rows]
