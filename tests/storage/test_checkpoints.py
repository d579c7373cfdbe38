"""Signed notes and checkpoints: the published examples, and everything that must not pass."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quorate_storage.checkpoints import (
    KeyFileUnusable,
    KeyMalformed,
    NoteMalformed,
    SignatureInvalid,
    SignerUnknown,
    SigningKey,
    TreeHead,
    VerifierKey,
    read_checkpoint,
    verify_checkpoint,
    verify_note,
)

# The example of golang.org/x/mod/sumdb/note.
PUBLISHED_SIGNING_KEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PUBLISHED_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PUBLISHED_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
PUBLISHED_NOTE = (
    f"{PUBLISHED_TEXT}\n— PeterNeumann "
    "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
# The example of c2sp.org/tlog-checkpoint.
PUBLISHED_CHECKPOINT = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
GO_CHECKSUM_DATABASE = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"

HEAD = TreeHead(origin="quorate.example/audit", size=7, root=bytes(range(32)))


def key(name: str = "quorate.example/audit", seed: int = 1) -> SigningKey:
    return SigningKey(name, bytes([seed]) * 32)


def test_the_published_key_signs_the_published_note() -> None:
    assert SigningKey.parse(PUBLISHED_SIGNING_KEY).sign_note(PUBLISHED_TEXT) == PUBLISHED_NOTE


def test_the_published_note_verifies() -> None:
    assert verify_note(PUBLISHED_NOTE, [VerifierKey.parse(PUBLISHED_KEY)]) == PUBLISHED_TEXT


@pytest.mark.parametrize("text", [PUBLISHED_KEY, GO_CHECKSUM_DATABASE])
def test_published_verifier_keys_are_read_and_written_alike(text: str) -> None:
    assert str(VerifierKey.parse(text)) == text


def test_the_published_signing_key_has_the_published_verifier_key() -> None:
    assert str(SigningKey.parse(PUBLISHED_SIGNING_KEY).verifier_key) == PUBLISHED_KEY


def test_the_published_checkpoint_is_read() -> None:
    head = read_checkpoint(PUBLISHED_CHECKPOINT)
    assert (head.origin, head.size) == ("example.com/behind-the-sofa", 20852163)
    assert head.root == base64.b64decode("CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=")


def test_a_signed_checkpoint_says_its_tree_head() -> None:
    note = key().sign_checkpoint(HEAD)
    assert note.startswith("quorate.example/audit\n7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\n— quorate")
    assert verify_checkpoint(note, [key().verifier_key]) == HEAD


@given(st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_every_tree_head_comes_back(size: int, root: bytes) -> None:
    head = TreeHead(origin="a log", size=size, root=root)
    assert verify_checkpoint(key().sign_checkpoint(head), [key().verifier_key]) == head


def test_a_changed_text_is_refused() -> None:
    note = key().sign_checkpoint(HEAD).replace("\n7\n", "\n8\n")
    with pytest.raises(SignatureInvalid, match="does not fit"):
        verify_note(note, [key().verifier_key])


def test_a_signature_of_an_unknown_key_is_none() -> None:
    note = key(seed=2).sign_checkpoint(HEAD)
    with pytest.raises(SignerUnknown, match="no key that was given"):
        verify_note(note, [key().verifier_key])


def test_further_signatures_are_ignored_when_one_is_known() -> None:
    note = key().sign_checkpoint(HEAD)
    witness = key("witness.example", seed=2).sign_note(str(HEAD)).split("\n\n")[1]
    assert verify_checkpoint(note + witness, [key().verifier_key]) == HEAD


def test_one_bad_signature_of_a_known_key_refuses_the_note() -> None:
    note = key().sign_checkpoint(HEAD)
    forged = key().sign_note("other\n").split("\n\n")[1]
    with pytest.raises(SignatureInvalid):
        verify_note(note + forged, [key().verifier_key])


def test_a_text_may_hold_empty_lines() -> None:
    note = key().sign_note("one\n\n\ntwo\n")
    assert verify_note(note, [key().verifier_key]) == "one\n\n\ntwo\n"


@pytest.mark.parametrize(
    "note",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n\n— name AAAA",
        "text\n\n— name !!!!\n",
        "text\n\n— name AAAA\n",
        "text\n\n— na+me AAAAAAAA\n",
        "text\n\n- name AAAAAAAA\n",
        "text\n\n— name AAAAAAAB= \n",
        "te\rxt\n\n— name AAAAAAAA\n",
        "text\n\n" + "— name AAAAAAAA\n" * 101,
        "x" * 300_000 + "\n\n— name AAAAAAAA\n",
    ],
)
def test_what_is_no_note_is_refused(note: str) -> None:
    with pytest.raises(NoteMalformed):
        verify_note(note, [key().verifier_key])


@given(st.text())
def test_no_text_does_anything_but_be_refused(note: str) -> None:
    with pytest.raises((NoteMalformed, SignerUnknown)):
        verify_note(note, [key().verifier_key])


@pytest.mark.parametrize(
    "text",
    [
        "origin\n7\n",
        "\n7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "origin\n07\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "origin\n-7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "origin\n\u0667\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n",
        "origin\n7\nAAEC\n",
        "origin\n7\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh9=\n",
    ],
)
def test_a_signed_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteMalformed):
        verify_checkpoint(key().sign_note(text), [key().verifier_key])


def test_extension_lines_are_allowed() -> None:
    assert verify_checkpoint(key().sign_note(f"{HEAD}more\n"), [key().verifier_key]) == HEAD


@pytest.mark.parametrize("origin", ["", "two\nlines"])
def test_an_origin_that_is_not_one_line_is_not_signed(origin: str) -> None:
    with pytest.raises(NoteMalformed):
        key().sign_checkpoint(TreeHead(origin=origin, size=1, root=bytes(32)))


@pytest.mark.parametrize("text", ["no newline", "tab\t\n", "\ud800\n"])
def test_a_text_that_no_note_can_have_is_not_signed(text: str) -> None:
    with pytest.raises(NoteMalformed):
        key().sign_note(text)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\n"])
def test_no_key_has_such_a_name(name: str) -> None:
    with pytest.raises(KeyMalformed):
        SigningKey.generate(name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "PeterNeumann+c74f20a3",
        "PeterNeumann+c74f20a4+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+C74F20A3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+Ahpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy",
        "PeterNeumann+c74f20a3+not base64",
    ],
)
def test_a_text_that_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(KeyMalformed):
        VerifierKey.parse(text)
    with pytest.raises(KeyMalformed):
        SigningKey.parse(text)


def test_a_signing_key_with_the_id_of_another_is_refused() -> None:
    with pytest.raises(KeyMalformed, match="another key"):
        SigningKey.parse(PUBLISHED_SIGNING_KEY.replace("c74f20a3", "00000000"))


def test_a_saved_key_signs_the_same_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    path = tmp_path / "audit.key"
    made = SigningKey.generate("quorate.example/audit")
    made.save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert SigningKey.load(path).sign_checkpoint(HEAD) == made.sign_checkpoint(HEAD)


def test_a_key_file_is_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "audit.key"
    key().save(path)
    with pytest.raises(KeyFileUnusable, match="File exists"):
        key(seed=2).save(path)
    assert SigningKey.load(path).verifier_key == key().verifier_key


def test_a_key_file_that_is_missing_or_no_key_is_named(tmp_path: Path) -> None:
    with pytest.raises(KeyFileUnusable, match=r"audit\.key.*No such file"):
        SigningKey.load(tmp_path / "audit.key")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(KeyMalformed):
        SigningKey.load(tmp_path / "bytes")


def test_two_generated_keys_differ_and_do_not_show_their_seed() -> None:
    one, two = SigningKey.generate("a"), SigningKey.generate("a")
    assert one.verifier_key != two.verifier_key
    assert repr(one) == f"SigningKey({one.verifier_key})"
