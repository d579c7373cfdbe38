"""What a Yjs update says, without applying it.

An update (v1) is a list of structs for each client, in clock order without gaps, and a list of
deleted ranges:

    update := varUint(clients) clients*( varUint(n) varUint(client) varUint(clock) n*struct )
    deletes deletes := varUint(clients) clients*( varUint(client) varUint(n) n*( varUint(clock)
    varUint(length) ) ) struct := 0x00 varUint(length) removed for good ("gc")
              | 0x0a varUint(length)                  not in this update ("skip")
              | info [origin] [rightOrigin] [parent [key]] content

The low five bits of `info` are the kind of content; 0x80 announces an origin, 0x40 a right origin,
0x20 a key. Parent and key are written only where no neighbour is named from which they would
follow.

Two readers share this grammar. `decode_update` lists everything, for those who judge an edit.
`measure_update` and `update_ends` only add up lengths, and run once for each frame. All are strict,
and bounded in memory by the size of the update and in depth by `contents.MAX_DEPTH`: what they let
pass is safe to hand to an engine that has what the update builds on.

Source: yjs `utils/encoding.js`, `utils/updates.js`, `utils/DeleteSet.js`, `structs/Item.js`.
"""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from quorate_protocol.contents import (
    CONTENT_NAMES,
    STRING,
    TYPE,
    TYPE_NAMES,
    read_type,
    skip_content,
    skip_string,
)
from quorate_protocol.errors import MalformedFrame
from quorate_protocol.ids import ClientId
from quorate_protocol.varints import read_var_string, read_var_uint

EMPTY_UPDATE: Final = b"\x00\x00"
"""The update that says nothing."""

MAX_CLOCK: Final = 2**32 - 1
"""The highest clock: yrs counts in 32 bits, and would wrap around. A person typing needs a century
for it.
"""

_GC: Final = 0
_SKIP: Final = 10
_KIND_BITS: Final = 0x1F
_HAS_KEY: Final = 0x20
_HAS_RIGHT_ORIGIN: Final = 0x40
_HAS_ORIGIN: Final = 0x80
_HAS_NEIGHBOUR: Final = _HAS_ORIGIN | _HAS_RIGHT_ORIGIN
_MORE: Final = 0x80

Id = tuple[ClientId, int]
"""One operation: its client and its clock."""


class Struct(NamedTuple):
    """A run of operations of one client.

    `content` is one of `contents.CONTENT_NAMES`, with the type's name as in `type:map`; None unless
    `kind` is `item`. `parent` is the name of a root type or the id of the item that holds it; None
    where it follows from a neighbour, and then `key` is not written either.
    """

    client: ClientId
    clock: int
    length: int
    kind: Literal["item", "gc", "skip"]
    content: str | None = None
    parent: str | Id | None = None
    key: str | None = None
    origin: Id | None = None
    right_origin: Id | None = None


class DeleteRange(NamedTuple):
    """A run of operations that are deleted, whether or not they are in the same update."""

    client: ClientId
    clock: int
    length: int


class UpdateExtent(NamedTuple):
    """How far an update reaches: behind which clock its operations and its deletions end, by client.

    `needs` is behind which clock ends what its operations build on, by client: where their runs begin, and the
    neighbours and parents that they name. `types` is how many shared types it creates inside others.
    `is_typing` tells that it does nothing but to go on with what one client was writing: each struct is a string
    that follows the operation right before it, and nothing is deleted.
    """

    ends: dict[ClientId, int]
    delete_ends: dict[ClientId, int]
    needs: dict[ClientId, int]
    types: int
    is_typing: bool = False

    def is_ready(self, state_vector: Mapping[ClientId, int]) -> bool:
        """Tell whether nothing that it builds on is outside of a state vector.

        False is no verdict on an update of several clients, which may bring what the others need: see `divide`.
        """
        known = state_vector.get
        for client, end in self.needs.items():
            if end > known(client, 0):
                return False
        for client, end in self.delete_ends.items():
            if end > known(client, 0) and end > self.ends.get(client, 0):
                return False
        return True


class DecodedUpdate(NamedTuple):
    """Everything that an update says."""

    structs: tuple[Struct, ...]
    deletes: tuple[DeleteRange, ...]


def decode_update(update: bytes) -> DecodedUpdate:
    """List what an update says.

    Raises:
        MalformedFrame: it does not follow the grammar.
    """
    sections, deletes = read_sections(update)
    return DecodedUpdate(tuple(struct for _, structs in sections for struct, _, _ in structs), deletes)


