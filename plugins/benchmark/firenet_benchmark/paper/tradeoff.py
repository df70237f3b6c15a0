"""The trade-off: U-Nets trained without and with noise, and FIRENET, on images of ellipses.

Three questions, the same images and sampling pattern for all methods, data simulated, one coil:

accuracy: PSNR, SSIM and NMSE of noiseless test images, drawn like the training images;
stability: the largest change ||phi(y + e) - phi(y)|| for ||e|| = r ||y||, by projected gradient
ascent with momentum, ``amplification`` being this change over ||e||;
detail: letters that no training image has, 30/255 brighter or darker than a uniform region; the
contrast that a reconstruction has there, relative to the true one.

Differs from [1] in: 128 x 128 pixels instead of 512 x 512; letters of 14 x 10 pixels; other
ellipses; a training of minutes (see the settings) instead of 5000 images and about 100 epochs at
learning rate 2e-4; mu_max is 10 scaled with the image's size, so that noise relative to the data is
the same; the attack bounds ||e|| instead of penalising it; the sampling pattern is this library's.

[1] Colbrook, Antun, Hansen, PNAS 119(12) e2107151119, 2022, and its published code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from firenet_benchmark.paper.text_details import Detail, find_details
from firenet_benchmark.paper.unet import TrainedUNet, UNetRecipe, train_unets
from firenet_mri import FIRENET, PaperSchedule, sampling_pattern
from firenet_mri.errors import UsageError
from firenet_mri.firenet.presets import make_network
from firenet_mri.metrics import nmse, psnr, ssim
from firenet_mri.operators import CartesianFourier, OrthogonalWavelet
from firenet_mri.phantoms import ellipses
from firenet_mri.prox import item_norm
from firenet_mri.training.attack import Ascent, Reconstruct, worst_perturbation

UNET, NOISY_UNET = "U-Net", "noise-trained U-Net"
PAPER_FIRENET, DEFAULT_FIRENET = "paper's FIRENET", "default FIRENET"
ZERO_FILLING = "zero filling"

_PIXELS = (-2, -1)


@dataclass(frozen=True)
class TradeoffExperiment:
    """What the experiment is run with.

    Parameters
    ----------
    size, rate
        Pixels along an axis, a multiple of 16; part of k-space that is sampled.
    images, epochs, features
        Training images, passes over them, channels of the U-Net's first stage.
    test_images, attacked_images, detail_images
        How many images each question is asked for.
    relative_sizes
        r = ||e|| / ||y|| of the perturbations, rising.
    attack_steps, restarts
        Gradient steps, and how many starting points an image has; from the second r on one of them
        is the perturbation found for the r before.
    seed
        Of everything random.
    """

    size: int = 128
    rate: float = 0.12
    images: int = 3000
    epochs: int = 3
    features: int = 16
    test_images: int = 20
    attacked_images: int = 3
    detail_images: int = 10
    relative_sizes: tuple[float, ...] = (0.005, 0.01, 0.02, 0.05)
    attack_steps: int = 15
    restarts: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.test_images, self.attacked_images, self.detail_images, self.attack_steps)
        if min(counts) < 1 or self.restarts < 2:
            raise UsageError(
                f"{counts} test, attacked and detail images and attack steps, and {self.restarts} "
                "restarts asked for; at least 1 of each and 2 restarts are needed"
            )

    @classmethod
    def quick(cls, seed: int = 0) -> TradeoffExperiment:
        """Return settings for a quick look of a minute; the U-Nets are hardly trained."""
        return cls(
            size=64,
            rate=0.2,
            images=400,
            epochs=3,
            test_images=5,
            attacked_images=1,
            detail_images=3,
            attack_steps=5,
            seed=seed,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x)."""
        return (self.size, self.size)

    def unet_recipe(self) -> UNetRecipe:
        """Return how the U-Nets are trained."""
        noise = {UNET: 0.0, NOISY_UNET: 10 * self.size / 512}
        return UNetRecipe(epochs=self.epochs, features=self.features, noise=noise, seed=self.seed)


