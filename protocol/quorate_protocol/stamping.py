"""Writes who somebody is into the state that they write about themselves."""

import json
from collections.abc import Mapping
from typing import Final, NoReturn, cast


def stamp_state(raw: str, stamp: Mapping[str, str]) -> str | None:
    """Return the state with the stamp over its `user`, or None if it is not a JSON object.

    What else the client wrote, in `user` too, is kept: editors put a colour there.
    """
    try:
        state: object = _DECODER.decode(raw)
        if not isinstance(state, dict):
            return None
        fields = cast("dict[str, object]", state)
        given = fields.get("user")
        kept = cast("dict[str, object]", given) if isinstance(given, dict) else {}
        fields["user"] = {**kept, **stamp}
        return _encode(fields)
    # Nested too deeply for the parser, or numbers that JSON cannot say: not JSON that browsers
    # would read.
    except (ValueError, RecursionError):
        return None


def _encode(fields: dict[str, object]) -> str:
    text = _ENCODER.encode(fields)
    try:
        text.encode()
    except UnicodeEncodeError:
        # Half an emoji, cut by an editor that counts in UTF-16: legal in JSON as an escape only.
        return _ESCAPING_ENCODER.encode(fields)
    return text


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


# Python reads and writes NaN and Infinity; JSON.parse in a browser would throw on them.
_DECODER: Final = json.JSONDecoder(parse_constant=_refuse_constant)
_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))
_ESCAPING_ENCODER: Final = json.JSONEncoder(allow_nan=False, separators=(",", ":"))
