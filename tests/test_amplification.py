"""jacobian_bounds encloses the norm that automatic differentiation gives, whatever the function."""

from __future__ import annotations

import pytest
import torch
from jacobians import automatic_jacobian, norm_of
from monai.apps.reconstruction.networks.nets.coil_sensitivity_model import CoilSensitivityModel
from monai.apps.reconstruction.networks.nets.complex_unet import ComplexUnet
from monai.apps.reconstruction.networks.nets.varnet import VariationalNetworkModel
from torch import Tensor, nn

from firenet_mri import FIRENET, AdaptiveSchedule, jacobian_bounds
from firenet_mri.amplification import Linearisation
from firenet_mri.errors import DataError, ShapeError, UsageError
from firenet_mri.operators import MatrixOperator, StationaryWavelet


class Unrolled(nn.Module):
    """A MoDL in small: a convolution as denoiser, conjugate gradients as data consistency."""

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)
        self.denoise = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, y: Tensor) -> Tensor:
        """Return the image of single-coil k-space, (ny, nx) complex."""
        back = torch.fft.ifft2(y * self.mask, norm="ortho")
        x = back
        for _ in range(2):
            planes = torch.view_as_real(x).movedim(-1, 0)[None]
            z = torch.tanh(self.denoise(planes))[0].movedim(0, -1).contiguous()
            x = self._consistent(back + 0.3 * torch.view_as_complex(z))
        return x

    def _consistent(self, right: Tensor) -> Tensor:
        x, residual = torch.zeros_like(right), right
        direction, square = residual, residual.abs().square().sum()
        for _ in range(3):
            kspace = torch.fft.fft2(direction, norm="ortho") * self.mask
            normal = torch.fft.ifft2(kspace, norm="ortho") + 0.3 * direction
            length = square / (direction.conj() * normal).real.sum()
            x, residual = x + length * direction, residual - length * normal
            before, square = square, residual.abs().square().sum()
            direction = residual + square / before * direction
        return x


def test_an_unrolled_network_is_enclosed(randn) -> None:
    torch.manual_seed(0)
    mask = torch.rand(10, 8) < 0.6
    net = Unrolled(mask)
    y = (randn(10, 8) * mask).to(torch.complex64)
    bounds = jacobian_bounds(net, y, sampled=mask)
    twin = Unrolled(mask).double()
    twin.load_state_dict(net.state_dict())
    norm = norm_of(automatic_jacobian(lambda data: twin(data * mask), y.to(torch.complex128)))
    assert bounds.lower <= norm * (1 + 1e-9)
    assert norm <= bounds.upper <= 1.15 * bounds.lower * (1 + 1e-9)
    assert next(net.parameters()).dtype == torch.float32
    assert not bounds.change[~mask].any()
    assert float(bounds.image.norm()) == pytest.approx(bounds.lower)


def test_monais_variational_network_is_enclosed() -> None:
    torch.manual_seed(0)
    features = (4, 4, 4, 4, 4, 4)
    net = VariationalNetworkModel(
        CoilSensitivityModel(2, features=features),
        ComplexUnet(2, features=features),
        num_cascades=1,
    )
    net = net.double().eval()
    mask = torch.zeros(1, 1, 1, 32, 1, dtype=torch.bool)
    mask[..., ::3, :] = mask[..., 10:22, :] = True
    y = torch.randn(1, 2, 32, 32, 2) * mask
    bounds = jacobian_bounds(lambda data: net(data, mask), y, sampled=mask)
    assert bounds.upper <= 1.15 * bounds.lower
    # Finite differences along what was found see the lower number.
    point, step = y.double(), 1e-6 * y.norm()
    with torch.no_grad():
        ahead, back = (net(point + sign * step * bounds.change, mask) for sign in (1, -1))
    seen = float((ahead - back).norm() / (2 * step))
    assert seen == pytest.approx(bounds.lower, rel=1e-4)


@pytest.mark.parametrize("shape", [(5, 40), (40, 5)], ids=["few images", "few data"])
def test_either_side_may_be_the_smaller_one(shape, randn) -> None:
    matrix = randn(*shape)
    y = randn(shape[1])
    bounds = jacobian_bounds(lambda data: matrix @ data, y)
    norm = float(torch.linalg.matrix_norm(matrix, 2))
    assert bounds.lower <= norm * (1 + 1e-12)
    assert norm <= bounds.upper <= 1.15 * norm


