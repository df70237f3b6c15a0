"""Signatures are Ed25519, over everything in a certificate's file; other keys are refused."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from forging import forge, kspace

from firenet_mri import read, reconstruct
from firenet_mri.cli import main
from firenet_mri.errors import DataError, FileError
from firenet_mri.io import read_certificate
from firenet_mri.io.signatures import check_signature, sign

DIGEST = "ab" * 32
PATH = Path("a.json")


def write_keys(folder: Path, private: Any, name: str = "key", password: bytes = b"") -> None:
    """Write NAME.pem and NAME.public.pem."""
    encryption: Any = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    pem = serialization.Encoding.PEM
    form = serialization.PrivateFormat.PKCS8
    (folder / f"{name}.pem").write_bytes(private.private_bytes(pem, form, encryption))
    public = private.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / f"{name}.public.pem").write_bytes(public)


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    """A folder with a pair of keys, and another one."""
    write_keys(tmp_path, ed25519.Ed25519PrivateKey.generate())
    write_keys(tmp_path, ed25519.Ed25519PrivateKey.generate(), "other")
    return tmp_path


OTHERS = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "p-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "x25519": x25519.X25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
}


def test_signature_is_that_of_the_standard(keys) -> None:
    """Compared with the library's own verification and with the other key."""
    signature = sign(DIGEST, keys / "key.pem")
    public: Any = serialization.load_pem_public_key((keys / "key.public.pem").read_bytes())
    public.verify(bytes.fromhex(signature["value"]), bytes.fromhex(DIGEST))
    assert signature["algorithm"] == "ed25519"
    assert set(signature) == {"algorithm", "value"}
    check_signature(PATH, DIGEST, signature, keys / "key.public.pem")
    with pytest.raises(DataError, match="was not signed with the key"):
        check_signature(PATH, DIGEST, signature, keys / "other.public.pem")
    with pytest.raises(DataError, match="was not signed with the key"):
        check_signature(PATH, "ac" + DIGEST[2:], signature, keys / "key.public.pem")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="OpenSSL is not here")
def test_openssl_makes_the_keys_and_verifies_the_signature(tmp_path) -> None:
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=tmp_path, check=True, capture_output=True)

    openssl("genpkey", "-algorithm", "ed25519", "-out", "key.pem")
    openssl("pkey", "-in", "key.pem", "-pubout", "-out", "public.pem")
    signature = sign(DIGEST, tmp_path / "key.pem")
    check_signature(PATH, DIGEST, signature, tmp_path / "public.pem")
    (tmp_path / "digest").write_bytes(bytes.fromhex(DIGEST))
    (tmp_path / "signature").write_bytes(bytes.fromhex(signature["value"]))
    verify = ("pkeyutl", "-verify", "-pubin", "-inkey", "public.pem", "-rawin")
    openssl(*verify, "-in", "digest", "-sigfile", "signature")


@pytest.mark.parametrize(
    "change",
    [
        lambda s: None,
        lambda s: "signed",
        lambda s: [],
        lambda s: {},
        lambda s: {"value": s["value"]},
        lambda s: {"algorithm": s["algorithm"]},
        lambda s: {**s, "algorithm": "none"},
        lambda s: {**s, "algorithm": "ED25519"},
        lambda s: {**s, "algorithm": ["ed25519"]},
        lambda s: {**s, "signed_by": "the head of radiology"},
        lambda s: {**s, "value": ""},
        lambda s: {**s, "value": s["value"][:-2]},
        lambda s: {**s, "value": s["value"] + "00"},
        lambda s: {**s, "value": "00" * 64},
        lambda s: {**s, "value": "no number"},
        lambda s: {**s, "value": None},
        lambda s: {**s, "value": 7},
    ],
)
def test_signature_that_was_changed_is_refused(keys, change) -> None:
    signature = change(sign(DIGEST, keys / "key.pem"))
    with pytest.raises(DataError, match=r"a\.json: (is not signed|was not signed with the key)"):
        check_signature(PATH, DIGEST, signature, keys / "key.public.pem")


@pytest.mark.parametrize("kind", OTHERS)
def test_keys_of_another_kind_are_refused(keys, kind) -> None:
    write_keys(keys, OTHERS[kind](), kind)
    with pytest.raises(FileError, match="is not a private Ed25519 key"):
        sign(DIGEST, keys / f"{kind}.pem")
    signature = sign(DIGEST, keys / "key.pem")
    with pytest.raises(FileError, match="is not a public Ed25519 key"):
        check_signature(PATH, DIGEST, signature, keys / f"{kind}.public.pem")


UNKNOWN = b"-----BEGIN PUBLIC KEY-----\nMAwwBwYDKgMEAQADAQA=\n-----END PUBLIC KEY-----\n"


@pytest.mark.parametrize(
    "content", [b"", b"no key", b"-----BEGIN PRIVATE KEY-----\nAAAA", bytes(100), UNKNOWN]
)
def test_what_is_no_key_is_said_in_one_sentence(keys, content) -> None:
    (keys / "bad.pem").write_bytes(content)
    with pytest.raises(FileError, match=r"bad\.pem: is not a private key"):
        sign(DIGEST, keys / "bad.pem")
    with pytest.raises(FileError, match=r"bad\.pem: is not a public key"):
        check_signature(PATH, DIGEST, sign(DIGEST, keys / "key.pem"), keys / "bad.pem")


