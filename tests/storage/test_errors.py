"""Errors say what happened, from the facts they carry."""

from __future__ import annotations

import inspect

import pytest

from quorate_protocol.ids import DocumentId, DocumentName, Sequence, UserId
from quorate_storage import errors
from quorate_storage.stores import Document, Lease

LEASE = Lease(scope="all", holder="one", token=3, expires_at=12.5)
DOCUMENT = Document(
    id=DocumentId(4),
    name=DocumentName("text/a"),
    kind="text",
    epoch=1,
    created_at=0,
    created_by=UserId("u"),
    last_sequence=Sequence(0),
)

EXAMPLES: list[tuple[errors.StorageError, list[str]]] = [
    (errors.StorageUnavailable("no route"), ["unavailable", "no route"]),
    (errors.ValueRefused("a NUL"), ["a NUL"]),
    (errors.SchemaTooNew("0009", "0001"), ["0009", "0001", "newer"]),
    (errors.DocumentExists(DOCUMENT), ["text/a", "exists"]),
    (errors.DocumentMissing(DocumentId(4)), ["4"]),
    (errors.SequenceConflict(DocumentId(4), Sequence(9), Sequence(7)), ["4", "9", "7"]),
    (errors.LeaseHeld(LEASE), ["all", "one", "12.5"]),
    (errors.LeaseLost(LEASE, 5), ["all", "3", "5"]),
    (errors.CompactionRefused(DocumentId(4), Sequence(9)), ["4", "9", "kept"]),
]


@pytest.mark.parametrize(("error", "words"), EXAMPLES, ids=lambda value: type(value).__name__)
def test_an_error_tells_its_facts(error: errors.StorageError, words: list[str]) -> None:
    """The text of an error is built from its attributes."""
    for word in words:
        assert word in str(error)


def test_the_tree_is_drawn_whole() -> None:
    """Every error stands in the tree of the module's docstring, and has an example here."""
    found = {
        name
        for name, thing in vars(errors).items()
        if inspect.isclass(thing) and issubclass(thing, errors.StorageError)
    }

    assert errors.__doc__ is not None
    assert all(name in errors.__doc__ for name in found)
    assert {type(error).__name__ for error, _words in EXAMPLES} == found - {"StorageError"}
