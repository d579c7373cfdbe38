r"""The audit log as a file that can be verified anywhere: its writer, and a reader that trusts nothing.

A file holds one JSON object a line, in UTF-8:

    {"format": "quorate-audit/1", "origin": "quorate.example/audit"}                       first
    {"body": "{...}", "chain": "<hex>", "texts": {"reason": {"salt": "<hex>", "text": "..."}}}   each event
    {"checkpoint": "quorate.example/audit\n1042\n...\n\n— ...\n"}                          after the events
    {"end": {"root": "<hex>", "size": 1042}}                                               last

`body` is the exact text whose bytes are hashed, `chain` the chain's hash after it, `texts` the personal texts that
are not erased. A file without its last line was cut off.

    StorageError
    ├── ExportMalformed     a line does not follow the format
    ├── ProofImpossible     an export does not prove an event
    ├── ProofMalformed      a text is no bundle of a proof
    └── ProofInvalid        a bundle does not prove what it should
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Self, cast

from quorate_storage.act_stores import AuditHead, AuditRecord, Checkpoint
from quorate_storage.audit_rows import LoggedEvent
from quorate_storage.errors import StorageError
from quorate_storage.transparency import HASH_BYTES

FORMAT = "quorate-audit/1"
PROOF_FORMAT = "quorate-audit-proof/1"
MAX_LINE_BYTES = 64 * 1024 * 1024
"""A line that is longer is not read: no event comes near it, for a frame is at most a quarter of it."""

MAX_SALT_BYTES = 64


class ExportMalformed(StorageError):
    """A line of an export does not follow the format. `line` counts from 1; what the line holds is not told."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(line, problem)
        self.line = line
        self.problem = problem

    def __str__(self) -> str:
        return f"line {self.line} of the export {self.problem}"


class ProofInvalid(StorageError):
    """A bundle does not prove what it should."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the proof does not hold: {self.problem}"


class ProofMalformed(StorageError):
    """A text is no bundle of a proof."""

    def __str__(self) -> str:
        return "this is no proof of an event"


class ProofImpossible(StorageError):
    """An event cannot be proved from this export."""

    def __init__(self, sequence: int, reason: str) -> None:
        super().__init__(sequence, reason)
        self.sequence = sequence
        self.reason = reason

    def __str__(self) -> str:
        return f"event {self.sequence} cannot be proved: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportHeader:
    """The first line: of which log this is, as the exporter says. Nothing vouches for it."""

    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedEvent:
    """An event as a file holds it, unverified. `texts` are (salt, text) by field."""

    line: int
    body: bytes
    chain: bytes
    texts: Mapping[str, tuple[bytes, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedCheckpoint:
    """A signed note as a file holds it, unverified."""

    line: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportEnd:
    """The last line: where the log ended when it was exported."""

    size: int
    root: bytes


ExportItem = ExportHeader | ExportedEvent | ExportedCheckpoint | ExportEnd


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofBundle:
    """One event, and what proves that it is in the log: hashes up to the root of a checkpoint. One JSON object."""

    body: str
    sequence: int
    proof: tuple[bytes, ...]
    note: str
    texts: Mapping[str, tuple[bytes, str]]

    def encode(self) -> str:
        """Return the bundle as JSON."""
        value = {
            "format": PROOF_FORMAT,
            "sequence": self.sequence,
            "body": self.body,
            "proof": [step.hex() for step in self.proof],
            "checkpoint": self.note,
            "texts": _written_texts(self.texts),
        }
        return json.dumps(value, ensure_ascii=False, indent=2) + "\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `encode` wrote; what it says is unverified.

        Raises:
            ProofMalformed: it is no bundle.
        """
        try:
            value = _object(json.loads(text)) or {}
            sequence, proof = value.get("sequence"), value.get("proof")
            if value.get("format") != PROOF_FORMAT or type(sequence) is not int or not isinstance(proof, list):
                raise ProofMalformed
            steps = [_bytes(step, 1, most=HASH_BYTES) for step in cast("list[object]", proof)]
            body, note = _text(value.get("body"), 1), _text(value.get("checkpoint"), 1)
            return cls(body=body, sequence=sequence, proof=tuple(steps), note=note, texts=_texts(value.get("texts"), 1))
        except (ValueError, RecursionError, ExportMalformed) as error:
            raise ProofMalformed from error