def read_sections(
    update: bytes,
) -> tuple[list[tuple[ClientId, list[tuple[Struct, int, int]]]], tuple[DeleteRange, ...]]:
    """List what an update says, by client, each struct with the positions where it begins and ends.

    Raises:
        MalformedFrame: it does not follow the grammar.
    """
    sections: dict[ClientId, list[tuple[Struct, int, int]]] = {}
    client_count, position = read_var_uint(update, 0)
    for _ in range(client_count):
        struct_count, position = read_var_uint(update, position)
        number, position = read_var_uint(update, position)
        client = ClientId(number)
        if client in sections:
            raise _named_twice(client, position)
        clock, position = read_var_uint(update, position)
        structs = sections[client] = []
        for _ in range(struct_count):
            start = position
            struct, position = _read_struct(update, position, client, clock)
            clock = _checked_end(clock + struct.length, position)
            structs.append((struct, start, position))
    deletes, position = _read_deletes(update, position)
    if position != len(update):
        raise MalformedFrame(expected="the end", received="more bytes", position=position)
    return list(sections.items()), tuple(deletes)


def measure_update(update: bytes) -> UpdateExtent:
    """Tell how far an update reaches.

    Reading an update this way also proves it well-formed, its deleted ranges included: what was not read so
    must not be given to an engine.

    Raises:
        MalformedFrame: it does not follow the grammar.
    """
    return _scan(update)


def update_ends(update: bytes) -> dict[ClientId, int]:
    """Tell for each client behind which clock its operations in this update end.

    Raises:
        MalformedFrame: it does not follow the grammar.
    """
    return _scan(update).ends


def is_covered(update: bytes, state_vector: Mapping[ClientId, int]) -> bool:
    """Tell whether everything an update speaks of is within a state vector: whoever holds that has it.

    Raises:
        MalformedFrame: it does not follow the grammar.
    """
    known = state_vector.get
    extent = _scan(update)
    return all(end <= known(client, 0) for ends in (extent.ends, extent.delete_ends) for client, end in ends.items())


def _scan(update: bytes) -> UpdateExtent:
    """Read an update for its ends alone: of its structs, of its deleted ranges, and of what it builds on."""
    ends: dict[ClientId, int] = {}
    needs: dict[ClientId, int] = {}
    seen: set[int] = set()
    types = typed = struct_count = 0
    client_count, position = read_var_uint(update, 0)
    for _ in range(client_count):
        struct_count, position = read_var_uint(update, position)
        number, position = read_var_uint(update, position)
        client = ClientId(number)
        if client_count > 1:
            if client in seen:
                raise _named_twice(client, position)
            seen.add(client)
        clock, position = read_var_uint(update, position)
        if clock > needs.get(client, 0):
            needs[client] = clock
        end, position, made, typed = _scan_structs(update, position, struct_count, (client, clock), needs)
        types += made
        if end:
            ends[client] = end
    delete_ends = _scan_deletes(update, position)
    is_typing = client_count == 1 and typed == struct_count and not delete_ends
    return UpdateExtent(ends, delete_ends, needs, types, is_typing)


def _scan_deletes(update: bytes, position: int) -> dict[ClientId, int]:
    # Most updates delete nothing, and end with the single byte that says so.
    if position == len(update) - 1 and not update[position]:
        return {}
    deletes, position = _read_deletes(update, position)
    if position != len(update):
        raise MalformedFrame(expected="the end", received="more bytes", position=position)
    deleted: dict[ClientId, int] = {}
    for client, clock, length in deletes:
        if length:
            deleted[client] = max(deleted.get(client, 0), clock + length)
    return deleted


def _scan_structs(
    update: bytes, position: int, count: int, run: Id, needs: dict[ClientId, int]
) -> tuple[int, int, int, int]:
    """Read the structs of one client, and add to `needs` what they build on beyond themselves.

    Returns their end, the position behind them, how many types they create, and how many go on with typing.
    """
    end = types = typed = 0
    client, clock = run
    for _ in range(count):
        try:
            info = update[position]
        except IndexError:
            raise _cut_short(position) from None
        position += 1
        if info in (_GC, _SKIP):
            length, position = read_var_uint(update, position)
        else:
            follows, position = _scan_references(update, position, info, (client, clock), needs)
            kind = info & _KIND_BITS
            if kind == STRING:
                typed += follows
            elif kind == TYPE:
                types += 1
            length, position = skip_content(kind, update, position)
        clock += length
        if clock > MAX_CLOCK:
            _checked_end(clock, position)
        if info == _SKIP:
            needs[client] = max(clock, needs.get(client, 0))
        elif length:
            end = clock
    return end, position, types, typed


