"""The identifiers that travel through every layer.

Each is a plain value at run time; the names keep a document's name from being passed where its key
is meant.
"""

from typing import NewType

DocumentName = NewType("DocumentName", str)
"""What clients call a document, everywhere they can see it: 1 to 256 UTF-8 bytes, no NUL."""

DocumentId = NewType("DocumentId", int)
"""The document's key in the store. Never leaves the server."""

ClientId = NewType("ClientId", int)
"""A Yjs client id, at most 2**53 - 1: chosen by an editor at random, and proof of nothing."""

Sequence = NewType("Sequence", int)
"""The place of an update in its document's log: 1, 2, 3, ... without gaps."""

UserId = NewType("UserId", str)
"""The `sub` of a verified token: who somebody is."""
