"""Signed checkpoints: what the log says of itself at one size, in a form that any C2SP tool can verify.

A checkpoint is a signed note:

    quorate.example/audit                                   the origin: which log
    1042                                                    how many events
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=            the root of the RFC 6962 tree over them
                                                            (an empty line)
    — quorate.example/audit Az3grlgtzPICa5OS8npVmf1Myq/...  the signature

The signature is Ed25519 over the text through its last newline; before it stand the four bytes of the key's id,
SHA-256(name || 0x0A || 0x01 || public key)[:4]. A signing key belongs outside the database, and checkpoints to
places that whoever runs the database does not control.

The note's keys are texts: `name+id+base64(0x01 || public key)` for the public one, which verifiers are given, and
`PRIVATE+KEY+name+id+base64(0x01 || seed)` in the key file.

    StorageError
    ├── NoteMalformed       it is no signed note, or its text is no checkpoint
    ├── SignatureInvalid    a key that we know did not sign this
    ├── SignerUnknown       no key that we know is said to have signed
    ├── KeyMalformed        a text is not the key that it should be
    └── KeyFileUnusable     the file of a signing key cannot be read or written

Source: c2sp.org/signed-note and c2sp.org/tlog-checkpoint, v1.0.0.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from quorate_storage.errors import StorageError
from quorate_storage.transparency import HASH_BYTES

ED25519 = b"\x01"
"""The signature type of Ed25519."""

PRIVATE = "PRIVATE+KEY+"
EM_DASH = "\u2014"
KEY_BYTES = 32
ID_BYTES = 4

MOST_CHARACTERS = 262_144
MOST_SIGNATURES = 100
"""Bounds of a note that is read; the specification demands room for 16 signatures at least."""

_SIGNATURE_LINE = re.compile(rf"{EM_DASH} (\S+) ([A-Za-z0-9+/]+=*)")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_LINES = 3


class NoteMalformed(StorageError):
    """A text is no signed note, or a note's text is no checkpoint."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the note is malformed: {self.problem}"


class SignatureInvalid(StorageError):
    """A key that we know is named on the note and did not sign its text: it is forged or was changed."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
        return f"the signature of {self.name!r} does not fit the note"


class SignerUnknown(StorageError):
    """None of the keys that we know is named on the note; it may be a good note of another key."""

    def __init__(self, names: tuple[str, ...]) -> None:
        super().__init__(names)
        self.names = names

    def __str__(self) -> str:
        return f"the note is signed by {', '.join(map(repr, self.names))}, and by no key that was given"


class KeyMalformed(StorageError):
    """A text is not the key that it should be. The text itself is not told: it may be a secret."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem

    def __str__(self) -> str:
        return f"the key is malformed: {self.problem}"


class KeyFileUnusable(StorageError):
    """The file of a signing key cannot be read, or not be written; an existing file was left as it is."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(path, reason)
        self.path = path
        self.reason = reason

    def __str__(self) -> str:
        return f"the signing key {str(self.path)!r}: {self.reason}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TreeHead:
    """What a checkpoint says: of which log, how many events, and the root over them."""

    origin: str
    size: int
    root: bytes

    def __str__(self) -> str:
        """Return the text that is signed."""
        return f"{self.origin}\n{self.size}\n{_encode(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the text of a checkpoint; further lines, which the format allows, are left unread.

        Raises:
            NoteMalformed: it is none.
        """
        lines = text.split("\n")[:-1]
        if len(lines) < _LINES or not all(lines):
            raise NoteMalformed("a checkpoint has an origin, a size and a root")
        if _SIZE.fullmatch(lines[1]) is None:
            raise NoteMalformed("the size is no decimal number")
        root = _decode(lines[2])
        if root is None or len(root) != HASH_BYTES:
            raise NoteMalformed("the root is not 32 bytes in base64")
        return cls(origin=lines[0], size=int(lines[1]), root=root)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """The public half of a signing key. Its text is what verifiers are given."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if len(self.public) != KEY_BYTES:
            raise KeyMalformed("an Ed25519 public key has 32 bytes")

    @property
    def id(self) -> bytes:
        """The four bytes by which a note names the key."""
        return sha256(self.name.encode() + b"\n" + ED25519 + self.public).digest()[:ID_BYTES]

    def __str__(self) -> str:
        """Return the key as `name+id+base64`."""
        return f"{self.name}+{self.id.hex()}+{_encode(ED25519 + self.public)}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name+id+base64`.

        Raises:
            KeyMalformed: it is not that, not Ed25519, or the id is of another key.
        """
        name, key_id, public = _split_key(text.strip())
        key = cls(name=name, public=public)
        if key.id.hex() != key_id:
            raise KeyMalformed("its id is of another key")
        return key

    def has_signed(self, text: str, signature: bytes) -> bool:
        """Tell whether a signature over a text is of this key."""
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text.encode())
        except (InvalidSignature, ValueError):
            return False
        return True


