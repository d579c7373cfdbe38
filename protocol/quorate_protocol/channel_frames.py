"""Envelopes of `/channel` to bytes and back: one msgpack map a WebSocket message.

Grammar: `docs/channel.md`. Reading is strict: a member that is missing, unknown, doubled, of another type or too long
is refused, and the error says what was expected and what came. What a client sends is counted while it is read, so
that a small frame cannot become a large heap; a server is trusted with more.
"""

import math
import re
from collections.abc import Callable, Mapping
from typing import Final, cast

import msgpack  # pyright: ignore[reportMissingTypeStubs] - it has no types

from quorate_protocol.channel_envelopes import (
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
from quorate_protocol.errors import LimitExceeded, MalformedFrame
from quorate_protocol.limits import DEFAULT_LIMITS, Limits

__all__ = ["decode_client_envelope", "decode_server_envelope", "encode_envelope"]

# It has no types.
_pack = cast("Callable[..., bytes]", msgpack.packb)  # pyright: ignore[reportUnknownMemberType]
_unpack_value = cast("Callable[..., object]", msgpack.unpackb)  # pyright: ignore[reportUnknownMemberType]

_LARGEST_ID: Final = 2**32 - 1
_LARGEST_POSITION: Final = 2**53 - 1
_LONGEST_NAME: Final = 128
_TYPE_PATTERN: Final = re.compile(r"\*|[^*\s]+\.\*|[^*\s]+")

_Pairs = list[tuple[object, object]]


def encode_envelope(envelope: ClientEnvelope | ServerEnvelope) -> bytes:
    """Return the message that says this; what it leaves out has its default.

    Numbers beyond 64 bits, which JSON has and msgpack has not, become floating-point numbers.

    Raises:
        ValueError, TypeError: it holds what msgpack cannot say, such as a lone surrogate.
    """
    return _pack(_members_of(envelope), default=_widened)


def decode_client_envelope(data: bytes, limits: Limits = DEFAULT_LIMITS) -> ClientEnvelope:
    """Read what a client says.

    Raises:
        MalformedFrame: it does not follow the grammar.
        LimitExceeded: it is longer, deeper or holds more values than allowed.
    """
    if len(data) > limits.channel_frame_bytes:
        raise LimitExceeded("channel_frame_bytes", limits.channel_frame_bytes, len(data))
    members = _unpack(data, limits.channel_values)
    kind = _kind_of(members, _CLIENT_READERS)
    reader = _Reader(kind, members, limits)
    envelope = _CLIENT_READERS[kind](reader)
    reader.end()
    return envelope


def decode_server_envelope(data: bytes, limits: Limits = DEFAULT_LIMITS) -> ServerEnvelope:
    """Read what a server says.

    Raises:
        MalformedFrame: it does not follow the grammar.
        LimitExceeded: it is longer than `frame_bytes`.
    """
    if len(data) > limits.frame_bytes:
        raise LimitExceeded("frame_bytes", limits.frame_bytes, len(data))
    members = _unpack(data, len(data) + 1)
    kind = _kind_of(members, _SERVER_READERS)
    reader = _Reader(kind, members, limits)
    envelope = _SERVER_READERS[kind](reader)
    reader.end()
    return envelope


# Writing


def _members_of(envelope: ClientEnvelope | ServerEnvelope) -> Json:
    match envelope:
        case Hello(token=token):
            return {"type": "hello"} | _given(token=token)
        case CommandRequest():
            members = {"type": "command", "id": envelope.id, "name": envelope.name, "values": envelope.values}
            return members | _given(key=envelope.key or None)
        case Subscribe():
            return {"type": "subscribe", "id": envelope.id} | _given(
                after=envelope.after,
                types=envelope.types or None,
                prefix=envelope.prefix or None,
                kinds=envelope.kinds or None,
            )
        case Unsubscribe():
            return {"type": "unsubscribe", "id": envelope.id}
        case _:
            return _members_of_server(envelope)


def _members_of_server(envelope: ServerEnvelope) -> Json:
    match envelope:
        case Welcome(version=version, user=user, position=position):
            return {"type": "welcome", "version": version, "user": user, "position": position}
        case Reply(id=number, problem=problem):
            outcome = {"answer": envelope.answer or {}} if problem is None else {"problem": problem}
            return {"type": "reply", "id": number, "ok": problem is None} | outcome
        case FeedEvent(subscription=number, position=position, event=event):
            return {"type": "event", "subscription": number, "position": position, "event": event}
        case Progress(subscription=number, position=position):
            return {"type": "progress", "subscription": number, "position": position}
        case SubscriptionClosed(subscription=number, problem=problem):
            return {"type": "closed", "subscription": number} | _given(problem=problem)
        case Goodbye(problem=problem):
            return {"type": "goodbye", "problem": problem}


def _given(**members: object) -> dict[str, object]:
    """Return the members that have a value."""
    return {name: value for name, value in members.items() if value is not None}


def _widened(value: object) -> object:
    if isinstance(value, int):
        return float(value) if abs(value) < 2**1000 else str(value)
    raise TypeError(f"msgpack cannot say a {type(value).__name__}")


# Reading


def _unpack(data: bytes, most_values: int) -> Json:
    """Return the map that a frame holds, with text keys, without doubles, and with no more values than allowed."""
    left = most_values

    def spend(size: int) -> None:
        nonlocal left
        left -= size + 1
        if left < 0:
            raise LimitExceeded("channel_values", most_values, most_values - left)

    def pairs(items: _Pairs) -> dict[object, object]:
        spend(len(items))
        found = dict(items)
        if len(found) != len(items):
            raise MalformedFrame(expected="each member once", received="a member twice")
        return found

    def array(items: list[object]) -> list[object]:
        spend(len(items))
        return items

    most = max(0, min(most_values, len(data)))
    try:
        value = _unpack_value(
            data,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=pairs,
            list_hook=array,
            max_array_len=most,
            max_map_len=most,
            max_bin_len=0,
            max_ext_len=0,
        )
    except ValueError as error:  # all that msgpack raises; a subclass each
        received = str(error) if "exceeds" in str(error) or "not allowed" in str(error) else "something else"
        raise MalformedFrame(expected="one msgpack map", received=received) from error
    if not isinstance(value, dict):
        raise MalformedFrame(expected="a msgpack map", received=_named(value))
    return cast("Json", value)


def _kind_of(members: Json, readers: Mapping[str, object]) -> str:
    kind = members.get("type")
    if not isinstance(kind, str) or kind not in readers:
        received = "another text" if isinstance(kind, str) else _named(kind)
        raise MalformedFrame(expected=f"`type` to be one of {', '.join(readers)}", received=received)
    return kind


class _Reader:
    """The members of one envelope, taken one by one; what nobody took is refused at the end."""

    __slots__ = ("_kind", "_left", "limits")

    def __init__(self, kind: str, members: Json, limits: Limits) -> None:
        self._kind = kind
        self._left = dict(members)
        del self._left["type"]
        self.limits = limits

    def has(self, name: str) -> bool:
        """Tell whether an optional member came."""
        return name in self._left

    def number(self, name: str, most: int) -> int:
        value = self._left.pop(name, _MISSING)
        if type(value) is not int or not 0 <= value <= most:
            raise self._wrong(name, f"a number from 0 to {most}", value)
        return value

    def flag(self, name: str) -> bool:
        value = self._left.pop(name, _MISSING)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def text(self, name: str, most_bytes: int, *, least_bytes: int = 0) -> str:
        value = self._left.pop(name, _MISSING)
        if not isinstance(value, str):
            raise self._wrong(name, "a text", value)
        size = len(value.encode(errors="replace"))
        if not least_bytes <= size <= most_bytes:
            raise self._wrong(name, f"{least_bytes} to {most_bytes} bytes of text", size)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self._left.pop(name, _MISSING)
        most = self.limits.channel_filters
        if not isinstance(value, list):
            raise self._wrong(name, "a list of texts", value)
        items = cast("list[object]", value)
        if len(items) > most:
            raise LimitExceeded("channel_filters", most, len(items))
        for item in items:
            if not isinstance(item, str) or not 0 < len(item) <= _LONGEST_NAME:
                raise self._wrong(name, f"texts of 1 to {_LONGEST_NAME} characters", item)
        return tuple(cast("list[str]", items))

    def map(self, name: str) -> Json:
        value = self._left.pop(name, _MISSING)
        if not isinstance(value, dict):
            raise self._wrong(name, "a map", value)
        return cast("Json", value)

    def end(self) -> None:
        """Refuse what is left over."""
        if self._left:
            raise MalformedFrame(
                expected=f"no further member in {self._kind!r}", received=f"{len(self._left)} that it does not have"
            )

    def _wrong(self, name: str, expected: str, value: object) -> MalformedFrame:
        return MalformedFrame(expected=f"`{name}` of {self._kind!r} to be {expected}", received=_named(value))


class _Missing:
    """What stands for a member that did not come."""


_MISSING: Final = _Missing()


def _named(value: object) -> str:
    """Say what a value is in our words: what a peer sent is never repeated."""
    if value is None or isinstance(value, _Missing):
        return "nothing"
    if isinstance(value, (bool, int, float)):
        return str(value)
    names: dict[type, str] = {str: "another text", bytes: "bytes", list: "a list", dict: "a map"}
    return names.get(type(value), "an extension of msgpack")


def _read_hello(reader: _Reader) -> Hello:
    return Hello(token=reader.text("token", reader.limits.handshake_bytes) if reader.has("token") else None)


def _read_command(reader: _Reader) -> CommandRequest:
    values = reader.map("values")
    _check_json(values, reader.limits.channel_nesting_levels)
    return CommandRequest(
        id=reader.number("id", _LARGEST_ID),
        name=reader.text("name", _LONGEST_NAME, least_bytes=1),
        values=values,
        key=reader.text("key", 4 * _LONGEST_NAME) if reader.has("key") else "",
    )


def _read_subscribe(reader: _Reader) -> Subscribe:
    types = reader.texts("types") if reader.has("types") else ()
    if not all(_TYPE_PATTERN.fullmatch(pattern) for pattern in types):
        raise MalformedFrame(
            expected="`types` of 'subscribe' to be `name.of.type`, `name.*` or `*`", received="another form"
        )
    return Subscribe(
        id=reader.number("id", _LARGEST_ID),
        after=reader.number("after", _LARGEST_POSITION) if reader.has("after") else None,
        types=types,
        prefix=reader.text("prefix", reader.limits.name_bytes) if reader.has("prefix") else "",
        kinds=reader.texts("kinds") if reader.has("kinds") else (),
    )


def _read_unsubscribe(reader: _Reader) -> Unsubscribe:
    return Unsubscribe(id=reader.number("id", _LARGEST_ID))


def _read_welcome(reader: _Reader) -> Welcome:
    return Welcome(
        version=reader.number("version", _LARGEST_ID),
        user=reader.text("user", reader.limits.frame_bytes),
        position=reader.number("position", _LARGEST_POSITION),
    )


def _read_reply(reader: _Reader) -> Reply:
    number = reader.number("id", _LARGEST_ID)
    if reader.flag("ok"):
        return Reply(id=number, answer=reader.map("answer"))
    return Reply(id=number, problem=reader.map("problem"))


def _read_event(reader: _Reader) -> FeedEvent:
    return FeedEvent(
        subscription=reader.number("subscription", _LARGEST_ID),
        position=reader.number("position", _LARGEST_POSITION),
        event=reader.map("event"),
    )


def _read_progress(reader: _Reader) -> Progress:
    return Progress(
        subscription=reader.number("subscription", _LARGEST_ID),
        position=reader.number("position", _LARGEST_POSITION),
    )


def _read_closed(reader: _Reader) -> SubscriptionClosed:
    number = reader.number("subscription", _LARGEST_ID)
    return SubscriptionClosed(
        subscription=number,
        problem=reader.map("problem") if reader.has("problem") else None,
    )


def _read_goodbye(reader: _Reader) -> Goodbye:
    return Goodbye(problem=reader.map("problem"))


_CLIENT_READERS: Final[dict[str, Callable[[_Reader], ClientEnvelope]]] = {
    "hello": _read_hello,
    "command": _read_command,
    "subscribe": _read_subscribe,
    "unsubscribe": _read_unsubscribe,
}
_SERVER_READERS: Final[dict[str, Callable[[_Reader], ServerEnvelope]]] = {
    "welcome": _read_welcome,
    "reply": _read_reply,
    "event": _read_event,
    "progress": _read_progress,
    "closed": _read_closed,
    "goodbye": _read_goodbye,
}


def _check_json(values: Json, most_levels: int) -> None:
    """Refuse what JSON has not: bytes, extensions, endless numbers; and what nests too deep."""
    level: list[object] = [values]
    for _ in range(most_levels + 1):  # what the last level holds must be plain
        level = [item for value in level for item in _items_of(value)]
        if not level:
            return
    raise LimitExceeded("channel_nesting_levels", most_levels, most_levels + 1)


def _items_of(value: object) -> list[object]:
    """Return what a map or list holds."""
    if value is None or isinstance(value, (str, bool, int)):
        return []
    if isinstance(value, list):
        return cast("list[object]", value)
    if isinstance(value, dict):
        found = cast("dict[object, object]", value)
        if not all(isinstance(key, str) for key in found):
            raise MalformedFrame(expected="texts as names in a map", received="bytes")
        return list(found.values())
    if isinstance(value, float) and math.isfinite(value):
        return []
    raise MalformedFrame(expected="values that JSON has", received=_named(value))
