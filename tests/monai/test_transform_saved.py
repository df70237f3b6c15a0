"""Certificates of a MONAI pipeline are recomputed from the scan's file; forged ones are refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from firenet_command import firenet
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch, list_data_collate
from monai.transforms import Compose, LoadImaged, SaveImaged

import firenet_mri.monai as fm
from firenet_mri.digests import digest_of_data, digest_of_file
from firenet_mri.errors import DataError, FileError, UsageError
from firenet_mri.io import read, read_certificate, write_scan
from firenet_mri.monai.evidence import Carried
from firenet_mri.scan import Geometry, RawScan

FAST = {"maps": "lowres", "layers": 2, "sparsifier": "haar"}
CHECKABLE = {**FAST, "certificate": True, "evidence": True}


def scan_of(draw, coils: int = 3) -> RawScan:
    """Return two oblique slices of noise, with a noise measurement."""
    kspace = draw(2, coils, 24, 20, dtype=torch.complex64)
    mask = torch.ones(24, 20, dtype=torch.bool)
    mask[1:6] = False
    directions = (0.8, 0.6, 0.0), (-0.6, 0.8, 0.0), (0.0, 0.0, 1.0)
    places = ((1.0, 2.0, 3.0), (1.0, 2.0, 9.0))
    geometry = Geometry((5.0, 48.0, 40.0), places, *directions)
    noise = 0.1 * draw(coils, 300, dtype=torch.complex64)
    return RawScan(kspace * mask, mask, 2, noise, geometry)


@pytest.fixture
def path(tmp_path: Path, randn) -> Path:
    write_scan(tmp_path / "scan.h5", scan_of(randn))
    return tmp_path / "scan.h5"


def saving(folder: Path, **options: Any) -> SaveImaged:
    return SaveImaged(
        "scan",
        output_dir=folder,
        output_postfix="",
        separate_folder=False,
        print_log=False,
        savepath_in_metadict=True,
        **{"resample": False, **options},
    )


def pipeline(folder: Path, *, writer: Any = None, **options: Any) -> Compose:
    """Return the pipeline of docs/monai.md, without the certificate's last step."""
    return Compose(
        [
            fm.LoadKspaced("scan"),
            fm.FIRENETReconstructd("scan", **{**CHECKABLE, **options}),
            saving(folder, writer=writer),
        ]
    )


def saved(path: Path, **options: Any) -> Path:
    """Return the certificate of a pipeline's image."""
    made = pipeline(path.parent / "out", **options)({"scan": str(path)})
    fm.SaveCertificated("scan")(made)
    (certificate,) = (path.parent / "out").glob("*.json")
    return certificate


@pytest.mark.parametrize(
    ("output", "writer"),
    [
        ("magnitude", None),
        ("magnitude", fm.ComplexNiftiWriter),
        # MONAI's own writer drops the imaginary part.
        ("complex", fm.ComplexNiftiWriter),
    ],
)
def test_the_command_recomputes_the_certificate_of_a_pipeline(path, output, writer) -> None:
    certificate = saved(path, output=output, writer=writer)
    found = firenet("certify", certificate, "--scan", path, "--again")
    assert found.status == 0, found.err
    said = " ".join(found.out.split())
    assert "Recomputed and the same: duality gap" in said
    assert "The network was run again and gives this image" in said


@pytest.mark.parametrize("suffix", [".npy", ".cfl"])
def test_scans_without_a_place_and_with_one_coil_are_recomputed(tmp_path, randn, suffix) -> None:
    coils = 1 if suffix == ".npy" else 3
    source = scan_of(randn, coils)
    one = replace(source, kspace=source.kspace[0], mask=source.mask[0], noise=None, geometry=None)
    write_scan(tmp_path / f"scan{suffix}", one)
    certificate = saved(tmp_path / f"scan{suffix}")
    found = firenet("certify", certificate, "--scan", tmp_path / f"scan{suffix}")
    assert found.status == 0, found.err


def test_what_was_changed_is_refused(path, randn) -> None:
    certificate = saved(path)
    image = certificate.with_name("scan.nii.gz")
    evidence = certificate.with_name("scan.evidence.h5")
    write_scan(path.with_name("other.h5"), replace(scan_of(randn), geometry=None))
    refused = firenet("certify", certificate, "--scan", path.with_name("other.h5"))
    assert "is not the scan" in refused.err
    kept = evidence.read_bytes()
    with h5py.File(evidence, "r+") as file:
        file["source"][...] *= 2
    refused = firenet("certify", certificate, "--scan", path)
    assert "is not the evidence of scan.json" in refused.err
    evidence.write_bytes(kept)
    old = nibabel.load(image)
    nibabel.save(nibabel.Nifti1Image(2 * old.get_fdata(), old.affine), image)
    refused = firenet("certify", certificate, "--scan", path)
    assert "is not the image of scan.json" in refused.err


