"""Worst-case perturbations of an AUTOMAP-type network, of FIRENET, and of both in sequence.

The last is the paper's stabilisation: the network's image is where FIRENET starts,
Phi(y) = FIRENET(y, x0 = network(y)). For an image x and perturbations r of growing norm, both in
image space (see :mod:`firenet_benchmark.paper.worst_case`), the table has

    change ||Phi(A (x + r)) - Phi(A x)||,   its amplification over ||r|| and over ||A r||,
    error ||Phi(A (x + r)) - x||,           and ||Phi(A (x + r)) - (x + r)||, as r is an image too,

for the r found for each method, those found for the others, and random ones. eps_0 = ||A x|| of the
unperturbed image stays constant, so that FIRENET's proven Lipschitz bound b holds: its change is at
most b ||A r||. With a start it is at most b ||A r|| + ||change of the start||, since a layer moves
two starts no further apart; so the two together have no bound unless the network has one.

Differs from [1] in: 48 x 48 pixels instead of 128 x 128; images of ellipses, a phantom and a
template instead of scans; a network trained here for minutes instead of the published weights (see
:mod:`firenet_benchmark.paper.automap`); Haar with as many levels and weights as suit the size; this
library's sampling pattern; an ascent with steps of 0.1 that is held at each norm, for all methods,
since it finds more than the published one, whose findings are in the table too; as in [1] AUTOMAP
is attacked with heavy ball, the others with Nesterov's momentum.

[1] Colbrook, Antun, Hansen, PNAS 119(12) e2107151119, 2022, and its published code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from firenet_benchmark.paper.automap import Automap, AutomapRecipe, TrainedAutomap, train_automap
from firenet_benchmark.paper.images import on_square_grid
from firenet_benchmark.paper.worst_case import (
    AUTOMAP_ASCENT,
    FIRENET_ASCENT,
    BatchMap,
    random_perturbations,
    worst_case,
)
from firenet_mri import FIRENET, NetworkSchedule, PaperSchedule, sampling_pattern
from firenet_mri.errors import UsageError
from firenet_mri.firenet.levels import level_index, level_weights
from firenet_mri.firenet.presets import make_network
from firenet_mri.firenet.sampling import default_sparsities
from firenet_mri.metrics import psnr, ssim
from firenet_mri.operators import CartesianFourier, OrthogonalWavelet
from firenet_mri.phantoms import ellipses, shepp_logan
from firenet_mri.prox import item_norm
from firenet_mri.training.attack import Ascent

AUTOMAP, STABILISED = "AUTOMAP-type", "AUTOMAP-type + FIRENET"
PAPER_FIRENET, DEFAULT_FIRENET = "paper's FIRENET", "default FIRENET"
ZERO_FILLING = "zero filling"
METHODS = (AUTOMAP, STABILISED, PAPER_FIRENET, DEFAULT_FIRENET, ZERO_FILLING)

#: Perturbations that were not found for a method by the ascent held at every norm.
NONE, RANDOM, PUBLISHED = "none", "random", "own, published ascent"

_PIXELS = (-2, -1)


@dataclass(frozen=True)
class StabilityExperiment:
    """What the experiment is run with.

    Parameters
    ----------
    size, rate
        Pixels along an axis; part of k-space that is sampled.
    epochs, epoch_images, first_images, noise
        Of the network's training, see :class:`~firenet_benchmark.paper.automap.AutomapRecipe`.
    test_images
        Held-out images of ellipses for accuracy; the first of them is attacked.
    relative_sizes
        ||r|| / ||x||, growing.
    restarts, hold
        Starts of the ascent for every image, and its steps at every norm.
    random_draws
        Random perturbations for every image and size.
    seed
        Of everything random.

    Raises
    ------
    UsageError
        If a number lies outside its range.
    """

    size: int = 48
    rate: float = 0.6
    epochs: int = 24
    epoch_images: int = 2000
    first_images: int = 20_000
    noise: float = 0.01
    test_images: int = 20
    relative_sizes: tuple[float, ...] = (0.01, 0.02, 0.05, 0.1)
    restarts: int = 2
    hold: int = 30
    random_draws: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.size < 16:
            raise UsageError(f"size is {self.size}; images need at least 16 pixels along an axis")
        counts = (self.test_images, self.restarts, self.random_draws)
        if min(counts) < 1:
            raise UsageError(
                f"{counts} test images, restarts and random draws asked for; at least 1 of each is "
                "needed"
            )
        sizes = (0.0, *self.relative_sizes)
        if len(sizes) == 1 or any(not a < b for a, b in pairwise(sizes)):
            raise UsageError(
                f"Sizes of perturbations {self.relative_sizes} asked for; they must be positive "
                "and grow"
            )
        # Refused here, not after the training.
        self.recipe()
        ascent_of(AUTOMAP, self)

    @classmethod
    def quick(cls, seed: int = 0) -> StabilityExperiment:
        """Return settings for a quick look of seconds; the network is hardly trained."""
        return cls(
            size=24,
            epochs=2,
            epoch_images=400,
            first_images=1500,
            test_images=5,
            relative_sizes=(0.02, 0.05),
            restarts=1,
            hold=5,
            random_draws=3,
            seed=seed,
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(y, x)."""
        return (self.size, self.size)

    def recipe(self) -> AutomapRecipe:
        """Return how the network is trained."""
        return AutomapRecipe(
            epochs=self.epochs,
            images=self.epoch_images,
            first_images=self.first_images,
            noise=self.noise,
            seed=self.seed,
        )


