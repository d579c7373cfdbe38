"""What a document may be called, and where each dialect says it.

The rules are the same everywhere, so that a document opened through one dialect is the one opened
through another.
"""

from typing import Final
from urllib.parse import unquote_to_bytes

from quorate_protocol.errors import NameRefused
from quorate_protocol.ids import DocumentName
from quorate_protocol.limits import DEFAULT_LIMITS

_SESSION_SEPARATOR: Final = "\0"


def parse_document_name(raw: str, *, max_bytes: int = DEFAULT_LIMITS.name_bytes) -> DocumentName:
    """Check a name that a peer gave.

    Raises:
        NameRefused: it is empty, holds a NUL or a lone surrogate, or is too long in UTF-8.
    """
    if not raw:
        raise NameRefused("is empty")
    if "\0" in raw:
        raise NameRefused("holds a NUL")
    try:
        size = len(raw.encode())
    except UnicodeEncodeError:
        raise NameRefused("holds a lone surrogate") from None
    if size > max_bytes:
        raise NameRefused(f"is longer than {max_bytes} bytes")
    return DocumentName(raw)


def document_name_from_path(raw_path: bytes, *, max_bytes: int = DEFAULT_LIMITS.name_bytes) -> DocumentName:
    """Take the name from the part of a y-websocket URL path that follows the endpoint's prefix.

    The path must be as it came over the wire: it is percent-decoded here, exactly once, so that a
    name holding a percent sign survives. Slashes belong to the name.

    Raises:
        NameRefused: as for `parse_document_name`, or it is not UTF-8.
    """
    # Decoding never makes a path longer, and cannot shrink it to less than a third.
    if len(raw_path) > 3 * max_bytes:
        raise NameRefused(f"is longer than {max_bytes} bytes")
    try:
        raw = unquote_to_bytes(raw_path).decode()
    except UnicodeDecodeError:
        raise NameRefused("is not UTF-8") from None
    return parse_document_name(raw, max_bytes=max_bytes)


def split_address(address: str) -> tuple[str, str | None]:
    """Split a Hocuspocus address into the document's unchecked name and the session id, if any."""
    name, separator, session = address.partition(_SESSION_SEPARATOR)
    return name, (session if separator else None)
