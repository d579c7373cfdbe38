"""Kinds of artifacts, each declared once: what its content holds, and which part of it decisions bind to.

From a declaration come the judging of updates (`outlines.py`), the JSON view and the content hash (`views.py`), the
schema, and the types of the web client (`kinds_page.py`). A name `kind/slug` is an artifact, `kind/slug/record` is the
record that the server keeps of it; any other name is a plain document, whose content nobody judges.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from quorate_protocol.errors import NameRefused
from quorate_protocol.ids import DocumentName
from quorate_protocol.limits import DEFAULT_LIMITS
from quorate_server.shapes import ANY, TEXT, VALUE, XML, Field, Kind, ListShape, MapShape, Root, Shape
from quorate_server.views import content_hash, guarded_projection, view

__all__ = [
    "KINDS",
    "Kind",
    "Root",
    "artifact_of",
    "check_name",
    "content_hash",
    "find_kind",
    "guarded_projection",
    "is_record",
    "kind_of",
    "record_name",
    "view",
    "view_named",
]

# What several kinds share

_FREE_MAP = MapShape(rest=ANY, or_value=True)
_VALUES = ListShape(VALUE, or_value=True)

_ID = Field("id", VALUE, "Its id, which never changes.")
_TITLE = Field("title", VALUE, "What it is called.")
_COSMETIC_TITLE = Field("title", VALUE, "What it is called.", guarded=False)
_LABEL = Field("label", VALUE, "What is written on it.")
_DESCRIPTION = Field("description", TEXT, "What it is for.")
_DATA = Field("data", _FREE_MAP, "What else it carries.")
_NEEDS = Field("needs", _VALUES, "Ids of the steps that come before.")

_REPLY = MapShape(
    "Reply",
    (
        Field("author", VALUE, "Who says to have written it; the log knows better."),
        Field("at", VALUE, "When, as an ISO 8601 time."),
        Field("body", TEXT, "What it says."),
    ),
    VALUE,
)
_COMMENT = MapShape(
    "Comment",
    (
        *_REPLY.fields,
        Field("anchor", VALUE, "What it is about: a relative position of Yjs, or a path such as `steps/3`."),
        Field("resolved", VALUE, "Whether it is settled."),
        Field("replies", ListShape(_REPLY), "The answers, oldest first."),
    ),
    VALUE,
)
_COMMENTS = Root(
    "comments",
    MapShape(rest=_COMMENT),
    guarded=False,
    summary="Comments by id.",
    is_discussion=True,
    is_optional=True,
)

_PROPERTIES = Root(
    "properties",
    MapShape(
        "Properties",
        (
            Field(
                "due_at", VALUE, "When it should be done, as an ISO 8601 time with its offset; its owners are reminded."
            ),
            Field("remind_before", VALUE, "How long before that to remind, in seconds; a day, if it says nothing."),
            Field("labels", _VALUES, "Words to find it by."),
        ),
        VALUE,
    ),
    guarded=False,
    summary="What is said about the artifact as a whole. No decision binds to it.",
    is_optional=True,
)


def _one_of(name: str, shape: Shape, summary: str) -> Root:
    """Declare one of several places where editors keep the body."""
    return Root(name, shape, guarded=True, summary=summary, is_optional=True)


def _map(name: str, summary: str, *fields: Field, title: str = "", rest: Shape | None = ANY) -> Root:
    return Root(name, MapShape(title, fields, rest), guarded=True, summary=summary)


def _list(name: str, summary: str, *fields: Field, title: str, rest: Shape | None = VALUE) -> Root:
    return Root(name, ListShape(MapShape(title, fields, rest)), guarded=True, summary=summary)


def _map_of(name: str, summary: str, *fields: Field, title: str) -> Root:
    return _map(name, summary, rest=MapShape(title, fields, VALUE, or_value=True))


_CODEMIRROR = _one_of("codemirror", TEXT, "Where CodeMirror's binding keeps the body.")
_MONACO = _one_of("monaco", TEXT, "Where Monaco's binding keeps the body.")

# The kinds

_APPROVAL = Kind(
    "approval",
    "Approval request",
    "A request that people decide on. Who asks, who decided and where it stands is in its record.",
    (
        _map(
            "request",
            "What is asked for.",
            _COSMETIC_TITLE,
            Field("type", VALUE, "Which template of approvals it follows."),
            Field("priority", VALUE, "`low`, `normal`, `high` or `urgent`."),
            Field("subject", VALUE, "What it is about: the name of an artifact, or a reference outside."),
            Field("subject_version", VALUE, "Which version of the subject: a content hash or a version's id."),
            Field("justification", TEXT, "Why it should be granted."),
            Field("risk_level", VALUE, "`low`, `medium`, `high` or `critical`."),
            Field("compliance_tags", _VALUES, "The regimes that it falls under."),
            Field("beneficiaries", _VALUES, "User ids of those whom it would serve."),
            Field("due_at", VALUE, "Until when it is wanted, as an ISO 8601 time."),
            Field("valid_until", VALUE, "Until when the grant should hold, as an ISO 8601 time."),
            title="ApprovalRequest",
            rest=None,
        ),
        _map("fields", "What the template asks for, by the template's names."),
        _list(
            "attachments",
            "Files that belong to it; their bytes are kept elsewhere.",
            Field("name", VALUE, "What it is called.", guarded=False),
            Field("media_type", VALUE, "What it is, as a media type.", guarded=False),
            Field("url", VALUE, "Where it is kept.", guarded=False),
            Field("sha256", VALUE, "The SHA-256 of its bytes, in hex."),
            Field("size_bytes", VALUE, "How long it is."),
            title="Attachment",
            rest=None,
        ),
        _PROPERTIES,
        _COMMENTS,
    ),
)

_PLAN = Kind(
    "plan",
    "Bulk-job plan",
    "A job over many items, as people plan it. The items, progress and results are not part of the content.",
    (
        _map(
            "plan",
            "What the job is.",
            _COSMETIC_TITLE,
            _DESCRIPTION,
            Field("operation", VALUE, "What is done to each item."),
            Field("target", VALUE, "What it is done to: a query, or the name of a table of items."),
            Field("parameters", _FREE_MAP, "How it is done."),
            Field("limits", _FREE_MAP, "When it must stop: failures, rates, times."),
            title="Plan",
            rest=VALUE,
        ),
        _list(
            "steps",
            "What is done, in order.",
            _ID,
            _TITLE,
            _DESCRIPTION,
            Field("operation", VALUE, "What is done to each item."),
            Field("parameters", _FREE_MAP, "How it is done."),
            _NEEDS,
            title="PlanStep",
        ),
        _PROPERTIES,
        _COMMENTS,
    ),
)

_NOTEBOOK = Kind(
    "notebook",
    "Analytics notebook",
    "A notebook with the cells of nbformat 4, in the shared model of Jupyter.",
    (
        _list(
            "cells",
            "The cells, in order.",
            _ID,
            Field("cell_type", VALUE, "`code`, `markdown` or `raw`."),
            Field("source", TEXT, "What is written in it."),
            Field("metadata", _FREE_MAP, "Its metadata."),
            Field("attachments", _FREE_MAP, "Its attachments, by file name."),
            Field("outputs", ListShape(ANY, or_value=True), "What running it gave.", guarded=False),
            Field("execution_count", VALUE, "Which run of the kernel that was.", guarded=False),
            Field("execution_state", VALUE, "`idle`, `busy` or `running`.", guarded=False),
            title="Cell",
        ),
        _map(
            "meta",
            "The notebook's own metadata.",
            Field("nbformat", VALUE, "The major version of the format: 4."),
            Field("nbformat_minor", VALUE, "The minor version of the format."),
            Field("metadata", _FREE_MAP, "Kernel, language and the like."),
            title="NotebookMeta",
        ),
        Root(
            "state", MapShape(rest=ANY), guarded=False, summary="What Jupyter notes of the file: `dirty`, `path`, ..."
        ),
        _PROPERTIES,
        _COMMENTS,
    ),
)

_TEXT = Kind(
    "text",
    "Text",
    "A text that people write together, with any stock editor.",
    (
        Root("text", TEXT, guarded=True, summary="The body."),
        _one_of("default", XML, "Where Tiptap keeps the body."),
        _one_of("prosemirror", XML, "Where ProseMirror's binding keeps the body."),
        _one_of("document-store", XML, "Where BlockNote keeps the body."),
        _one_of("quill", TEXT, "Where Quill's binding keeps the body."),
        _CODEMIRROR,
        _MONACO,
        _PROPERTIES,
        _COMMENTS,
        Root(
            "threads",
            MapShape(rest=ANY),
            guarded=False,
            summary="Where BlockNote keeps its comments.",
            is_discussion=True,
            is_optional=True,
        ),
    ),
)

_CODE = Kind(
    "code",
    "Code",
    "One source file.",
    (
        Root("code", TEXT, guarded=True, summary="The source."),
        _one_of("text", TEXT, "Where editors of plain text keep the source."),
        _CODEMIRROR,
        _MONACO,
        _map(
            "settings",
            "How it is read and run.",
            Field("language", VALUE, "The language it is written in."),
            title="CodeSettings",
        ),
        _PROPERTIES,
        _COMMENTS,
    ),
)

_CONFIGURATION = Kind(
    "configuration",
    "Configuration",
    "Settings as a tree, or as the text of a file.",
    (
        _map("settings", "The settings by name; nested maps merge entry by entry."),
        _one_of("text", TEXT, "The settings as the text of a file."),
        _PROPERTIES,
        _COMMENTS,
    ),
)

_WORKFLOW = Kind(
    "workflow",
    "Workflow",
    "Steps that follow each other, people's and machines'.",
    (
        _list(
            "steps",
            "The steps, in order.",
            _ID,
            _TITLE,
            _DESCRIPTION,
            Field("action", VALUE, "What is done."),
            Field("inputs", _FREE_MAP, "What it is done with."),
            Field("condition", VALUE, "When it is done at all, as an expression of CEL."),
            _NEEDS,
            title="WorkflowStep",
        ),
        _map("settings", "What starts it, and what holds for all of it."),
        _PROPERTIES,
        _COMMENTS,
    ),
)

_DIAGRAM = Kind(
    "diagram",
    "Diagram",
    "Nodes and the edges between them.",
    (
        _map_of(
            "nodes",
            "The nodes by id.",
            Field("type", VALUE, "What kind of node it is."),
            _LABEL,
            Field("position", VALUE, "Where it stands: `x` and `y`."),
            _DATA,
            title="DiagramNode",
        ),
        _map_of(
            "edges",
            "The edges by id.",
            Field("source", VALUE, "The id of the node where it begins."),
            Field("target", VALUE, "The id of the node where it ends."),
            _LABEL,
            _DATA,
            title="DiagramEdge",
        ),
        _PROPERTIES,
        _COMMENTS,
    ),
)

_SPREADSHEET = Kind(
    "spreadsheet",
    "Spreadsheet",
    "Sheets of cells.",
    (
        _map_of(
            "sheets",
            "The sheets by id.",
            _TITLE,
            Field("position", VALUE, "Where it stands among the sheets: they are sorted by it."),
            Field("rows", _FREE_MAP, "Heights and the like, by number of the row."),
            Field("columns", _FREE_MAP, "Widths and the like, by letter of the column."),
            title="Sheet",
        ),
        _map_of(
            "cells",
            "The cells by sheet and place, such as `sheet-1!B7`.",
            Field("value", VALUE, "What was typed in."),
            Field("formula", VALUE, "The formula that it comes from."),
            Field("format", VALUE, "How it is shown."),
            title="SpreadsheetCell",
        ),
        _PROPERTIES,
        _COMMENTS,
    ),
)

_PRESENTATION = Kind(
    "presentation",
    "Presentation",
    "Slides in order.",
    (
        _list(
            "slides",
            "The slides, in order.",
            _ID,
            Field("title", TEXT, "Its title."),
            Field("body", TEXT, "What it says, in Markdown."),
            Field("notes", TEXT, "What the speaker wants to say."),
            Field("layout", VALUE, "How it is laid out."),
            Field("elements", _FREE_MAP, "Pictures, shapes and the like, by id."),
            title="Slide",
        ),
        _map("settings", "Theme, size and the like."),
        _PROPERTIES,
        _COMMENTS,
    ),
)

_ALL = (_APPROVAL, _PLAN, _NOTEBOOK, _TEXT, _CODE, _CONFIGURATION, _WORKFLOW, _DIAGRAM, _SPREADSHEET, _PRESENTATION)

KINDS: Final[Mapping[str, Kind]] = MappingProxyType({kind.name: kind for kind in _ALL})
"""The kinds by name."""

_RECORD: Final = "/record"


def kind_of(name: DocumentName) -> str:
    """Return the name of the kind that a document's name declares, `text` for any that declares none.

    A stock Yjs editor may use any name it likes; `kind/slug` is ours.
    """
    kind = _declared(name)
    return "text" if kind is None else kind.name


def find_kind(name: DocumentName) -> Kind | None:
    """Return the kind that judges a document's content; None for plain documents and for records."""
    return None if is_record(name) else _declared(name)


