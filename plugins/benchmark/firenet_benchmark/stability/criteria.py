"""The criteria by which methods are compared; each returns numbers, one row each.

A row is (method, test, variant, slice, metric, value). Images for the report stand beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_benchmark.stability.evaluation_data import Detail, EvaluationData
from firenet_benchmark.stability.methods import Batch, Method
from firenet_benchmark.stability.networks import conjugate_gradients
from firenet_mri.errors import DataError
from firenet_mri.metrics import haarpsi, nmse, psnr, ssim
from firenet_mri.prox import item_norm
from firenet_mri.training.attack import Ascent, Perturbation, worst_perturbation

_KSPACE = (-3, -2, -1)
_PIXELS = (-2, -1)
# Slices that are attacked side by side: the graph of a deep network takes gigabytes.
_SIDE_BY_SIDE = 2
_NULL_SPACE_STEPS = 40


class Row(NamedTuple):
    """One number."""

    method: str
    test: str
    variant: str
    slice: str
    metric: str
    value: float


@dataclass
class Measurements:
    """Rows, images and perturbations by name, and why a question was not asked."""

    rows: list[Row] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Attack:
    """How worst cases are searched for, see :func:`firenet_mri.training.attack.worst_perturbation`.

    Parameters
    ----------
    relative_sizes
        ||e|| / ||y||, rising; each search starts from the perturbation found before.
    steps, restarts
        Gradient steps, and starting points per slice.
    strong_steps
        Of the second attack, with three times the starting points, which checks the first at the
        size ``checked_size`` on the first attacked slice; 0 leaves it out.
    checked_size
        The size at which methods are compared.
    seed
        Of the starting points.
    """

    relative_sizes: tuple[float, ...] = (0.005, 0.01, 0.02, 0.04)
    steps: int = 8
    restarts: int = 2
    strong_steps: int = 20
    checked_size: float = 0.01
    seed: int = 0


#: Called with (steps done, steps in all).
OnStep = Callable[[int, int], None]


def accuracy(method: Method, batch: Batch, test: str, variant: str) -> Measurements:
    """Return PSNR, SSIM, NMSE and HaarPSI of every slice, and its image."""
    with torch.no_grad():
        images = method.magnitude(batch)
    _check(images)
    measured = Measurements()
    for name, image in zip(batch.names, images, strict=True):
        measured.tensors[f"{test}/{variant}/{name}"] = image
    if batch.reference is None:
        return measured
    for name, reference, image in zip(batch.names, batch.reference, images, strict=True):
        numbers = {
            "psnr_db": psnr(reference, image),
            "ssim": ssim(reference, image),
            "nmse": nmse(reference, image),
            "haarpsi": haarpsi(reference, image),
        }
        measured.rows += [
            Row(method.name, test, variant, name, metric, value)
            for metric, value in numbers.items()
        ]
    return measured


def worst_case(method: Method, batch: Batch, attack: Attack, on_step: OnStep) -> Measurements:
    """Return what the worst perturbations found do: PSNR, amplification, height.

    The attack maximises the distance to the reference, or to the clean image where there is none.
    """
    measured = Measurements()
    sizes, steps = attack.relative_sizes, attack.steps + 1
    parts = [batch[i : i + _SIDE_BY_SIDE] for i in range(0, len(batch), _SIDE_BY_SIDE)]
    strong = attack.strong_steps + 1 if attack.strong_steps else 0
    total, done = len(parts) * len(sizes) * steps + strong, 0

    def count(*_: int) -> None:
        nonlocal done
        done += 1
        on_step(done, total)

    for part in parts:
        start: Tensor | None = None
        for size in sizes:
            found = usual_perturbation(method, part, size, attack, start, count)
            start = found.e
            measured.rows += attack_rows(method, part, found.e, size, "worst case")
            if size == attack.checked_size:
                _keep_attacked(measured, method, part, found.e)
    if strong and attack.checked_size in sizes:
        measured.rows += _strength(method, batch[:1], attack, measured, count)
    return measured


def usual_perturbation(
    method: Method,
    batch: Batch,
    size: float,
    attack: Attack,
    start: Tensor | None,
    on_step: OnStep,
    *,
    stronger: bool = False,
) -> Perturbation:
    """Return what the attack finds at one size, from a start that the size before has found."""
    return worst_perturbation(
        lambda kspace: method.magnitude(repeated(batch, len(kspace) // len(batch)), kspace),
        batch.kspace,
        batch.mask,
        size * item_norm(batch.kspace, _KSPACE).flatten(),
        ascent=Ascent(0.25, steps=attack.strong_steps) if stronger else Ascent(steps=attack.steps),
        restarts=(3 if stronger else 1) * attack.restarts,
        seed=attack.seed + stronger,
        start=start,
        target=batch.reference,
        on_step=on_step,
    )


def repeated(batch: Batch, count: int) -> Batch:
    """Return the batch ``count`` times, without its references."""
    if count == 1:
        return batch
    kspace, mask, maps = (x.repeat(count, 1, 1, 1) for x in (batch.kspace, batch.mask, batch.maps))
    names = batch.names * count
    return Batch(names, kspace, mask, maps, None, None, batch.simulated, batch.encoding)


def attack_rows(method: Method, batch: Batch, e: Tensor, size: float, test: str) -> Iterator[Row]:
    """Yield what a perturbation does to every slice."""
    with torch.no_grad():
        clean, changed = method.magnitude(batch), method.magnitude(batch, batch.kspace + e)
    _check(changed)
    change = changed - clean
    length = item_norm(e, _KSPACE).flatten()
    for i, name in enumerate(batch.names):
        numbers = {
            "amplification": float(change[i].norm() / length[i]),
            "height": float(change[i].abs().max() / clean[i].max().clamp(min=1e-30)),
        }
        if batch.reference is not None:
            numbers["psnr_db"] = psnr(batch.reference[i], changed[i])
        for metric, value in numbers.items():
            yield Row(method.name, test, _percent(size), name, metric, value)


def _keep_attacked(measured: Measurements, method: Method, batch: Batch, e: Tensor) -> None:
    with torch.no_grad():
        images = method.magnitude(batch, batch.kspace + e)
    for i, name in enumerate(batch.names):
        measured.tensors[f"worst case/{name}"] = images[i]
        measured.tensors[f"perturbation/{name}"] = e[i]


def _strength(
    method: Method, batch: Batch, attack: Attack, measured: Measurements, on_step: OnStep
) -> list[Row]:
    """Return the distance that the stronger attack reaches, over that of the first."""
    found = usual_perturbation(
        method, batch, attack.checked_size, attack, None, on_step, stronger=True
    )
    e = measured.tensors[f"perturbation/{batch.names[0]}"][None]
    with torch.no_grad():
        image = method.magnitude(batch, batch.kspace + e)
        target = method.magnitude(batch) if batch.reference is None else batch.reference
    ratio = float(found.change[0]) / max(float((image - target).norm()), 1e-30)
    variant = _percent(attack.checked_size)
    row = Row(method.name, "attack check", variant, batch.names[0], "stronger_over_first", ratio)
    return [row]


def random_noise(method: Method, batch: Batch, sizes: Sequence[float], seed: int) -> Measurements:
    """Return what white noise of the same sizes does."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.view_as_complex(torch.randn(*batch.kspace.shape, 2, generator=generator))
    noise = noise * batch.mask
    noise = noise / item_norm(noise, _KSPACE) * item_norm(batch.kspace, _KSPACE)
    measured = Measurements()
    for size in sizes:
        measured.rows += attack_rows(method, batch, size * noise, size, "random noise")
    return measured