@dataclass(frozen=True)
class StabilityRow:
    """One method on one image under one perturbation.

    Parameters
    ----------
    method, image
        Their names.
    perturbation
        The method for which it was found, or "none", "random" or "own, published ascent".
    relative_size, relative_data_size
        ||r|| / ||x|| and ||A r|| / ||A x||.
    change, error, error_to_perturbed
        As the module says, relative to ||x||.
    amplification, data_amplification
        Change over ||r|| and over ||A r||; None without a perturbation.
    psnr_db, ssim
        Of the magnitude, beside |x|.
    """

    method: str
    image: str
    perturbation: str
    relative_size: float
    relative_data_size: float
    change: float
    error: float
    error_to_perturbed: float
    amplification: float | None
    data_amplification: float | None
    psnr_db: float
    ssim: float


@dataclass(frozen=True, eq=False)
class Stability:
    """What was found.

    Parameters
    ----------
    rows
        The table.
    accuracy
        Mean PSNR in dB of every method on the held-out images of ellipses.
    bounds
        Proven Lipschitz bounds by method, for data -> image; None where there is none.
    pictures
        Magnitudes of the last image, (sizes + 1, y, x), for (perturbation, method), and of x + r
        for (perturbation, ""); the first without perturbation.
    curve
        Mean squared error of every epoch of the network's training.
    """

    rows: tuple[StabilityRow, ...]
    accuracy: Mapping[str, float]
    bounds: Mapping[str, float | None]
    pictures: Mapping[tuple[str, str], Tensor]
    curve: tuple[float, ...]

    def select(self, method: str, perturbation: str) -> list[StabilityRow]:
        """Return the rows of a method under a perturbation."""
        return [r for r in self.rows if (r.method, r.perturbation) == (method, perturbation)]

    def largest_amplification(
        self, method: str, perturbation: str, image: str | None = None
    ) -> float:
        """Return the largest change over ||r|| over sizes, of one image or over all."""
        return max(
            row.amplification or 0.0
            for row in self.select(method, perturbation)
            if image in (None, row.image)
        )


def train(
    settings: StabilityExperiment,
    weights: Path,
    *,
    overwrite: bool = False,
    on_step: Callable[[int, int], None] | None = None,
) -> TrainedAutomap:
    """Return the AUTOMAP-type network; as :func:`firenet_benchmark.paper.automap.train_automap`."""
    return train_automap(
        encoding_operator(settings),
        settings.recipe(),
        weights,
        overwrite=overwrite,
        on_step=on_step,
    )


def stability(
    settings: StabilityExperiment,
    trained: TrainedAutomap,
    images: Mapping[str, Tensor],
    *,
    on_step: Callable[[int, int], None] | None = None,
) -> Stability:
    """Return how all methods fare under perturbations.

    Parameters
    ----------
    settings
        Sizes, ascent, seed.
    trained
        The network.
    images
        What is attacked, by name: (y, x) real, see :func:`attacked_images`.
    on_step
        Called with (ascents done, ascents in all).
    """
    encoding = encoding_operator(settings)
    x = torch.stack(list(images.values())).to(torch.complex128)
    maps = methods(settings, trained.network, encoding, x)
    perturbations: dict[str, Tensor] = {}
    published: dict[str, Tensor] = {}
    for place, name in enumerate(METHODS):
        perturbations[name] = _attack(name, settings, trained.network, encoding, x)
        published[name] = _published_attack(name, settings, maps[name], encoding, x)
        if on_step is not None:
            on_step(place + 1, len(METHODS))
    rows: list[StabilityRow] = []
    pictures = {}
    for name, phi in maps.items():
        measure = _Measure(name, tuple(images), x, encoding, phi)
        rows += measure.rows(NONE, torch.zeros_like(x)[None])
        for source, r in (*perturbations.items(), (PUBLISHED, published[name])):
            rows += measure.rows(source, r)
            pictures[source, name] = measure.pictures(r)
        rows += measure.random_rows(settings)
    for source, r in perturbations.items():
        pictures[source, ""] = torch.cat([x[-1:], x[-1] + r[:, -1]]).abs()
    accuracy = _accuracy(settings, trained.network, encoding)
    return Stability(tuple(rows), accuracy, bounds(settings), pictures, trained.curve)


