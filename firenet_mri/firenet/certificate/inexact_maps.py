"""What a change of the encoding operator can do: maps that are one per cent off.

The data y and the steps are kept, and A becomes A' with ||A' - A|| <= e and ||A'|| no larger
than the bound that the steps were made for (docs/theory.md, section 3.7).

Objective. For any images x and z

    F'(x) - F'(z) <= F(x) - min F + e (||x|| + ||z||).

Image. Let x_k, v_k be what layer k of the network was given, tau_k sigma_k = s^2, and r any image.
The two runs are z_k apart in the metric of the iteration, z_0 = 0, and with rho = tau_{k+1} / tau_k

    ||x_{k+1} - x'_{k+1}|| <= a = ||z_k|| + tau_k e ||v_k||,
    ||z_{k+1}|| <= |1 - rho| a + rho (a + s e ||2 x_{k+1} - x_k - r||).

What r takes off acts as a change of the data by at most e ||r||, for which the network has a
Lipschitz constant. The r used is a multiple of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_mri.errors import UsageError
from firenet_mri.firenet.certificate.bounds import kept_fixed
from firenet_mri.firenet.certificate.certificate import KEPT_FIXED, Entry
from firenet_mri.firenet.network import FIRENET
from firenet_mri.firenet.primal_dual import LayerState, State
from firenet_mri.firenet.problem import Problem
from firenet_mri.firenet.solver import LinearParts
from firenet_mri.firenet.unrolled import FixedSchedule
from firenet_mri.operators.base import LinearOperator, Part, Shape
from firenet_mri.operators.links import COMPRESSION
from firenet_mri.prox import item_norm

CHANGE = 0.01
"""e / ||A||, with the proven bound of ||A||: the change of which a certificate speaks."""

# Competing images have at most this many times the norm of this one.
_LONGEST = 2.0

# Multiples of the image of which the best is taken for r; 0 gives the plain sum over the layers.
_MULTIPLES = 21

# The products tau sigma of all layers are one number, up to rounding in single precision.
_ROUNDING = 1e-5

_MAPS = "sensitivity maps"

# Made from the data without the help of the maps: other maps leave it as it is.
_WITHOUT_MAPS = (_MAPS, COMPRESSION)

_IMAGE = "image_with_maps_1_percent"

_CHANGED = (
    f"the encoding operator changes by at most {100 * CHANGE:g} % of its norm, as it does if the "
    f"sensitivities of all coils at a pixel change by at most {100 * CHANGE:g} % of the largest "
    "root sum of squares of the maps"
)
_NOT_SAID = "How wrong the maps are is not known."
_EMPTY_GAP = " It is more than the objective itself, so that this says nothing."
_EMPTY = " It is more than the image itself, so that this says nothing about the image."


#: The entry "image_with_maps_1_percent" of a network of which nothing is known about that.
WITHOUT_PROBLEM = Entry(
    _IMAGE,
    "not verified",
    "How far other sensitivity maps can move the image of a trained network is not bounded.",
)


def gap_with_other_maps(
    objective: Sequence[float],
    gap: Sequence[float],
    image_norms: Sequence[float],
    norm_bound: float,
    parts: Sequence[Part],
) -> Entry:
    """Return the entry "maps_1_percent": how near the image is to the optimum for other maps.

    Parameters
    ----------
    objective, gap, image_norms
        F(x), a proven bound of F(x) - min F, and ||x|| of each item.
    norm_bound
        Proven bound of ||A||.
    parts
        What encoding operator and data were made from.
    """
    numbers = list(zip(objective, gap, image_norms, strict=True))
    items = tuple(i for i, (value, _, _) in enumerate(numbers) if value > 0)
    change = CHANGE * norm_bound * (1 + _LONGEST)
    gaps = tuple(numbers[i][1] + change * numbers[i][2] for i in items)
    relative = tuple(gap / numbers[i][0] for i, gap in zip(items, gaps, strict=True))
    return Entry(
        "maps_1_percent",
        "proven",
        f"If {_CHANGED}, no image of at most {_LONGEST:g} times this one's norm has a smaller "
        "objective, with the changed operator, than this one by more than gap_with_other_maps; "
        "relative_gap_with_other_maps is that over this image's objective as it is. "
        f"{KEPT_FIXED} {_kept(parts)}, weights of the sparsity.",
        "It is about the objective, not about how far another image looks from this one. Longer "
        f"images are not excluded. {_NOT_SAID}"
        + (_EMPTY_GAP if max(relative, default=0.0) >= 1 else ""),
        {"gap_with_other_maps": gaps, "relative_gap_with_other_maps": relative},
        items,
    )


def image_with_other_maps(
    net: FIRENET,
    y: Tensor,
    encoding: LinearOperator,
    x: Tensor,
    *,
    x0: Tensor | None = None,
    parts: Sequence[Part] | None = None,
) -> Entry:
    """Return the entry "image_with_maps_1_percent": how far other maps can move the image.

    Takes the time of two to four runs of the network.

    Parameters
    ----------
    net, y, encoding
        The network, its data (*batch, *codomain_shape) and its encoding operator.
    x
        The network's image, (*batch, *domain_shape); also with some pixels set to 0.
    x0
        Start image that was used; None is zero.
    parts
        What encoding operator and data were made from; None takes what the operator says.
    """
    parts = encoding.made_from if parts is None else parts
    norms = item_norm(_double(x), _trailing(encoding.domain_shape)).reshape(-1).tolist()
    reason = obstacle(net, encoding, parts)
    if reason is not None:
        statement = f"How far other maps can move the image is not certified: {reason}"
        return Entry(_IMAGE, "not verified", statement, items=tuple(range(len(norms))))
    bounds = image_change_bound(net, y, encoding, x, x0=x0).reshape(-1).tolist()
    # An image that is zero changes by no per cent of itself.
    items = tuple(i for i, norm in enumerate(norms) if norm > 0)
    percent = tuple(100 * bounds[i] / norms[i] for i in items)
    return Entry(
        _IMAGE,
        "proven",
        f"If {_CHANGED}, and its norm stays within the bound for which the steps were made, as it "
        "does if the maps stay normalised, the image changes by at most percent_of_image per cent "
        "of its norm. It follows from the steps and from this run of the network. "
        f"{KEPT_FIXED} {_kept(parts)}.",
        f"It is an upper bound, which no change of maps that was found comes near. {_NOT_SAID}"
        + (_EMPTY if max(percent, default=0.0) >= 100 else ""),
        {"percent_of_image": percent},
        items,
    )


def obstacle(net: FIRENET, encoding: LinearOperator, parts: Sequence[Part] = ()) -> str | None:
    """Return the sentence why nothing is proven of the image with other maps, None if it is.

    Parameters
    ----------
    net, encoding
        The network and its encoding operator.
    parts
        What encoding operator and data were made from.
    """
    if not net.solver.is_fixed:
        return "the network's steps depend on the data and the maps."
    if net.weights_depend_on_data:
        return "reweighting takes the weights from an image, which changes with the maps."
    if net.lipschitz_bound(encoding) is None:
        return "no Lipschitz constant is proven for these steps."
    if not _has_one_product(net, encoding):
        return "the product of primal and dual step changes from layer to layer."
    moving = [part.name for part in parts if part.from_data and part.name not in _WITHOUT_MAPS]
    return f"the {moving[0]} was made with the help of the maps." if moving else None


@torch.no_grad()
def image_change_bound(
    net: FIRENET,
    y: Tensor,
    encoding: LinearOperator,
    x: Tensor,
    *,
    change: float | None = None,
    x0: Tensor | None = None,
) -> Tensor:
    """Return a proven bound of how far the image of each item moves, (*batch) float64.

    Parameters
    ----------
    net, y, encoding, x0
        As :func:`image_with_other_maps`.
    x
        Any image, (*batch, *domain_shape); the nearer it is to the network's, the smaller the
        bound.
    change
        e, at least ||A' - A||; None is ``CHANGE`` times the proven bound of ||A||.

    Raises
    ------
    UsageError
        If nothing is proven, see :func:`obstacle`.

    Examples
    --------
    >>> from firenet_mri.operators import MatrixOperator
    >>> net, y = FIRENET(lam=0.01), torch.tensor([1.0, 0.0, 2.0, 0.0])
    >>> encoding = MatrixOperator(torch.eye(4), norm_bound=1.0)
    >>> bound = image_change_bound(net, y, encoding, net(y, encoding))
    >>> bool(0 < bound < 0.3)
    True
    """
    reason, constant = obstacle(net, encoding), net.lipschitz_bound(encoding)
    if reason is not None or constant is None:
        raise UsageError(f"How far other maps can move the image is not proven: {reason}")
    e = CHANGE * encoding.norm_bound if change is None else change
    task = net.task(y, encoding, x0)
    image = x if task.scale is None else x * task.scale
    reference = _Reference(_double(image), task.problem.image_axes)
    seen: list[_Seen] = []

    def watch(
        block: int, problem: Problem, before: LayerState, tau: Tensor, sigma: Tensor
    ) -> Callable[[LayerState], None]:
        state = before.bare(problem, task.y)
        size = item_norm(_double(state.v), problem.data_axes).reshape(tau.shape)
        # What follows the last layer is not shown.
        x_next = _primal_step(problem, state, tau) if len(seen) + 1 == net.depth else None
        seen.append(_Seen(block, state.x, x_next, size, _double(tau), _double(sigma)))
        return lambda _: None

    parts = net.solver.observed(task.problem, task.y, task.x0, watch)
    layers = _layers(seen, reference)
    distance = _sum_over_layers(layers, parts)
    if parts.consistency > 0:
        x_last = _double(_last_image(seen, parts))
        residual = item_norm(encoding(x_last) - _double(task.y), task.problem.data_axes)
        shift = encoding.norm_bound * reference.distance(x_last)
        distance = distance + parts.consistency * (residual.reshape(shift.shape[1:]) + shift)
    bound = e * (distance + constant * reference.multiples_of_norm).amin(0)
    return bound if task.scale is None else bound / _double(task.scale).reshape(bound.shape)


def _kept(parts: Sequence[Part]) -> str:
    """Return what does not change with the maps, in words."""
    others = (part for part in dict.fromkeys(parts) if part.name != _MAPS)
    return kept_fixed((Part("data"), *others))


class _Seen(NamedTuple):
    """What a layer was given: number of its block, image, norm of v, and steps of each item.

    ``x_next`` is the image that the last layer makes; None for the others.
    """

    block: int
    x: Tensor
    x_next: Tensor | None
    dual_norm: Tensor
    tau: Tensor
    sigma: Tensor


class _Layer(NamedTuple):
    """A layer's share for e = 1: tau ||v||, (*batch), and s ||2 x+ - x - r||, for each r."""

    block: int
    tau: Tensor
    primal: Tensor
    dual: Tensor


