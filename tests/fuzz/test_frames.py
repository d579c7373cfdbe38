"""Sync messages of a real client, state vectors, and frames that nobody sends."""

import random
from functools import partial

from quorate_protocol import hocuspocus, y_websocket
from quorate_protocol.hocuspocus import HocuspocusConnection
from quorate_protocol.limits import DEFAULT_LIMITS
from quorate_protocol.messages import SyncStep1, SyncUpdate
from quorate_protocol.state_vectors import decode_state_vector, encode_state_vector
from quorate_protocol.transitions import AddressState
from quorate_protocol.updates import update_ends
from quorate_protocol.y_websocket import YWebSocketConnection
from tests.fuzz.mutations import mutate
from tests.fuzz.refusals import attempt
from tests.peers.node import Oracle


def test_we_read_what_a_client_writes(oracle: Oracle, cases: int, seed: int) -> None:
    connection = YWebSocketConnection()
    for number in range(cases // 10):
        sent = oracle.ask("writeSync", seed=seed + number)
        frames = [b"\x00" + bytes.fromhex(sent[kind]) for kind in ("step1", "step2", "update")]

        events = [connection.receive_frame(frame) for frame in frames]

        assert events == [
            [SyncStep1("", bytes.fromhex(sent["stateVector"]))],
            [SyncUpdate("", bytes.fromhex(sent["state"]), is_step2=True)],
            [SyncUpdate("", bytes.fromhex(sent["payload"]), is_step2=False)],
        ]


def test_a_client_reads_what_we_write(oracle: Oracle, cases: int, seed: int) -> None:
    for number in range(cases // 10):
        sent = oracle.ask("writeSync", seed=seed + number)
        state = bytes.fromhex(sent["state"])
        state_vector = bytes.fromhex(sent["stateVector"])
        for frame, kind in (
            (y_websocket.encode_step1(state_vector), 0),
            (y_websocket.encode_step2(state), 1),
            (y_websocket.encode_update(state), 2),
            (hocuspocus.encode_update("d", state)[2:], 2),
        ):
            answer = oracle.ask("readSync", message=frame[1:].hex())
            assert answer["kind"] == kind
            if kind == 0:
                [reply] = YWebSocketConnection().receive_frame(b"\x00" + bytes.fromhex(answer["reply"]))
                assert isinstance(reply, SyncUpdate)
                assert reply.is_step2
                assert update_ends(reply.update) == {1: 4}
            else:
                known = decode_state_vector(bytes.fromhex(answer["stateVector"]))
                expected = decode_state_vector(state_vector)
                assert known.items() >= expected.items()


def test_state_vectors(oracle: Oracle, cases: int, rng: random.Random) -> None:
    vectors = [
        {rng.getrandbits(rng.choice((7, 32, 53))): rng.getrandbits(20) for _ in range(rng.randrange(9))}
        for _ in range(cases)
    ]
    encoded = [encode_state_vector(vector) for vector in vectors]  # type: ignore[arg-type]

    answers = oracle.ask("readStateVectors", data=[each.hex() for each in encoded])

    for vector, data, answer in zip(vectors, encoded, answers, strict=True):
        assert dict(answer["value"]) == vector
        assert decode_state_vector(data) == vector


def _sound_frames(name: str) -> list[bytes]:
    address = f"{name}\0session"
    return [
        bytes([len(name)]) + name.encode() + b"\x02\x00\x02rw\x054.8.0",
        hocuspocus.encode_step1(name, b"\x00"),
        hocuspocus.encode_update(name, b"\x00\x00"),
        hocuspocus.encode_awareness(name, b"\x01\x01\x01\x02{}"),
        hocuspocus.encode_stateless(address, "hi"),
        hocuspocus.encode_close(name, ""),
        hocuspocus.PING,
    ]


def test_damaged_frames_raise_nothing_else(cases: int, rng: random.Random) -> None:
    """A connection survives any bytes, and keeps no more of them than its bounds allow."""
    sound = _sound_frames("d") + _sound_frames("доклад") + [y_websocket.encode_step1(b"\x00")]
    plain = YWebSocketConnection()
    for _ in range(cases):
        addressed = HocuspocusConnection()
        for _ in range(10):
            frame = mutate(rng.choice(sound), rng, sound) if rng.random() < 0.5 else rng.choice(sound)
            for connection in (plain, addressed):
                attempt(partial(connection.receive_frame, frame))
            for address in ("d", "доклад"):
                if addressed.state_of(address) is AddressState.AUTHENTICATING:
                    attempt(partial(addressed.accept, address, read_only=rng.random() < 0.5))
        assert len(addressed.addresses) <= DEFAULT_LIMITS.documents_per_socket
        assert all(isinstance(frame, bytes) for frame in addressed.frames_to_send())
