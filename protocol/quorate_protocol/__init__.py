"""Bytes and rules of the Yjs wire protocols. No I/O, no clock of its own.

Bytes go in, events come out (`HocuspocusConnection`, `YWebSocketConnection`, `ChannelConnection`); what a server says
back is encoded by the functions of `hocuspocus` and `y_websocket`, which are named alike and
therefore stay in their modules. Beneath lie `varints`, `sync`, `contents`, `stamping` and
`hocuspocus_frames`, which others need not know.
"""

from quorate_protocol import hocuspocus, y_websocket
from quorate_protocol.awareness import AwarenessEntry, decode_awareness, encode_awareness
from quorate_protocol.bursts import is_cut_plain_frame, join_typing, measure_burst, read_plain_frames, read_updates
from quorate_protocol.channel import ChannelConnection, ChannelState
from quorate_protocol.channel_envelopes import (
    CHANNEL_VERSION,
    ClientEnvelope,
    CommandRequest,
    FeedEvent,
    Goodbye,
    Hello,
    Json,
    Progress,
    Reply,
    ServerEnvelope,
    Subscribe,
    SubscriptionClosed,
    Unsubscribe,
    Welcome,
)
from quorate_protocol.channel_frames import decode_client_envelope, decode_server_envelope, encode_envelope
from quorate_protocol.closing import (
    CLOSING_RULES,
    CloseCode,
    ClosingRule,
    Dialect,
    close_code,
)
from quorate_protocol.deletions import is_inside, ranges_by_client
from quorate_protocol.dividing import Division, divide
from quorate_protocol.errors import (
    LimitExceeded,
    LocalProtocolError,
    MalformedFrame,
    NameRefused,
    ProtocolError,
    QuorateError,
    RemoteProtocolError,
)
from quorate_protocol.hocuspocus import HocuspocusConnection
from quorate_protocol.ids import (
    ClientId,
    DocumentId,
    DocumentName,
    Sequence,
    UserId,
)
from quorate_protocol.limits import DEFAULT_LIMITS, Limits
from quorate_protocol.messages import (
    Authenticate,
    AwarenessChange,
    AwarenessQuery,
    CloseDocument,
    Event,
    Ignored,
    Ping,
    Pong,
    Stateless,
    SyncStep1,
    SyncUpdate,
)
from quorate_protocol.names import document_name_from_path, parse_document_name, split_address
from quorate_protocol.parents import Parent, ParentFinder
from quorate_protocol.presence import FORGED, Presence, PresenceChange, RefusedEntry
from quorate_protocol.state_vectors import decode_state_vector, encode_state_vector
from quorate_protocol.transitions import (
    TRANSITIONS,
    AddressState,
    AddressTrigger,
    next_state,
)
from quorate_protocol.updates import (
    EMPTY_UPDATE,
    MAX_CLOCK,
    DecodedUpdate,
    DeleteRange,
    Id,
    Struct,
    UpdateExtent,
    decode_update,
    is_covered,
    measure_update,
    read_sections,
    update_ends,
)
from quorate_protocol.y_websocket import YWebSocketConnection

__all__ = [
    "CHANNEL_VERSION",
    "CLOSING_RULES",
    "DEFAULT_LIMITS",
    "EMPTY_UPDATE",
    "FORGED",
    "MAX_CLOCK",
    "TRANSITIONS",
    "AddressState",
    "AddressTrigger",
    "Authenticate",
    "AwarenessChange",
    "AwarenessEntry",
    "AwarenessQuery",
    "ChannelConnection",
    "ChannelState",
    "ClientEnvelope",
    "ClientId",
    "CloseCode",
    "CloseDocument",
    "ClosingRule",
    "CommandRequest",
    "DecodedUpdate",
    "DeleteRange",
    "Dialect",
    "Division",
    "DocumentId",
    "DocumentName",
    "Event",
    "FeedEvent",
    "Goodbye",
    "Hello",
    "HocuspocusConnection",
    "Id",
    "Ignored",
    "Json",
    "LimitExceeded",
    "Limits",
    "LocalProtocolError",
    "MalformedFrame",
    "NameRefused",
    "Parent",
    "ParentFinder",
    "Ping",
    "Pong",
    "Presence",
    "PresenceChange",
    "Progress",
    "ProtocolError",
    "QuorateError",
    "RefusedEntry",
    "RemoteProtocolError",
    "Reply",
    "Sequence",
    "ServerEnvelope",
    "Stateless",
    "Struct",
    "Subscribe",
    "SubscriptionClosed",
    "SyncStep1",
    "SyncUpdate",
    "Unsubscribe",
    "UpdateExtent",
    "UserId",
    "Welcome",
    "YWebSocketConnection",
    "close_code",
    "decode_awareness",
    "decode_client_envelope",
    "decode_server_envelope",
    "decode_state_vector",
    "decode_update",
    "divide",
    "document_name_from_path",
    "encode_awareness",
    "encode_envelope",
    "encode_state_vector",
    "hocuspocus",
    "is_covered",
    "is_cut_plain_frame",
    "is_inside",
    "join_typing",
    "measure_burst",
    "measure_update",
    "next_state",
    "parse_document_name",
    "ranges_by_client",
    "read_plain_frames",
    "read_sections",
    "read_updates",
    "split_address",
    "update_ends",
    "y_websocket",
]
