import json

import pytest

from quorate_protocol.stamping import stamp_state

_STAMP = {"id": "u1", "name": "Ada"}


@pytest.mark.parametrize(
    ("raw", "user"),
    [
        ("{}", _STAMP),
        ('{"user":{"name":"Eve","color":"#f00"}}', {**_STAMP, "color": "#f00"}),
        ('{"user":"Eve"}', _STAMP),
        ('{"user":null}', _STAMP),
        ('{"user":["Eve"]}', _STAMP),
        ('{"user":{"name":"Eve"},"user":{"name":"Mallory"}}', _STAMP),
    ],
)
def test_the_user_is_who_was_verified(raw: str, user: dict[str, str]) -> None:
    stamped = stamp_state(raw, _STAMP)

    assert stamped is not None
    assert json.loads(stamped)["user"] == user


def test_everything_else_is_kept() -> None:
    stamped = stamp_state('{"cursor":{"at":[1,2.5,null,true,"é😀"]},"n":12345678901234567890}', {})

    assert stamped == ('{"cursor":{"at":[1,2.5,null,true,"é😀"]},"n":12345678901234567890,"user":{}}')


def test_half_an_emoji_survives_as_an_escape() -> None:
    assert stamp_state('{"name":"\\ud83d"}', {}) == '{"name":"\\ud83d","user":{}}'


@pytest.mark.parametrize(
    "raw",
    [
        "",
        "nul",
        "[]",
        "1",
        '"text"',
        "true",
        "{",
        '{"a":NaN}',
        '{"a":Infinity}',
        '{"a":-Infinity}',
        '{"a":1e999}',
        "{} {}",
        '{"a":' + "[" * 16_000,
        '{"a":' + "9" * 10_000 + "}",
    ],
)
def test_what_is_no_json_object_is_refused(raw: str) -> None:
    assert stamp_state(raw, _STAMP) is None