@dataclass(frozen=True, eq=False)
class _Reference:
    """The images r = theta times one image for theta between 0 and 1, the first axis of results."""

    image: Tensor
    axes: tuple[int, ...]

    @property
    def multiples_of_norm(self) -> Tensor:
        """||r||, (multiples, *batch)."""
        return self.distance(torch.zeros_like(self.image))

    def distance(self, image: Tensor) -> Tensor:
        """Return ||image - r||, (multiples, *batch)."""
        square, inner, own = (
            (a.conj() * b).real.sum(self.axes)
            for a, b in ((image, image), (image, self.image), (self.image, self.image))
        )
        steps = torch.linspace(0, 1, _MULTIPLES, dtype=own.dtype, device=own.device)
        theta = steps.reshape(-1, *[1] * own.ndim)
        return (square - 2 * theta * inner + theta**2 * own).clamp(min=0).sqrt()


def _has_one_product(net: FIRENET, encoding: LinearOperator) -> bool:
    """Return whether tau sigma is the same in all layers, so that they share one metric."""
    if not isinstance(net.schedule, FixedSchedule):
        return False
    blocks = net.schedule.blocks(net.problem(encoding).norm_bound)
    products = [float(tau) * float(sigma) for steps in blocks for tau, sigma in steps]
    return max(products) <= (1 + _ROUNDING) * min(products)