def encoding_operator(settings: StabilityExperiment) -> CartesianFourier:
    """Return the masked Fourier transform."""
    mask = sampling_pattern(settings.shape, settings.rate, seed=settings.seed)
    return CartesianFourier(mask, settings.shape)


def attacked_images(
    settings: StabilityExperiment, image: tuple[str, Tensor] | None
) -> dict[str, Tensor]:
    """Return a held-out image of ellipses, the phantom, and an image on the grid, by name.

    Parameters
    ----------
    settings
        Size and seed.
    image
        Name and pixels of one more image, (y, x), or None; it is made square, its largest value 1,
        and averaged over the larger pixels of the grid.
    """
    result = {
        "ellipses": _held_out(settings)[0].double(),
        "phantom": shepp_logan(settings.size),
    }
    if image is not None:
        name, pixels = image
        result[name] = adaptive_avg_pool2d(on_square_grid(pixels)[None], settings.size)[0]
    return result


def firenets(settings: StabilityExperiment) -> dict[str, FIRENET]:
    """Return the paper's FIRENET and the library's default one, at eps_0 = 1."""
    sparsities = default_sparsities(settings.shape)
    haar = OrthogonalWavelet("haar", len(sparsities), settings.shape)
    weights = level_weights(sparsities, level_index(haar))
    schedule = PaperSchedule(restarts=5, inner=10, tau=1.0, sigma=1.0, eps0=1.0, delta=1e-9)
    default = make_network(1, settings.shape)
    assert isinstance(default.schedule, NetworkSchedule)
    fixed = replace(default.schedule, eps0=1.0)
    return {
        PAPER_FIRENET: FIRENET(haar, 0.00025, weights, schedule),
        DEFAULT_FIRENET: FIRENET(
            default.sparsifier, default.lam, default.weights, fixed, default.shift_seed
        ),
    }


def bounds(settings: StabilityExperiment) -> dict[str, float | None]:
    """Return the proven Lipschitz bounds of data -> image; None where there is none."""
    encoding = encoding_operator(settings)
    found: dict[str, float | None] = dict.fromkeys(METHODS)
    found.update({name: n.lipschitz_bound(encoding) for name, n in firenets(settings).items()})
    found[ZERO_FILLING] = encoding.norm_bound
    return found


def methods(
    settings: StabilityExperiment, network: Automap, encoding: CartesianFourier, x: Tensor
) -> dict[str, BatchMap]:
    """Return all methods as maps from data to images, with eps_0 = ||A x|| of these images.

    Parameters
    ----------
    settings, network, encoding
        StabilityExperiment, AUTOMAP-type network and encoding operator.
    x
        (batch, y, x) complex128; items of the data are of these images, perturbed.
    """
    eps0 = item_norm(encoding(x), _PIXELS)
    nets = firenets(settings)

    def firenet(name: str, start: BatchMap | None = None) -> BatchMap:
        # The network is homogeneous: at eps_0 on y it is eps_0 times that at 1 on y / eps_0.
        def phi(y: Tensor) -> Tensor:
            x0 = None if start is None else start(y) / eps0
            image: Tensor = nets[name](y / eps0, encoding, x0)
            return eps0 * image

        return phi

    return {
        AUTOMAP: network,
        STABILISED: firenet(PAPER_FIRENET, start=network),
        PAPER_FIRENET: firenet(PAPER_FIRENET),
        DEFAULT_FIRENET: firenet(DEFAULT_FIRENET),
        ZERO_FILLING: encoding.adjoint,
    }


def ascent_of(method: str, settings: StabilityExperiment) -> Ascent:
    """Return the ascent that looks for a method's worst case; it finds more in fewer steps."""
    return replace(
        FIRENET_ASCENT,
        learning_rate=0.1,
        steps=300,
        hold=settings.hold,
        nesterov=method != AUTOMAP,
    )


def published_ascent_of(method: str) -> Ascent:
    """Return the published ascent, but for the steps: stabler networks need more of them."""
    if method == AUTOMAP:
        return replace(AUTOMAP_ASCENT, steps=1000)
    return replace(FIRENET_ASCENT, steps=300)


