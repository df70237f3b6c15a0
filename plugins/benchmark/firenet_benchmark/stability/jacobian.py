"""How strongly a method amplifies vanishing changes: both sides of ||J|| at the data.

J is the Jacobian of the magnitude image by the samples, for fixed maps, by automatic
differentiation in double precision, see :mod:`firenet_mri.amplification`. It is about vanishing
changes: one of 1 % may be amplified more, or less.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from firenet_benchmark.stability.criteria import Measurements, OnStep, Row
from firenet_benchmark.stability.methods import Batch, Method
from firenet_mri.amplification import JacobianBounds, Linearisation, jacobian_bounds
from firenet_mri.errors import DataError

TEST, VARIANT = "jacobian", "at the data"

# Of ||y||: the first serves networks that compute in single precision inside, the second those
# whose derivative changes within the first, such as by logarithms of weak samples.
_STEPS = (1e-5, 1e-7)
_TOLERANCE = 0.1

# The same in single precision, where the energy is known to 1e-7 of itself.
_STEPS_SINGLE = (1e-3, 3e-5)
_TOLERANCE_SINGLE = 0.3


def jacobian(method: Method, batch: Batch, seed: int, on_step: OnStep) -> Measurements:
    """Return a lower and an upper bound of the Jacobian's norm at every slice.

    The upper one fails with probability :data:`firenet_mri.amplification.FAILURE` at most, for each
    slice. A method without a derivative is named in the note.
    """
    measured = Measurements()
    try:
        double = in_double(method)
        for name, item in ((n, batch[i : i + 1]) for i, n in enumerate(batch.names)):
            bounds = _bounds(double, item, seed, on_step)
            measured.rows += [
                Row(method.name, TEST, VARIANT, name, metric, value)
                for metric, value in (("lower", bounds.lower), ("upper", bounds.upper))
            ]
    except InterruptedError:
        raise
    # A user's network can raise anything.
    except Exception as error:
        measured.rows = []
        measured.note = f"no Jacobian: {_first_line(error)}"
    return measured


def gradient_problem(method: Method, batch: Batch) -> str | None:
    """Return why attacks cannot climb along a method's gradient; None if they can.

    The gradient of the image's energy must agree with the effect of a small change along it.
    Otherwise a part of the method is cut off from the graph, and an attack would find nothing.
    Errors that a method raises without a gradient are raised here, too.
    """
    with torch.no_grad():
        method.magnitude(batch)
    kspace = batch.kspace.clone().requires_grad_()
    try:
        with torch.enable_grad():
            image = method.magnitude(batch, kspace)
            if not image.requires_grad:
                return "its image carries no gradient"
            (gradient,) = torch.autograd.grad(image.square().sum(), kspace)
        return _misleading(method, batch, gradient * batch.mask)
    except InterruptedError:
        raise
    except Exception as error:
        return _first_line(error)


@torch.no_grad()
def _misleading(method: Method, batch: Batch, gradient: Tensor) -> str | None:
    """Return by how much the energy's gradient is off along itself; None if it is right."""
    slope = float(gradient.norm())
    change = gradient / slope if slope > 0 else gradient
    for share in _STEPS_SINGLE:
        step = share * float(batch.kspace.norm())
        first, last = (
            method.magnitude(batch, batch.kspace + sign * step * change).double().square().sum()
            for sign in (-1, 1)
        )
        seen = float(last - first) / (2 * step)
        if abs(seen - slope) <= _TOLERANCE_SINGLE * max(abs(seen), slope):
            return None
    return f"its gradient predicts a change of the energy of {slope:.3g}, and it is {seen:.3g}"


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0] if lines else repr(error)


def in_double(method: Method) -> Method:
    """Return a copy whose network, if it has one, computes in double precision."""
    found = copy.deepcopy(method)
    network = getattr(found.image, "network", None)
    if isinstance(network, nn.Module):
        network.double()
    return found


def _bounds(method: Method, item: Batch, seed: int, on_step: OnStep) -> JacobianBounds:
    item = replace(
        item, kspace=item.kspace.to(torch.complex128), maps=item.maps.to(torch.complex128)
    )
    function = partial(method.magnitude, item)
    bounds = jacobian_bounds(
        function, item.kspace, sampled=item.mask, seed=seed, on_application=on_step
    )
    generator = torch.Generator().manual_seed(seed)
    parts = torch.randn(*item.kspace.shape, 2, generator=generator, dtype=torch.float64)
    random = torch.view_as_complex(parts) * item.mask
    linear = Linearisation(function, item.kspace)
    for change, image in (
        (bounds.change, bounds.image),
        (random / random.norm(), linear.forward(random / random.norm())),
    ):
        _compare(function, item.kspace, change, image)
    return bounds


@torch.no_grad()
def _compare(
    function: Callable[[Tensor], Tensor], kspace: Tensor, change: Tensor, image: Tensor
) -> None:
    """Refuse a derivative that does not match the effect of a small change of the data.

    This happens where a part of a network is cut off from the graph, or rounds its input.
    """
    found = []
    for share in _STEPS:
        step = share * float(kspace.norm())
        seen = (function(kspace + step * change) - function(kspace - step * change)) / (2 * step)
        largest = max(float(seen.norm()), float(image.norm()))
        if float((seen - image).norm()) <= _TOLERANCE * largest:
            return
        found.append(float(seen.norm()))
    raise DataError(
        f"its derivative says that a small change is amplified {float(image.norm()):.3g} "
        f"times, the change itself {found[0]:.3g} times"
    )
