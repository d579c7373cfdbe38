"""The Merkle tree and the hash chain over the audit events, as pure functions of bytes.

The tree is that of certificate transparency: a leaf is SHA-256(0x00 || body), an inner node is
SHA-256(0x01 || left || right), and a tree of n leaves is split at the largest power of two below n. A root stands
for every leaf and its place; an inclusion proof shows that a leaf is under a root, a consistency proof shows that
a later tree only appended to an earlier one. Both are about log2(n) hashes.

The chain is what a reader checks row by row: chain_0 is empty, chain_n = SHA-256(chain_{n-1} || leaf_n). It finds
an edited, missing or moved row, but whoever can rewrite every row can rewrite the chain as well: only a signed root
that lies elsewhere (`checkpoints`) stands against that.

Source: RFC 6962, section 2.1; RFC 9162, sections 2.1.3 and 2.1.4.
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Sequence
from hashlib import sha256
from typing import Self

from quorate_storage.errors import StorageError

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
"""The root of a tree without leaves."""

FIRST_CHAIN = b""
"""chain_0: what the chain's hash is before the first event."""

_SIZE = struct.Struct(">Q")


class FrontierDamaged(StorageError):
    """Bytes that no `Frontier.pack` wrote. Nothing was changed."""

    def __str__(self) -> str:
        return "the stored edge of the audit tree is damaged"


class OutsideTree(StorageError):
    """A proof was asked for a leaf or a size that the tree does not have."""

    def __init__(self, wanted: int, size: int) -> None:
        super().__init__(wanted, size)
        self.wanted = wanted
        self.size = size

    def __str__(self) -> str:
        return f"{self.wanted} is outside a tree of {self.size} leaves"


def leaf_hash(body: bytes) -> bytes:
    """Return the hash of a leaf."""
    return sha256(b"\x00" + body).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def chain_hash(before: bytes, leaf: bytes) -> bytes:
    """Return the chain's hash after one more leaf."""
    return sha256(before + leaf).digest()


def commitment(salt: bytes, text: str) -> str:
    """Return what the log holds of a personal text: SHA-256(salt || UTF-8 text), in hexadecimal.

    Without the salt, which is erased with the text, not even a guess of the text can be checked. A lone surrogate,
    which UTF-8 cannot hold, stands for itself in three bytes.
    """
    return sha256(salt + text.encode("utf-8", "surrogatepass")).hexdigest()


class Frontier:
    """The right edge of a tree: all that is needed to append a leaf and to know the root.

    It holds the roots of the full subtrees that make up the tree, the largest first: one for each bit that is set
    in the number of leaves. Appending costs one hash on average and log2(n) at most.
    """

    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if len(peaks) != size.bit_count():
            raise FrontierDamaged
        self.size = size
        self._peaks = list(peaks)

    def append(self, leaf: bytes) -> None:
        """Add the hash of one more leaf at the right."""
        peaks, filled = self._peaks, self.size
        while filled & 1:
            leaf = node_hash(peaks.pop(), leaf)
            filled >>= 1
        peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root

    def pack(self) -> bytes:
        """Return the edge as bytes: the size as eight bytes, big-endian, and the hashes; nothing for an empty tree."""
        return _SIZE.pack(self.size) + b"".join(self._peaks) if self.size else b""

    @classmethod
    def unpack(cls, packed: bytes) -> Self:
        """Read what `pack` wrote.

        Raises:
            FrontierDamaged: it did not.
        """
        if not packed:
            return cls()
        if len(packed) < _SIZE.size or (len(packed) - _SIZE.size) % HASH_BYTES:
            raise FrontierDamaged
        (size,) = _SIZE.unpack_from(packed)
        return cls(size, [packed[at : at + HASH_BYTES] for at in range(_SIZE.size, len(packed), HASH_BYTES)])


