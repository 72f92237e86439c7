import base64
import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.errors import WardroundError
from wardround.trust.merkle import (
    EMPTY_ROOT,
    MerkleTree,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(bytes([i])) for i in range(70)]


def tree_of(size: int) -> MerkleTree:
    tree = MerkleTree()
    for hashed in LEAVES[:size]:
        tree.append(hashed)
    return tree


@cache
def recursive_root(start: int, end: int) -> bytes:
    """RFC 6962 section 2.1, word for word: the oracle."""
    if end - start == 1:
        return LEAVES[start]
    k = 1
    while k * 2 < end - start:
        k *= 2
    left, right = recursive_root(start, start + k), recursive_root(start + k, end)
    return hashlib.sha256(b"\x01" + left + right).digest()


def bytes_of(text: str) -> bytes:
    return base64.b64decode(text)


def decides(vector: dict[str, Any], verify: Callable[[], None]) -> None:
    """A published vector is accepted or refused as published."""
    try:
        verify()
        accepted = True
    except WardroundError as error:
        assert error.code in ("WR-TRUST-051", "WR-TRUST-052")
        accepted = False
    assert accepted is not vector["wantErr"], vector["desc"]


def vectors(folder: Path, expected: int) -> list[dict[str, Any]]:
    found = [json.loads(path.read_bytes()) for path in sorted(folder.rglob("*.json"))]
    assert len(found) == expected
    return found


def test_all_98_published_inclusion_proofs(shared: Path) -> None:
    for one in vectors(shared / "vectors/merkle/testdata/inclusion", 98):
        proof = [bytes_of(p) for p in one["proof"] or []]
        decides(
            one,
            lambda one=one, proof=proof: verify_inclusion(
                bytes_of(one["leafHash"]),
                one["leafIdx"],
                one["treeSize"],
                proof,
                bytes_of(one["root"]),
            ),
        )


def test_all_98_published_consistency_proofs(shared: Path) -> None:
    for one in vectors(shared / "vectors/merkle/testdata/consistency", 98):
        proof = [bytes_of(p) for p in one["proof"] or []]
        decides(
            one,
            lambda one=one, proof=proof: verify_consistency(
                one["size1"],
                bytes_of(one["root1"]),
                one["size2"],
                bytes_of(one["root2"]),
                proof,
            ),
        )


def test_roots_of_the_certificate_transparency_reference_tree() -> None:
    # certificate-transparency-go and transparency-dev/merkle, testonly.LeafInputs and RootHashes
    inputs = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657",
              "606162636465666768696a6b6c6d6e6f"]  # fmt: skip
    roots = {
        0: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        1: "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        2: "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        3: "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        4: "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        5: "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        6: "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        7: "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        8: "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    }
    tree = MerkleTree()
    for text in inputs:
        tree.append(leaf_hash(bytes.fromhex(text)))
    assert {size: tree.root(size).hex() for size in range(9)} == roots


def test_every_root_and_proof_up_to_70_leaves() -> None:
    tree = tree_of(70)
    assert tree.root(0) == EMPTY_ROOT
    for size in range(1, 71):
        root = recursive_root(0, size)
        assert tree.root(size) == root == tree_of(size).root()
        for index in range(size):
            verify_inclusion(LEAVES[index], index, size, tree.inclusion_proof(index, size), root)
        for older in range(1, size + 1):
            proof = tree.consistency_proof(older, size)
            verify_consistency(older, tree.root(older), size, root, proof)


@given(st.data())
def test_any_other_claim_fails(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 70))
    index = data.draw(st.integers(0, size - 1))
    tree = tree_of(size)
    proof, root = tree.inclusion_proof(index), tree.root()
    position = data.draw(st.integers(0, len(proof) - 1))
    flipped = bytearray(proof[position])
    flipped[data.draw(st.integers(0, 31))] ^= 1
    altered = (*proof[:position], bytes(flipped), *proof[position + 1 :])
    for claim in (
        (LEAVES[index], index, size, altered, root),
        (LEAVES[index], index, size, proof[:-1], root),
        (LEAVES[index], index, size, (*proof, root), root),
        (LEAVES[index], (index + 1) % size, size, proof, root),
        (LEAVES[index], index, size, proof, tree.root(size - 1)),
        (leaf_hash(b"other"), index, size, proof, root),
        (LEAVES[index], -1, size, proof, root),
        (LEAVES[index][:31], index, size, proof, root),
    ):
        with pytest.raises(WardroundError, match="WR-TRUST-051"):
            verify_inclusion(*claim)


@given(st.data())
def test_a_rewritten_log_is_found(data: st.DataObject) -> None:
    size2 = data.draw(st.integers(2, 70))
    size1 = data.draw(st.integers(1, size2 - 1))
    changed = data.draw(st.integers(0, size1 - 1))
    rewritten = MerkleTree()
    for index, hashed in enumerate(LEAVES[:size2]):
        rewritten.append(leaf_hash(b"rewritten") if index == changed else hashed)
    honest = tree_of(size2)
    proof = rewritten.consistency_proof(size1)
    for root2, given_proof in (
        (rewritten.root(), proof),
        (rewritten.root(), honest.consistency_proof(size1)),
        (honest.root(), proof[:-1]),
    ):
        with pytest.raises(WardroundError, match="WR-TRUST-052"):
            verify_consistency(size1, honest.root(size1), size2, root2, given_proof)


@given(st.integers(0, 70), st.integers(0, 70))
def test_truncating_is_as_if_it_never_grew(size: int, kept: int) -> None:
    tree = tree_of(size)
    if kept > size:
        with pytest.raises(WardroundError, match="WR-TRUST-050"):
            tree.truncate(kept)
        return
    tree.truncate(kept)
    assert tree.size == kept
    for hashed in LEAVES[kept:]:
        tree.append(hashed)
    assert tree.root() == tree_of(70).root()


def test_a_leaf_cannot_pass_for_a_node() -> None:
    two = tree_of(2)
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != two.root()


def test_what_does_not_exist_cannot_be_proved() -> None:
    tree = tree_of(5)
    for ask in (
        lambda: tree.inclusion_proof(5),
        lambda: tree.inclusion_proof(-1),
        lambda: tree.inclusion_proof(3, 3),
        lambda: tree.inclusion_proof(0, 6),
        lambda: tree.consistency_proof(0),
        lambda: tree.consistency_proof(6),
        lambda: tree.consistency_proof(4, 3),
        lambda: tree.root(6),
        lambda: tree.root(-1),
        lambda: tree.append(b"short"),
    ):
        with pytest.raises(WardroundError, match="WR-TRUST-050"):
            ask()
