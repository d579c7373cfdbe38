import pytest

from quorate_protocol.errors import (
    LimitExceeded,
    LocalProtocolError,
    MalformedFrame,
    NameRefused,
    ProtocolError,
    QuorateError,
    RemoteProtocolError,
)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (
            LocalProtocolError(action="accept", state="the address is closed"),
            "accept is not possible while the address is closed",
        ),
        (
            MalformedFrame(expected="a number", received="the end"),
            "expected a number, received the end",
        ),
        (
            MalformedFrame(expected="a number", received="the end", position=7),
            "expected a number at byte 7, received the end",
        ),
        (LimitExceeded("frame_bytes", 10, 11), "frame_bytes is limited to 10, received 11"),
        (NameRefused("is empty"), "the document name is empty"),
    ],
)
def test_errors_say_what_happened(error: QuorateError, text: str) -> None:
    assert str(error) == text


def test_errors_keep_their_facts() -> None:
    error = LimitExceeded("frame_bytes", 10, 11)

    assert (error.limit_name, error.limit, error.actual) == ("frame_bytes", 10, 11)


def test_the_two_faults_are_different_branches() -> None:
    for kind in (MalformedFrame, LimitExceeded, NameRefused):
        assert issubclass(kind, RemoteProtocolError)
    assert not issubclass(LocalProtocolError, RemoteProtocolError)
    assert issubclass(LocalProtocolError, ProtocolError)


def test_reasons_are_distinct_labels() -> None:
    reasons = [kind.reason for kind in (RemoteProtocolError, MalformedFrame, LimitExceeded, NameRefused)]

    assert len(set(reasons)) == len(reasons)
    assert all(reason.isidentifier() and reason.islower() for reason in reasons)


def test_the_tree_in_the_docstring_is_complete() -> None:
    def names(kind: type[QuorateError]) -> list[str]:
        own = [k for k in kind.__subclasses__() if k.__module__ == "quorate_protocol.errors"]
        return [kind.__name__, *(name for each in own for name in names(each))]

    assert QuorateError.__doc__ is not None
    assert all(name in QuorateError.__doc__ for name in names(QuorateError))