@dataclass(frozen=True)
class Attack:
    """A method under perturbations of one relative size; the worst of all attacked images.

    Parameters
    ----------
    relative_size
        ||e|| / ||y||.
    amplification, random_amplification
        ||phi(y + e) - phi(y)|| / ||e|| for the worst e that was found, and for random e.
    psnr_loss_db
        PSNR of phi(y) minus PSNR of phi(y + e) for that e.
    """

    relative_size: float
    amplification: float
    random_amplification: float
    psnr_loss_db: float


@dataclass(frozen=True)
class TradeoffRow:
    """What one method reaches.

    Parameters
    ----------
    method
        Its name.
    psnr_db, ssim, nmse
        Means over the test images.
    lipschitz_bound
        Proven bound of every amplification; None where there is none.
    attacks
        One for each size.
    detail_contrast, least_detail_contrast
        Recovered over true contrast of the letters: mean and least of all images.
    contrast_without_detail
        The same number where the letters are not there: mean of its absolute value.
    """

    method: str
    psnr_db: float
    ssim: float
    nmse: float
    lipschitz_bound: float | None
    attacks: tuple[Attack, ...]
    detail_contrast: float
    least_detail_contrast: float
    contrast_without_detail: float

    def row(self) -> dict[str, object]:
        """Return the row of the table; the attacks are spread over columns."""
        row = asdict(self)
        row.pop("attacks")
        for attack in self.attacks:
            percent = f"{100 * attack.relative_size:g}_percent"
            row[f"amplification_{percent}"] = attack.amplification
            row[f"random_amplification_{percent}"] = attack.random_amplification
            row[f"psnr_loss_db_{percent}"] = attack.psnr_loss_db
        return row


class Pictures(NamedTuple):
    """What the figure shows of one method: (y, x) float32 each.

    clean: the first attacked image; attacked: the same under the largest perturbation; detail: an
    image with letters, cut out.
    """

    clean: Tensor
    attacked: Tensor
    detail: Tensor


@dataclass(frozen=True, eq=False)
class Tradeoff:
    """The rows, the pictures by method (with "true"), and the training curves of the U-Nets."""

    rows: tuple[TradeoffRow, ...]
    pictures: dict[str, Pictures]
    curves: dict[str, tuple[float, ...]]


def train(
    settings: TradeoffExperiment,
    weights: Path,
    *,
    overwrite: bool = False,
    on_step: Callable[[int, int], None] | None = None,
) -> dict[str, TrainedUNet]:
    """Return the U-Nets, trained without and with noise.

    Parameters
    ----------
    settings
        Sizes and seed.
    weights
        Where their weights are kept, .pt; trained only where they are not there.
    overwrite
        Replace weights of other settings.
    on_step
        Called with (optimiser steps done, steps in all).

    Raises
    ------
    UsageError
        If a size is out of its range, or the images too small for the letters.
    FileError
        If the weights file is of other settings and may not be replaced, or cannot be written.
    """
    _details(settings)  # an error should come before the long work
    return train_unets(
        ellipses(settings.size, settings.images, 3 * settings.seed),
        encoding_operator(settings),
        settings.unet_recipe(),
        weights,
        overwrite=overwrite,
        on_step=on_step,
    )


