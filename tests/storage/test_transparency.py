"""The Merkle tree: the published vectors of certificate transparency, every small proof, and random trees."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate_storage.transparency import (
    EMPTY_ROOT,
    FIRST_CHAIN,
    Frontier,
    FrontierDamaged,
    OutsideTree,
    chain_hash,
    commitment,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

INPUTS = [
    bytes.fromhex(text)
    for text in (
        "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
    )
]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LARGEST = 16


def leaves(count: int) -> list[bytes]:
    return [leaf_hash(b"leaf %d" % number) for number in range(count)]


@pytest.mark.parametrize("size", range(9))
def test_published_roots(size: int) -> None:
    assert root_of([leaf_hash(text) for text in INPUTS[:size]]).hex() == ROOTS[size]


def test_a_published_inclusion_proof() -> None:
    proof = inclusion_proof([leaf_hash(text) for text in INPUTS], 5)
    assert [step.hex() for step in proof] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_a_published_consistency_proof() -> None:
    proof = consistency_proof([leaf_hash(text) for text in INPUTS], 1)
    assert [step.hex() for step in proof] == [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ]


def test_the_published_consistency_proof_from_six_to_eight() -> None:
    proof = consistency_proof([leaf_hash(text) for text in INPUTS], 6)
    assert [step.hex() for step in proof] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@pytest.mark.parametrize("size", range(1, LARGEST + 1))
def test_every_inclusion_proof_holds_for_its_leaf_and_place_only(size: int) -> None:
    tree = leaves(size)
    root = root_of(tree)
    for index, leaf in enumerate(tree):
        proof = inclusion_proof(tree, index)
        held = [
            (other, place)
            for other in range(size)
            for place in range(size)
            if verify_inclusion(tree[other], index=place, size=size, proof=proof, root=root)
        ]
        assert held == [(index, index)]
        assert not verify_inclusion(leaf, index=index, size=size, proof=[*proof, root], root=root)
        assert not verify_inclusion(leaf, index=index, size=size, proof=proof, root=leaf_hash(b"other"))
        for step in range(len(proof)):
            changed = [*proof[:step], leaf_hash(b"other"), *proof[step + 1 :]]
            assert not verify_inclusion(leaf, index=index, size=size, proof=changed, root=root)
            shorter = [*proof[:step], *proof[step + 1 :]]
            assert not verify_inclusion(leaf, index=index, size=size, proof=shorter, root=root)


@pytest.mark.parametrize("second", range(LARGEST + 1))
def test_every_consistency_proof_holds_for_its_two_trees_only(second: int) -> None:
    tree = leaves(second)
    new_root = root_of(tree)
    for first in range(second + 1):
        proof = consistency_proof(tree, first)
        old_root = root_of(tree[:first])
        assert verify_consistency(first, second, first_root=old_root, second_root=new_root, proof=proof)
        other = leaf_hash(b"other")
        assert not verify_consistency(first, second, first_root=other, second_root=new_root, proof=proof)
        assert not verify_consistency(first, second, first_root=old_root, second_root=new_root, proof=[*proof, other])
        if first not in {0, second}:
            assert not verify_consistency(first, second, first_root=old_root, second_root=other, proof=proof)
        for step in range(len(proof)):
            for changed in ([*proof[:step], other, *proof[step + 1 :]], [*proof[:step], *proof[step + 1 :]]):
                assert not verify_consistency(first, second, first_root=old_root, second_root=new_root, proof=changed)


@pytest.mark.parametrize("second", range(2, LARGEST + 1))
def test_no_consistency_proof_joins_a_rewritten_tree(second: int) -> None:
    tree = leaves(second)
    rewritten = [leaf_hash(b"rewritten"), *tree[1:]]
    for first in range(1, second):
        proof = consistency_proof(rewritten, first)
        old_root, new_root = root_of(tree[:first]), root_of(rewritten)
        assert not verify_consistency(first, second, first_root=old_root, second_root=new_root, proof=proof)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=200), st.data())
def test_proofs_of_random_trees_hold(bodies: list[bytes], data: st.DataObject) -> None:
    tree = [leaf_hash(body) for body in bodies]
    root = root_of(tree)
    index = data.draw(st.integers(0, len(tree) - 1))
    proof = inclusion_proof(tree, index)
    assert len(proof) <= (len(tree) - 1).bit_length()
    assert verify_inclusion(tree[index], index=index, size=len(tree), proof=proof, root=root)
    size = data.draw(st.integers(0, len(tree)))
    joined = consistency_proof(tree, size)
    assert verify_consistency(size, len(tree), first_root=root_of(tree[:size]), second_root=root, proof=joined)


@given(st.integers(0, 300))
def test_a_frontier_goes_on_after_it_was_packed(size: int) -> None:
    frontier = Frontier()
    for leaf in leaves(size):
        frontier.append(leaf)
    again = Frontier.unpack(frontier.pack())
    again.append(leaf_hash(b"leaf %d" % size))
    assert (again.size, again.root()) == (size + 1, root_of(leaves(size + 1)))


@given(st.lists(st.binary(max_size=10), max_size=40))
def test_the_root_is_that_of_the_recursive_definition(bodies: list[bytes]) -> None:
    def root(tree: list[bytes]) -> bytes:
        if len(tree) <= 1:
            return tree[0] if tree else sha256(b"").digest()
        middle = max(2**power for power in range(10) if 2**power < len(tree))
        return node_hash(root(tree[:middle]), root(tree[middle:]))

    tree = [leaf_hash(body) for body in bodies]
    assert root_of(tree) == root(tree)


def test_an_empty_frontier_is_no_bytes() -> None:
    assert (Frontier().pack(), Frontier.unpack(b"").root()) == (b"", EMPTY_ROOT)


@pytest.mark.parametrize("packed", [b"x", bytes(7), bytes(8) + bytes(32), bytes(7) + b"\x03" + bytes(32), bytes(41)])
def test_a_damaged_frontier_is_refused(packed: bytes) -> None:
    with pytest.raises(FrontierDamaged, match="damaged"):
        Frontier.unpack(packed)


@pytest.mark.parametrize("index", [-1, 3])
def test_no_proof_of_what_the_tree_does_not_have(index: int) -> None:
    with pytest.raises(OutsideTree, match="outside a tree of 3"):
        inclusion_proof(leaves(3), index)
    with pytest.raises(OutsideTree):
        consistency_proof(leaves(3), index if index < 0 else 4)


def test_sizes_that_cannot_be_prove_nothing() -> None:
    leaf = leaves(1)[0]
    assert not verify_inclusion(leaf, index=1, size=1, proof=[], root=leaf)
    assert not verify_inclusion(leaf, index=0, size=2, proof=[b"short"], root=leaf)
    assert not verify_consistency(2, 1, first_root=leaf, second_root=leaf, proof=[])
    assert not verify_consistency(3, 5, first_root=leaf, second_root=leaf, proof=[])


def test_the_chain_starts_with_nothing() -> None:
    first, second = leaves(2)
    one = chain_hash(FIRST_CHAIN, first)
    assert one == sha256(first).digest()
    assert chain_hash(one, second) == sha256(one + second).digest()


def test_a_commitment_is_the_hash_of_salt_and_text() -> None:
    assert commitment(b"salt", "grün") == sha256(b"salt" + "grün".encode()).hexdigest()
    assert commitment(b"other", "grün") != commitment(b"salt", "grün")