def is_record(name: DocumentName) -> bool:
    """Whether it names the record of an artifact: `kind/slug/record`, with a known kind and a slug."""
    return name.endswith(_RECORD) and _declared(name.removesuffix(_RECORD)) is not None


def record_name(artifact: DocumentName) -> DocumentName:
    """Return the name of an artifact's record.

    Raises:
        NameRefused: it names no artifact, but a plain document or a record.
    """
    if find_kind(artifact) is None:
        raise NameRefused("is not that of an artifact, and only artifacts have records")
    return DocumentName(artifact + _RECORD)


def artifact_of(name: DocumentName) -> DocumentName:
    """Return the name of the artifact that a record belongs to; any other name as it is."""
    return DocumentName(name.removesuffix(_RECORD)) if is_record(name) else name


def check_name(name: DocumentName, *, max_bytes: int = DEFAULT_LIMITS.name_bytes) -> None:
    """Check that a document may be called so.

    Raises:
        NameRefused: it would be the record of a record, an artifact whose record would have too long a name, or `*`,
            which stands for all documents where rights are checked.
    """
    if name == "*":
        raise NameRefused("stands for all documents")
    if is_record(name):
        if is_record(artifact_of(name)):
            raise NameRefused("is that of a record's record, and records have none")
    elif find_kind(name) is not None and len(name.encode()) + len(_RECORD) > max_bytes:
        raise NameRefused(f"of an artifact is longer than {max_bytes - len(_RECORD)} bytes")


def view_named(kind: str, state: bytes) -> dict[str, object]:
    """Return the JSON view of a content of the kind of that name; see `views.view`."""
    return view(KINDS[kind], state)


def _declared(name: str) -> Kind | None:
    kind, _, slug = name.partition("/")
    return KINDS.get(kind) if slug else None
