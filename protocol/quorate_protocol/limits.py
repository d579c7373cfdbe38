"""How much, how long and how often: every bound that a peer can run into, with its reason.

Bounds are checked before memory is allocated. All are settings of the server; these are the
defaults.
"""

from dataclasses import dataclass

_KIB = 1024
_MIB = 1024 * _KIB


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The bounds of one server, units in the names."""

    frame_bytes: int = 16 * _MIB
    """One WebSocket message. A first sync carries a whole document: a quarter of the largest fits
    in one.
    """

    frame_messages: int = 1000
    """Messages in one WebSocket message: clients send one, and those that catch up a handful."""

    document_bytes: int = 64 * _MIB
    """A document, encoded. Applying holds the interpreter for about a sixth of a second per MiB of
    map entries.
    """

    nesting_levels: int = 500
    """Shared types inside shared types. Engines recurse to delete them: 100,000 levels end the process."""

    waiting_bytes: int = 1 * _MIB
    """Updates of one document that wait for something they depend on.

    Hubs hold gaps of seconds, not of megabytes.
    """

    handshake_seconds: float = 5.0
    """From opening a socket to its first accepted document: slow mobile networks pass, idle holders
    do not.
    """

    handshake_bytes: int = 64 * _KIB
    """What is kept for a peer before anybody knows who it is; after that, for each waiting
    document.

    A token is at most 8 KiB in practice, a first state vector about 8 bytes an author.
    """

    handshake_frames: int = 10
    """Frames kept for each document that waits for its authentication; a stock client sends two and
    its edits.
    """

    pending_documents: int = 16
    """Documents of a socket that wait for their authentication at the same time."""

    documents_per_socket: int = 100
    """Documents open on one Hocuspocus socket; more than any page shows, fewer than a scan of all
    names needs.
    """

    awareness_entry_bytes: int = 16 * _KIB
    """The JSON of one client's presence: a name, a colour, a cursor, and room for an avatar's
    address.
    """

    awareness_changes_per_second: float = 30.0
    """Relayed changes of one client's presence: smooth for the eye. Beyond, only the newest is
    relayed.
    """

    awareness_entries_per_connection: int = 16
    """Client ids that one connection may introduce.

    One would do for a single tab, but y-websocket tabs of one browser hear each other without the
    server, and each repeats on its own socket what it heard: a socket introduces the ids of its
    sibling tabs.
    """

    awareness_entries_per_update: int = 10_000
    """Entries in one awareness update. y-websocket clients repeat everybody's presence when they
    join a room, so this bounds how many people a room can show; an entry takes 3 bytes on the wire
    and 100 in memory.
    """

    awareness_timeout_seconds: float = 30.0
    """Presence that is not renewed for so long is gone (`outdatedTimeout` of y-protocols; renewed
    every 15 s).
    """

    updates_per_second: float = 500.0
    """Document updates of one connection, sustained. Beyond, reading pauses; nothing is dropped."""

    update_bytes_per_second: int = 4 * _MIB
    """Bytes of document updates of one connection, sustained. Beyond, reading pauses; nothing is
    dropped.
    """

    relays_per_second: float = 25.0
    """How often a room tells of edits while these come faster: smooth for the eye. What comes meanwhile is one
    transaction, one commit and one frame. An edit after a pause is told of at once, and so is that of a program that
    writes each edit when it was told of the one before.
    """

    burst_seconds: float = 4.0
    """How much of the two rates a connection may save up: pasting a chapter is not an attack."""

    send_buffer_bytes: int = 8 * _MIB
    """Unsent bytes for one slow peer. Beyond, it is closed with 1013 and resynchronises later."""

    idle_room_seconds: float = 30.0
    """How long a room outlives its last peer: a page reload finds it warm."""

    name_bytes: int = 256
    """A document name in UTF-8: it is a key in tables, logs and addresses."""

    session_bytes: int = 64
    """The session id behind the NUL of a Hocuspocus address; the stock provider sends 11."""

    stateless_bytes: int = 64 * _KIB
    """One stateless message of Hocuspocus: a signal for plugins, not a way to move files."""

    state_vector_clients: int = 100_000
    """Client ids in one state vector; a document gains about one for each page load that edits
    it.
    """

    channel_frame_bytes: int = 1 * _MIB
    """One message of a client on `/channel`: a command and its values. Larger ones go over HTTP."""

    channel_values: int = 50_000
    """Values in one message on `/channel`: a million empty maps would fit in its bytes, and fill 64 MiB."""

    channel_nesting_levels: int = 32
    """Maps and lists inside each other in the values of a command; none of ours has more than four."""

    channel_commands_in_flight: int = 32
    """Commands of one `/channel` socket that run at the same time. Beyond, reading pauses; nothing is dropped."""

    channel_subscriptions: int = 20
    """Subscriptions of one `/channel` socket. Each reads the feed by itself: one with two types costs less."""

    channel_filters: int = 32
    """Types or kinds in one subscription; each change is compared with all of them."""

    channel_stalled_seconds: float = 10.0
    """How long a `/channel` peer may take nothing at all while its send buffer is half full.

    Then it is closed with 1013 and resumes later. Whoever reads slowly is waited for: the feed keeps.
    """


DEFAULT_LIMITS = Limits()
