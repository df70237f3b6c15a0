"""The user's own encoding operator, through every face; and what is proven about its norm."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import sigpy
import sigpy.mri
import torch
from firenet_command import firenet
from laws import assert_close, check_linear_operator

import firenet_benchmark.accuracy as accuracy
import firenet_benchmark.stability.methods as methods
import firenet_benchmark.tuned as tuned
import firenet_mri.monai as fm
from firenet_benchmark.stability.evaluation_data import from_operator
from firenet_mri import Certificate, RawScan, ReconstructionOptions, reconstruct
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.firenet.options import NetworkOptions
from firenet_mri.io import read_certificate
from firenet_mri.io.evidence import read_evidence
from firenet_mri.monai.scans import kspace_of
from firenet_mri.operators import (
    LinearOperator,
    MatrixOperator,
    NonuniformFourier,
    Sense,
    encoding_operator,
)
from firenet_mri.operators.given import GivenEncoding, estimate_gain, states_norm
from firenet_mri.reconstruction.check import check_reconstruction
from firenet_mri.scan import Geometry
from firenet_mri.sigpy import from_sigpy, to_sigpy

SHAPE, COILS = (24, 20), 3
OPTIONS = {"layers": 4, "sparsifier": "undecimated-haar"}
LONG = {**OPTIONS, "layers": 15}
MAPS = torch.from_numpy(sigpy.mri.birdcage_maps((COILS, *SHAPE))).cfloat()
MASK = torch.arange(20) % 2 == 0
MASK[7:13] = True
PHASE = torch.exp(2j * torch.linspace(0, 1, 24)).cfloat()[:, None].expand(SHAPE)


class OffResonance(LinearOperator):
    """x -> P F S (phase x), written as a user would."""

    def __init__(self, norm_bound: float = 1.0) -> None:
        super().__init__(SHAPE, (COILS, *SHAPE), norm_bound)
        self.sense = encoding_operator(MASK.expand(SHAPE), MAPS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sense(PHASE * x)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return PHASE.conj() * self.sense.adjoint(y)


def linop(factor: float = 1.0, phase: torch.Tensor = PHASE) -> sigpy.linop.Linop:
    """Return the same as SigPy has it."""
    sense = sigpy.mri.linop.Sense(MAPS.numpy(), weights=MASK.expand(SHAPE).numpy() * 1.0)
    return factor * sense * sigpy.linop.Multiply(SHAPE, phase.resolve_conj().numpy())


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.from_numpy(sigpy.shepp_logan(SHAPE)).cfloat()


@pytest.fixture(scope="module")
def scan(image) -> RawScan:
    noise = torch.randn(COILS, *SHAPE, dtype=torch.complex64, generator=torch.manual_seed(0))
    kspace = (OffResonance()(image) + 0.003 * noise) * MASK
    return RawScan(kspace, MASK.expand(1, *SHAPE), 2, simulated=True)


@pytest.fixture(scope="module")
def expected(scan):
    return reconstruct(scan, encoding=linop(), **OPTIONS)


@pytest.mark.parametrize("make", [linop, OffResonance], ids=["Linop", "LinearOperator"])
def test_one_operator_gives_one_image_in_every_face(make, scan, image, monkeypatch) -> None:
    """reconstruct, FIRENETModel, FIRENETReconstruct(d), both benchmarks."""
    own = make()
    expected = reconstruct(scan, encoding=own, **OPTIONS)
    target = expected.image
    batch = torch.stack([scan.kspace, 2 * scan.kspace, 0 * scan.kspace])
    model = fm.FIRENETModel(encoding=own, output="complex", **OPTIONS)
    assert_close(model(batch, MASK), torch.stack([target, 2 * target, 0 * target]), 1e-5)
    assert not model.state_dict()
    options = {"output": "complex", "image_axes": "kspace", **OPTIONS}
    data = {"kspace": scan.kspace, "mask": MASK, "operator": own}
    made = [
        fm.FIRENETReconstruct(encoding=own, **options)(scan.kspace, MASK),
        fm.FIRENETReconstructd("kspace", encoding=own, **options)(data)["kspace"],
        fm.FIRENETReconstructd("kspace", encoding_key="operator", **options)(data)["kspace"],
        fm.FIRENETReconstruct(encoding=own, certificate=True, **options)(scan.kspace, MASK),
    ]
    for one in made:
        assert_close(one.as_tensor()[0], target, 1e-5)
    certificate = Certificate.from_dict(json.loads(made[-1].meta["certificate"]))
    bound = expected.certificate.lipschitz_bound
    assert certificate.lipschitz_bound == pytest.approx(bound, rel=1e-6)
    monkeypatch.setattr(accuracy, "_CHOICES", {"ours": OPTIONS})
    monkeypatch.setattr(tuned, "ITERATIONS", 10)
    rows = {row.method: row for row in accuracy.compare(scan, image.abs(), encoding=own)}
    assert rows["ours"] == replace(
        accuracy.row_of("ours", image.abs(), target), seconds=rows["ours"].seconds
    )
    assert rows["ours"].psnr_db > rows["zero filling"].psnr_db + 1
    assert rows["SigPy L1 of wavelets"].psnr_db > rows["zero filling"].psnr_db + 1
    slices = from_operator(scan, own, 1, 1).test
    monkeypatch.setattr(methods.FIRENETImage, "_options", NetworkOptions(**OPTIONS))
    for method, one in (
        (methods.firenet_method("ours", "accurate", ""), slices.encoding.gain * target),
        (methods.zero_filling(), OffResonance().adjoint(scan.kspace) / slices.encoding.gain),
    ):
        assert_close(method.magnitude(slices)[0], one.abs(), 1e-5)


def test_a_class_of_the_users_gives_the_image_of_the_linop(scan, expected) -> None:
    found = reconstruct(scan, encoding=OffResonance(), **OPTIONS)
    assert_close(found.image, expected.image, 1e-4)


@pytest.mark.parametrize("factor", [1e-3, 1e3])
def test_the_scale_of_an_operator_is_the_images_alone(factor, scan, expected) -> None:
    found = reconstruct(scan, encoding=linop(factor), **OPTIONS)
    assert_close(found.image * factor, expected.image, 1e-4)
    assert_close(found.zero_filled * factor, expected.zero_filled, 1e-4)
    bounds = found.certificate.lipschitz_bound, expected.certificate.lipschitz_bound
    assert bounds[0] * factor == pytest.approx(bounds[1], rel=1e-4)


def test_the_operator_that_is_made_by_itself_gives_the_image_without_it() -> None:
    plain = encoding_operator(MASK.expand(SHAPE), MAPS)
    kspace = torch.randn(COILS, *SHAPE, dtype=torch.complex64, generator=torch.manual_seed(1))
    scan = RawScan(kspace * MASK, MASK.expand(1, *SHAPE), 2)
    unmasked = encoding_operator(None, MAPS)
    wanted = reconstruct(scan, maps=MAPS, no_gap=True, **OPTIONS).image
    for operator in (plain, unmasked):
        assert_close(
            reconstruct(scan, encoding=operator, no_gap=True, **OPTIONS).image, wanted, 1e-6
        )


def test_the_estimated_gain_is_that_of_maps() -> None:
    sampled = MASK.expand(1, *SHAPE)
    for scale in (1.0, 50.0):
        exact = estimate_gain(encoding_operator(MASK.expand(SHAPE), scale * MAPS), sampled)
        assert exact == pytest.approx(scale * float(MAPS.norm(dim=0).max()))
        assert estimate_gain(from_sigpy(linop(scale)), sampled) == pytest.approx(exact, rel=0.1)


def test_a_given_encoding_is_linear_with_its_adjoint_and_bound() -> None:
    sampled = MASK.expand(1, *SHAPE)
    check_linear_operator(GivenEncoding(from_sigpy(linop(3.0)), sampled), batch=())
    # What was not sampled is left out, also where the operator does not do so.
    check_linear_operator(GivenEncoding(encoding_operator(None, 3 * MAPS.cdouble()), sampled))


def entry(result, name):
    (found,) = [one for one in result.certificate.entries if one.name == name]
    return found


def test_the_certificate_says_whether_the_norm_is_proven_or_stated(scan, expected) -> None:
    proven = entry(expected, "operator_norm")
    assert proven.status == "proven"
    assert "follows from the structure" in proven.statement
    assert "as its structure proves" in expected.certificate.sentence()
    assert "maps_1_percent" not in [one.name for one in expected.certificate.entries]
    for operator in (OffResonance(), from_sigpy(linop(), norm_bound=1.1)):
        found = reconstruct(scan, encoding=operator, **OPTIONS)
        stated = entry(found, "operator_norm")
        assert stated.status == "assumed"
        assert "hold if it is correct" in stated.statement
        assert "as it was stated with it" in found.certificate.sentence()


def test_stated_norms_are_found_wherever_they_hide() -> None:
    ours = encoding_operator(None, MAPS)
    assert not states_norm(ours)
    assert not states_norm(from_sigpy(to_sigpy(ours) * sigpy.linop.Identity(SHAPE)))
    hidden = to_sigpy(OffResonance()) * sigpy.linop.Identity(SHAPE)
    assert states_norm(from_sigpy(hidden))
    assert states_norm(from_sigpy(hidden) @ from_sigpy(sigpy.linop.Identity(SHAPE)))
    assert states_norm(MatrixOperator(torch.eye(2), norm_bound=1.0))
    assert not states_norm(MatrixOperator(torch.eye(2)))


def test_the_norm_that_was_found_is_no_more_than_the_true_one(scan, expected) -> None:
    columns = torch.eye(SHAPE[0] * SHAPE[1], dtype=torch.complex64).reshape(-1, *SHAPE)
    matrix = OffResonance()(columns).reshape(len(columns), -1)
    true = float(torch.linalg.matrix_norm(matrix, 2))
    found = entry(expected, "operator_norm").values
    assert true * 0.9 < found["largest_gain_found"][0] <= true * (1 + 1e-5)
    assert true <= found["norm_bound"][0] * (1 + 1e-5)


def test_no_change_of_the_data_moves_the_image_further_than_the_bound(scan) -> None:
    """An attack: the data of single pixels, of the found image, and noise, large and small."""
    operator = from_sigpy(linop(7.0))
    options = {"encoding": operator, **OPTIONS}
    found = reconstruct(scan, **options)
    bound = found.certificate.lipschitz_bound
    pixel = torch.zeros(SHAPE, dtype=torch.complex64)
    pixel[12, 10] = 1
    noise = torch.randn(COILS, *SHAPE, dtype=torch.complex64, generator=torch.manual_seed(3))
    for change in (operator(pixel), operator(found.image), noise * MASK):
        for size in (1e-3, 0.3, 3.0):
            step = size * scan.kspace.norm() / change.norm() * change
            other = replace(scan, kspace=scan.kspace + step)
            moved = reconstruct(other, no_gap=True, **options).image - found.image
            assert moved.norm() <= bound * step.norm()


@pytest.mark.slow
def test_the_most_amplified_change_stays_below_the_bound(scan) -> None:
    attacked = reconstruct(scan, encoding=linop(7.0), jacobian=True, **OPTIONS)
    gain = entry(attacked, "measured_gain").values["measured_gain"][0]
    assert 0.05 * attacked.certificate.lipschitz_bound < gain
    assert gain <= attacked.certificate.lipschitz_bound


class WrongAdjoint(OffResonance):
    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return self.sense.adjoint(y)


class WrongShape(OffResonance):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x)[..., :3]


class NotANumber(OffResonance):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) * torch.nan


class Nothing(OffResonance):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 0 * super().forward(x)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        return 0 * super().adjoint(y)


WRONG = [
    (
        lambda: OffResonance(norm_bound=0.5),
        UsageError,
        r"norm bound .* is 0\.5, but it increases the norm",
    ),
    (WrongAdjoint, UsageError, r"adjoint of .* is wrong"),
    (WrongShape, UsageError, r"returned a tensor of shape .*its declared shapes"),
    (NotANumber, UsageError, r"adjoint of .* is wrong"),
    (lambda: "sense", UsageError, r"encoding operator is a str; give a"),
    (lambda: MatrixOperator(torch.eye(3)), ShapeError, r"image|axes"),
]


@pytest.mark.parametrize(("make", "error", "message"), WRONG)
def test_a_wrong_operator_is_refused_by_name_in_every_face(make, error, message, scan) -> None:
    for use in (
        lambda: reconstruct(scan, encoding=make(), **OPTIONS),
        lambda: fm.FIRENETModel(encoding=make(), output="complex", **OPTIONS),
        lambda: fm.FIRENETReconstruct(encoding=make(), **OPTIONS),
    ):
        with pytest.raises(error, match=message):
            use()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"maps": MAPS}, UsageError, "maps: the given encoding operator contains the maps"),
        ({"coils": 2}, UsageError, "coils: the given encoding operator"),
        ({"map_sets": 2}, UsageError, "map_sets: the given"),
        ({"phase_constraint": 0.3}, UsageError, "phase_constraint: the given"),
        ({"encoding": Nothing()}, UsageError, "maps random images to zero or NaN"),
        ({"encoding": [linop()] * 2}, ShapeError, "2 operators given for 1 slice;"),
    ],
)
def test_what_does_not_go_with_an_operator_is_refused(options, error, message, scan) -> None:
    with pytest.raises(error, match=message):
        reconstruct(scan, **{"encoding": linop(), **OPTIONS, **options})


def test_monai_refuses_what_an_operator_leaves_no_room_for(scan) -> None:
    with pytest.raises(UsageError, match="output rss is made of maps"):
        fm.FIRENETModel(encoding=linop())
    with pytest.raises(ShapeError, match="spatial_dims is 3"):
        fm.FIRENETModel(3, encoding=linop(), output="complex")
    model = fm.FIRENETModel(encoding=linop(), output="complex", **OPTIONS)
    assert model.lipschitz_bound() is None
    with pytest.raises(UsageError, match="leave sens_maps and trajectory out"):
        model(scan.kspace[None], sens_maps=MAPS)
    with pytest.raises(ShapeError, match=r"must take an image"):
        model(scan.kspace[None, :, :-1])
    with pytest.raises(UsageError, match="leave sens_maps out"):
        fm.FIRENETReconstruct(encoding=linop())(scan, sens_maps=MAPS)


def test_slices_can_have_operators_of_their_own(scan, expected) -> None:
    two = RawScan(torch.stack([scan.kspace] * 2), scan.mask, 2)
    found = reconstruct(two, encoding=[linop(), linop(2.0)], no_gap=True, **OPTIONS)
    assert_close(found.image, torch.stack([expected.image, expected.image / 2]), 1e-4)


def test_images_of_another_size_than_the_data_have_no_place(image) -> None:
    points = torch.rand(30, 16, 2, generator=torch.manual_seed(2)) * torch.tensor([24.0, 20.0])
    points = points - torch.tensor([12.0, 10.0])
    own = to_sigpy(Sense(MAPS, NonuniformFourier(points, SHAPE))) * sigpy.linop.Identity(SHAPE)
    kspace = from_sigpy(own)(image)
    place = Geometry((5.0, 200.0, 240.0), ((1.0, -20.0, 30.0),))
    scan = RawScan(kspace, torch.ones(1, 30, 16, dtype=torch.bool), 2, geometry=place)
    found = reconstruct(scan, encoding=own, **LONG)
    assert found.image.shape == SHAPE
    assert found.scan.geometry is None
    assert float((found.image - image).norm() / image.norm()) < 0.35
    for given in (scan, kspace_of(scan)):
        made = fm.FIRENETReconstruct(encoding=own, **LONG)(given)
        assert made.shape == (1, 20, 24, 1)
        assert_close(made.as_tensor()[0, ..., 0].T, found.image.abs(), 1e-5)
        assert torch.equal(made.affine, torch.eye(4, dtype=torch.float64))
        assert not made.meta["is_placed"]
    model = fm.FIRENETModel(encoding=own, output="complex", **LONG)
    assert_close(model(scan.kspace[None])[0], found.image, 1e-5)


def test_a_start_image_is_in_the_users_units(scan, expected) -> None:
    start = 1e3 * expected.image
    data = 1e3 * scan.kspace
    options = {"output": "complex", "layers": 1, "sparsifier": "undecimated-haar"}
    model = fm.FIRENETModel(encoding=linop(5.0), **options)
    near = model(data[None], MASK, x0=start[None] / 5)[0]
    far = model(data[None], MASK)[0]
    assert (near - start / 5).norm() < 0.5 * (far - start / 5).norm()
    transform = fm.FIRENETReconstruct(encoding=linop(5.0), image_axes="kspace", **options)
    assert_close(transform(data, MASK, x0=start[None] / 5).as_tensor()[0], near, 1e-5)


def test_a_saved_certificate_is_checked_with_the_same_operator_only(scan, expected, tmp_path):
    expected.save(tmp_path / "image.nii.gz")
    saved = read_certificate(tmp_path / "image.json")
    evidence = read_evidence(saved.evidence_beside())
    chosen = ReconstructionOptions.from_mapping(OPTIONS)
    checked = check_reconstruction(saved, scan, evidence, chosen, encoding=linop(), again=True)
    assert any("operator norm" in line for line in checked.agrees)
    others = {
        "contains options other": None,
        "was made with the encoding operator": OffResonance(),
        "not the image of the evidence": linop(2.0),
    }
    for message, other in others.items():
        with pytest.raises(DataError, match=message):
            check_reconstruction(saved, scan, evidence, chosen, encoding=other)
    # Of the same name, sizes and norm: the gap is another.
    with pytest.raises(DataError, match=r"lower bound|objective|gap|evidence"):
        check_reconstruction(saved, scan, evidence, chosen, encoding=linop(phase=PHASE.conj()))
    np.save(tmp_path / "scan.npy", scan.kspace.numpy())
    done = firenet("certify", tmp_path / "image.json", "--scan", tmp_path / "scan.npy")
    assert done.status != 0
    assert "an encoding operator that was given in Python" in done.err


def test_a_checkpoint_is_not_taken_for_another_operator(scan, expected, tmp_path) -> None:
    options = {"checkpoint": tmp_path / "kept", "no_gap": True, **OPTIONS}
    reconstruct(scan, encoding=linop(), **options)
    found = reconstruct(scan, encoding=linop(phase=PHASE.conj()), **options)
    assert (found.image - expected.image).norm() > 0.1 * expected.image.norm()
