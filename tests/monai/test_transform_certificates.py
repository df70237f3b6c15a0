"""A certificate in MONAI's metadata belongs to its image and knows what was done to k-space."""

from __future__ import annotations

import inspect
import io
import json

import numpy as np
import pytest
import torch
from monai.data import MetaTensor, decollate_batch, list_data_collate, pickle_hashing

import firenet_mri.monai as fm
from firenet_mri import Certificate, ReconstructionOptions, reconstruct
from firenet_mri.calibration import compress_coils, whiten
from firenet_mri.errors import DataError, UsageError
from firenet_mri.monai.scans import kspace_of, metadata_of, scan_from
from firenet_mri.operators.links import COMPRESSION, WHITENING, Chain
from firenet_mri.scan import RawScan

FAST = {"maps": "lowres", "layers": 2, "sparsifier": "haar"}


@pytest.fixture
def scan(randn) -> RawScan:
    """Return two slices of 3 coils with correlated noise, in the unit of some file."""
    kspace = randn(2, 3, 16, 12, dtype=torch.complex64)
    mixing = torch.tensor([[1.0, 0.2, 0], [0, 2.0, 0.5], [0, 0, 0.3]], dtype=torch.complex64)
    noise = 0.05 * mixing @ randn(3, 100, dtype=torch.complex64)
    mask = torch.ones(16, 12, dtype=torch.bool)
    mask[1] = False
    return RawScan(kspace * mask, mask, 2, noise, name="a.h5")


def certificate_of(image: MetaTensor) -> Certificate:
    return Certificate.from_dict(json.loads(image.meta["certificate"]))


def entry(certificate: Certificate, name: str):
    (found,) = [one for one in certificate.entries if one.name == name]
    return found


@pytest.mark.parametrize("output", ["magnitude", "complex"])
@pytest.mark.parametrize(("pixels", "by"), [(9, "5 % of each"), (1, "0.1 % of the largest")])
def test_an_image_with_a_few_changed_pixels_is_refused(scan, output, pixels, by) -> None:
    """In a norm over all pixels, a small lesion would not count."""
    transform = fm.FIRENETReconstruct(**FAST, output=output)
    image = transform(kspace_of(scan))
    certify = fm.StabilityCertificate(transform)
    changed = image.clone()
    if pixels == 9:
        changed[0, 4:7, 4:7, 1] *= 1.05
    else:
        changed[0, 4, 4, 0] += 1e-3 * changed.abs().max()
    with pytest.raises(DataError, match="not the one"):
        certify(changed, kspace_of(scan))
    changed[0, 4, 4, 0] = torch.nan
    with pytest.raises(DataError, match="not the one"):
        certify(changed, kspace_of(scan))
    rounded = image * (1 + 1e-6)
    assert certificate_of(certify(rounded, kspace_of(scan))).items == 2


def test_kspace_that_was_whitened_before_has_the_certificate_of_the_files_samples(scan) -> None:
    transform = fm.FIRENETReconstruct(**FAST, certificate=True)
    at_once = certificate_of(transform(kspace_of(scan)))
    before = certificate_of(transform(fm.WhitenCoils()(kspace_of(scan))))
    bound = before.lipschitz_bound_of_samples
    assert bound == pytest.approx(at_once.lipschitz_bound_of_samples, rel=1e-6)
    assert bound > 2 * before.lipschitz_bound
    assert before.lipschitz_bound == pytest.approx(at_once.lipschitz_bound, rel=1e-6)
    for certificate in (before, at_once):
        statement = entry(certificate, "lipschitz_bound_of_samples").statement
        assert WHITENING in statement
        assert "sensitivity maps (made from these data)" in statement
    expected = reconstruct(scan, **FAST).certificate
    assert bound == pytest.approx(expected.lipschitz_bound_of_samples, rel=1e-6)


@pytest.mark.parametrize("before", [True, False])
def test_compressed_coils_are_named_as_made_from_the_data(scan, before) -> None:
    kspace, options = kspace_of(scan), dict(FAST)
    if before:
        kspace = fm.CompressCoils(2)(fm.WhitenCoils()(kspace))
    else:
        options["coils"] = 2
    certificate = certificate_of(fm.FIRENETReconstruct(**options, certificate=True)(kspace))
    statement = entry(certificate, "lipschitz_bound").statement
    assert f"{WHITENING}, {COMPRESSION} (made from these data)" in statement


@pytest.mark.parametrize("method", ["svd", "geometric"])
def test_what_mixed_the_coils_comes_back_from_the_metadata(scan, method) -> None:
    mixed = compress_coils(whiten(scan), 2, method)
    file = io.BytesIO()
    torch.save(metadata_of(mixed)["applied"], file)
    file.seek(0)
    applied = torch.load(file, weights_only=True)
    again = scan_from(mixed.kspace, {**metadata_of(mixed), "applied": applied}, mixed.mask)
    for found, expected in zip(again.applied, mixed.applied, strict=True):
        assert found.made_from == expected.made_from
        assert found.norm_bound == expected.norm_bound
        assert torch.equal(found.matrix, expected.matrix)
    y = scan.kspace
    for link in again.applied:
        y = link(y)
    assert torch.equal(y, mixed.kspace)


