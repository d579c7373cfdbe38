"""Verifying an export of the audit log without the server: all of it, or one event.

`verify_export` reads an export once and checks, event by event: canonical form, sequence without gaps, the first
event, the chain, the commitments to personal texts that are still there, and that a state change names exactly one
cause (the fact `causes`, a list of one earlier sequence). Then it rebuilds the tree and compares its root at the
size of each checkpoint. A root that is the same proves that the log begins with exactly the events that were
signed, so checkpoints that all agree with one log are consistent with each other: nothing was ever rewritten.

What happened after the last checkpoint is protected by the chain alone, and whoever can write the database can
rewrite that. The result says how long this unsealed tail is and since when.
"""

from __future__ import annotations

import hmac
import json
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import BinaryIO, cast

from quorate_storage.audit_export import (
    ExportedCheckpoint,
    ExportedEvent,
    ExportEnd,
    ExportMalformed,
    ProofBundle,
    ProofImpossible,
    ProofInvalid,
    describe_event,
    read_export,
)
from quorate_storage.audit_rows import GENESIS, BodyMalformed, LoggedEvent, parse_body
from quorate_storage.checkpoints import (
    NoteMalformed,
    SignatureInvalid,
    SignerUnknown,
    TreeHead,
    VerifierKey,
    read_checkpoint,
    verify_checkpoint,
)
from quorate_storage.transparency import (
    EMPTY_ROOT,
    FIRST_CHAIN,
    HASH_BYTES,
    Frontier,
    chain_hash,
    commitment,
    inclusion_proof,
    leaf_hash,
    verify_inclusion,
)

GAP = "audit.gap"
"""The type of an event that says that the log was switched off before it."""

Replay = Callable[[Iterable[LoggedEvent]], Sequence[str]]
"""Decides again what the events say was decided, and returns what came out differently, one sentence each."""


class Verdict(StrEnum):
    """What a verification found; the worst of what holds."""

    VERIFIED = "verified"
    TAMPERED = "tampered"
    INCOMPLETE = "incomplete"
    BAD_INPUT = "bad input"


