"""The integrity of the audit chain: what verifying it found, its checkpoints, keys, sinks and gaps."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator

from quorate_plugins.approval.reports.chronicle import Step
from quorate_plugins.approval.reports.data_subjects import ERASED, erased_places
from quorate_plugins.approval.reports.queries import Span, moment
from quorate_plugins.approval.reports.report import Report, count, within
from quorate_plugins.approval.reports.tables import Cell, Row, columns_of
from quorate_server.hooks import AuditAttestation, Seal

_LIFE = {"log.opened": "opened", "audit.gap": "gap", "server.started": "started", "server.stopped": "stopped"}
_SIGNATURE = "\u2014 "
_ID_BYTES = 4


class Integrity(Report):
    """What a verification of the whole chain found, and what there is to verify it by."""

    name = "integrity"
    title = "Integrity attestation"
    serves = ("SOC 2", "SOX", "ISO 27001", "21 CFR 11", "GDPR")
    wants_attestation = True
    notes = (
        (
            "`verification` is the result of verifying an export: canonical form, sequence, chain, commitments, the"
            " tree's root at each checkpoint, and signatures. Anybody repeats it with `quorate audit verify`."
        ),
        "The time of a checkpoint is that of the last event that it covers.",
        "A `rotation` is where checkpoints begin to be signed by another key.",
        (
            "What is outside the database is named by `sink`; without one, whoever holds the database and the key can"
            " rewrite both."
        ),
    )
    columns = columns_of(
        {
            "sequence": "Events covered, or event",
            "item": "Item",
            "result": "Result",
            "at": "When",
            "root": "Root",
            "key": "Key",
            "detail": "Detail",
        }
    )

    def begin(self) -> None:
        """Begin with the checkpoints there are."""
        self._life: list[dict[str, Cell]] = []
        checkpoints = () if self.attestation is None else self.attestation.checkpoints
        self._times: dict[int, float | None] = {each.size: None for each in checkpoints}

    def take(self, step: Step) -> None:
        """Note when checkpoints were, what the server's life was, and what was erased."""
        if step.sequence in self._times:
            self._times[step.sequence] = step.at
        item = _LIFE.get(step.logged.type)
        if item is not None:
            self._life.append(_item(step.sequence, item, at=moment(step.at), detail=step.fact("log")))
        if step.logged.type == ERASED:
            texts = len(list(erased_places(step)))
            self._life.append(_item(step.sequence, "erasure", at=moment(step.at), detail=f"{texts} texts"))

    def rows(self, span: Span) -> Iterable[Row]:
        """Return all of it; of checkpoints and of the server's life, those of the period."""
        found = list[Row](self._life)
        if self.attestation is not None:
            found += self._checkpoints(self.attestation)
        held = within(found, span)
        return [*([] if self.attestation is None else _findings(self.attestation)), *held]

    def _checkpoints(self, attestation: AuditAttestation) -> Iterator[Row]:
        sealed, key_before = attestation.verification.sealed, ""
        for each in attestation.checkpoints:
            key = signer_of(each)
            if key_before and key != key_before:
                yield _item(each.size, "rotation", key=key, detail=f"after {key_before}")
            key_before = key
            is_believed = each.size <= sealed
            yield _item(
                each.size,
                "checkpoint",
                result="covered by the verification" if is_believed else "not believed",
                at=moment(self._times.get(each.size)),
                root=each.root.hex(),
                key=key,
            )

    def totals(self, span: Span, rows: list[Row]) -> Row:
        """Return the verdict, and how much there is of each."""
        del span
        found = None if self.attestation is None else self.attestation.verification
        return {
            "verdict": "not verified" if found is None else str(found.verdict),
            "size": None if found is None else found.size,
            "sealed": None if found is None else found.sealed,
            "unsealed": None if found is None else found.unsealed,
            "checkpoints": count(rows, item="checkpoint"),
            "rotations": count(rows, item="rotation"),
            "sinks": count(rows, item="sink"),
            "gaps": count(rows, item="gap"),
            "erasures": count(rows, item="erasure"),
        }


def _findings(attestation: AuditAttestation) -> Iterator[Row]:
    found = attestation.verification
    yield _item(found.size, "verification", result=str(found.verdict), root=found.root.hex(), detail=found.problem)
    for fault in found.faults:
        yield _item(fault.sequence or 0, "fault", result=fault.kind, detail=fault.problem)
    for missing in found.missing:
        yield _item(0, "missing", detail=missing)
    yield _item(0, "key", key=attestation.verifier_key)
    for sink in attestation.sinks:
        yield _item(0, "sink", detail=sink)


def _item(sequence: int, item: str, **cells: Cell) -> dict[str, Cell]:
    return {"sequence": sequence, "item": item, **cells}


def signer_of(seal: Seal) -> str:
    """Return who signed a checkpoint, as its first signature says: the key's name and id, `name+id`."""
    line = next((each for each in seal.note.split("\n") if each.startswith(_SIGNATURE)), "")
    name, _, signature = line.removeprefix(_SIGNATURE).partition(" ")
    try:
        key_id = base64.b64decode(signature, validate=True)[:_ID_BYTES].hex()
    except (binascii.Error, ValueError):
        key_id = ""
    return f"{name}+{key_id}"