def test_a_random_start_that_is_bad_is_as_rare_as_stated(randn) -> None:
    matrix = torch.diag(torch.tensor([1000.0] + [1.0] * 30, dtype=torch.float64))
    y = torch.ones(31, dtype=torch.float64)
    found = [
        jacobian_bounds(lambda d: matrix @ d, y, failure=0.2, seed=seed, ratio=1e9, most=2).upper
        for seed in range(300)
    ]
    assert sum(upper < 1000 for upper in found) < 300 * 0.3


def test_forward_derivatives_and_two_transposes_agree(randn) -> None:
    weights = randn(6, 6)

    def function(data: Tensor) -> Tensor:
        return torch.tanh((weights @ data).real) * data[:6]

    y = randn(6)
    linear = Linearisation(function, y)
    u, image = randn(6), randn(6)
    carried = linear.forward(u)
    assert linear._has_forward
    torch.testing.assert_close(linear._by_two_transposes(u), carried)
    expected = (image.conj() * carried).real.sum()
    torch.testing.assert_close((linear.transpose(image).conj() * u).real.sum(), expected)


class _WithoutTangent(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return 3 * x**2 * gradient


def test_operations_without_a_forward_derivative_are_served() -> None:
    y = torch.tensor([0.5, 2.0, -3.0])
    bounds = jacobian_bounds(_WithoutTangent.apply, y)
    assert bounds.lower <= 27 * (1 + 1e-9) <= bounds.upper * (1 + 1e-9)
    assert bounds.lower > 26


def test_what_does_not_change_has_norm_zero() -> None:
    bounds = jacobian_bounds(lambda data: torch.ones(3).to(data), torch.ones(4))
    assert (bounds.lower, bounds.upper) == (0, 0)


def test_progress_is_reported_to_the_end() -> None:
    seen: list[tuple[int, int]] = []
    bounds = jacobian_bounds(
        lambda data: data * torch.arange(1, 31).to(data),
        torch.ones(30),
        on_application=lambda done, most: seen.append((done, most)),
    )
    assert [done for done, _ in seen] == list(range(1, bounds.applications + 1))
    assert seen[-1] == (bounds.applications, bounds.applications)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"failure": 0.0}, UsageError, "probability"),
        ({"ratio": 1.0}, UsageError, "ratio"),
        ({"most": 1}, UsageError, "at least 2"),
        ({"sampled": torch.zeros(3, dtype=torch.bool)}, DataError, "Nothing was sampled"),
        ({"sampled": torch.ones(5, dtype=torch.bool)}, ShapeError, "broadcast"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, error, said) -> None:
    with pytest.raises(error, match=said):
        jacobian_bounds(lambda data: data, torch.ones(3), **options)


def test_single_precision_inside_is_refused() -> None:
    with pytest.raises(UsageError, match="double precision"):
        jacobian_bounds(lambda data: data.float(), torch.ones(3))


def test_a_derivative_that_is_nan_is_refused() -> None:
    with pytest.raises(DataError, match="NaN"):
        jacobian_bounds(lambda data: torch.sqrt(data), torch.zeros(3))


def test_adaptive_layers_of_fixed_number_have_both_sides() -> None:
    """The steps and restarts follow the data; they are differentiated, too."""
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(20, 16, dtype=torch.float64, generator=generator)
    encoding = MatrixOperator(matrix / torch.linalg.matrix_norm(matrix, 2), 1.0)
    image = torch.zeros(16, dtype=torch.float64)
    image[3:9] = 1
    noise = torch.randn(20, dtype=torch.float64, generator=generator)
    y = encoding(image) + 0.05 * noise
    schedule = AdaptiveSchedule(relative_gap=1e-12, max_layers=24)
    net = FIRENET(StationaryWavelet(1, (16,)), 0.02, schedule=schedule)
    assert net.converge(y, encoding).restarts.item() > 0

    def run(data: Tensor) -> Tensor:
        return net(data, encoding)

    bounds = jacobian_bounds(run, y)
    norm = norm_of(automatic_jacobian(run, y))
    assert bounds.lower <= norm * (1 + 1e-9)
    assert bounds.lower > 0.8 * norm
    assert norm <= bounds.upper <= 1.3 * norm
    step = 1e-6 * bounds.change
    difference = (run(y + step) - run(y - step)) / 2e-6
    assert torch.allclose(difference, bounds.image, atol=1e-5)
