"""A proven bound is about the scan's own samples, through every link, whatever the file's unit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from laws import check_linear_operator
from torch import Tensor

from firenet_mri import FIRENET, RawScan, reconstruct
from firenet_mri.calibration import compress_coils, whiten
from firenet_mri.firenet import verification
from firenet_mri.firenet.certificate import KEPT_FIXED, certify
from firenet_mri.firenet.presets import make_network
from firenet_mri.firenet.verification import DataChange, verify_on_scan
from firenet_mri.io.kspace.readout_gridding import readout_matrix
from firenet_mri.operators import (
    LinearOperator,
    MatrixOperator,
    PhaseConstrained,
    encoding_operator,
)
from firenet_mri.operators.base import Part
from firenet_mri.operators.density import pipe_menon
from firenet_mri.operators.echo_planar import EchoTrainGridding
from firenet_mri.operators.links import CoilMixing, SampleWeighting
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.prepare import Prepared, prepare

COILS, SHAPE = 4, (32, 28)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def correlated_noise() -> Tensor:
    """Noise of four coils whose deviations differ by a factor of 50."""
    white = torch.randn(COILS, 4000, dtype=torch.complex128, generator=generator(1))
    mixing = torch.randn(COILS, COILS, dtype=torch.complex128, generator=generator(2))
    return (torch.diag(torch.tensor([1.0, 0.3, 0.1, 0.02])) + 0.01 * mixing) @ white * 0.003


def cartesian_scan() -> RawScan:
    maps = torch.from_numpy(sigpy.mri.birdcage_maps((COILS, *SHAPE))).to(torch.complex64)
    image = torch.from_numpy(sigpy.shepp_logan(SHAPE)).to(torch.complex64)
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[::3], mask[8:24] = True, True
    kspace = encoding_operator(mask, maps)(image)
    noise = correlated_noise().to(torch.complex64)
    return RawScan(kspace, mask, 2, noise=noise, name="scan.h5")


def radial_scan() -> RawScan:
    angles = torch.arange(24, dtype=torch.float64) * math.pi / 24
    radii = torch.arange(-16, 16, dtype=torch.float64)
    trajectory = radii[None, :, None] * torch.stack([angles.sin(), angles.cos()], -1)[:, None]
    size = (32, 32)
    maps = torch.from_numpy(sigpy.mri.birdcage_maps((COILS, *size))).to(torch.complex64)
    image = torch.from_numpy(sigpy.shepp_logan(size)).to(torch.complex64)
    kspace = encoding_operator(trajectory, maps)(image)
    mask = torch.ones(kspace.shape[1:], dtype=torch.bool)
    return RawScan(kspace, mask, 2, trajectory=trajectory, image_shape=size, name="radial.h5")


def in_unit(scan: RawScan, factor: float) -> RawScan:
    noise = None if scan.noise is None else factor * scan.noise
    return dataclasses.replace(scan, kspace=factor * scan.kspace, noise=noise)


def map_of(prepared: Prepared) -> Callable[[Tensor], Tensor]:
    """Return the map from the samples as read to the image, all that it is made from fixed."""
    encoded, _ = prepared.encoded(prepared.items[0])
    links = encoded.chain.links

    def image(samples: Tensor) -> Tensor:
        for link in links:
            samples = link(samples)
        x = prepared.net(samples, encoded.encoding)
        return encoded.image(encoded.masked(x))

    return image


def largest_change(function: Callable[[Tensor], Tensor], at: Tensor, steps: int = 6) -> float:
    """Return the largest ||change of image|| / ||change of samples|| that an ascent found."""
    e = torch.randn(at.shape, dtype=at.dtype, generator=generator(7))
    best = 0.0
    before = function(at).detach()
    for _ in range(steps):
        e = (1e-3 * torch.linalg.vector_norm(at) / torch.linalg.vector_norm(e) * e).detach()
        e.requires_grad_(True)
        change = torch.linalg.vector_norm(function(at + e) - before)
        best = max(best, float(change.detach()) / float(torch.linalg.vector_norm(e.detach())))
        (e,) = torch.autograd.grad(change, e)
    return best


CASES = {
    "whitening": (cartesian_scan, {}),
    "coil compression": (cartesian_scan, {"coils": 3}),
    "geometric compression": (cartesian_scan, {"coils": 3, "compression": "geometric"}),
    "density weights": (radial_scan, {}),
}


@pytest.mark.parametrize("unit", [1.0, 1e4], ids=["unit", "another unit"])
@pytest.mark.parametrize("case", CASES)
def test_no_change_of_the_samples_changes_the_image_more_than_is_proven(case, unit) -> None:
    make, options = CASES[case]
    scan = in_unit(make(), unit)
    chosen = {"layers": 8, "sparsifier": "undecimated-haar", "maps": "lowres", **options}
    result = reconstruct(scan, **chosen)
    prepared = prepare(scan, ReconstructionOptions.from_mapping(chosen))
    found = largest_change(map_of(prepared), scan.kspace * scan.mask)
    certificate = result.certificate
    bound = certificate.lipschitz_bound_of_samples
    # An ascent finds a good part of it: a link that is left out of the bound does not pass.
    assert 0.1 * bound < found <= bound
    size = float(torch.linalg.vector_norm(scan.kspace * scan.mask))
    relative = found * size / float(torch.linalg.vector_norm(result.image))
    assert 0.1 * certificate.percent_per_percent[0] < relative <= certificate.percent_per_percent[0]


@pytest.mark.parametrize("case", CASES)
def test_the_unit_of_the_file_is_in_one_of_the_three_numbers_only(case) -> None:
    make, options = CASES[case]
    scan = make()
    chosen = {"layers": 3, "sparsifier": "haar", "maps": "lowres", **options}
    one = reconstruct(scan, **chosen).certificate
    other = reconstruct(in_unit(scan, 64.0), **chosen).certificate
    assert other.lipschitz_bound == pytest.approx(one.lipschitz_bound, rel=1e-5)
    assert other.percent_per_percent == pytest.approx(one.percent_per_percent, rel=1e-5)
    factor = 1 if scan.noise is None else 1 / 64
    assert other.lipschitz_bound_of_samples == pytest.approx(
        factor * one.lipschitz_bound_of_samples, rel=1e-5
    )


def test_whitening_is_in_the_bound_with_the_norm_that_numpy_finds() -> None:
    scan = cartesian_scan()
    certificate = reconstruct(scan, layers=3, maps="lowres").certificate
    noise = scan.noise.to(torch.complex128).numpy()
    inverse = np.linalg.inv(np.linalg.cholesky(noise @ noise.conj().T / noise.shape[1]))
    ratio = certificate.lipschitz_bound_of_samples / certificate.lipschitz_bound
    assert ratio == pytest.approx(np.linalg.norm(inverse, 2), rel=1e-6)
    assert ratio > 1000  # A small change of the samples is a large one in noise units.


def echo_train_scan() -> tuple[RawScan, Tensor]:
    """Return a scan of echo trains, as assembled of its readouts, and the samples as stored.

    The samples lie so unevenly that gridding makes some changes of them much larger.
    """
    scan = cartesian_scan()
    rows, columns = SHAPE
    places = torch.linspace(-1, 1, columns).sign() * torch.linspace(-1, 1, columns).abs() ** 1.6
    matrix = torch.from_numpy(readout_matrix(14 * places.numpy(), columns, columns))
    backward = torch.arange(rows) % 2 == 1
    phase = 0.3 + 0.1 * torch.arange(columns).expand(COILS, -1).double()
    gridding = EchoTrainGridding(
        torch.stack([matrix, matrix.flip(-1)]), backward, phase, Part("navigators")
    )
    samples = gridding.adjoint(scan.kspace) * scan.mask
    norm = torch.linalg.vector_norm(samples).double()
    kspace = gridding(samples)
    return (
        dataclasses.replace(scan, kspace=kspace, applied=(gridding,), norms_as_read=norm),
        samples,
    )


def test_no_change_of_stored_echo_trains_changes_the_image_more_than_is_proven() -> None:
    scan, samples = echo_train_scan()
    chosen = {"layers": 8, "sparsifier": "undecimated-haar", "maps": "lowres"}
    certificate = reconstruct(scan, **chosen).certificate
    prepared = prepare(scan, ReconstructionOptions.from_mapping(chosen))
    found = largest_change(map_of(prepared), samples)
    bound = certificate.lipschitz_bound_of_samples
    gridding = scan.applied[0].norm_bound
    # Without the preparation's norm the bound would be broken.
    assert gridding > 5
    assert bound / gridding < found <= bound
    size = float(torch.linalg.vector_norm(samples))
    relative = found * size / float(torch.linalg.vector_norm(map_of(prepared)(samples)))
    assert relative <= certificate.percent_per_percent[0]
    assert "navigators" in certificate.sentence()[certificate.sentence().index(KEPT_FIXED) :]
    assert "navigators (made from these data)" not in certificate.sentence()


def test_density_weights_are_in_the_bound() -> None:
    scan = radial_scan()
    certificate = reconstruct(scan, layers=3, maps="lowres").certificate
    weights = pipe_menon(scan.trajectory, scan.image_shape)
    weights = weights * weights.sum() / weights.square().sum()
    prepared = prepare(scan, ReconstructionOptions.from_mapping({"layers": 3, "maps": "lowres"}))
    encoded, _ = prepared.encoded(prepared.items[0])
    expected = math.sqrt(2) * prepared.net.lipschitz_bound(encoded.encoding)
    assert certificate.lipschitz_bound == pytest.approx(expected * float(weights.max()) ** 0.5)


def test_planes_across_the_readout_have_the_bounds_of_their_volume() -> None:
    maps = sigpy.mri.birdcage_maps((3, 20, 18, 6))
    image = sigpy.shepp_logan((20, 18, 6))
    kspace = torch.from_numpy(sigpy.fft(maps * image, axes=(-3, -2, -1)).astype(np.complex64))
    mask = torch.ones(20, 18, 6, dtype=torch.bool)
    mask[1::2, :4] = False
    scan = RawScan(kspace * mask, mask, 3, name="volume.h5")
    result = reconstruct(scan, by_readout=True, layers=2, maps="lowres")
    relative = result.certificate.percent_per_percent
    bound = result.certificate.lipschitz_bound_of_samples
    # The norms of the planes' samples are those of the volume: the transform is unitary.
    images = torch.linalg.vector_norm(result.image.flatten(0, 1), dim=0)
    norms = torch.tensor(relative) * images.double() / bound
    assert float(norms.square().sum()) == pytest.approx(float(scan.kspace.norm()) ** 2, rel=1e-4)


def test_what_is_kept_fixed_stands_in_the_sentence_itself() -> None:
    scan = cartesian_scan()
    sentence = reconstruct(scan, layers=3, maps="lowres", coils=3).certificate.sentence()
    assert "proven" in sentence
    fixed = sentence[sentence.index(KEPT_FIXED) :]
    assert "sensitivity maps (made from these data)" in fixed
    assert "coil compression (made from these data)" in fixed
    assert "noise whitening" in fixed
    assert "noise whitening (made" not in fixed
    maps = torch.full((COILS, *SHAPE), 0.5 + 0j)
    given = reconstruct(scan, layers=3, maps=maps).certificate.sentence()
    assert "sensitivity maps," in given
    assert "made from these data" not in given


def test_whitening_by_hand_is_known_to_the_certificate() -> None:
    scan = cartesian_scan()
    options = {"layers": 3, "maps": "lowres"}
    whole = reconstruct(scan, **options).certificate
    by_hand = reconstruct(whiten(scan), **options).certificate
    assert by_hand.lipschitz_bound_of_samples == whole.lipschitz_bound_of_samples
    assert "noise whitening" in by_hand.sentence()
    # The samples as read are not there any more.
    assert by_hand.percent_per_percent is None
    assert compress_coils(whiten(scan), 3).applied[-1].codomain_shape[0] == 3


def weak_centre() -> tuple[RawScan, RawScan]:
    """Return two scans of one coil that differ in the phase of their weak k-space centre only."""
    maps = torch.ones(1, 64, 64, dtype=torch.complex64)
    kspace = encoding_operator(None, maps)(torch.from_numpy(sigpy.shepp_logan((64, 64))))
    kspace = kspace.to(torch.complex64)
    centre = torch.zeros(64, 64, dtype=torch.bool)
    centre[20:44, 20:44] = True
    kspace = torch.where(centre, 5e-5 * kspace, kspace)
    turned = torch.where(centre, 1j * kspace, kspace)
    mask = torch.ones(64, 64, dtype=torch.bool)
    return RawScan(kspace, mask, 2, name="a.npy"), RawScan(turned, mask, 2, name="b.npy")


def test_a_phase_from_the_data_has_no_proven_bound_and_an_attack_shows_why() -> None:
    options = {"maps": "none", "phase_constraint": 0.0}
    one, other = (reconstruct(scan, **options) for scan in weak_centre())
    scans = weak_centre()
    change = torch.linalg.vector_norm(other.image - one.image)
    amplification = float(change / torch.linalg.vector_norm(scans[1].kspace - scans[0].kspace))
    certificate = one.certificate
    fixed = certificate.lookup("lipschitz_bound_at_fixed_image_phase", "bound")
    assert fixed[0] < 30 < 10 * fixed[0] < amplification
    assert certificate.lipschitz_bound is None
    assert certificate.lipschitz_bound_of_samples is None
    assert certificate.percent_per_percent is None
    marks = {entry.name: entry.status for entry in certificate.entries}
    assert marks["lipschitz_bound"] == "not verified"
    assert "image phase was made from the data" in certificate.sentence()


def test_a_given_phase_keeps_the_proven_bound() -> None:
    phase = torch.polar(torch.ones(16, 16), torch.randn(16, 16, generator=generator(3)))
    maps = torch.ones(1, 16, 16, dtype=torch.complex64)
    y = torch.randn(1, 16, 16, dtype=torch.complex64, generator=generator(4))
    net = make_network(1, (16, 16), layers=3)
    encoding = PhaseConstrained(encoding_operator(None, maps), phase, 0.3)
    certificate = certify(net, y, encoding, net.solve(y, encoding))
    assert certificate.lipschitz_bound == pytest.approx(
        math.sqrt(2) * net.lipschitz_bound(encoding)
    )
    assert "image phase" in certificate.sentence()


def test_reweighting_has_no_proven_bound() -> None:
    certificate = reconstruct(cartesian_scan(), layers=3, reweighting=1, maps="lowres").certificate
    assert certificate.lipschitz_bound is None
    assert "reweighting" in certificate.sentence()


class Loosened(LinearOperator):
    """An operator that was made from the data in a way that nobody has thought about."""

    made_from = (Part("something new", from_data=True),)

    def __init__(self, inner: LinearOperator) -> None:
        super().__init__(inner.domain_shape, inner.codomain_shape, inner.norm_bound)
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(y)


def test_an_unknown_part_made_from_the_data_is_refused_without_any_caller() -> None:
    maps = torch.ones(1, 16, 16, dtype=torch.complex64)
    encoding = Loosened(encoding_operator(None, maps))
    y = torch.randn(1, 16, 16, dtype=torch.complex64, generator=generator(4))
    net = make_network(1, (16, 16), layers=3)
    certificate = certify(net, y, encoding, net.solve(y, encoding))
    assert certificate.lipschitz_bound is None
    assert "something new was made from the data" in certificate.sentence()


def test_recovery_along_trajectories_speaks_of_the_samples() -> None:
    # y = 2 s: a change of the samples is half as large as that of the data it makes.
    matrix = torch.randn(12, 16, dtype=torch.complex128, generator=generator(2)) / 3
    truth = torch.zeros(16, dtype=torch.complex128)
    truth[[2, 7]] = 1
    encoding = MatrixOperator(matrix)
    noise = torch.randn(12, dtype=torch.complex128, generator=generator(3))
    y = encoding(truth) + 0.01 * noise
    net = FIRENET(lam=0.5)
    state = net.solve(y, encoding)
    plain = verify_on_scan(net, y, encoding, state)
    norm = float(torch.linalg.vector_norm(y)) / 2
    samples = verify_on_scan(net, y, encoding, state, change=DataChange(2.0, norm))
    (stable,), (of_samples,) = (
        [entry.values for entry in entries if "stability" in entry.name]
        for entries in (plain, samples)
    )
    assert of_samples["lipschitz_of_optimum"][0] == 2 * stable["lipschitz_of_optimum"][0]
    assert of_samples["largest_change"][0] == stable["largest_change"][0] / 2
    relative = "largest_change_of_data"
    assert of_samples[relative][0] == pytest.approx(stable[relative][0])
    # One per cent of the samples is one per cent of the data, where all weights are the same.
    assert samples[0].values == plain[0].values
    twice = verify_on_scan(net, y, encoding, state, change=DataChange(2.0, 2 * norm))
    far = "radius_at_1_percent"
    assert twice[0].values[far][0] > plain[0].values[far][0]


def test_recovery_is_told_what_the_density_weights_do(monkeypatch) -> None:
    scan = radial_scan()
    changes = []
    real = verification.verify_on_scan

    def listen(*arguments: object, change: DataChange) -> object:
        changes.append(change)
        return real(*arguments, change=change)

    monkeypatch.setattr("firenet_mri.reconstruction.certify.verify_on_scan", listen)
    reconstruct(scan, layers=2, sparsifier="tv", maps="lowres", recovery=True)
    weights = pipe_menon(scan.trajectory, scan.image_shape)
    weights = weights * weights.sum() / weights.square().sum()
    assert changes[0].factor == pytest.approx(float(weights.max()) ** 0.5)
    assert changes[0].norm == pytest.approx(float(torch.linalg.vector_norm(scan.kspace)), rel=1e-5)


def test_links_are_lawful_operators(randn) -> None:
    check_linear_operator(CoilMixing(randn(3, 4), (6, 5), Part("mixing")))
    mask = torch.rand(6, 5, generator=generator()) < 0.5
    check_linear_operator(CoilMixing(randn(5, 3, 4), (6, 5), Part("mixing"), mask))
    weights = torch.rand(6, 5, generator=generator(), dtype=torch.float64)
    check_linear_operator(SampleWeighting(weights, (4, 6, 5), Part("weights")))