def _scan_references(update: bytes, position: int, info: int, own: Id, needs: dict[ClientId, int]) -> tuple[bool, int]:
    """Read what a struct builds on; tell whether it follows its client's operation right before it."""
    if info & _HAS_ORIGIN:
        follows, position = _scan_origin(update, position, own, needs)
        return follows, _scan_id(update, position, own, needs) if info & _HAS_RIGHT_ORIGIN else position
    if info & _HAS_RIGHT_ORIGIN:
        return False, _scan_id(update, position, own, needs)
    is_root, position = read_var_uint(update, position)
    position = skip_string(update, position) if is_root == 1 else _scan_id(update, position, own, needs)
    return False, skip_string(update, position) if info & _HAS_KEY else position


def _scan_origin(update: bytes, position: int, own: Id, needs: dict[ClientId, int]) -> tuple[bool, int]:
    """Read a left neighbour; tell whether it is its client's operation right before."""
    client, position = read_var_uint(update, position)
    clock, position = read_var_uint(update, position)
    if client == own[0] and clock < own[1]:
        return clock == own[1] - 1, position
    if clock >= needs.get(ClientId(client), 0):
        needs[ClientId(client)] = clock + 1
    return False, position


def _scan_id(update: bytes, position: int, own: Id, needs: dict[ClientId, int]) -> int:
    client, position = read_var_uint(update, position)
    clock, position = read_var_uint(update, position)
    # Its own client's earlier operations are known when its run is known to begin, or come with it.
    if (client != own[0] or clock >= own[1]) and clock >= needs.get(ClientId(client), 0):
        needs[ClientId(client)] = clock + 1
    return position


def _read_struct(update: bytes, position: int, client: ClientId, clock: int) -> tuple[Struct, int]:
    if position >= len(update):
        raise _cut_short(position)
    info = update[position]
    position += 1
    if info in (_GC, _SKIP):
        length, position = read_var_uint(update, position)
        return Struct(client, clock, length, "gc" if info == _GC else "skip"), position
    origin = right_origin = parent = key = None
    if info & _HAS_ORIGIN:
        origin, position = _read_id(update, position)
    if info & _HAS_RIGHT_ORIGIN:
        right_origin, position = _read_id(update, position)
    if not info & _HAS_NEIGHBOUR:
        parent, position = _read_parent(update, position)
        if info & _HAS_KEY:
            key, position = read_var_string(update, position)
    kind = info & _KIND_BITS
    name = CONTENT_NAMES.get(kind)
    if kind == TYPE:
        name = TYPE_NAMES[read_type(update, position)[0]]
    length, position = skip_content(kind, update, position)
    struct = Struct(client, clock, length, "item", name, parent, key, origin, right_origin)
    return struct, position


def _read_id(update: bytes, position: int) -> tuple[Id, int]:
    client, position = read_var_uint(update, position)
    clock, position = read_var_uint(update, position)
    return (ClientId(client), clock), position


def _read_parent(update: bytes, position: int) -> tuple[str | Id, int]:
    is_root, position = read_var_uint(update, position)
    if is_root == 1:
        return read_var_string(update, position)
    return _read_id(update, position)


def _read_deletes(update: bytes, position: int) -> tuple[list[DeleteRange], int]:
    deletes: list[DeleteRange] = []
    client_count, position = read_var_uint(update, position)
    for _ in range(client_count):
        client, position = read_var_uint(update, position)
        range_count, position = read_var_uint(update, position)
        for _ in range(range_count):
            clock, position = read_var_uint(update, position)
            length, position = read_var_uint(update, position)
            _checked_end(clock + length, position)
            deletes.append(DeleteRange(ClientId(client), clock, length))
    return deletes, position


def _checked_end(end: int, position: int) -> int:
    if end > MAX_CLOCK:
        raise MalformedFrame(expected="clocks up to 2**32 - 1", received="a higher one", position=position)
    return end


def _named_twice(client: int, position: int) -> MalformedFrame:
    return MalformedFrame(expected="each client once", received=f"client {client} again", position=position)


def _cut_short(position: int) -> MalformedFrame:
    return MalformedFrame(expected="a struct", received="the end", position=position)
