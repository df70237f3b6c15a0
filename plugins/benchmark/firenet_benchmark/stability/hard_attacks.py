"""Attacks that find what the usual one would miss, above all where gradients mislead it [1, 2].

long       the usual ascent with many small steps from more random starting points;
smoothed   an ascent along gradients that are averaged over noise on the samples, which sees a way
           where the gradient itself is shattered or vanishes [1];
black box  no gradient at all: a (1+1) evolution strategy with the rule of one fifth [3] among
           perturbations A u with u of low spatial frequency [4], of which a step changes one
           Fourier coefficient, as in [5];
transfer   the worst perturbation found for every other method.

All have the size of the usual one, and maximise the same distance. What they find are lower bounds,
too: that none is ahead of the usual one does not prove that no attack is.

[1] Athalye, Carlini, Wagner, ICML 2018, arXiv 1802.00420.
[2] Uesato, O'Donoghue, van den Oord, Kohli, ICML 2018, arXiv 1802.05666.
[3] Rechenberg, Evolutionsstrategie, 1973.
[4] Guo, Frank, Weinberger, UAI 2019, arXiv 1809.08758.
[5] Guo, Gardner, You, Wilson, Weinberger, ICML 2019, arXiv 1905.07121.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from firenet_benchmark.stability.criteria import (
    Attack,
    Measurements,
    OnStep,
    Row,
    attack_rows,
    repeated,
    usual_perturbation,
)
from firenet_benchmark.stability.jacobian import gradient_problem
from firenet_benchmark.stability.methods import Batch, Method
from firenet_mri.metrics import psnr
from firenet_mri.training.attack import (
    Ascent,
    Momentum,
    ascend,
    scaled_to,
    worst_perturbation,
)

TEST = "hard attacks"
USUAL, TRANSFER, WORST = "usual", "transfer", "worst of all"

# Of the usual steps: many small ones, or few along noisy gradients.
_LONG_RATE, _SMOOTHED_RATE = 0.15, 0.3
# First length of a mutation, of the perturbation's, and what a success makes of it: four failures
# undo one.
_MUTATION, _SUCCESS = 0.3, 1.3
_SHORTEST, _LONGEST = 0.02, 1.0


@dataclass(frozen=True)
class HardAttack:
    """How hard the attacks try.

    Parameters
    ----------
    relative_sizes
        ||e|| / ||y||, rising.
    slices
        How many of the attacked slices.
    steps, restarts
        Of the long attack; its starting points are random.
    smoothed_steps, draws
        Of the smoothed attack, and draws of noise for each gradient.
    noise
        Norm of that noise over the perturbation's.
    queries, width
        Images that the black box may ask for, and Fourier coefficients along an axis; no more than
        the image has.
    """

    relative_sizes: tuple[float, ...] = (0.01, 0.04)
    slices: int = 2
    steps: int = 60
    restarts: int = 4
    smoothed_steps: int = 20
    draws: int = 4
    noise: float = 0.5
    queries: int = 300
    width: int = 48

    @classmethod
    def smoke(cls) -> HardAttack:
        """Return settings that only show that everything runs."""
        return cls((0.01,), 1, 3, 2, 2, 2, queries=5)


def variant(size: float, attack: str) -> str:
    """Return the variant of a row, such as "4 %, long"."""
    return f"{100 * size:g} %, {attack}"


def hard_attacks(
    method: Method, batch: Batch, usual: Attack, hard: HardAttack, on_step: OnStep
) -> Measurements:
    """Return what all but transferred perturbations do, and the worst e of each size and slice.

    A method without a gradient is attacked as a black box only; one whose gradient misleads, along
    the average of gradients, too.
    """
    measured = Measurements()
    problem = gradient_problem(method, batch[:1])
    has_gradient = problem is None or _has_gradient(method, batch[:1])
    if problem is not None:
        measured.note = f"not attacked along its gradient: {problem}"
    total = _steps(usual, hard, is_right=problem is None, has_gradient=has_gradient) * len(batch)
    done = 0

    def count(*_: int) -> None:
        nonlocal done
        done += 1
        on_step(min(done, total), total)

    for i in range(len(batch)):
        item = batch[i : i + 1]
        search = _Search(method, item, hard, usual.seed, count)
        starts = {} if problem else _usual(method, item, usual, hard.relative_sizes, count)
        for size in hard.relative_sizes:
            found = {"black box": search.black_box(size)}
            if problem is None:
                found |= {USUAL: starts[size], "long": search.long(size)}
            if has_gradient:
                found["smoothed"] = search.smoothed(size)
            _keep(measured, method, item, size, found)
    return measured


def _has_gradient(method: Method, item: Batch) -> bool:
    """Return whether there is a gradient at all, right or not."""
    kspace = item.kspace.clone().requires_grad_()
    try:
        with torch.enable_grad():
            torch.autograd.grad(method.magnitude(item, kspace).square().sum(), kspace)
    # A user's network can raise anything.
    except Exception:
        return False
    return True


def _steps(usual: Attack, hard: HardAttack, *, is_right: bool, has_gradient: bool) -> int:
    """Return how often progress is counted for a slice."""
    each = hard.queries
    if has_gradient:
        each += hard.smoothed_steps + 1
    if is_right:
        each += hard.steps + 1
    before = len(_chain(usual, hard.relative_sizes)) * (usual.steps + 1) if is_right else 0
    return before + len(hard.relative_sizes) * each


def _chain(usual: Attack, sizes: tuple[float, ...]) -> list[float]:
    """Return the sizes through which the usual attack goes to those that are wanted."""
    return sorted({size for size in usual.relative_sizes if size <= max(sizes)} | set(sizes))


def _usual(
    method: Method,
    item: Batch,
    usual: Attack,
    sizes: tuple[float, ...],
    count: Callable[..., None],
) -> dict[float, Tensor]:
    """Return the perturbations of the usual attack, each size from the one before."""
    found: dict[float, Tensor] = {}
    start: Tensor | None = None
    for size in _chain(usual, sizes):
        start = found[size] = usual_perturbation(method, item, size, usual, start, count).e
    return found


def _keep(
    measured: Measurements, method: Method, item: Batch, size: float, found: dict[str, Tensor]
) -> None:
    """Keep what perturbations do, and the one that does most."""
    distances = {}
    for attack, e in found.items():
        rows = [
            row._replace(variant=variant(size, attack))
            for row in attack_rows(method, item, e, size, TEST)
        ]
        measured.rows += rows
        distances[attack] = _harm(rows)
    worst = max(distances, key=lambda attack: distances[attack])
    measured.tensors[f"{TEST}/{size:g}/{item.names[0]}"] = found[worst][0]


def _harm(rows: list[Row]) -> float:
    """Return how harmful a perturbation is: by PSNR where a reference is known."""
    values = {row.metric: row.value for row in rows}
    return -values["psnr_db"] if "psnr_db" in values else values["amplification"]


@dataclass(frozen=True, eq=False)
class _Search:
    """Searches for the worst perturbation of one slice.

    Parameters
    ----------
    method, item
        What is attacked, on which slice.
    hard, seed
        How hard, and the seed of all that is random.
    count
        Called after every step.
    """

    method: Method
    item: Batch
    hard: HardAttack
    seed: int
    count: Callable[..., None]

    def long(self, size: float) -> Tensor:
        """Return what many small steps from random starting points find, (1, coil, y, x)."""
        restarts = self.hard.restarts
        return worst_perturbation(
            lambda kspace: (
                self.method.magnitude(repeated(self.item, restarts), kspace)
                if len(kspace) > 1
                else self.method.magnitude(self.item, kspace)
            ),
            self.item.kspace,
            self.item.mask,
            self._radius(size),
            ascent=Ascent(_LONG_RATE, steps=self.hard.steps),
            restarts=restarts,
            seed=self.seed + 1,
            target=self.item.reference,
            on_step=self.count,
        ).e

    def smoothed(self, size: float) -> Tensor:
        """Return what an ascent along gradients averaged over noise on the samples finds."""
        draws = self.hard.draws
        generator = torch.Generator().manual_seed(self.seed + 2)
        several, target, radius = repeated(self.item, draws), self._target(), self._radius(size)
        sizes = self.hard.noise * radius.expand(draws)

        def change(e: Tensor) -> Tensor:
            kspace = several.kspace + e + scaled_to(self._white(draws, generator), sizes)
            return (self.method.magnitude(several, kspace) - target)[None]

        start = scaled_to(self._white(1, generator), radius)
        ascent = Ascent(_SMOOTHED_RATE, steps=self.hard.smoothed_steps)
        state, _ = ascend(
            change,
            Momentum(start, torch.zeros_like(start)),
            radius,
            ascent,
            mask=self.item.mask,
            on_step=self.count,
        )
        return state.e

    @torch.no_grad()
    def black_box(self, size: float) -> Tensor:
        """Return what an evolution strategy finds that sees images only."""
        generator = torch.Generator().manual_seed(self.seed + 3)
        radius, target = self._radius(size), self._target()
        u, length, largest = self._coefficients(generator), _MUTATION, -math.inf
        best = self._smooth(u, radius)
        for query in range(self.hard.queries):
            tried = self._mutated(u, length, generator) if query else u
            e = self._smooth(tried, radius)
            image = self.method.magnitude(self.item, self.item.kspace + e)
            distance = float((image - target).norm())
            if distance > largest:
                u, best, largest = tried, e, distance
            length *= _SUCCESS if u is tried else _SUCCESS**-0.25
            length = min(max(length, _SHORTEST), _LONGEST)
            self.count()
        return best

    def _mutated(self, u: Tensor, length: float, generator: torch.Generator) -> Tensor:
        """Return coefficients of norm 1, one of which was changed."""
        index = int(torch.randint(u.numel(), (1,), generator=generator))
        angle = 2 * math.pi * float(torch.rand(1, generator=generator))
        change = torch.zeros_like(u).flatten()
        change[index] = torch.polar(torch.tensor(length), torch.tensor(angle))
        tried = u + change.reshape(u.shape)
        return tried / torch.linalg.vector_norm(tried)

    def _coefficients(self, generator: torch.Generator) -> Tensor:
        """Return random Fourier coefficients of norm 1, (y, x)."""
        shape = [min(self.hard.width, size) for size in self.item.image_shape]
        parts = torch.randn(*shape, 2, generator=generator)
        return torch.view_as_complex(parts / torch.linalg.vector_norm(parts))

    def _smooth(self, u: Tensor, radius: Tensor) -> Tensor:
        """Return A u of a norm for coefficients of low frequency, (1, coil, y, x)."""
        rows, columns = self.item.image_shape
        high, wide = u.shape
        top, left = (rows - high) // 2, (columns - wide) // 2
        spectrum = u.new_zeros(rows, columns)
        spectrum[top : top + high, left : left + wide] = u
        image = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(spectrum)))[None]
        return scaled_to(self.item.samples_of(image), radius)

    def _white(self, count: int, generator: torch.Generator) -> Tensor:
        """Return white noise on the samples, (count, coil, y, x)."""
        shape = (count, *self.item.kspace.shape[1:])
        return torch.randn(shape, dtype=torch.complex64, generator=generator) * self.item.mask

    def _radius(self, size: float) -> Tensor:
        return size * torch.linalg.vector_norm(self.item.kspace).reshape(1)

    def _target(self) -> Tensor:
        """Return the image from which attacks move away, (1, y, x)."""
        if self.item.reference is not None:
            return self.item.reference
        with torch.no_grad():
            return self.method.magnitude(self.item)


def worst_rows(rows: list[Row]) -> list[Row]:
    """Return for every method, size and slice the row of the attack that did most."""
    found: dict[tuple[str, str, str], Row] = {}
    for row in rows:
        if row.test != TEST or row.metric != "psnr_db":
            continue
        size = row.variant.partition(",")[0]
        key = (row.method, size, row.slice)
        worst = row._replace(variant=f"{size}, {WORST}")
        if key not in found or row.value < found[key].value:
            found[key] = worst
    return list(found.values())


def transferred_rows(
    method: Method, batch: Batch, size: float, by: dict[str, dict[str, Tensor]]
) -> list[Row]:
    """Return what the worst perturbations of other methods do, and the worst of these.

    Parameters
    ----------
    method
        On which they are put.
    batch
        The slices.
    size
        ||e|| / ||y||.
    by
        Perturbations of a slice, by method and then by the slice's name.
    """
    rows: list[Row] = []
    worst: dict[str, float] = {}
    for source, e in by.items():
        if source == method.name:
            continue
        changed = _magnitudes(method, batch, torch.stack([e[name] for name in batch.names]))
        for i, name in enumerate(batch.names):
            assert batch.reference is not None
            value = psnr(batch.reference[i], changed[i])
            rows.append(Row(method.name, matrix_test(size), source, name, "psnr_db", value))
            worst[name] = min(value, worst.get(name, math.inf))
    rows += [
        Row(method.name, TEST, variant(size, TRANSFER), name, "psnr_db", value)
        for name, value in worst.items()
    ]
    return rows


def matrix_test(size: float) -> str:
    """Return the test of rows of one method's perturbation on another."""
    return f"{TEST}, transfer of {100 * size:g} %"


@torch.no_grad()
def _magnitudes(method: Method, batch: Batch, e: Tensor) -> Tensor:
    return method.magnitude(batch, batch.kspace + e)