def test_keys_are_not_taken_for_each_other(keys) -> None:
    with pytest.raises(FileError, match="is not a private key"):
        sign(DIGEST, keys / "key.public.pem")
    with pytest.raises(FileError, match="is not a public key"):
        check_signature(PATH, DIGEST, sign(DIGEST, keys / "key.pem"), keys / "key.pem")


def test_key_with_a_password_is_refused(keys) -> None:
    write_keys(keys, ed25519.Ed25519PrivateKey.generate(), "locked", b"secret")
    with pytest.raises(FileError, match="without a password"):
        sign(DIGEST, keys / "locked.pem")


@pytest.mark.parametrize("place", ["missing.pem", "."])
def test_key_that_is_not_there_is_missed(keys, place) -> None:
    with pytest.raises(FileError, match=r"no such file|cannot be read"):
        sign(DIGEST, keys / place)


def firenet(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """Run the command in this process; return the exit status."""
    monkeypatch.setattr(sys, "argv", ["firenet", *arguments])
    with pytest.raises(SystemExit) as raised:
        main()
    return int(raised.value.code or 0)


@pytest.fixture
def signed(keys: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with keys, a scan and a signed certificate."""
    monkeypatch.chdir(keys)
    np.save("scan.npy", kspace())
    arguments = ("recon", "scan.npy", "-o", "a.nii.gz", "--layers", "2", "--sign", "key.pem")
    assert firenet(monkeypatch, *arguments) == 0
    return keys


CERTIFY = ("certify", "a.json", "--signed-by")


def test_command_signs_and_checks(signed, monkeypatch, capsys) -> None:
    capsys.readouterr()
    assert firenet(monkeypatch, *CERTIFY, "key.public.pem", "--scan", "scan.npy") == 0
    assert "It was signed with the key that belongs to key.public.pem." in capsys.readouterr().out
    assert firenet(monkeypatch, *CERTIFY, "key.public.pem", "--json") == 0
    assert json.loads(capsys.readouterr().out)["signed"] is True
    assert firenet(monkeypatch, *CERTIFY, "other.public.pem") == 1
    assert "was not signed with the key" in capsys.readouterr().err
    assert firenet(monkeypatch, "certify", "a.json") == 0
    assert "Its signature was not checked" in capsys.readouterr().out


def test_nothing_of_the_private_key_is_written(signed) -> None:
    secret: Any = serialization.load_pem_private_key((signed / "key.pem").read_bytes(), None)
    raw = secret.private_bytes_raw()
    for path in signed.iterdir():
        if path.suffix != ".pem":
            data = path.read_bytes()
            assert raw not in data
            assert raw.hex().encode() not in data
            assert b"key.pem" not in data
            assert str(signed).encode() not in data


@pytest.mark.parametrize(
    "change",
    [
        lambda report: report.update(image_units="ng"),
        lambda report: report["scan"].update(name="another"),
        lambda report: report["timings"].update(network_s=0.0),
        lambda report: report.update(further="field"),
        lambda report: report["certificate"].update(scope="everything"),
        lambda report: None,
    ],
)
def test_whatever_is_changed_later_is_not_signed(signed, change, monkeypatch, capsys) -> None:
    """Digests are made anew; where nothing else changed, the evidence did."""
    report = json.loads((signed / "a.json").read_text())
    signature = report.pop("signature")
    (signed / "a.json").write_text(json.dumps(report))
    with h5py.File(signed / "a.evidence.h5", "r+") as file:
        file["x"][...] *= 2
    forge(signed, change)
    report = json.loads((signed / "a.json").read_text())
    (signed / "a.json").write_text(json.dumps({**report, "signature": signature}))
    assert firenet(monkeypatch, *CERTIFY, "key.public.pem") == 1
    assert "was not signed with the key" in capsys.readouterr().err


def test_evidence_that_was_exchanged_is_refused(signed, monkeypatch, capsys) -> None:
    """Its digest is signed, too."""
    reconstruct(read("scan.npy"), layers=3).save("b.nii.gz")
    shutil.copy("b.evidence.h5", "a.evidence.h5")
    assert firenet(monkeypatch, *CERTIFY, "key.public.pem", "--scan", "scan.npy") == 1
    assert "is not the evidence of a.json" in capsys.readouterr().err


def test_signature_of_another_certificate_is_refused(signed) -> None:
    reconstruct(read(signed / "scan.npy"), layers=3).save(
        signed / "b.nii.gz", key=signed / "key.pem"
    )
    first, second = (json.loads((signed / f"{name}.json").read_text()) for name in "ab")
    (signed / "a.json").write_text(json.dumps({**first, "signature": second["signature"]}))
    with pytest.raises(DataError, match="was not signed with the key"):
        read_certificate(signed / "a.json").check_signature(signed / "key.public.pem")


def test_bad_key_is_refused_before_any_work(keys, monkeypatch, capsys) -> None:
    monkeypatch.chdir(keys)
    (keys / "no_scan.npy").write_text("this would be refused, too")
    arguments = ("recon", "no_scan.npy", "-o", "a.nii.gz", "--sign", "key.public.pem")
    assert firenet(monkeypatch, *arguments) == 1
    assert "key.public.pem: is not a private key" in capsys.readouterr().err