def root_of(leaves: Sequence[bytes]) -> bytes:
    """Return the root over the hashes of leaves."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the proof that the leaf at `index`, counted from 0, is in the tree over `leaves`.

    Raises:
        OutsideTree: there is no such leaf.

    Source: RFC 6962, section 2.1.1.
    """
    if not 0 <= index < len(leaves):
        raise OutsideTree(index, len(leaves))
    proof: list[bytes] = []
    first, after = 0, len(leaves)
    while after - first > 1:
        middle = first + _split(after - first)
        if index < middle:
            proof.append(root_of(leaves[middle:after]))
            after = middle
        else:
            proof.append(root_of(leaves[first:middle]))
            first = middle
    return proof[::-1]


def consistency_proof(leaves: Sequence[bytes], size: int) -> list[bytes]:
    """Return the proof that the tree over `leaves` begins with the tree over the first `size` of them.

    Nothing has to be proved of the empty tree or of the same tree: their proof is empty.

    Raises:
        OutsideTree: the tree is not that large.

    Source: RFC 6962, section 2.1.2.
    """
    if not 0 <= size <= len(leaves):
        raise OutsideTree(size, len(leaves))
    if size in {0, len(leaves)}:
        return []
    proof: list[bytes] = []
    first, after = 0, len(leaves)
    while size != after:
        middle = first + _split(after - first)
        if size <= middle:
            proof.append(root_of(leaves[middle:after]))
            after = middle
        else:
            proof.append(root_of(leaves[first:middle]))
            first = middle
    if first > 0:
        # Where the earlier tree is a whole left part of the later one, its root is known already.
        proof.append(root_of(leaves[first:after]))
    return proof[::-1]


def verify_inclusion(leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Tell whether `proof` shows that the leaf at `index` is in the tree of `size` leaves with this root.

    Source: RFC 9162, section 2.1.3.2.
    """
    if not 0 <= index < size or not _are_hashes(proof):
        return False
    sides = _sides(index, size - 1, len(proof))
    return sides is not None and hmac.compare_digest(_climb(leaf, proof, sides), root)


def verify_consistency(
    first: int, second: int, *, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Tell whether `proof` shows that the tree of `second` leaves begins with the tree of `first` leaves.

    Source: RFC 9162, section 2.1.4.2.
    """
    if not 0 <= first <= second or not _are_hashes(proof):
        return False
    if first in {0, second}:
        expected = EMPTY_ROOT if first == 0 else second_root
        return not proof and hmac.compare_digest(first_root, expected)
    # A first tree that fills its subtree is the left end of the path, and so not part of the proof.
    steps = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    place, last = first - 1, second - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    sides = _sides(place, last, len(steps) - 1)
    if sides is None:  # so it is without any step: the two trees differ
        return False
    # What lies at the right of the path is not part of the first tree.
    lefts = [step for step, is_left in zip(steps[1:], sides, strict=True) if is_left]
    earlier = _climb(steps[0], lefts, [True] * len(lefts))
    later = _climb(steps[0], steps[1:], sides)
    return hmac.compare_digest(earlier, first_root) and hmac.compare_digest(later, second_root)


def _climb(node: bytes, steps: Sequence[bytes], sides: Sequence[bool]) -> bytes:
    """Return the root that a node reaches with these siblings, each at the left or at the right."""
    for step, is_left in zip(steps, sides, strict=True):
        node = node_hash(step, node) if is_left else node_hash(node, step)
    return node


def _sides(place: int, last: int, steps: int) -> list[bool] | None:
    """Return for each step up from a node whether its sibling is at the left; `None` if the root is not that far."""
    sides: list[bool] = []
    for _ in range(steps):
        if last == 0:
            return None
        is_left = bool(place & 1) or place == last
        sides.append(is_left)
        while is_left and place and not place & 1:
            place, last = place >> 1, last >> 1
        place, last = place >> 1, last >> 1
    return sides if last == 0 else None


def _split(size: int) -> int:
    """Return the largest power of two below a size of 2 or more."""
    return 1 << (size - 1).bit_length() - 1


def _are_hashes(proof: Sequence[bytes]) -> bool:
    return all(len(step) == HASH_BYTES for step in proof)