EXIT_CODES = {Verdict.VERIFIED: 0, Verdict.TAMPERED: 1, Verdict.INCOMPLETE: 2, Verdict.BAD_INPUT: 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that is not in a log that nobody tampered with.

    `kind` is `form`, `sequence`, `genesis`, `chain`, `text`, `cause`, `truncated`, `root`, `signature`, `origin`,
    `checkpoint`, `consistency` or `replay`. `sequence` is the first event that can be bad, where it is known.
    """

    kind: str
    sequence: int | None
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """What an export turned out to be.

    `size`, `chain` and `root` are of the events up to the first fault among them. `sealed` is the size of the largest
    checkpoint that agrees, and `unsealed_seconds` the age of the oldest event beyond it. `faults` are in order of
    sequence, `missing` says what makes the log incomplete, and `problem` what is wrong with the input.
    """

    verdict: Verdict
    size: int = 0
    root: bytes = EMPTY_ROOT
    sealed: int = 0
    unsealed_seconds: float | None = None
    erased_texts: int = 0
    gaps: tuple[int, ...] = ()
    faults: tuple[Fault, ...] = ()
    missing: tuple[str, ...] = ()
    problem: str = ""

    @property
    def unsealed(self) -> int:
        """How many events no checkpoint covers."""
        return self.size - self.sealed

    @property
    def exit_code(self) -> int:
        """What a command ends with: 0 verified, 1 tampered, 2 incomplete, 3 bad input."""
        return EXIT_CODES[self.verdict]


def verify_export(
    file: BinaryIO,
    keys: Sequence[VerifierKey],
    *,
    checkpoints: Sequence[str] = (),
    now: float | None = None,
    replay: Replay | None = None,
) -> Verification:
    """Verify an export against the keys and the checkpoints that the verifier got by other ways.

    Checkpoints inside the export count as well, but whoever made the export could leave them out. Costs 40 bytes of
    memory an event. Never raises for what a file or note holds.

    Args:
        file: an export, read from where it stands.
        keys: the keys that may have signed checkpoints.
        checkpoints: signed notes.
        now: the time, to tell the age of the unsealed tail.
        replay: reads the events, each verified before it is handed out; its faults are not counted where another
            fault ends the events early.
    """
    reading = _Reading(file)
    try:
        given = [_read_note(note, keys, reading, is_given=True) for note in checkpoints]
        events = reading.events()
        decided = list(replay(events)) if replay is not None else []
        for _ in events:
            pass
        inside = [_read_note(note, keys, reading, is_given=False) for note in reading.notes]
    except (ExportMalformed, NoteMalformed, SignerUnknown) as error:
        return Verification(verdict=Verdict.BAD_INPUT, problem=str(error))
    heads = [head for head in (*given, *inside) if head is not None]
    if reading.is_whole:
        reading.faults += [Fault(kind="replay", sequence=None, problem=problem) for problem in decided]
        reading.check_checkpoints(sorted(heads, key=lambda head: head.size))
        reading.check_end()
    return _result(reading, now)


def prove(file: BinaryIO, sequence: int, *, checkpoints: Sequence[str] = ()) -> ProofBundle:
    """Return what proves, without the log, that an event is in it: under the smallest checkpoint that covers it.

    Args:
        file: an export, read from where it stands.
        sequence: the event.
        checkpoints: signed notes beside those in the export.

    Raises:
        ExportMalformed: the file is no export.
        NoteMalformed: a checkpoint is none.
        ProofImpossible: there is no such event, no checkpoint covers it yet, or the log is not what was signed.
    """
    leaves: list[bytes] = []
    notes = list(checkpoints)
    event: ExportedEvent | None = None
    for item in read_export(file):
        if isinstance(item, ExportedEvent):
            leaves.append(leaf_hash(item.body))
            event = item if len(leaves) == sequence else event
        elif isinstance(item, ExportedCheckpoint):
            notes.append(item.note)
    if event is None:
        raise ProofImpossible(sequence, f"the export ends at event {len(leaves)}")
    covering = [(head.size, head, note) for note in notes if (head := read_checkpoint(note)).size >= sequence]
    if not covering:
        raise ProofImpossible(sequence, "no checkpoint covers it yet")
    size, head, note = min(covering, key=lambda one: one[0])
    proof = inclusion_proof(leaves[:size], sequence - 1)
    if not verify_inclusion(leaves[sequence - 1], index=sequence - 1, size=size, proof=proof, root=head.root):
        raise ProofImpossible(sequence, "the log is not the one that the checkpoint was signed for")
    body = event.body.decode("utf-8", "replace")
    return ProofBundle(body=body, sequence=sequence, proof=tuple(proof), note=note, texts=event.texts)


def verify_proof(bundle: ProofBundle, keys: Sequence[VerifierKey]) -> LoggedEvent:
    """Return the event that a bundle proves to be in the log of one of the keys, at its place.

    Raises:
        NoteMalformed, SignatureInvalid, SignerUnknown: the checkpoint is not signed by any of the keys.
        ProofInvalid: the bundle proves nothing.
    """
    head = verify_checkpoint(bundle.note, keys)
    body = bundle.body.encode("utf-8", "surrogatepass")
    place = bundle.sequence - 1
    if not verify_inclusion(leaf_hash(body), index=place, size=head.size, proof=bundle.proof, root=head.root):
        raise ProofInvalid("the event is not under the root of the checkpoint")
    try:
        event = parse_body(body)
    except BodyMalformed as error:
        raise ProofInvalid(str(error)) from error
    fault = _fault_of(event, bundle.sequence) or _fault_of_texts(event, bundle.texts)
    if fault is not None:
        raise ProofInvalid(fault[1])
    return event


def explain(file: BinaryIO, artifact: str) -> list[str]:
    """Return what happened to an artifact, one line an event, in order: place, time, type, who, facts and texts.

    Nothing is verified here.

    Raises:
        ExportMalformed: the file is no export.
        BodyMalformed: an event is none.
    """
    lines: list[str] = []
    for item in read_export(file):
        if isinstance(item, ExportedEvent):
            event = parse_body(item.body)
            if event.artifact == artifact:
                lines.append(describe_event(event, item.texts))
    return lines


def _result(reading: _Reading, now: float | None) -> Verification:
    faults = sorted(reading.faults, key=lambda fault: (fault.sequence is None, fault.sequence or 0))
    verdict = Verdict.INCOMPLETE if reading.missing or reading.gaps else Verdict.VERIFIED
    reading.grow(reading.size)
    age = now - reading.times[reading.sealed] if now is not None and reading.size > reading.sealed else None
    return Verification(
        verdict=Verdict.TAMPERED if faults else verdict,
        size=reading.size,
        root=reading.frontier.root(),
        sealed=reading.sealed,
        unsealed_seconds=age,
        erased_texts=reading.erased,
        gaps=tuple(reading.gaps),
        faults=tuple(faults),
        missing=tuple(reading.missing),
    )


def _read_note(note: str, keys: Sequence[VerifierKey], reading: _Reading, *, is_given: bool) -> TreeHead | None:
    """Return what a checkpoint says, `None` where it must not be believed. A bad one that was given is bad input."""
    try:
        return verify_checkpoint(note, keys)
    except SignatureInvalid as error:
        reading.faults.append(Fault(kind="signature", sequence=None, problem=f"a checkpoint is forged: {error}"))
    except SignerUnknown as error:
        if is_given:
            raise
        reading.missing.append(f"a checkpoint in the export cannot be checked: {error}")
    except NoteMalformed as error:
        if is_given:
            raise
        reading.faults.append(Fault(kind="signature", sequence=None, problem=f"a checkpoint is damaged: {error}"))
    return None


@dataclass(slots=True)
class _Reading:
    """An export while it is read, and all that was found."""

    file: BinaryIO
    chain: bytes = FIRST_CHAIN
    size: int = 0
    sealed: int = 0
    erased: int = 0
    is_whole: bool = True
    end: ExportEnd | None = None
    frontier: Frontier = field(default_factory=Frontier)
    leaves: bytearray = field(default_factory=bytearray)
    times: array[float] = field(default_factory=lambda: array("d"))
    notes: list[str] = field(default_factory=list[str])
    gaps: list[int] = field(default_factory=list[int])
    faults: list[Fault] = field(default_factory=list[Fault])
    missing: list[str] = field(default_factory=list[str])

    def events(self) -> Iterator[LoggedEvent]:
        """Yield events as long as they are good; the first bad one is a fault and the last that is looked at."""
        for item in read_export(self.file):
            if isinstance(item, ExportedEvent):
                event = self._take(item)
                if event is None:
                    self.is_whole = False
                    return
                yield event
            elif isinstance(item, ExportedCheckpoint):
                self.notes.append(item.note)
            elif isinstance(item, ExportEnd):
                self.end = item

    def _take(self, item: ExportedEvent) -> LoggedEvent | None:
        expected = self.size + 1
        try:
            event = parse_body(item.body)
        except BodyMalformed as error:
            self.faults.append(Fault(kind="form", sequence=expected, problem=str(error)))
            return None
        leaf = leaf_hash(item.body)
        chain = chain_hash(self.chain, leaf)
        found = _fault_of(event, expected) or _fault_of_texts(event, item.texts)
        if found is None and not hmac.compare_digest(chain, item.chain):
            found = ("chain", "the event or one before it is not the one that was written")
        if found is not None:
            self.faults.append(Fault(kind=found[0], sequence=expected, problem=found[1]))
            return None
        self.size, self.chain = expected, chain
        self.leaves += leaf
        self.times.append(event.at)
        self.erased += len(event.commitments) - len(item.texts)
        if event.type == GAP:
            self.gaps.append(expected)
        if not _has_one_cause(event) and not any(fault.kind == "cause" for fault in self.faults):
            problem = "a state change must name exactly one earlier event as its cause"
            self.faults.append(Fault(kind="cause", sequence=expected, problem=problem))
        return event

    def check_checkpoints(self, heads: Sequence[TreeHead]) -> None:
        """Rebuild the tree and compare it with each checkpoint, the smallest first."""
        if not heads:
            self.missing.append("there is no checkpoint: a log that was rewritten as a whole would look the same")
        if len({head.origin for head in heads}) > 1:
            self.faults.append(Fault(kind="origin", sequence=None, problem="checkpoints are of several logs"))
        differing: list[TreeHead] = []
        for head in heads:
            if head.size > self.size:
                problem = f"a checkpoint of {head.size} events was signed, and only {self.size} are here"
                self.faults.append(Fault(kind="truncated", sequence=self.size + 1, problem=problem))
                break
            if not self._has_root(head.root, head.size):
                differing.append(head)
                continue
            self._refuse_earlier(differing, head)
            self.sealed = head.size
        if differing:
            size = differing[0].size
            # Two notes of one size that differ: the signer showed different logs to different people.
            kind = "consistency" if size == self.sealed else "checkpoint"
            problem = f"the first {size} events are not those that were signed"
            self.faults.append(Fault(kind=kind, sequence=min(self.sealed + 1, size), problem=problem))

    def check_end(self) -> None:
        """Compare with where the log ended when it was exported."""
        if self.end is None:
            self.missing.append("the export has no end: it was cut off")
        elif self.end.size != self.size:
            problem = f"the log had {self.end.size} events, and {self.size} are here"
            sequence = min(self.end.size, self.size) + 1
            self.faults.append(Fault(kind="truncated", sequence=sequence, problem=problem))
        elif not self._has_root(self.end.root, self.size):
            problem = "the events are not those over which the log has its root"
            self.faults.append(Fault(kind="root", sequence=self.sealed + 1, problem=problem))

    def _refuse_earlier(self, differing: list[TreeHead], head: TreeHead) -> None:
        """Tell of checkpoints that differ from the log before one that agrees: what they were signed for is gone."""
        if differing:
            problem = f"what was signed at {differing[-1].size} events is not the beginning of what was at {head.size}"
            self.faults.append(Fault(kind="consistency", sequence=self.sealed + 1, problem=problem))
            differing.clear()

    def _has_root(self, root: bytes, size: int) -> bool:
        self.grow(size)
        return hmac.compare_digest(self.frontier.root(), root)

    def grow(self, size: int) -> None:
        """Add to the tree what was read, up to a size."""
        for at in range(self.frontier.size * HASH_BYTES, size * HASH_BYTES, HASH_BYTES):
            self.frontier.append(bytes(self.leaves[at : at + HASH_BYTES]))


def _fault_of(event: LoggedEvent, expected: int) -> tuple[str, str] | None:
    if event.sequence != expected:
        return "sequence", f"event {expected} is expected, and {event.sequence} is here"
    if expected == 1 and event.type != GENESIS:
        return "genesis", f"the first event must be {GENESIS}"
    return None


def _has_one_cause(event: LoggedEvent) -> bool:
    causes = event.facts.get("causes", [1])
    several = cast("list[object]", causes) if isinstance(causes, list) else []
    return len(several) == 1 and type(several[0]) is int and 0 < several[0] <= max(event.sequence - 1, 1)


def _fault_of_texts(event: LoggedEvent, texts: Mapping[str, tuple[bytes, str]]) -> tuple[str, str] | None:
    for name, (salt, text) in texts.items():
        if event.commitments.get(name) != commitment(salt, text):
            return "text", f"the text {json.dumps(name)} is not the one that was written"
    return None