def transferred(
    method: Method, batch: Batch, by: str, e: dict[str, Tensor], size: float
) -> Measurements:
    """Return what perturbations found for another method do to this one."""
    part = batch[: len(e)]
    rows = attack_rows(
        method, part, torch.stack([e[name] for name in part.names]), size, "transfer"
    )
    return Measurements([row._replace(variant=by) for row in rows])


def scale(method: Method, batch: Batch, factors: Sequence[float]) -> Measurements:
    """Return how far the image of scaled data is from the scaled image."""
    measured = Measurements()
    with torch.no_grad():
        image = method.magnitude(batch)
        for factor in factors:
            other = method.magnitude(batch, factor * batch.kspace) / factor
            for i, name in enumerate(batch.names):
                error = float((other[i] - image[i]).norm() / image[i].norm().clamp(min=1e-30))
                row = Row(method.name, "scale", f"x{factor:g}", name, "relative_error", error)
                measured.rows.append(row)
    return measured


def details(method: Method, pairs: Sequence[Detail]) -> Measurements:
    """Return how much of an inserted detail is reconstructed, and what is invented around it.

    recovered: <f(with) - f(without), d> / <d, d> for the detail d in the true image.
    leaked: norm of the rest of f(with) - f(without), over that of d.
    """
    measured = Measurements()
    for pair in pairs:
        with torch.no_grad():
            change = method.magnitude(pair.after) - method.magnitude(pair.before)
        for i, name in enumerate(pair.after.names):
            detail = pair.detail[i]
            part = float((change[i] * detail).sum() / detail.square().sum())
            rest = float((change[i] - part * detail).norm() / detail.norm())
            for metric, value in {"recovered": part, "leaked": rest}.items():
                measured.rows.append(Row(method.name, "details", pair.name, name, metric, value))
        image = method.magnitude(pair.after[:1]).detach()[0]
        measured.tensors[f"details/{pair.name}/{pair.after.names[0]}"] = image
    return measured


