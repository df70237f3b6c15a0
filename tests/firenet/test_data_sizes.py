"""Data of any size that single precision can hold give the same image, as large as they are."""

from __future__ import annotations

import pytest
import torch
from jacobians import jacobian_of
from torch import Tensor

from firenet_mri import (
    FIRENET,
    AdaptiveSchedule,
    NetworkSchedule,
    RadialSchedule,
    RawScan,
    SquareRootLasso,
    certify,
    reconstruct,
)
from firenet_mri.amplification import jacobian_bounds
from firenet_mri.errors import UsageError
from firenet_mri.firenet.presets import make_network
from firenet_mri.operators import MatrixOperator, encoding_operator
from firenet_mri.operators.sparsifiers import make_sparsifier
from firenet_mri.prox import item_norm, scale_to_one

SHAPE = (16, 16)
# About 1e19 and 1e-20, whose squares single precision cannot hold.
FACTORS = [2.0**63, 2.0**-66]
SCHEDULES = {
    "paper": None,
    "network": NetworkSchedule(8, data_consistency=0.5),
    "adaptive": AdaptiveSchedule(1e-3),
    "radial": RadialSchedule(0.1),
}


def case() -> tuple[Tensor, torch.nn.Module]:
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(3, *SHAPE, generator=generator, dtype=torch.complex64)
    mask = torch.rand(SHAPE, generator=generator) < 0.6
    encoding = encoding_operator(mask, maps / torch.linalg.vector_norm(maps, dim=0))
    image = torch.zeros(SHAPE, dtype=torch.complex64)
    image[4:11, 3:9] = 1
    noise = torch.randn(3, *SHAPE, generator=generator, dtype=torch.complex64) * mask
    return encoding(image) + 0.05 * noise, encoding


def a_scan(factor: float) -> RawScan:
    generator = torch.Generator().manual_seed(1)
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij"
    )
    maps = torch.stack(
        [torch.polar(1 + 0.4 * rows, columns), torch.polar(1 - 0.4 * rows, -columns)]
    )
    image = ((rows**2 + columns**2) < 0.6).to(torch.complex64)
    mask = torch.zeros(32, 32, dtype=torch.bool)
    mask[::2] = True
    mask[8:24] = True
    fourier = encoding_operator(mask, maps)
    noise = torch.randn(2, 32, 32, generator=generator, dtype=torch.complex64) * mask
    return RawScan(factor * (fourier(image) + 0.02 * noise), mask, 2, name="made.h5")