class ExportWriter:
    """Writes an export to a file, part by part: the header at once, then events, checkpoints, and the end."""

    def __init__(self, file: BinaryIO, origin: str) -> None:
        self._file = file
        self._put({"format": FORMAT, "origin": origin})

    def write_events(self, records: Iterable[AuditRecord]) -> None:
        """Write events, which must be the next ones of the log.

        A body that is no UTF-8, which only tampering makes, is written with U+FFFD and fails every check.
        """
        for record in records:
            body = record.body.decode("utf-8", "replace")
            self._put({"body": body, "chain": record.chain.hex(), "texts": _written_texts(record.texts)})

    def write_checkpoints(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Write checkpoints."""
        for checkpoint in checkpoints:
            self._put({"checkpoint": checkpoint.note})

    def finish(self, head: AuditHead) -> None:
        """Write where the log ends. The file stays open."""
        self._put({"end": {"root": head.root.hex(), "size": head.size}})

    def _put(self, line: Mapping[str, object]) -> None:
        # A lone surrogate cannot be stored, but must not break the export of a log that was tampered with.
        text = json.dumps(line, ensure_ascii=False, separators=(",", ":"))
        self._file.write(text.encode("utf-8", "replace") + b"\n")


def write_export(
    file: BinaryIO,
    origin: str,
    records: Iterable[AuditRecord],
    *,
    checkpoints: Iterable[Checkpoint] = (),
    head: AuditHead,
) -> None:
    """Write a whole export."""
    writer = ExportWriter(file, origin)
    writer.write_events(records)
    writer.write_checkpoints(checkpoints)
    writer.finish(head)


def read_export(file: BinaryIO, *, max_line_bytes: int = MAX_LINE_BYTES) -> Iterator[ExportItem]:
    """Yield what the lines of an export hold, first the header; one line is in memory at a time.

    Only the format is checked: see `audit_verification` for whether what it says is true.

    Raises:
        ExportMalformed: a line does not follow the format, is longer than `max_line_bytes`, or is out of place.
    """
    number = 0
    is_over = False
    while line := file.readline(max_line_bytes + 1):
        number += 1
        if len(line) > max_line_bytes:
            raise ExportMalformed(number, f"is longer than {max_line_bytes} bytes")
        if is_over:
            raise ExportMalformed(number, "comes after the end")
        item = _item(line, number)
        if isinstance(item, ExportHeader) != (number == 1):
            raise ExportMalformed(number, "must be the header" if number == 1 else "is a second header")
        is_over = isinstance(item, ExportEnd)
        yield item
    if number == 0:
        raise ExportMalformed(1, "is missing: the file is empty")


def describe_event(event: LoggedEvent, texts: Mapping[str, tuple[bytes, str]]) -> str:
    """Return an event as one line for people: place, time, type, who, facts, and texts where they are not erased.

    What does not print is escaped, so that a line is a line on any terminal.
    """
    told = [f"{name}={_shown(value)}" for name, value in event.facts.items()]
    told += [f"{name}: {_shown(texts[name][1]) if name in texts else '[erased]'}" for name in event.commitments]
    line = "  ".join((f"{event.sequence:>6}", event.time, event.type, f"by {event.actor} via {event.via}", *told))
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in line)


def _shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _item(line: bytes, number: int) -> ExportItem:
    if not line.endswith(b"\n"):
        raise ExportMalformed(number, "ends in its middle: the file was cut off")
    try:
        value = _object(json.loads(line))
    except (ValueError, RecursionError) as error:
        raise ExportMalformed(number, "is no JSON") from error
    if value is not None:
        for names, build in _BUILDERS:
            if value.keys() == names:
                return build(value, number)
    raise ExportMalformed(number, "is none that an export holds")


def _header(value: Mapping[str, object], number: int) -> ExportHeader:
    if value["format"] != FORMAT:
        raise ExportMalformed(number, f"is not of the format {FORMAT}")
    return ExportHeader(origin=_text(value["origin"], number))


def _event(value: Mapping[str, object], number: int) -> ExportedEvent:
    return ExportedEvent(
        line=number,
        body=_text(value["body"], number).encode("utf-8", "surrogatepass"),
        chain=_bytes(value["chain"], number, most=HASH_BYTES),
        texts=_texts(value["texts"], number),
    )


def _texts(value: object, number: int) -> dict[str, tuple[bytes, str]]:
    texts: dict[str, tuple[bytes, str]] = {}
    for field, pair in (_object(value) or {}).items():
        parts = _object(pair)
        if parts is None or parts.keys() != {"salt", "text"}:
            raise ExportMalformed(number, "has a text that is none")
        texts[field] = (_bytes(parts["salt"], number, most=MAX_SALT_BYTES), _text(parts["text"], number))
    return texts


def _written_texts(texts: Mapping[str, tuple[bytes, str]]) -> dict[str, dict[str, str]]:
    return {field: {"salt": salt.hex(), "text": text} for field, (salt, text) in texts.items()}


def _checkpoint(value: Mapping[str, object], number: int) -> ExportedCheckpoint:
    return ExportedCheckpoint(line=number, note=_text(value["checkpoint"], number))


def _end(value: Mapping[str, object], number: int) -> ExportEnd:
    end = _object(value["end"])
    size = end.get("size") if end else None
    if end is None or type(size) is not int or size < 0:
        raise ExportMalformed(number, "has no size")
    return ExportEnd(size=size, root=_bytes(end.get("root"), number, most=HASH_BYTES))


_BUILDERS = (
    (frozenset({"body", "chain", "texts"}), _event),
    (frozenset({"checkpoint"}), _checkpoint),
    (frozenset({"format", "origin"}), _header),
    (frozenset({"end"}), _end),
)


def _object(value: object) -> dict[str, object] | None:
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def _text(value: object, number: int) -> str:
    if not isinstance(value, str):
        raise ExportMalformed(number, "has something else where a text belongs")
    return value


def _bytes(value: object, number: int, *, most: int) -> bytes:
    try:
        data = bytes.fromhex(_text(value, number))
    except ValueError as error:
        raise ExportMalformed(number, "has something else where hexadecimal belongs") from error
    if len(data) > most:
        raise ExportMalformed(number, f"has more than {most} bytes where a hash or salt belongs")
    return data