def test_scans_that_were_mixed_and_not_can_stand_in_one_batch(scan) -> None:
    plain = fm.CompressCoils(2)(without_noise(scan))
    white = fm.CompressCoils(2)(fm.WhitenCoils()(kspace_of(scan)))
    batch = list_data_collate([{"kspace": one} for one in (plain, white)])
    transform = fm.FIRENETReconstruct(**FAST, certificate=True)
    for item, one in zip(decollate_batch(batch), (plain, white), strict=True):
        found = certificate_of(transform(item["kspace"]))
        expected = certificate_of(transform(one))
        assert found.lipschitz_bound_of_samples == expected.lipschitz_bound_of_samples
    assert Chain(scan_from(white.as_tensor(), white.meta).applied).is_whitened


def without_noise(scan: RawScan) -> MetaTensor:
    kspace = kspace_of(scan)
    kspace.meta["noise"] = torch.zeros(3, 0, dtype=torch.complex64)
    return kspace


def test_maps_say_whether_they_were_made_from_the_data(scan) -> None:
    kspace = kspace_of(scan)
    transform = fm.FIRENETReconstruct(**FAST, certificate=True)
    maps = fm.EstimateSensitivity("lowres")(kspace)
    found = {
        "estimated here": transform(kspace),
        "estimated before": transform(kspace, None, maps),
        "given": transform(kspace, None, maps.as_tensor()),
    }
    for name, image in found.items():
        statement = entry(certificate_of(image), "lipschitz_bound").statement
        assert ("sensitivity maps (made from these data)" in statement) == (name != "given")
    single = torch.ones(1, 8, 8, dtype=torch.complex64)
    statement = entry(certificate_of(transform(single)), "lipschitz_bound").statement
    assert "made from these data" not in statement


@pytest.mark.filterwarnings("ignore:.*made from the centre of k-space:UserWarning")
def test_a_phase_or_weights_from_the_data_leave_no_proven_bound(scan) -> None:
    redundant = {**FAST, "sparsifier": "undecimated-haar"}
    for options in ({"phase_constraint": 0.3}, {"reweighting": 1}):
        kspace = kspace_of(RawScan(scan.kspace, torch.ones(12, dtype=torch.bool), 2))
        image = fm.FIRENETReconstruct(**redundant, **options, certificate=True)(kspace)
        assert certificate_of(image).lipschitz_bound is None
        quick = fm.FIRENETReconstruct(**redundant, **options)(kspace)
        np.testing.assert_allclose(quick, image, atol=1e-5 * float(image.max()))


def test_what_is_measured_stands_in_the_certificate(scan) -> None:
    transform = fm.FIRENETReconstruct(**FAST, jacobian=True, certificate=True)
    certificate = certificate_of(transform(kspace_of(scan)))
    assert 0 < max(certificate.measured_gain) <= certificate.lipschitz_bound
    with pytest.raises(UsageError, match="certificate=True"):
        fm.FIRENETReconstruct(jacobian=True)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"map_sets": 2}, "map_sets: not possible here"),
        ({"by_readout": True}, "by_readout: not possible here"),
        ({"presett": "stable"}, "did you mean preset"),
        ({"lam": -1.0}, "lam is -1.0"),
        ({"maps": torch.ones(3, 8, 8) + 0j}, "sens_maps"),
    ],
)
def test_options_that_mean_nothing_here_are_refused_by_name(options, message) -> None:
    for make in (fm.FIRENETReconstruct, lambda **kw: fm.FIRENETReconstructd("kspace", **kw)):
        with pytest.raises(UsageError, match=message):
            make(**options)


def test_given_maps_and_compressed_coils_contradict_each_other(scan) -> None:
    maps = fm.EstimateSensitivity("lowres")(kspace_of(scan))
    with pytest.raises(UsageError, match="leave coils out"):
        fm.FIRENETReconstruct(**FAST, coils=2)(kspace_of(scan), None, maps)
    transform = fm.FIRENETReconstruct(**FAST, phase_constraint=0.3)
    with pytest.raises(UsageError, match="leave x0 out"):
        transform(kspace_of(scan), x0=torch.ones(2, 16, 12))


def test_every_option_is_in_the_hash_and_in_the_signature() -> None:
    plain = pickle_hashing(fm.FIRENETReconstruct())
    for options in ({"coils": 2}, {"phase_constraint": 0.2}, {"budget": "2%"}, {"layers": 2}):
        assert pickle_hashing(fm.FIRENETReconstruct(**options)) != plain
    # Written in full or left out: the same options.
    refused = fm.FIRENETReconstruct.REFUSED
    flat = fm.FIRENETReconstruct().options.flat()
    written = {name: value for name, value in flat.items() if name not in refused}
    assert pickle_hashing(fm.FIRENETReconstruct(**written)) == plain
    named = inspect.signature(fm.FIRENETReconstructd).parameters
    assert named["preset"].default == ReconstructionOptions().network.preset
    assert "map_sets" not in named