def _layers(seen: Sequence[_Seen], reference: _Reference) -> list[_Layer]:
    """Return the shares of all layers."""
    layers = []
    for layer, x_next in zip(seen, _outputs(seen), strict=True):
        ahead = 2 * _double(x_next) - _double(layer.x)
        dual = (layer.tau * layer.sigma).sqrt() * reference.distance(ahead)
        layers.append(_Layer(layer.block, layer.tau, layer.tau * layer.dual_norm, dual))
    return layers


def _outputs(seen: Sequence[_Seen]) -> list[Tensor]:
    """Return what each layer made; of the last before a restart what that begins with."""
    following = [layer.x for layer in seen[1:]]
    return following if seen[-1].x_next is None else [*following, seen[-1].x_next]


def _last_image(seen: Sequence[_Seen], parts: LinearParts) -> Tensor:
    """Return the last image before the data-consistency step."""
    last = [
        x for x, layer in zip(_outputs(seen), seen, strict=True) if layer.block == seen[-1].block
    ]
    return sum(last[1:], last[0]) / len(last) if parts.returns_average else last[-1]


def _sum_over_layers(layers: Sequence[_Layer], parts: LinearParts) -> Tensor:
    """Return the layers' bound of the image's change for e = 1, (multiples, *batch)."""
    # Bounds of the change of the image, and of ||z|| in the metric of the layer before.
    image = after = torch.zeros_like(layers[0].dual)
    tau: Tensor | None = None
    for _, block in groupby(layers, lambda layer: layer.block):
        tau = tau if parts.keeps_dual else None
        reached = []
        for layer in block:
            # With zero duals z is the image, whatever the metric.
            ratio = layer.tau / tau if tau is not None else torch.zeros_like(layer.tau)
            image = (1 - ratio).abs() * image + ratio * after + layer.primal
            after = image + layer.dual
            tau = layer.tau
            reached.append(image)
        if parts.returns_average:
            image = torch.stack(reached).mean(0)
    return image


def _primal_step(problem: Problem, state: State, tau: Tensor) -> Tensor:
    """Return the image that a layer makes."""
    tau_x = tau.reshape(*tau.shape, *[1] * len(problem.image_axes))
    gradient = problem.encoding.adjoint(state.v)
    if state.q is None:
        return problem.prox(state.x - tau_x * gradient, tau)
    return state.x - tau_x * (gradient + problem.synthesise(state.q))


def _trailing(shape: Shape) -> tuple[int, ...]:
    return tuple(range(-len(shape), 0))


def _double(values: Tensor) -> Tensor:
    return values.to(torch.promote_types(values.dtype, torch.float64))
