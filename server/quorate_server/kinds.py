"""Kinds of artifacts, as far as a document's name tells."""

from __future__ import annotations

from quorate_protocol.ids import DocumentName

KINDS = frozenset(
    {
        "approval",
        "plan",
        "notebook",
        "text",
        "code",
        "configuration",
        "workflow",
        "diagram",
        "spreadsheet",
        "presentation",
    }
)


def kind_of(name: DocumentName) -> str:
    """Return the kind that a name declares, `text` for any name that declares none.

    A stock Yjs editor may use any name it likes; `kind/slug` is ours.
    """
    kind, slash, slug = name.partition("/")
    return kind if slash and slug and kind in KINDS else "text"
