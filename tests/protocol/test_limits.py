import ast
import dataclasses
import inspect

from quorate_protocol import limits
from quorate_protocol.limits import DEFAULT_LIMITS, Limits


def test_every_limit_has_its_reason() -> None:
    """Each field is followed by a docstring of its own."""
    [kind] = [
        node
        for node in ast.parse(inspect.getsource(limits)).body
        if isinstance(node, ast.ClassDef) and node.name == "Limits"
    ]
    pairs = zip(kind.body, kind.body[1:], strict=False)
    explained = {
        field.target.id
        for field, text in pairs
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and isinstance(text, ast.Expr)
    }

    assert explained == {field.name for field in dataclasses.fields(Limits)}


def test_a_socket_may_open_more_documents_than_may_wait() -> None:
    assert DEFAULT_LIMITS.pending_documents <= DEFAULT_LIMITS.documents_per_socket


def test_a_handshake_fits_into_a_frame() -> None:
    assert DEFAULT_LIMITS.handshake_bytes <= DEFAULT_LIMITS.frame_bytes
