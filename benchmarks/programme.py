"""The programme: which scenarios there are, with which load, against whom, and what must hold.

The short form is for every day: it has the same scenarios with less time and fewer connections.
"""

from __future__ import annotations

from functools import partial

from benchmarks.contestants import Contestant
from benchmarks.runner import Bound, Figures, Scenario
from benchmarks.scenarios import crash, growth, loading, many_documents, presence, soak, typing_loads

HOCUSPOCUS = ("quorate-h", "hocuspocus-sqlite", "hocuspocus")
Y_WEBSOCKET = ("quorate-y", "y-websocket", "y-websocket-leveldb", "pycrdt", "pycrdt-sqlite")
RELAYS = ("relay-node", "relay-python")
EVERYBODY = (*HOCUSPOCUS, *Y_WEBSOCKET)
PERSISTENT = ("quorate-h", "hocuspocus-sqlite", "quorate-y", "y-websocket-leveldb", "pycrdt-sqlite")
IN_MEMORY = ("quorate-h", "hocuspocus-sqlite", "quorate-y", "y-websocket", "pycrdt")

FAN_OUT_BOUNDS = {10: 8.0, 50: 8.0, 200: 6.0}
DOCUMENT_BYTES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
ROOMS = (1, 100, 1_000, 5_000, 20_000)
READERS = (1, 10, 50, 200, 500, 1_000)


def _against_hocuspocus(figure: str, *, least: float | None = None, most: float | None = None) -> Bound:
    return Bound(figure=figure, against=("hocuspocus-sqlite",), least=least, most=most)


async def _fan_out(readers: int, contestant: Contestant, is_short: bool) -> Figures:  # noqa: FBT001
    return await typing_loads.fan_out(contestant, readers, 1.0 if is_short else 1.5)


async def _steady(readers: int, contestant: Contestant, is_short: bool) -> Figures:  # noqa: FBT001
    return await typing_loads.steady(contestant, readers, 1.0 if is_short else 2.0)


async def _writers(contestant: Contestant, is_short: bool) -> Figures:  # noqa: FBT001
    return await typing_loads.many_writers(contestant, 20, 1.0 if is_short else 1.5)


async def _trickle(contestant: Contestant, is_short: bool) -> Figures:  # noqa: FBT001
    return await many_documents.trickle(contestant, 100 if is_short else 500, 2.0 if is_short else 4.0)


async def _cold(clients: int, contestant: Contestant, is_short: bool) -> Figures:  # noqa: ARG001, FBT001
    return await loading.cold(contestant, clients)


async def _storm(holds: bool, contestant: Contestant, is_short: bool) -> Figures:  # noqa: ARG001, FBT001
    return await loading.storm(contestant, 100, holds=holds)


async def _presence(contestant: Contestant, is_short: bool) -> Figures:  # noqa: FBT001
    return await presence.storm(contestant, 100, 1.5 if is_short else 2.0)


