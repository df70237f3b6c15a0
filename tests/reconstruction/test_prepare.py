"""A scan is made ready as its options say: the weight of the sparsity, the phase, the items."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from test_bounds import cartesian_scan, radial_scan

from firenet_mri import ReconstructionOptions
from firenet_mri.calibration import low_resolution_phase, whiten
from firenet_mri.errors import CalibrationError, UsageError
from firenet_mri.reconstruction.prepare import prepare
from firenet_mri.reconstruction.solve import encode, zero_filled
from firenet_mri.scan import RawScan

QUICK = {"layers": 2, "maps": "lowres", "sparsifier": "haar"}


def prepared_of(scan: RawScan, **options: object):
    return prepare(scan, ReconstructionOptions.from_mapping(QUICK | options))


def test_several_map_sets_weigh_sparsity_as_one_does() -> None:
    # The rule counts the pixels that the data show, not those of all sets.
    scan = cartesian_scan()
    one, two = (prepared_of(scan, maps="espirit", map_sets=sets).net.lam for sets in (1, 2))
    assert two == pytest.approx(one, rel=1e-6)
    assert prepared_of(scan, map_sets=2, maps="espirit", lam=0.25).net.lam == 0.25


@pytest.mark.parametrize(("width", "used"), [(32, 24), (16, 16)])
def test_the_phase_comes_from_at_most_24_samples_of_the_centre(width, used) -> None:
    scan = dataclasses.replace(cartesian_scan(), noise=None)
    mask = torch.zeros(40, 40, dtype=torch.bool)
    low = 20 - width // 2
    mask[low : low + width, low : low + width] = True
    kspace = torch.randn(
        4, 40, 40, dtype=torch.complex64, generator=torch.Generator().manual_seed(1)
    )
    scan = dataclasses.replace(scan, kspace=kspace * mask, mask=mask)
    prepared = prepared_of(scan, phase_constraint=0.3)
    encoded, _ = prepared.encoded(prepared.items[0])
    maps = encoded.encoding.encoding.maps
    expected = low_resolution_phase(scan.kspace, maps, (used, used))
    torch.testing.assert_close(encoded.encoding.phase, expected)


def test_a_small_centre_has_no_phase() -> None:
    scan = cartesian_scan()
    mask = torch.zeros(32, 28, dtype=torch.bool)
    mask[13:19, 11:17] = True
    scan = dataclasses.replace(scan, kspace=scan.kspace * mask, mask=mask)
    prepared = prepared_of(scan, phase_constraint=0.3)
    with pytest.raises(CalibrationError, match=r"scan\.h5: .*needs 8 samples"):
        prepared.encoded(prepared.items[0])


@pytest.mark.parametrize(
    "options",
    [{"map_sets": 2, "maps": "espirit"}, {"phase_constraint": 0.3}],
)
def test_what_trajectories_cannot_have_is_refused_before_the_work(options) -> None:
    with pytest.raises(UsageError, match=rf"radial\.h5: {next(iter(options))} needs a Cartesian"):
        prepared_of(radial_scan(), **options)


def test_items_know_the_norm_of_their_samples_as_read() -> None:
    scan = cartesian_scan()
    (item,) = prepared_of(scan).items
    expected = float(torch.linalg.vector_norm((scan.kspace * scan.mask).to(torch.complex128)))
    assert item.sample_norm == pytest.approx(expected)
    (item,) = prepared_of(whiten(scan)).items
    assert item.sample_norm is None


def test_maps_are_called_made_from_the_data_only_if_they_were() -> None:
    scan = cartesian_scan()
    for maps, from_data in ((torch.full((4, 32, 28), 0.5 + 0j), False), ("lowres", True)):
        prepared = prepared_of(scan, maps=maps)
        encoded, _ = prepared.encoded(prepared.items[0])
        marks = {part.name: part.from_data for part in encoded.encoding.made_from}
        assert marks["sensitivity maps"] is from_data
        assert marks["sampling mask"] is False
    single = dataclasses.replace(scan, kspace=scan.kspace[:1], noise=None)
    prepared = prepared_of(single, maps="none")
    encoded, _ = prepared.encoded(prepared.items[0])
    assert not any(part.from_data for part in encoded.encoding.made_from)


def test_zero_filled_images_of_trajectories_fit_the_data_best() -> None:
    scan = radial_scan()
    prepared = prepared_of(scan)
    encoded, _ = prepared.encoded(prepared.items[0])
    image = zero_filled(encoded)
    reached = encoded.encoding(image)
    # The best factor makes the residual orthogonal to what was reached.
    product = (reached.conj() * (encoded.y - reached)).sum().real
    assert abs(float(product)) < 1e-4 * float(reached.norm()) ** 2


@pytest.mark.parametrize("factor", [1e19, 1e-20])
def test_zero_filled_images_have_the_scale_of_the_data(factor) -> None:
    scan = radial_scan()
    prepared = prepared_of(scan)
    (item,) = prepared.items
    maps = torch.full((4, 32, 32), 0.5 + 0j)
    one, other = (
        zero_filled(encode(number * item.kspace, prepared.fouriers[0], maps, 2))
        for number in (1.0, factor)
    )
    assert torch.linalg.vector_norm(one) > 0
    assert torch.allclose(other / factor, one, rtol=1e-4, atol=1e-6 * float(one.abs().max()))


def test_samples_off_the_mask_do_not_count_and_others_are_not_copied() -> None:
    scan = dataclasses.replace(cartesian_scan(), noise=None)
    masked = dataclasses.replace(scan, kspace=scan.kspace * scan.mask)
    noisy = dataclasses.replace(scan, kspace=masked.kspace + 0.5 * ~scan.mask)
    assert not torch.equal(noisy.kspace, masked.kspace)
    encoded = []
    for one in (masked, noisy):
        prepared = prepared_of(one)
        encoded.append(prepared.encoded(prepared.items[0])[0].y)
    assert torch.equal(encoded[0], encoded[1])
    assert encoded[0].data_ptr() == masked.kspace.data_ptr()