def tradeoff(
    settings: TradeoffExperiment,
    unets: Mapping[str, TrainedUNet],
    *,
    on_step: Callable[[int, int], None] | None = None,
) -> Tradeoff:
    """Return the comparison.

    Parameters
    ----------
    settings
        Sizes and seed.
    unets
        From :func:`train` with the same settings.
    on_step
        Called with (steps done, steps in all) of the attacks.

    Raises
    ------
    UsageError
        If the images are too small for the letters.
    """
    encoding = encoding_operator(settings)
    methods: dict[str, Reconstruct] = {
        ZERO_FILLING: encoding.adjoint,
        **{name: unet.network for name, unet in unets.items()},
    }
    bounds: dict[str, float | None] = {ZERO_FILLING: 1.0}
    for name, net in firenets(settings).items():
        methods[name] = lambda y, net=net: net(y, encoding)  # type: ignore[misc]
        bounds[name] = net.lipschitz_bound_everywhere(encoding)
    test = ellipses(settings.size, settings.test_images, 3 * settings.seed + 1)
    details = _details(settings)
    attacked, detail = test[: settings.attacked_images], details[0]
    rows = []
    pictures = {"true": Pictures(test[0], test[0], detail.enlarge(detail.image))}
    for place, (name, reconstruct) in enumerate(methods.items()):
        report = _part(on_step, place, len(methods))
        attacks, worst = _attacks(reconstruct, encoding, attacked, settings, report)
        with torch.no_grad():
            clean, shown, without = (
                reconstruct(encoding(true.to(torch.complex64)))
                for true in (
                    test,
                    torch.stack([d.image for d in details]),
                    torch.stack([d.without for d in details]),
                )
            )
        rows.append(_row(name, bounds.get(name), attacks, details, (test, clean), (shown, without)))
        pictures[name] = Pictures(magnitude(clean[0]), worst, detail.enlarge(magnitude(shown[0])))
    return Tradeoff(tuple(rows), pictures, {name: unet.curve for name, unet in unets.items()})


def encoding_operator(settings: TradeoffExperiment) -> CartesianFourier:
    """Return the masked Fourier transform."""
    mask = sampling_pattern(settings.shape, settings.rate, seed=settings.seed)
    return CartesianFourier(mask, settings.shape)


def firenets(settings: TradeoffExperiment) -> dict[str, FIRENET]:
    """Return the paper's FIRENET for ellipses and the library's default one."""
    haar = OrthogonalWavelet("haar", int(math.log2(settings.size)), settings.shape)
    schedule = PaperSchedule(restarts=5, inner=5, tau=0.6, sigma=0.6, norm=1.0, delta=1e-6)
    return {
        PAPER_FIRENET: FIRENET(haar, 0.001, None, schedule),
        DEFAULT_FIRENET: make_network(1, settings.shape),
    }


def magnitude(image: Tensor) -> Tensor:
    """Return the image as it is shown and measured: real ones cut at 0, complex ones' modulus."""
    return image.abs() if image.is_complex() else image.clamp(min=0)


def reading(rows: Sequence[TradeoffRow]) -> list[str]:
    """Return what the table says, in sentences, also where a U-Net is ahead."""
    by_name = {row.method: row for row in rows}
    sentences = []
    for firenet in (PAPER_FIRENET, DEFAULT_FIRENET):
        for unet in (UNET, NOISY_UNET):
            a, b = by_name[unet], by_name[firenet]
            first, second = (a, b) if a.psnr_db > b.psnr_db else (b, a)
            sentences.append(
                f"Accuracy: {first.method} is {first.psnr_db - second.psnr_db:.1f} dB more "
                f"accurate than {second.method} on noiseless images"
            )
    worst = {row.method: max(a.amplification for a in row.attacks) for row in rows}
    order = sorted((m for m in worst if m != ZERO_FILLING), key=lambda m: worst[m])
    sentences.append(
        "Stability, largest amplification found: "
        + ", ".join(f"{name} {worst[name]:.2f}" for name in order)
        + "; what an attack finds is a lower bound, and only FIRENET has a proven upper one. "
        "Zero filling has 1: little amplification alone is not an advantage"
    )
    sentences.append(
        "Detail, part of the letters' contrast that is recovered: "
        + ", ".join(
            f"{row.method} {row.detail_contrast:.0%}" for row in rows if row.method != ZERO_FILLING
        )
    )
    return sentences