@dataclass(frozen=True, eq=False)
class _Measure:
    """Makes the rows of one method; x is (batch, y, x), perturbations (sizes, batch, y, x)."""

    method: str
    images: tuple[str, ...]
    x: Tensor
    encoding: CartesianFourier
    phi: BatchMap

    def reconstruct(self, r: Tensor) -> Tensor:
        """Return Phi(A (x + r)), (batch, y, x)."""
        with torch.no_grad():
            return self.phi(self.encoding(self.x + r))

    def rows(self, perturbation: str, r: Tensor) -> list[StabilityRow]:
        """Return a row for every size and image."""
        clean = self.reconstruct(torch.zeros_like(self.x))
        return [row for one in r for row in self._rows_of_size(perturbation, one, clean)]

    def random_rows(self, settings: StabilityExperiment) -> list[StabilityRow]:
        """Return for every size and image the row of the random draw that changes most."""
        clean = self.reconstruct(torch.zeros_like(self.x))
        norm = item_norm(self.x, _PIXELS).flatten()
        result: list[StabilityRow] = []
        for size in settings.relative_sizes:
            draws = random_perturbations(
                self.x, size * norm, settings.random_draws, seed=settings.seed
            )
            rows = [list(self._rows_of_size(RANDOM, r, clean)) for r in draws]
            result += [max(same, key=lambda row: row.change) for same in zip(*rows, strict=True)]
        return result

    def pictures(self, r: Tensor) -> Tensor:
        """Return the magnitudes of the last image, (sizes + 1, y, x), first without r."""
        zero = torch.zeros_like(self.x)
        return torch.stack([self.reconstruct(one)[-1].abs() for one in (zero, *r)])

    def _rows_of_size(self, perturbation: str, r: Tensor, clean: Tensor) -> Iterator[StabilityRow]:
        image = self.reconstruct(r)
        perturbed, data = self.encoding(r), self.encoding(self.x)
        for i, name in enumerate(self.images):
            x, size = self.x[i], _norm(self.x[i])
            change, r_norm, e_norm = _norm(image[i] - clean[i]), _norm(r[i]), _norm(perturbed[i])
            yield StabilityRow(
                method=self.method,
                image=name,
                perturbation=perturbation,
                relative_size=r_norm / size,
                relative_data_size=e_norm / _norm(data[i]),
                change=change / size,
                error=_norm(image[i] - x) / size,
                error_to_perturbed=_norm(image[i] - x - r[i]) / size,
                amplification=change / r_norm if r_norm > 0 else None,
                data_amplification=change / e_norm if e_norm > 0 else None,
                psnr_db=psnr(x.abs(), image[i].abs()),
                ssim=ssim(x.abs(), image[i].abs()),
            )


def _attack(
    name: str,
    settings: StabilityExperiment,
    network: Automap,
    encoding: CartesianFourier,
    x: Tensor,
) -> Tensor:
    """Return the r found for a method, (sizes, batch, y, x): the best of all starts."""
    copies = x.repeat(settings.restarts, 1, 1)
    norm = item_norm(copies, _PIXELS).flatten()
    found = worst_case(
        methods(settings, network, encoding, copies)[name],
        encoding,
        copies,
        [size * norm for size in settings.relative_sizes],
        ascent_of(name, settings),
        seed=settings.seed,
    )
    best = [p.distance.reshape(settings.restarts, -1).argmax(0) for p in found]
    items = torch.arange(len(x))
    return torch.stack(
        [
            p.r.reshape(settings.restarts, *x.shape)[index, items]
            for p, index in zip(found, best, strict=True)
        ]
    )


def _published_attack(
    name: str, settings: StabilityExperiment, phi: BatchMap, encoding: CartesianFourier, x: Tensor
) -> Tensor:
    """Return the r that the published ascent passes by, (sizes, batch, y, x)."""
    norm = item_norm(x, _PIXELS).flatten()
    found = worst_case(
        phi,
        encoding,
        x,
        [size * norm for size in settings.relative_sizes],
        published_ascent_of(name),
        seed=settings.seed,
        reference=x if name == AUTOMAP else None,
    )
    return torch.stack([p.r for p in found])


def _accuracy(
    settings: StabilityExperiment, network: Automap, encoding: CartesianFourier
) -> dict[str, float]:
    """Return the mean PSNR in dB of every method on the held-out images of ellipses."""
    x = _held_out(settings).to(torch.complex128)
    result = {}
    with torch.no_grad():
        for name, phi in methods(settings, network, encoding, x).items():
            pairs = zip(x.abs(), phi(encoding(x)).abs(), strict=True)
            result[name] = sum(psnr(true, image) for true, image in pairs) / len(x)
    return result


def _held_out(settings: StabilityExperiment) -> Tensor:
    """Return images of ellipses that no training has seen, (count, y, x)."""
    return ellipses(settings.size, settings.test_images, settings.seed)


def _norm(x: Tensor) -> float:
    return float(torch.linalg.vector_norm(x))
