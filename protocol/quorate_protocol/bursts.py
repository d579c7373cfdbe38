"""Edits that come many at a time: from the frames of one read of a socket to how far they reach.

This is what a busy server does for each edit, so it is compiled where a C compiler is found at the installation. Where
none was, `bursts_in_python.py` does the same.

Source: RFC 6455 section 5.2 for the frames; `updates.py` names those of the rest.
"""

from typing import cast

from quorate_protocol import bursts_in_python as in_python
from quorate_protocol.ids import ClientId

try:
    from quorate_protocol import _speedups as compiled
except ImportError:
    compiled = None  # type: ignore[assignment]


def read_plain_frames(data: bytes, max_bytes: int) -> tuple[list[bytes], int]:
    """Return the messages of the plain frames of at most `max_bytes` that `data` begins with, and where they end.

    A plain frame is one whole binary message of less than 64 KiB, masked and not compressed: what editors send.
    """
    if compiled is not None:
        return compiled.read_plain_frames(data, max_bytes)
    return in_python.read_plain_frames(data, max_bytes)


def is_cut_plain_frame(data: bytes, max_bytes: int) -> bool:
    """Whether `data` is a plain frame of at most `max_bytes` but for its end."""
    if len(data) < in_python.LONG_HEAD or data[0] != in_python.PLAIN:
        return False
    length, begin = in_python.plain_head(data, 0)
    return 0 <= length <= max_bytes and begin + length > len(data)


def read_updates(prefix: bytes, messages: list[bytes], start: int, max_bytes: int) -> list[bytes]:
    """Read the messages from `start` on that are `prefix`, the bytes of one update, and nothing else.

    It ends before the first that is longer than `max_bytes` or anything else, and never raises.
    """
    if compiled is not None:
        return compiled.read_updates(prefix, messages, start, max_bytes)
    return in_python.read_updates(prefix, messages, start, max_bytes)


def measure_burst(updates: list[bytes], state_vector: dict[ClientId, int]) -> dict[ClientId, int] | None:
    """Tell how far updates reach that can be applied one after the other to what `state_vector` says is known.

    Returns behind which clock their operations end, of each client that goes on. None when an update is malformed,
    builds on what is not known then, or creates a shared type: then each has to be looked at.
    """
    if compiled is not None:
        # Its types say `int`, for it is told nothing else.
        measured = compiled.measure_burst(updates, cast("dict[int, int]", state_vector))
        if measured is not NotImplemented:  # what is rare is not compiled
            return cast("dict[ClientId, int] | None", measured)
    return in_python.measure_burst(updates, state_vector)


def join_typing(updates: list[bytes]) -> tuple[ClientId, int, bytes] | None:
    """Join updates that are text which somebody typed, each going on where the one before ended, into one.

    Returns whose operations they are, their first clock, and the update that says the same as all of them: Yjs
    itself tells of such a run as of one insertion. None when there is anything else.
    """
    if compiled is not None:
        return cast("tuple[ClientId, int, bytes] | None", compiled.join_typing(updates))
    return in_python.join_typing(updates)
