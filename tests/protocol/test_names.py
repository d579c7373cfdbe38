import pytest

from quorate_protocol.errors import NameRefused
from quorate_protocol.names import document_name_from_path, parse_document_name, split_address


@pytest.mark.parametrize("raw", ["d", "approval/q3", "отчёт", "a b?#%", "x" * 256, "/", ".."])
def test_names_are_kept_as_they_are(raw: str) -> None:
    assert parse_document_name(raw) == raw


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ("", "is empty"),
        ("a\0b", "holds a NUL"),
        ("\ud800", "holds a lone surrogate"),
        ("x" * 257, "is longer than 256 bytes"),
        ("é" * 129, "is longer than 256 bytes"),
    ],
)
def test_names_that_are_refused(raw: str, problem: str) -> None:
    with pytest.raises(NameRefused, match=problem):
        parse_document_name(raw)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (b"plain", "plain"),
        (b"approval/q3", "approval/q3"),
        (b"approval%2Fq3", "approval/q3"),
        (b"%D0%B4", "д"),
        ("д".encode(), "д"),
        (b"100%2525", "100%25"),  # once, not twice
        (b"100%", "100%"),
        (b"a+b", "a+b"),
        (b"%2561", "%61"),
        (b"%C3%A9" * 42, "é" * 42),
    ],
)
def test_paths_are_decoded_exactly_once(path: bytes, name: str) -> None:
    assert document_name_from_path(path) == name


@pytest.mark.parametrize("path", [b"", b"a%00b", b"%FF", b"x" * 257, b"x" * 10_000, b"%61" * 257])
def test_paths_that_name_nothing(path: bytes) -> None:
    with pytest.raises(NameRefused):
        document_name_from_path(path)


def test_a_name_of_encoded_bytes_may_use_its_whole_length() -> None:
    assert document_name_from_path(b"%61" * 256) == "a" * 256


@pytest.mark.parametrize(
    ("address", "parts"),
    [("d", ("d", None)), ("d\0s1", ("d", "s1")), ("d\0", ("d", "")), ("d\0a\0b", ("d", "a\0b"))],
)
def test_addresses_split_at_the_first_nul(address: str, parts: tuple[str, str | None]) -> None:
    assert split_address(address) == parts