class SigningKey:
    """A key that signs checkpoints, and its name: a URL without its scheme that says which log this is."""

    def __init__(self, name: str, seed: bytes) -> None:
        if len(seed) != KEY_BYTES:
            raise KeyMalformed("an Ed25519 seed has 32 bytes")
        self._seed = seed
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier_key = VerifierKey(name=name, public=self._private.public_key().public_bytes_raw())

    def __repr__(self) -> str:
        return f"SigningKey({self.verifier_key})"

    @property
    def name(self) -> str:
        """The key's name."""
        return self.verifier_key.name

    @classmethod
    def generate(cls, name: str) -> Self:
        """Make a new key.

        Raises:
            KeyMalformed: no key can have this name: it is empty, or holds a space or a plus.
        """
        return cls(name, os.urandom(KEY_BYTES))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `PRIVATE+KEY+name+id+base64`.

        Raises:
            KeyMalformed: it is not that, not Ed25519, or the id is of another key.
        """
        text = text.strip()
        if not text.startswith(PRIVATE):
            raise KeyMalformed(f"a signing key begins with {PRIVATE}")
        name, key_id, seed = _split_key(text.removeprefix(PRIVATE))
        key = cls(name, seed)
        if key.verifier_key.id.hex() != key_id:
            raise KeyMalformed("its id is of another key")
        return key

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a key from the file that `save` wrote.

        Raises:
            KeyFileUnusable: the file cannot be read.
            KeyMalformed: it holds no signing key.
        """
        try:
            text = path.read_text("utf-8")
        except OSError as error:
            raise KeyFileUnusable(path, error.strerror or "it cannot be read") from error
        except UnicodeDecodeError as error:
            raise KeyMalformed("it is no text") from error
        return cls.parse(text)

    def save(self, path: Path) -> None:
        """Write the key to a new file that only its owner can read, and wait until it is on the disk.

        Raises:
            KeyFileUnusable: it cannot be written, or is there already: a key in use is never replaced.
        """
        text = f"{PRIVATE}{self.name}+{self.verifier_key.id.hex()}+{_encode(ED25519 + self._seed)}\n"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                os.fchmod(file.fileno(), 0o600)  # whatever the process masks
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise KeyFileUnusable(path, error.strerror or "it cannot be written") from error

    def sign_note(self, text: str) -> str:
        """Return the signed note of a text, which must end in a newline and hold no other control character.

        Raises:
            NoteMalformed: no note can have this text.
        """
        if not text.endswith("\n") or _has_control(text):
            raise NoteMalformed("the text must end in a newline and hold no other control character")
        try:
            signature = self._private.sign(text.encode())
        except UnicodeEncodeError as error:
            raise NoteMalformed("the text is not UTF-8") from error
        return f"{text}\n{EM_DASH} {self.name} {_encode(self.verifier_key.id + signature)}\n"

    def sign_checkpoint(self, head: TreeHead) -> str:
        """Return the signed note of a tree head.

        Raises:
            NoteMalformed: its origin is empty or not one line.
        """
        if TreeHead.parse(str(head)) != head:
            raise NoteMalformed("the origin is one line that is not empty")
        return self.sign_note(str(head))


def verify_note(note: str, keys: Sequence[VerifierKey]) -> str:
    """Return the text of a note that at least one of the keys signed; signatures of other keys count for nothing.

    Raises:
        NoteMalformed: it is no signed note.
        SignatureInvalid: a signature that is said to be of one of the keys is not.
        SignerUnknown: none is said to be.
    """
    text, signatures = _parse_note(note)
    is_signed = False
    for name, signature in signatures:
        for key in keys:
            if (key.name, key.id) == (name, signature[:ID_BYTES]):
                if not key.has_signed(text, signature[ID_BYTES:]):
                    raise SignatureInvalid(name)
                is_signed = True
    if not is_signed:
        raise SignerUnknown(tuple(name for name, _ in signatures))
    return text


def verify_checkpoint(note: str, keys: Sequence[VerifierKey]) -> TreeHead:
    """Return what a checkpoint says that at least one of the keys signed; raises what `verify_note` raises."""
    return TreeHead.parse(verify_note(note, keys))


def read_checkpoint(note: str) -> TreeHead:
    """Return what a checkpoint says, with its signatures unverified: it must not be believed.

    Raises:
        NoteMalformed: it is no checkpoint.
    """
    return TreeHead.parse(_parse_note(note)[0])


def _parse_note(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    if len(note) > MOST_CHARACTERS:
        raise NoteMalformed("it is too long")
    if _has_control(note):
        raise NoteMalformed("it holds a control character")
    text, blank, lines = note.rpartition("\n\n")
    if not blank or not lines.endswith("\n"):
        raise NoteMalformed("the signatures are missing")
    signatures: list[tuple[str, bytes]] = []
    for line in lines[:-1].split("\n"):
        match = _SIGNATURE_LINE.fullmatch(line)
        signature = None if match is None else _decode(match[2])
        if match is None or signature is None or len(signature) <= ID_BYTES or "+" in match[1]:
            raise NoteMalformed("a line of its signatures is none")
        signatures.append((match[1], signature))
    if len(signatures) > MOST_SIGNATURES:
        raise NoteMalformed("it has too many signatures")
    return text + "\n", signatures


def _split_key(text: str) -> tuple[str, str, bytes]:
    """Return the name, the id and the 32 bytes of a key's text."""
    parts = text.split("+", 2)
    if len(parts) != _LINES:
        raise KeyMalformed("it is not name+id+base64")
    key = _decode(parts[2])
    if key is None or key[:1] != ED25519:
        raise KeyMalformed("it is no Ed25519 key in base64")
    return parts[0], parts[1], key[1:]


def _check_name(name: str) -> None:
    if not name or "+" in name or not name.isprintable() or any(character.isspace() for character in name):
        raise KeyMalformed("a key's name is not empty and holds no space and no plus")


def _has_control(text: str) -> bool:
    return re.search(r"[\x00-\x09\x0b-\x1f]", text) is not None


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str) -> bytes | None:
    """Return the bytes of a base64 text, `None` if it is not the one text of these bytes."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if _encode(data) == text else None