def report_settings(settings: TradeoffExperiment, result: Tradeoff) -> dict[str, object]:
    """Return what the experiment was run with and what it says; JSON data."""
    networks = {
        name: {"lam": net.lam, "schedule": str(net.schedule), "sparsifier": str(net.sparsifier)}
        for name, net in firenets(settings).items()
    }
    return {
        **asdict(settings),
        "simulated": True,
        "unet": asdict(settings.unet_recipe()),
        "firenet": networks,
        "training_curves": {name: list(curve) for name, curve in result.curves.items()},
        "reading": reading(result.rows),
        "differs_from_paper": DIFFERENCES,
    }


DIFFERENCES = (
    "128 x 128 pixels instead of 512 x 512 (unless set otherwise); a training of minutes on fewer "
    "images instead of 5000 images, about 100 epochs and learning rate 2e-4; the U-Net adds its "
    "output to the zero-filled image; the attack bounds the perturbation instead of penalising it"
)


def _details(settings: TradeoffExperiment) -> list[Detail]:
    candidates = ellipses(settings.size, 60 * settings.detail_images, 3 * settings.seed + 2)
    return find_details(candidates, settings.detail_images)


def _attacks(
    reconstruct: Reconstruct,
    encoding: CartesianFourier,
    images: Tensor,
    settings: TradeoffExperiment,
    on_step: Callable[[int, int], None],
) -> tuple[tuple[Attack, ...], Tensor]:
    """Return the attacks of all sizes, and the first image under the largest of them."""
    y = encoding(images.to(torch.complex64))
    size = item_norm(y, _PIXELS).flatten()
    mask = encoding.kspace_factor != 0
    attacks: list[Attack] = []
    start = None
    for place, relative in enumerate(settings.relative_sizes):
        found = worst_perturbation(
            reconstruct,
            y,
            mask,
            relative * size,
            ascent=Ascent(steps=settings.attack_steps),
            restarts=settings.restarts,
            seed=settings.seed,
            start=start,
            on_step=_part(on_step, place, len(settings.relative_sizes)),
        )
        start = found.e
        with torch.no_grad():
            clean, attacked = magnitude(reconstruct(y)), magnitude(reconstruct(y + found.e))
        attacks.append(
            Attack(
                relative_size=relative,
                amplification=float((found.change / (relative * size)).max()),
                random_amplification=float((found.random_change / (relative * size)).max()),
                psnr_loss_db=max(
                    psnr(true, before) - psnr(true, after)
                    for true, before, after in zip(images, clean, attacked, strict=True)
                ),
            )
        )
    return tuple(attacks), attacked[0]


def _row(
    name: str,
    bound: float | None,
    attacks: tuple[Attack, ...],
    details: Sequence[Detail],
    clean: tuple[Tensor, Tensor],
    detailed: tuple[Tensor, Tensor],
) -> TradeoffRow:
    """Return a row from true and reconstructed images, and those with and without letters."""
    pairs = [(true, magnitude(image)) for true, image in zip(*clean, strict=True)]
    with_letters, without = (
        [d.measure(magnitude(image)) for d, image in zip(details, images, strict=True)]
        for images in detailed
    )
    return TradeoffRow(
        method=name,
        psnr_db=_mean([psnr(*pair) for pair in pairs]),
        ssim=_mean([ssim(*pair) for pair in pairs]),
        nmse=_mean([nmse(*pair) for pair in pairs]),
        lipschitz_bound=bound,
        attacks=attacks,
        detail_contrast=_mean(with_letters),
        least_detail_contrast=min(with_letters),
        contrast_without_detail=_mean([abs(value) for value in without]),
    )


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _part(
    on_step: Callable[[int, int], None] | None, place: int, parts: int
) -> Callable[[int, int], None]:
    """Return a report of steps in one of several equal parts as steps in all."""

    def report(step: int, steps: int) -> None:
        if on_step is not None:
            on_step(place * steps + step, parts * steps)

    return report
