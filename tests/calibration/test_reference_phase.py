"""Estimated maps are turned by the image's phase, which the user's image has all the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
import sigpy.mri
import torch
from torch import Tensor

from firenet_mri import RawScan, reconstruct
from firenet_mri.calibration import reference_phase, sensitivity_maps
from firenet_mri.firenet.presets import make_network
from firenet_mri.metrics import nmse
from firenet_mri.operators import encoding_operator
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.prepare import prepare

SIZE = 64


@pytest.fixture
def truth() -> Tensor:
    """Return an image whose phase goes round twice across the field of view."""
    y, x = torch.meshgrid(*[torch.linspace(-1, 1, SIZE)] * 2, indexing="ij")
    magnitude = ((y**2 + 1.4 * x**2) < 0.6) * (1 + 0.5 * (x > 0.1))
    return torch.polar(magnitude.float(), 6 * x + 3 * y)


@pytest.fixture
def scan(truth) -> RawScan:
    maps = torch.from_numpy(sigpy.mri.birdcage_maps((6, SIZE, SIZE))).to(torch.complex64)
    maps = maps / torch.linalg.vector_norm(maps, dim=0)
    mask = torch.zeros(1, SIZE, SIZE, dtype=torch.bool)
    mask[:, ::3] = True
    mask[:, SIZE // 2 - 10 : SIZE // 2 + 10] = True
    kspace = encoding_operator(mask, maps)(truth)
    noise = torch.randn(kspace.shape, generator=torch.manual_seed(0), dtype=kspace.dtype)
    return RawScan((kspace + 0.02 * noise) * mask, mask, 2)


def test_phase_is_the_smooth_image_s_and_1_where_nothing_is(scan, truth) -> None:
    maps = sensitivity_maps(scan)
    phase = reference_phase(scan.kspace, maps, scan.mask)
    torch.testing.assert_close(phase.abs(), torch.ones(SIZE, SIZE))
    combined = encoding_operator(None, maps).adjoint(scan.kspace)
    inside = truth.abs() > 0
    rest = (combined * phase.conj())[inside]
    assert float(rest.real.sum() / rest.abs().sum()) > 0.97
    unseen = torch.linalg.vector_norm(maps, dim=0) == 0
    assert bool((phase[unseen] == 1).all())
    empty = torch.zeros_like(scan.mask)
    assert bool((reference_phase(scan.kspace, maps, empty) == 1).all())


def test_no_more_than_16_samples_of_the_centre_count(scan) -> None:
    maps, mask = sensitivity_maps(scan), scan.mask.clone()
    centre = slice(SIZE // 2 - 9, SIZE // 2 + 9)
    changed = scan.kspace.clone()
    changed[:, :24] *= -1
    changed[:, :, :20] *= -1
    same = reference_phase(scan.kspace, maps, mask)
    assert torch.equal(reference_phase(changed, maps, mask), same)
    changed[:, centre, centre] *= 1j
    assert not torch.allclose(reference_phase(changed, maps, mask), same)


def test_image_has_the_phase_of_the_maps_as_they_were_estimated(scan, truth) -> None:
    """As the image of given maps has, which are not turned."""
    maps = sensitivity_maps(scan)
    turned = reconstruct(scan, no_gap=True).image
    plain = reconstruct(scan, maps=maps, no_gap=True).image
    inside = truth.abs() > 0
    agreement = (turned * plain.conj())[inside]
    assert float(agreement.real.sum() / agreement.abs().sum()) > 0.999
    assert not torch.allclose(turned, plain, atol=1e-3)
    net = make_network(scan.coils, (SIZE, SIZE))
    with torch.no_grad():
        direct = net(scan.kspace, encoding_operator(scan.mask, maps))
    support = torch.linalg.vector_norm(maps, dim=0)
    torch.testing.assert_close(plain, direct * support, rtol=0, atol=1e-4)


def test_it_lowers_the_error_of_an_image_with_a_phase(scan, truth) -> None:
    maps = sensitivity_maps(scan)
    errors = [
        nmse(truth.abs(), reconstruct(scan, no_gap=True, **options).image.abs())
        for options in ({}, {"maps": maps})
    ]
    assert errors[0] < 0.95 * errors[1]


def test_a_start_image_comes_back_where_no_layer_moves_it(scan) -> None:
    """What the user gives as a start has the user's phase."""
    from firenet_mri.monai import FIRENETModel, FIRENETReconstruct

    image = reconstruct(scan, no_gap=True).image
    tiny = {"layers": 1, "lam": 1e-6, "output": "complex"}
    transform = FIRENETReconstruct(image_axes="kspace", **tiny)
    model = FIRENETModel(**tiny)
    for start, away in ((image[None], 0.0), (None, 1.0)):
        made = transform(scan, x0=start).as_tensor(), model(scan.kspace[None], scan.mask, x0=start)
        for found in made:
            distance = float((found.reshape(image.shape) - image).norm() / image.norm())
            assert distance == pytest.approx(away, abs=1e-4)


def test_maps_that_were_estimated_before_are_turned_too_and_stay_as_they_are(scan) -> None:
    from firenet_mri.monai import EstimateSensitivity, FIRENETReconstruct

    maps = EstimateSensitivity()(scan.kspace, scan.mask)
    before = maps.as_tensor().clone()
    transform = FIRENETReconstruct(image_axes="kspace", output="complex", layers=5)
    found = transform(scan, sens_maps=maps).as_tensor().reshape(SIZE, SIZE)
    expected = reconstruct(scan, no_gap=True, layers=5).image
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert torch.equal(maps.as_tensor(), before)


def test_model_has_the_phase_in_both_passes(scan) -> None:
    from firenet_mri.monai import FIRENETModel

    options = {"preset": "sharp", "layers": 5}
    found = FIRENETModel(output="complex", **options)(scan.kspace[None], scan.mask)[0]
    expected = reconstruct(scan, no_gap=True, **options).image
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)


def test_an_item_can_be_encoded_again(scan) -> None:
    """Maps that somebody else has are not turned in place."""
    prepared = prepare(scan, ReconstructionOptions())
    maps = sensitivity_maps(scan)
    item = replace(prepared.items[0], maps=maps, maps_from_data=True)
    first, again = (prepared.encoded(item)[0].encoding.maps for _ in range(2))
    assert torch.equal(first, again)
    assert torch.equal(maps, sensitivity_maps(scan))