def false_structures(method: Method, batch: Batch) -> Measurements:
    """Return what an image shows that the samples do not contain: its error in their null space.

    The error against the truth is projected on the null space of the encoding (with conjugate
    gradients), as in [1]; images without phase get the true one. relative: its norm over that of
    the truth; height: the largest mean over 3 x 3 pixels, over the truth's largest value.

    [1] Bhadra, Kelkar, Brooks, Anastasio, IEEE TMI 40(11), 2021.
    """
    measured = Measurements()
    if batch.truth is None:
        return measured
    with torch.no_grad():
        image = method.image(batch, batch.kspace)
        if not image.is_complex():
            image = image * torch.sgn(batch.truth)
        support = torch.linalg.vector_norm(batch.maps, dim=1) > 0
        error = (image - batch.truth) * support
        hidden = error - _measured_part(error, batch)
        maps = torch.nn.functional.avg_pool2d(hidden.abs()[:, None], 3, 1, 1)[:, 0]
    for i, name in enumerate(batch.names):
        largest = batch.truth[i].abs().max()
        numbers = {
            "relative": float(hidden[i].norm() / batch.truth[i].norm()),
            "height": float(maps[i].max() / largest),
        }
        measured.rows += [
            Row(method.name, "false structures", "null space", name, metric, value)
            for metric, value in numbers.items()
        ]
        measured.tensors[f"false structures/{name}"] = maps[i] / largest
    return measured


def _measured_part(image: Tensor, batch: Batch) -> Tensor:
    """Return the part of images that the samples see: A^+ A x, approached from 0."""

    def normal(x: Tensor) -> Tensor:
        return batch.zero_filled(batch.samples_of(x))

    right = normal(image)
    return conjugate_gradients(normal, right, torch.zeros_like(right), _NULL_SPACE_STEPS)


def shifts(method: Method, data: EvaluationData) -> Measurements:
    """Return the accuracy away from what the networks were trained for."""
    measured = Measurements()
    for (test, variant), batch in data.shifts.items():
        found = accuracy(method, batch, test, variant)
        measured.rows += found.rows
        first = f"{test}/{variant}/{batch.names[0]}"
        measured.tensors[first] = found.tensors[first]
    return measured


def _percent(size: float) -> str:
    return f"{100 * size:g} %"


def _check(images: Tensor) -> None:
    if not bool(images.isfinite().all()):
        raise DataError("The method returned NaN or infinite values; check its weights")