async def _idle(contestant: Contestant, is_short: bool) -> Figures:  # noqa: FBT001
    scale = 10 if is_short else 1
    return await many_documents.idle(contestant, 10_000 // scale, 5_000 // scale)


async def _size(size_bytes: int, contestant: Contestant, is_short: bool) -> Figures:  # noqa: FBT001
    return await growth.with_size(contestant, size_bytes, 0.5 if is_short else 1.0)


async def _rooms(rooms: int, contestant: Contestant, is_short: bool) -> Figures:  # noqa: FBT001
    return await growth.with_rooms(contestant, rooms, 0.5 if is_short else 1.0)


async def _readers(readers: int, contestant: Contestant, is_short: bool) -> Figures:  # noqa: FBT001
    return await growth.with_readers(contestant, readers, 0.5 if is_short else 1.0)


async def _crash(contestant: Contestant, is_short: bool) -> Figures:  # noqa: FBT001
    return await crash.kill_repeatedly(contestant, 4 if is_short else 40)


async def _soak(contestant: Contestant, is_short: bool) -> Figures:  # noqa: FBT001
    return await soak.mixed(contestant, 20.0 if is_short else 1800.0)


FAN_OUTS = tuple(
    Scenario(
        name=f"fan-out-{readers}", title=f"fan-out, closed loop, {readers} readers",
        run=partial(_fan_out, readers), contestants=(*EVERYBODY, *RELAYS),
        bounds=(
            _against_hocuspocus("delivered/s", least=least),
            _against_hocuspocus("p99 ms", most=0.1),
        ),
    )
    for readers, least in FAN_OUT_BOUNDS.items()
)  # fmt: skip

STEADY = tuple(
    Scenario(
        name=f"steady-{readers}", title=f"fan-out, 100 updates/s, {readers} readers",
        run=partial(_steady, readers), contestants=(*EVERYBODY, *RELAYS),
        bounds=(
            _against_hocuspocus("µs a delivery", most=0.5),
            Bound(figure="µs a delivery", against=("relay-python",), most=1.5),
        ),
    )
    for readers in FAN_OUT_BOUNDS
)  # fmt: skip

LOADING = (
    Scenario(
        name="cold-1", title="cold load, 1 client", run=partial(_cold, 1), contestants=PERSISTENT,
        bounds=(Bound(figure="synced ms", against=PERSISTENT[1:], most=1.0),),
    ),
    Scenario(
        name="cold-100", title="cold load, 100 clients at once", run=partial(_cold, 100), contestants=PERSISTENT,
        bounds=(Bound(figure="synced ms", against=PERSISTENT[1:], most=0.6),),
    ),
    Scenario(
        name="storm", title="reconnect storm, 100 clients that hold nothing", run=partial(_storm, False),  # noqa: FBT003
        contestants=IN_MEMORY, bounds=(Bound(figure="synced ms", against=IN_MEMORY[1:], most=0.6),),
    ),
    Scenario(
        name="storm-held", title="reconnect storm, 100 clients that hold it", run=partial(_storm, True),  # noqa: FBT003
        contestants=IN_MEMORY, bounds=(Bound(figure="synced ms", against=IN_MEMORY[1:], most=0.6),),
    ),
)  # fmt: skip

GROWTH = (
    *(
        Scenario(
            name=f"size-{size}", title=f"document of {size:,} bytes", run=partial(_size, size),
            contestants=("quorate-h",), is_plotted_by="document size, bytes",
        )
        for size in DOCUMENT_BYTES
    ),
    *(
        Scenario(
            name=f"rooms-{rooms}", title=f"{rooms:,} rooms", run=partial(_rooms, rooms),
            contestants=("quorate-h",), is_plotted_by="rooms",
        )
        for rooms in ROOMS
    ),
    *(
        Scenario(
            name=f"readers-{readers}", title=f"{readers:,} readers", run=partial(_readers, readers),
            contestants=("quorate-h",), is_plotted_by="readers",
        )
        for readers in READERS
    ),
)  # fmt: skip

SCENARIOS = (
    *FAN_OUTS,
    *STEADY,
    Scenario(
        name="writers", title="20 writers, one document", run=_writers, contestants=EVERYBODY,
        bounds=(_against_hocuspocus("updates/s", least=10.0), _against_hocuspocus("p99 ms", most=0.1)),
    ),
    Scenario(
        name="documents", title="500 documents of 2, 2 updates/s each", run=_trickle, contestants=EVERYBODY,
        bounds=(
            _against_hocuspocus("µs an update", most=0.5),
            _against_hocuspocus("memory MiB", most=0.6),
            Bound(figure="ramp ms", against=("y-websocket",), most=1.0),
        ),
    ),
    *LOADING,
    Scenario(
        name="presence", title="100 cursors at 10 Hz", run=_presence, contestants=EVERYBODY,
        bounds=(_against_hocuspocus("core for a second", most=0.4), Bound(figure="oldest ms", most=200.0)),
    ),
    Scenario(
        name="idle", title="10,000 idle connections to 5,000 documents", run=_idle,
        contestants=("quorate-h", "hocuspocus-sqlite", "quorate-y", "y-websocket"),
        bounds=(_against_hocuspocus("KiB a connection, rooms and all", most=0.5),),
    ),
    Scenario(
        name="crash", title="kill -9 in the middle of 200 updates/s", run=_crash, contestants=PERSISTENT,
        bounds=(Bound(figure="lost", most=0.0),),
    ),
    *GROWTH,
    Scenario(
        name="soak", title="long soak of mixed load", run=_soak, contestants=("quorate-y",),
        bounds=(Bound(figure="errors", most=0.0),),
    ),
)  # fmt: skip
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