def test_an_image_that_was_moved_is_refused_though_every_digest_was_made_anew(path) -> None:
    certificate = saved(path)
    image = certificate.with_name("scan.nii.gz")
    old = nibabel.load(image)
    affine = old.affine.copy()
    affine[0, 3] += 1
    nibabel.save(nibabel.Nifti1Image(np.asarray(old.dataobj), affine), image)
    report = json.loads(certificate.read_text())
    del report["digest"]
    report["certificate"]["digests"]["file"] = digest_of_file(image)
    certificate.write_text(json.dumps({**report, "digest": digest_of_data(report)}))
    refused = firenet("certify", certificate, "--scan", path)
    assert "does not lie where the scan does" in refused.err


def test_an_image_or_a_file_that_was_changed_gets_no_certificate(path) -> None:
    folder = path.parent / "out"
    made = pipeline(folder)({"scan": str(path)})["scan"]
    changed = made.clone()
    changed[0, 3, 3, 0] *= 1.001
    with pytest.raises(DataError, match="was changed after it was certified"):
        fm.SaveCertificate()(changed)
    again = saving(folder, output_dtype=np.int16)({"scan": made})["scan"]
    with pytest.raises(DataError, match="does not hold the image"):
        fm.SaveCertificate()(again)
    (folder / "scan.nii.gz").write_bytes(b"no image")
    with pytest.raises(FileError, match="is not a NIfTI image"):
        fm.SaveCertificate()(made)
    assert [one.name for one in folder.iterdir()] == ["scan.nii.gz"]


def test_nothing_is_replaced_unless_told_and_both_files_or_none_are_written(path) -> None:
    certificate = saved(path)
    made = pipeline(path.parent / "out")({"scan": str(path)})["scan"]
    certificate.unlink()
    with pytest.raises(FileError, match="exists"):
        fm.SaveCertificate()(made)
    assert not certificate.exists()
    fm.SaveCertificate(overwrite=True)(made)
    assert read_certificate(certificate).check_image().name == "scan.nii.gz"


def test_what_is_missing_is_said(path) -> None:
    image = fm.FIRENETReconstruct(**FAST, certificate=True)(fm.LoadKspace()(path))
    with pytest.raises(DataError, match="evidence=True"):
        fm.SaveCertificate()(image)
    image = fm.FIRENETReconstruct(**CHECKABLE)(fm.LoadKspace()(path))
    with pytest.raises(DataError, match="savepath_in_metadict=True"):
        fm.SaveCertificate()(image)
    for options in ({}, {"certificate": True, "image_axes": "kspace"}):
        with pytest.raises(UsageError, match="evidence is that of a certificate"):
            fm.FIRENETReconstruct(**options, evidence=True)
    with pytest.raises(DataError, match="is damaged"):
        Carried.from_text("{}")


def test_kspace_that_no_file_holds_is_checked_in_python(path) -> None:
    """Whitened and compressed before, with maps of its own: what the file has is another thing."""
    kspace = fm.CompressCoils(2)(fm.WhitenCoils()(fm.LoadKspace()(path)))
    maps = fm.EstimateSensitivity("lowres")(kspace)
    transform = fm.FIRENETReconstruct(**CHECKABLE)
    image = transform(kspace, None, maps)
    fm.SaveCertificate()(saving(path.parent / "out")({"scan": image})["scan"])
    (certificate,) = (path.parent / "out").glob("*.json")
    found = transform.check(certificate, kspace, None, maps, again=True)
    assert "Recomputed and the same: duality gap." in found.agrees
    with pytest.raises(DataError, match="is not the scan"):
        transform.check(certificate, 2 * kspace, None, maps)
    with pytest.raises(DataError, match="other options or maps"):
        transform.check(certificate, kspace)
    with pytest.raises(DataError, match="other options or maps"):
        fm.FIRENETReconstruct(**{**FAST, "layers": 3}).check(certificate, kspace, None, maps)
    refused = firenet("certify", certificate, "--scan", path)
    assert refused.status != 0