@pytest.mark.parametrize("sparsifier", [None, "haar", "undecimated-haar", "tv", "dual-tree"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_solver_gives_the_same_image_at_any_size(schedule, sparsifier) -> None:
    y, encoding = case()
    operator = None if sparsifier is None else make_sparsifier(sparsifier, SHAPE)
    net = FIRENET(operator, 0.02, schedule=SCHEDULES[schedule])
    with torch.no_grad():
        sizes = torch.tensor([FACTORS[0], 1.0, FACTORS[1], 0.0]).reshape(4, 1, 1, 1)
        ordinary, extreme = net.solve((sizes > 0) * y, encoding), net.solve(sizes * y, encoding)
    for item, factor in enumerate((FACTORS[0], 1.0, FACTORS[1])):
        assert torch.equal(extreme.x[item] / factor, ordinary.x[item])
        assert torch.equal(extreme.v[item], ordinary.v[item])
    assert ordinary.x[1].any()
    assert not extreme.x[3].any()


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("preset", ["accurate", "paper", "adaptive"])
def test_a_scan_of_any_size_is_reconstructed_and_certified(preset, factor) -> None:
    ordinary, extreme = (reconstruct(a_scan(one), preset=preset) for one in (1.0, factor))
    scale = float(ordinary.image.abs().max())
    assert torch.isfinite(torch.view_as_real(extreme.image)).all()
    assert float((extreme.image / factor - ordinary.image).abs().max()) < 1e-4 * scale
    gap = ordinary.certificate.relative_gap[0]
    assert extreme.certificate.relative_gap[0] == pytest.approx(gap, rel=1e-3)
    assert extreme.certificate.lipschitz_bound == ordinary.certificate.lipschitz_bound


@pytest.mark.parametrize("factor", FACTORS)
def test_certificate_and_jacobian_are_those_of_ordinary_data(factor) -> None:
    y, encoding = case()
    net = make_network(3, SHAPE, layers=6)
    found = []
    with torch.no_grad():
        for data in (y, factor * y):
            certificate = certify(net, data, encoding, net.solve(data, encoding), dual_layers=20)
            bounded = jacobian_bounds(jacobian_of(net, data, encoding), data, ratio=2.0)
            bounds = certificate.lipschitz_bound_at_data
            found.append((*certificate.relative_gap, *bounds, bounded.lower, bounded.upper))
    assert found[1] == pytest.approx(found[0], rel=1e-5)


@pytest.mark.parametrize("factor", FACTORS)
def test_gradients_of_data_of_any_size_are_right(factor) -> None:
    y, encoding = case()
    net = FIRENET(make_sparsifier("undecimated-haar", SHAPE), 0.02, schedule=NetworkSchedule(4))
    gradients = []
    for size in (1.0, factor):
        data = (size * y).requires_grad_()
        (net(data, encoding) / size).real.sum().backward()
        gradients.append(data.grad * size)
    assert torch.equal(*gradients)


class Fixed(torch.nn.Module):
    """A network with its encoding, as it is recorded."""

    def __init__(self) -> None:
        super().__init__()
        _, self.encoding = case()
        self.net = FIRENET(None, 0.02, schedule=NetworkSchedule(3))

    def forward(self, y: Tensor) -> Tensor:
        image: Tensor = self.net(y, self.encoding)
        return image


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["trace", "export"])
def test_a_recorded_network_takes_data_of_any_size(how) -> None:
    (y, _), model = case(), Fixed()
    with torch.no_grad():
        expected = model(y)
        recorded = (
            torch.jit.trace(model, (y,))
            if how == "trace"
            else torch.export.export(model, (y,)).module()
        )
        for factor in (1.0, *FACTORS):
            assert torch.allclose(recorded(factor * y) / factor, expected, atol=1e-6)


@pytest.mark.parametrize("factor", [1e19, 1e-20, 1e30, 1e-37])
def test_norms_neither_overflow_nor_vanish(randn, factor) -> None:
    x = randn(3, 8, dtype=torch.complex64)
    sizes = torch.tensor([1.0, factor, 0.0]).reshape(3, 1)
    expected = (x.double() if not x.is_complex() else x.to(torch.complex128)).norm(dim=1)
    expected = expected * sizes.double().flatten()
    assert torch.allclose(
        item_norm(x * sizes, (-1,)).flatten().double(), expected, rtol=1e-5, atol=0
    )
    scale = scale_to_one(x * sizes, (-1,))
    mantissas, _ = torch.frexp(scale)
    assert bool((mantissas == 0.5).all())
    assert 0.1 < float(item_norm(x * sizes * scale, (-1,))[1]) < 10
    assert float(scale[2]) == 1
    assert scale_to_one(x, (-1,)) is None


@pytest.mark.parametrize("lam", [1e300, 1e20, 1e-40])
def test_lam_that_single_precision_cannot_hold_is_refused_by_name(lam) -> None:
    with pytest.raises(UsageError, match="lam is"):
        reconstruct(a_scan(1.0), lam=lam)
    with pytest.raises(UsageError, match=r"lam is .* weights of at most"):
        SquareRootLasso(MatrixOperator(torch.eye(2)), None, torch.tensor([1e18, 1.0]), 1e-2)


def test_lam_at_the_ends_of_its_range_gives_numbers() -> None:
    y, encoding = case()
    for lam in (1e-30, 1e15):
        for operator in (None, make_sparsifier("undecimated-haar", SHAPE)):
            assert torch.isfinite(torch.view_as_real(FIRENET(operator, lam)(y, encoding))).all()
