"""Iterative reweighting: a further pass that spares the coefficients that the last image had [1].

After an image x the next pass is the FIRENET with the weights

    w_i e_i / (|W x|_i + e_i),   e_i = 3 ||A x - y|| / sqrt(m) ||b_i||,

three times what the noise of the m samples, as the residual shows it, puts into coefficient i with
its wavelet b_i. For coefficients that are penalised together |W x|_i and ||b_i|| are the norms of
the group, whose weights stay equal. A coefficient far above the noise is hardly penalised any more.

Every pass is a convex problem of its own, and its duality gap is proven as ever, for these weights.
But the weights come from the data, so that the passes together have no proven Lipschitz constant,
and no theorem says that their result is better: it was on hard scans, and worse on easy ones
(docs/performance.md).

[1] Candes, Wakin, Boyd, Enhancing sparsity by reweighted l1 minimization, J. Fourier Anal. Appl.
    14, 2008.
"""

from __future__ import annotations

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.firenet.network import FIRENET
from firenet_mri.operators.base import LinearOperator

# In standard deviations of the noise.
_KNEE = 3.0

# No weight may be zero.
_SMALLEST = 1e-4


def reweighted(net: FIRENET, x: Tensor, y: Tensor, encoding: LinearOperator) -> FIRENET:
    """Return the network of the next pass, to be run with x as start image; it shares the layers.

    Parameters
    ----------
    net
        The network of the last pass.
    x
        Its image, (*domain_shape): one item, since every item has weights of its own.
    y, encoding
        Its data, (*codomain_shape), zero where nothing was sampled, and encoding operator.

    Raises
    ------
    UsageError
        If the network has no sparsifier with a fixed grid, or x and y are a batch.
    """
    sparsifier = net.sparsifier
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
    problem = net.problem(encoding)
    with torch.no_grad():
        samples = int(torch.count_nonzero(y))
        noise = torch.linalg.vector_norm(encoding(x) - y) / max(samples, 1) ** 0.5
        norms = problem.modulus(problem.transform.band_norms.to(noise.device, noise.dtype))
        knee = _KNEE * noise * norms
        modulus = problem.modulus(problem.analyse(x))
        tiny = torch.finfo(noise.dtype).tiny
        factor = ((knee + tiny) / (modulus + knee + tiny)).clamp(min=_SMALLEST)
        weights = factor if net.weights is None else factor * net.weights.to(factor)
    # The same layers, with the hooks that count them.
    return FIRENET(
        sparsifier,
        net.lam,
        weights,
        net.schedule,
        ball=net.ball,
        weights_depend_on_data=True,
        solver=net.solver,
    )
