"""Iterative reweighting: a further pass that spares the coefficients that the last image had [1].

After an image x the next pass is the first pass's FIRENET with the weight 1.3 lam and the weights

    w_i e_i / (|W x|_i + e_i),   e_i = 6 ||A x - y|| / sqrt(m) ||b_i||,

six times what the noise of the m samples, as the residual shows it, puts into coefficient i with
its wavelet b_i. For coefficients that are penalised together |W x|_i and ||b_i|| are the norms of
the group, whose weights stay equal. A coefficient far above the noise is hardly penalised any more;
the larger lam makes up for that where nothing is. Both numbers were chosen on real scans of
phantoms (docs/performance_details.md).

Every pass is a convex problem of its own, and its duality gap is proven as usual, for these
weights. But the weights come from the data, so that the passes together have no proven Lipschitz
constant, and no theorem says that their result is better: on real scans it mostly was
(docs/performance_details.md).

[1] Candes, Wakin, Boyd, Enhancing sparsity by reweighted l1 minimization, J. Fourier Anal. Appl.
    14, 2008.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.firenet.base import Network
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.primal_dual import State
from firenet_mri.operators.base import LinearOperator
from firenet_mri.operators.sparsifier import as_sparsifier

# In standard deviations of the noise.
_KNEE = 6.0

# Of lam, in all passes but the first.
_FACTOR = 1.3

# No weight may be zero.
_SMALLEST = 1e-4


def solve_passes(
    net: Network, y: Tensor, encoding: LinearOperator, x0: Tensor | None = None, passes: int = 1
) -> tuple[Network, State]:
    """Return the network of the last of several passes, and the state at its end.

    Parameters
    ----------
    net
        The network of the first pass.
    y, encoding
        The data, (*codomain_shape) where there are several passes, and encoding operator.
    x0
        Where the first pass starts; None is zero. Every other pass starts from the image before it.
    passes
        At least 1.

    Raises
    ------
    UsageError
        As :func:`reweighted`.
    """
    last, state = net, net.solve(y, encoding, x0)
    for _ in range(passes - 1):
        last = reweighted(net, state.x, y, encoding)
        state = last.solve(y, encoding, state.x)
    return last, state


def reweighted(net: Network, x: Tensor, y: Tensor, encoding: LinearOperator) -> FIRENET:
    """Return the network of the next pass, to be run with x as start image; it shares the layers.

    Parameters
    ----------
    net
        The network of the first pass.
    x
        The last image, (*domain_shape): one item, since every item has weights of its own.
    y, encoding
        Its data, (*codomain_shape), zero where nothing was sampled, and encoding operator.

    Raises
    ------
    UsageError
        If the network minimises nothing, has no sparsifier with a fixed grid, or one that takes
        coefficients together by a nuclear norm, or x and y are a batch.
    """
    net = _with_problem(net)
    sparsifier = net.sparsifier
    if sparsifier is not None and as_sparsifier(sparsifier, sparsifier.domain_shape).is_coherent:
        raise UsageError(
            "Reweighting (and the preset sharp) sets the weight of every coefficient, which the "
            "preset coherent, across-low-rank and across-groups take together; leave one out"
        )
    if sparsifier is None or net.shift_seed is not None:
        raise UsageError(
            "Reweighting needs coefficients that stay the same from layer to layer; use a "
            "redundant sparsifier such as undecimated-haar, or no shifts"
        )
    if x.shape != encoding.domain_shape:
        raise UsageError(
            f"Reweighting takes one image of shape {encoding.domain_shape}, not "
            f"{tuple(x.shape)}; call it item by item"
        )
    knee, modulus = _knee_and_modulus(net, x, y, encoding)
    factor = (knee / (modulus + knee)).clamp(min=_SMALLEST)
    weights = factor if net.weights is None else factor * net.weights.to(factor)
    # The same layers, with the hooks that count them.
    return FIRENET(
        sparsifier,
        _FACTOR * net.lam,
        weights,
        net.schedule,
        ball=net.ball,
        weights_depend_on_data=True,
        solver=net.solver,
        trained=net.trained,
    )


class ReweightingDerivative:
    """How the logarithms of the factors of :func:`reweighted` change with image and data.

    With d the relative change of ||A x - y||, that of log w_i is (d |c_i| - d|c_i|) / (|c_i| + e_i)
    for the coefficients c = W x; 0 where a factor is as small as it can be.

    Parameters
    ----------
    net, x, y, encoding
        As :func:`reweighted` takes them, in double precision.
    """

    def __init__(self, net: Network, x: Tensor, y: Tensor, encoding: LinearOperator) -> None:
        net = _with_problem(net)
        self._problem = problem = net.problem(encoding)
        knee, modulus = _knee_and_modulus(net, x, y, encoding)
        free = knee > _SMALLEST * (modulus + knee)
        self._share = free / (modulus + knee)
        coefficients = problem.analyse(x)
        safe = torch.where(modulus > 0, modulus, torch.ones_like(modulus))
        self._directions = coefficients / safe
        self._modulus = modulus
        self.residual = encoding(x) - y
        # Without a residual there is no direction in which it grows.
        self._square = float(self.residual.abs().square().sum()) or math.inf

    def forward(self, x: Tensor, distance: float) -> Tensor:
        """Return the change of the logarithms, real, of the coefficients' shape.

        Parameters
        ----------
        x
            Change of the image.
        distance
            Re <A x - y, change of A x - y>, one number.
        """
        change = self._problem.analyse(x)
        sizes = self._problem.over_groups((self._directions.conj() * change).real)
        return self._share * (distance / self._square * self._modulus - sizes)

    def transpose(self, logarithms: Tensor) -> tuple[Tensor, float]:
        """Return what is transposed to :meth:`forward`: for the image, and for the distance."""
        shared = self._share * logarithms
        back = self._problem.over_groups(shared) * self._directions
        return -self._problem.synthesise(back), float((shared * self._modulus).sum()) / self._square


def _with_problem(net: Network) -> FIRENET:
    if net.minimiser is None:
        raise UsageError(
            "Reweighting asked for with a trained network, which minimises nothing; leave it out"
        )
    return net.minimiser


def _knee_and_modulus(
    net: FIRENET, x: Tensor, y: Tensor, encoding: LinearOperator
) -> tuple[Tensor, Tensor]:
    """Return e_i, which is positive, and |W x|_i."""
    problem = net.problem(encoding)
    samples = int(torch.count_nonzero(y))
    noise = torch.linalg.vector_norm(encoding(x) - y) / max(samples, 1) ** 0.5
    norms = problem.modulus(problem.transform.band_norms.to(noise.device, noise.dtype))
    modulus = problem.modulus(problem.analyse(x))
    return _KNEE * noise * norms + torch.finfo(noise.dtype).tiny, modulus
