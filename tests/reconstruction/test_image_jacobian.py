"""The derivative by the samples follows phase, weights and reweighting; its norm is enclosed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from test_bounds import cartesian_scan, radial_scan
from torch import Tensor

from firenet_mri import RawScan, reconstruct
from firenet_mri.calibration import low_resolution_phase
from firenet_mri.firenet.network import FIRENET
from firenet_mri.io import Panel, write_picture
from firenet_mri.operators import PhaseConstrained
from firenet_mri.operators.links import SampleWeighting
from firenet_mri.reconstruction import jacobian_picture
from firenet_mri.reconstruction.amplification import measure_amplification, seed_of
from firenet_mri.reconstruction.jacobian import ImageJacobian
from firenet_mri.reconstruction.options import ReconstructionOptions
from firenet_mri.reconstruction.prepare import prepare
from firenet_mri.reconstruction.solve import Encoded, Solution, solve


def noisy(scan: RawScan) -> RawScan:
    """Return the scan with noise, so that no number lies on an edge of a threshold."""
    generator = torch.Generator().manual_seed(5)
    noise = torch.randn(scan.kspace.shape, dtype=torch.complex64, generator=generator)
    size = 0.01 * scan.kspace.abs().max()
    return dataclasses.replace(scan, kspace=(scan.kspace + size * noise) * scan.mask)


def prepared_case(scan: RawScan, **options: object) -> tuple[FIRENET, Encoded, int]:
    chosen = ReconstructionOptions.from_mapping({"maps": "lowres", **options})
    prepared = prepare(noisy(scan), chosen)
    encoded, _ = prepared.encoded(prepared.items[0])
    double = dataclasses.replace(
        encoded,
        y=encoded.y.to(torch.complex128),
        samples=encoded.samples.to(torch.complex128),
        support=encoded.support.double(),
    )
    return prepared.net, double, chosen.passes


@torch.no_grad()
def solution_of(net: FIRENET, encoded: Encoded, samples: Tensor, passes: int) -> Solution:
    """Return the solution for other samples: weights, phase and passes are made anew."""
    y = samples
    for link in encoded.chain.links:
        y = link(y) if isinstance(link, SampleWeighting) else y
    given = dataclasses.replace(encoded, y=y, samples=samples)
    if encoded.phase_widths is not None:
        old = encoded.encoding
        maps = old.encoding.maps.to(samples.dtype)
        phase = low_resolution_phase(samples, maps, encoded.phase_widths)
        encoding = PhaseConstrained(old.encoding, phase, old.imaginary_weight, phase_from_data=True)
        given = dataclasses.replace(given, encoding=encoding)
    return solve(net, given, passes=passes)


SHORT = {"layers": 6, "sparsifier": "undecimated-haar"}
CASES = {
    "plain": (cartesian_scan, SHORT),
    "published network": (cartesian_scan, {"preset": "paper"}),
    "moving grid": (cartesian_scan, {"layers": 6, "sparsifier": "haar"}),
    "phase": (cartesian_scan, {**SHORT, "phase_constraint": 0.3}),
    "fixed phase": (cartesian_scan, {"preset": "paper", "phase_constraint": 0.0}),
    "reweighting": (cartesian_scan, {**SHORT, "reweighting": 1}),
    "reweighting of the published network": (cartesian_scan, {"preset": "paper", "reweighting": 2}),
    "reweighted groups": (cartesian_scan, {"layers": 6, "sparsifier": "tv", "reweighting": 1}),
    "all": (cartesian_scan, {**SHORT, "phase_constraint": 0.3, "reweighting": 2}),
    "turned maps": (cartesian_scan, {**SHORT, "maps": "espirit"}),
    "map sets": (cartesian_scan, {**SHORT, "maps": "espirit", "map_sets": 2}),
    "compression": (cartesian_scan, {**SHORT, "coils": 3}),
    "trajectory": (radial_scan, SHORT),
    "sharp": (cartesian_scan, {**SHORT, "preset": "sharp"}),
    "reweighted trajectory": (radial_scan, {**SHORT, "reweighting": 1}),
}


@pytest.mark.parametrize("case", CASES)
def test_it_is_what_finite_differences_see_and_its_transpose_belongs_to_it(case, randn) -> None:
    make, options = CASES[case]
    net, encoded, passes = prepared_case(make(), **options)
    samples = encoded.samples
    jacobian = ImageJacobian(solution_of(net, encoded, samples, passes))
    u = randn(*samples.shape) * encoded.sampled
    found = jacobian.forward(u)
    step = 1e-7 * float(samples.norm() / u.norm())
    ahead, back = (
        solution_of(net, encoded, samples + sign * step * u, passes).image for sign in (1, -1)
    )
    # finufft transforms to six digits.
    tolerance = 1e-5 if make is radial_scan else 1e-6
    assert float(((ahead - back) / (2 * step) - found).norm() / found.norm()) < tolerance
    image = randn(*found.shape)
    inner = float((found.conj() * image).real.sum())
    transposed = float((u.conj() * jacobian.transpose(image)).real.sum())
    assert transposed == pytest.approx(inner, rel=1e-9)


@pytest.mark.parametrize("case", ["phase", "reweighting", "trajectory"])
def test_entries_enclose_what_an_attack_of_vanishing_size_reaches(case) -> None:
    make, options = CASES[case]
    net, encoded, passes = prepared_case(make(), **options)
    solution = solution_of(net, encoded, encoded.samples, passes)
    found = measure_amplification(solution)
    values = found.entries[-1].values
    (lower,), (upper,) = values["lower"], values["upper"]
    assert found.entries[0].values["measured_gain"] == (lower,)
    assert lower < upper <= 1.15 * lower
    # Power iteration from another start, by finite differences and the transpose.
    jacobian, before = ImageJacobian(solution), solution.image
    u = torch.randn(encoded.samples.shape, dtype=torch.complex128) * encoded.sampled
    for _ in range(8):
        step = 1e-6 * float(encoded.samples.norm() / u.norm())
        moved = solution_of(net, encoded, encoded.samples + step * u, passes).image
        reached = float((moved - before).norm() / (step * u.norm()))
        assert reached <= upper * (1 + 1e-4)
        u = jacobian.transpose(jacobian.forward(u)) * encoded.sampled
    assert reached > 0.8 * lower


def test_statements_name_what_changes_and_what_is_kept_fixed() -> None:
    net, encoded, passes = prepared_case(cartesian_scan(), **CASES["all"][1])
    solution = solution_of(net, encoded, encoded.samples, passes)
    entry = measure_amplification(solution).entries[-1]
    assert (entry.name, entry.status) == ("jacobian_at_data", "verified on this scan")
    changes, fixed = entry.statement.split("Kept fixed:")
    assert "image phase, weights of the further passes" in changes
    assert "sensitivity maps (made from these data)" in fixed
    assert "phase" not in fixed
    assert "noise standard deviations" in entry.statement
    assert "1 %" in entry.limits
    assert entry.values["failure"] == (1e-9,)


def test_a_phase_of_unknown_origin_is_not_differentiated() -> None:
    net, encoded, _ = prepared_case(cartesian_scan(), **CASES["phase"][1])
    solution = solution_of(net, encoded, encoded.samples, 0)
    unknown = dataclasses.replace(solution.encoded, phase_widths=None)
    found = measure_amplification(dataclasses.replace(solution, encoded=unknown))
    assert [entry.status for entry in found.entries] == ["not verified"]


@pytest.mark.parametrize("unit", [1.0, 1e4])
def test_numbers_do_not_depend_on_the_unit_of_a_whitened_scan(unit) -> None:
    scan = noisy(cartesian_scan())
    assert scan.noise is not None
    other = dataclasses.replace(scan, kspace=unit * scan.kspace, noise=unit * scan.noise)
    bounds = []
    for one in (scan, other):
        certificate = reconstruct(one, maps="lowres", jacobian=True, **SHORT).certificate
        bounds.append(certificate.lookup("jacobian_at_data", "lower")[0])
        assert certificate.lipschitz_bound_at_data is not None
        assert bounds[-1] < certificate.lipschitz_bound_at_data[0]
    # Another digest, another start.
    assert bounds[0] == pytest.approx(bounds[1], rel=0.05)


def test_the_start_is_fixed_by_the_scan_and_nothing_else() -> None:
    scan = noisy(cartesian_scan())
    # Exactly the same in noise units, and another digest.
    other = dataclasses.replace(scan, kspace=2 * scan.kspace, noise=2 * scan.noise)
    results = [reconstruct(s, maps="lowres", jacobian=True, **SHORT) for s in (scan, scan, other)]
    found = [result.certificate.measured_gain for result in results]
    assert torch.equal(results[0].image, results[2].image)
    assert found[0] == found[1]
    assert found[0] != found[2]
    assert seed_of("a", 1) != seed_of("a", 2)


def test_the_second_picture_shows_where_the_image_is_sensitive(tmp_path, monkeypatch) -> None:
    result = reconstruct(noisy(cartesian_scan()), maps="lowres", jacobian=True, **SHORT)
    assert result.sensitive is not None
    lower = result.certificate.lookup("jacobian_at_data", "lower")[0]
    assert result.sensitive.shape == result.image.shape
    assert float(result.sensitive.norm()) == pytest.approx(lower, rel=1e-5)
    shown: list[tuple[list[Panel], str]] = []

    def draw(path: Path, panels: list[Panel], *, caption: str, **options: Any) -> None:
        shown.append((panels, caption))
        write_picture(path, panels, caption=caption, **options)

    monkeypatch.setattr(jacobian_picture, "write_picture", draw)
    files = result.save(tmp_path / "brain.nii.gz")
    assert files.sensitivity == tmp_path / "brain.jacobian.png"
    assert files.sensitivity.read_bytes().startswith(b"\x89PNG")
    ((panels, caption),) = shown
    factor = float(panels[1].image.max() / result.sensitive.abs().max())
    assert f"{lower:.3g} times as large as the change" in caption
    assert f"{factor:.3g} times as bright" in caption
    plain = reconstruct(noisy(cartesian_scan()), maps="lowres", **SHORT)
    assert plain.sensitive is None
    assert plain.save(tmp_path / "other.nii.gz").sensitivity is None


def test_the_second_picture_is_not_written_over(tmp_path) -> None:
    result = reconstruct(noisy(cartesian_scan()), maps="lowres", jacobian=True, **SHORT)
    (tmp_path / "brain.jacobian.png").write_text("mine")
    with pytest.raises(Exception, match=r"brain\.jacobian\.png"):
        result.save(tmp_path / "brain.nii.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["brain.jacobian.png"]


def test_an_interrupted_run_keeps_what_is_sensitive(tmp_path) -> None:
    scan = noisy(cartesian_scan())
    two = dataclasses.replace(scan, kspace=torch.stack([scan.kspace, 2 * scan.kspace]))
    options = {"maps": "lowres", "jacobian": True, "layers": 2, "sparsifier": "haar"}
    first = reconstruct(two, checkpoint=tmp_path / "kept", **options)
    again = reconstruct(two, checkpoint=tmp_path / "kept", **options)
    assert first.sensitive is not None
    assert again.sensitive is not None
    assert torch.equal(first.sensitive, again.sensitive)
    assert first.certificate == again.certificate