@pytest.mark.filterwarnings("ignore:.*made from the centre of k-space:UserWarning")
def test_maps_of_a_small_centre_are_found_again_in_python_and_refused_by_the_command(
    path, randn
) -> None:
    mask = torch.ones(24, 20, dtype=torch.bool)
    mask[1::2] = False
    source = scan_of(randn)
    write_scan(path.with_name("few.h5"), replace(source, kspace=source.kspace * mask, mask=mask))
    certificate = saved(path.with_name("few.h5"))
    kspace = fm.LoadKspace()(path.with_name("few.h5"))
    transform = fm.FIRENETReconstruct(**FAST)
    assert transform.check(certificate, kspace, again=True).agrees
    refused = firenet("certify", certificate, "--scan", path.with_name("few.h5"))
    assert refused.status != 0
    assert "lowres needs at least" in refused.err


def test_readers_of_load_image_serve_too_and_no_folder_is_named(path) -> None:
    loaded = LoadImaged("scan", reader=fm.MRDReader, dtype=np.complex64)({"scan": str(path)})
    made = saving(path.parent / "out")(fm.FIRENETReconstructd("scan", **CHECKABLE)(loaded))
    fm.SaveCertificated("scan")(made)
    certificate = path.parent / "out" / "scan.json"
    assert firenet("certify", certificate, "--scan", path).status == 0
    assert str(path.parent) not in certificate.read_text()
    report = read_certificate(certificate).report
    assert report["options"]["read"] == dict(read(path).record)


def test_an_image_that_is_certified_later_is_recomputed(path) -> None:
    kspace = fm.LoadKspace()(path)
    transform = fm.FIRENETReconstruct(**CHECKABLE)
    image = fm.FIRENETReconstruct(**FAST)(kspace)
    # On another machine it differs by rounding.
    image = fm.StabilityCertificate(transform)(image * (1 + 1e-6), kspace)
    fm.SaveCertificate()(saving(path.parent / "out")({"scan": image})["scan"])
    (certificate,) = (path.parent / "out").glob("*.json")
    assert firenet("certify", certificate, "--scan", path).status == 0


def test_evidence_survives_loaders_and_is_the_same_each_time(path) -> None:
    steps = pipeline(path.parent / "out")
    items = [{"scan": str(path)}, {"scan": str(path)}]
    loader = DataLoader(Dataset(items, steps), batch_size=2, collate_fn=list_data_collate)
    (batch,) = loader
    first, second = decollate_batch(batch)
    assert first["scan"].meta["evidence"] == second["scan"].meta["evidence"]
    fm.SaveCertificated("scan")(first)
    certificate = path.parent / "out" / "scan.json"
    assert firenet("certify", certificate, "--scan", path).status == 0


def test_an_image_without_a_gap_says_so(path) -> None:
    certificate = saved(path, no_gap=True)
    report = json.loads(certificate.read_text())["certificate"]
    assert report["relative_gap"] is None
    assert report["sentence"].startswith("How near the image is to the optimum was not computed")
    found = firenet("certify", certificate, "--scan", path)
    assert found.status == 0
    assert "was not computed, as requested" in " ".join(found.out.split())


def test_several_images_of_a_scan_are_refused_before_the_work(randn) -> None:
    kspace = randn(2, 1, 3, 24, 20, dtype=torch.complex64)
    with pytest.raises(UsageError, match="2 images; evidence is for one"):
        fm.FIRENETReconstruct(**CHECKABLE)(kspace)


def test_a_certificate_is_signed_with_a_key(path, tmp_path) -> None:
    key, pem = Ed25519PrivateKey.generate(), Encoding.PEM
    private, public = tmp_path / "key.pem", tmp_path / "public.pem"
    private.write_bytes(key.private_bytes(pem, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(pem, PublicFormat.SubjectPublicKeyInfo))
    made = pipeline(tmp_path / "out")({"scan": str(path)})
    fm.SaveCertificated("scan", key=private)(made)
    assert firenet("certify", tmp_path / "out/scan.json", "--signed-by", public).status == 0


def test_plain_tensors_have_no_certificate() -> None:
    with pytest.raises(DataError, match="hold no evidence"):
        fm.SaveCertificate()(torch.ones(1, 4, 4, 1))
    with pytest.raises(DataError, match="hold no evidence"):
        fm.SaveCertificate()(MetaTensor(torch.ones(1, 4, 4, 1)))
