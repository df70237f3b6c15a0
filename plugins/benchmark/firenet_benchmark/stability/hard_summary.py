"""What the hard attacks found beside the usual one, in numbers and in a sentence."""

from __future__ import annotations

from dataclasses import dataclass

from firenet_benchmark.stability.hard_attacks import TEST, TRANSFER, USUAL, WORST, variant
from firenet_benchmark.stability.run import Comparison
from firenet_benchmark.stability.summary import means

#: In the order of the table.
ATTACKS = (USUAL, "long", "smoothed", "black box", TRANSFER, WORST)

#: Decibels by which an attack has to be ahead of the usual one to be named.
MARGIN = 0.3


@dataclass(frozen=True)
class HardResult:
    """What attacks of one size do to a method.

    Parameters
    ----------
    method
        Its name.
    psnr_db
        Mean over slices by attack; of the worst, the worst of each slice.
    loss
        Decibels by which the worst of all is below the usual attack; None without gradients.
    ahead
        The attack, other than the usual one, with the lowest mean.
    """

    method: str
    psnr_db: dict[str, float]
    loss: float | None
    ahead: str


def hard_results(comparison: Comparison, size: float) -> list[HardResult]:
    """Return them for every method that was asked, where a reference is known."""
    by_attack = {
        attack: means(comparison.rows, TEST, variant(size, attack), "psnr_db") for attack in ATTACKS
    }
    found = []
    for method in (one.name for one in comparison.methods if one.name in by_attack[WORST]):
        psnr = {name: values[method] for name, values in by_attack.items() if method in values}
        loss = psnr[USUAL] - psnr[WORST] if USUAL in psnr else None
        others = [name for name in psnr if name not in (USUAL, WORST)]
        found.append(HardResult(method, psnr, loss, min(others, key=lambda name: psnr[name])))
    return found


def sentences(comparison: Comparison) -> list[str]:
    """Return a sentence for each size: whether the usual numbers are too good, and whose."""
    found = []
    for size in comparison.settings.hard.relative_sizes:
        results = [one for one in hard_results(comparison, size) if one.loss is not None]
        if not results:
            continue
        weak = [one for one in results if one.loss is not None and one.loss > MARGIN]
        if weak:
            named = "; ".join(f"{one.method} by {one.loss:.1f} dB ({one.ahead})" for one in weak)
            words = f"the usual attack is too weak, and its numbers are too good: {named}"
        else:
            most = max(results, key=lambda one: one.loss or 0.0)
            words = (
                f"no harder attack is ahead of the usual one by more than {MARGIN:g} dB; the "
                f"most is {most.loss:.2f} dB ({most.method}, {most.ahead})"
            )
        found.append(f"Hard attacks of {100 * size:g} %: {words}.")
    return found
