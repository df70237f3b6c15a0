"""What the stability experiment says: in sentences, as settings of its table, and as a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from firenet_benchmark.paper.stability import (
    AUTOMAP,
    DEFAULT_FIRENET,
    METHODS,
    NONE,
    PAPER_FIRENET,
    RANDOM,
    STABILISED,
    ZERO_FILLING,
    Stability,
    StabilityExperiment,
    StabilityRow,
    ascent_of,
    firenets,
    published_ascent_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure

_COLOURS = dict(zip(METHODS, ("#d1495b", "#8a5fbf", "#2e86ab", "#3d8b37", "#999999"), strict=True))

# Columns of pictures: (perturbation, method, title); "" is the perturbed image.
_COLUMNS = (
    (AUTOMAP, "", "\nimage"),
    (AUTOMAP, AUTOMAP, "\n" + AUTOMAP),
    (AUTOMAP, STABILISED, "AUTOMAP-type\n+ FIRENET"),
    (AUTOMAP, PAPER_FIRENET, "\n" + PAPER_FIRENET),
    (AUTOMAP, DEFAULT_FIRENET, DEFAULT_FIRENET),
    (STABILISED, STABILISED, "AUTOMAP-type\n+ FIRENET"),
    (PAPER_FIRENET, PAPER_FIRENET, PAPER_FIRENET),
    (DEFAULT_FIRENET, DEFAULT_FIRENET, DEFAULT_FIRENET),
)
_FIRST_OWN = 5


def reading(result: Stability) -> list[str]:
    """Return what the table says, in sentences, also where the network is ahead."""
    by_accuracy = sorted(METHODS, key=lambda name: -result.accuracy[name])
    sentences = [
        "Accuracy on unperturbed held-out ellipses, dB: "
        + ", ".join(f"{name} {result.accuracy[name]:.1f}" for name in by_accuracy),
        *_image_by_image(result, PAPER_FIRENET),
        *_image_by_image(result, DEFAULT_FIRENET),
    ]
    worst = {name: result.largest_amplification(name, name) for name in METHODS}
    order = sorted((m for m in METHODS if m != ZERO_FILLING), key=lambda name: worst[name])
    sentences.append(
        "Stability, largest ||change|| / ||r|| found: "
        + ", ".join(f"{name} {worst[name]:.2f}" for name in order)
        + "; what an ascent finds is a lower bound, and only FIRENET has a proven upper one. Zero "
        "filling has 1: little amplification alone is not an advantage"
    )
    sentences.append(_transfer(result))
    sentences.append(_attack_strength(result))
    return sentences


def differences(settings: StabilityExperiment) -> str:
    """Return how the experiment differs from the paper's."""
    return (
        f"{settings.size} x {settings.size} pixels instead of 128 x 128, {settings.rate:.0%} of "
        "k-space sampled (60 % in the paper) with this library's pattern; an AUTOMAP-type network "
        "trained here on simulated ellipses, not the published weights; simulated images; an "
        "ascent that finds more than the published one, whose findings are in the table too"
    )


def report_settings(
    settings: StabilityExperiment, result: Stability, images: Sequence[str]
) -> dict[str, object]:
    """Return what the experiment was run with and what it says; JSON data."""
    return {
        **asdict(settings),
        "simulated": True,
        "attacked_images": list(images),
        "automap": asdict(settings.recipe()),
        "ascents": {name: asdict(ascent_of(name, settings)) for name in METHODS},
        "published_ascents": {name: asdict(published_ascent_of(name)) for name in METHODS},
        "firenet": {
            name: {
                "lam": net.lam,
                "schedule": asdict(net.schedule),  # type: ignore[call-overload, arg-type, unused-ignore]
                "sparsifier": str(net.sparsifier),
            }
            for name, net in firenets(settings).items()
        },
        "lipschitz_bounds": dict(result.bounds),
        "psnr_db_held_out_ellipses": dict(result.accuracy),
        "training_curve": list(result.curve),
        "reading": reading(result),
        "differs_from_paper": differences(settings),
    }


def stability_figure(result: Stability) -> Figure:
    """Return the figure: three graphs above, pictures of the last image below."""
    from matplotlib.figure import Figure

    count = len(result.pictures[AUTOMAP, ""])
    figure = Figure(figsize=(13.5, 5.6 + 1.7 * count), layout="constrained")
    halves = figure.subfigures(2, 1, height_ratios=(4.7, 0.8 + 1.7 * count), squeeze=False)
    top, bottom = halves[:, 0]
    error, image_space, data_space = top.subplots(1, 3)
    _draw_errors(error, result)
    _draw_amplifications(image_space, result)
    _draw_bounds(data_space, result)
    handles, labels = image_space.get_legend_handles_labels()
    top.legend(handles, labels, loc="outside lower center", ncols=len(METHODS), frameon=False)
    _draw_pictures(bottom, result)
    return figure


def _draw_pictures(figure: SubFigure, result: Stability) -> None:
    """Draw the last image: one row per size, one column per method."""
    own = len(_COLUMNS) - _FIRST_OWN
    # The left group has the rows' names too.
    groups = figure.subfigures(1, 2, width_ratios=(_FIRST_OWN + 0.15, own), squeeze=False)[0]
    name = result.rows[-1].image
    titles = (
        f"{name} with the worst perturbation found for the {AUTOMAP} network",
        "with the worst found for each itself",
    )
    grids = []
    for group, title, columns in zip(
        groups, titles, (_COLUMNS[:_FIRST_OWN], _COLUMNS[_FIRST_OWN:]), strict=True
    ):
        group.suptitle(title, fontsize=10)
        grid = group.subplots(len(result.pictures[AUTOMAP, ""]), len(columns), squeeze=False)
        for axes, (perturbation, method, heading) in zip(grid.T, columns, strict=True):
            for axis, pixels in zip(axes, result.pictures[perturbation, method], strict=True):
                axis.imshow(pixels.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
                axis.set(xticks=[], yticks=[])
            axes[0].set_title(heading, fontsize=9)
        grids.append(grid)
    sizes = sorted({round(row.relative_size, 4) for row in result.select(AUTOMAP, AUTOMAP)})
    labels = ["unperturbed", *(f"{100 * size:.2g} %" for size in sizes)]
    for axis, label in zip(grids[0][:, 0], labels, strict=True):
        axis.set_ylabel(label, fontsize=9)


def _by_size(rows: Sequence[StabilityRow]) -> dict[float, list[StabilityRow]]:
    """Return the rows of every size, which is in per cent."""
    result: dict[float, list[StabilityRow]] = {}
    for row in rows:
        result.setdefault(round(100 * row.relative_size, 3), []).append(row)
    return dict(sorted(result.items()))


def _draw_errors(axis: Axes, result: Stability) -> None:
    """Draw the mean error over images against size, worst case and noise."""
    for method in METHODS:
        for perturbation, style in ((method, "o-"), (RANDOM, ":")):
            sizes = _by_size([*result.select(method, NONE), *result.select(method, perturbation)])
            mean = [100 * sum(row.error for row in rows) / len(rows) for rows in sizes.values()]
            axis.plot(list(sizes), mean, style, color=_COLOURS[method], ms=4)
    largest = max(sizes)
    axis.plot([0, largest], [0, largest], color="0.3", lw=0.8, dashes=(4, 3))
    axis.annotate(
        "x + r itself",
        (largest, largest),
        (5, 0),
        textcoords="offset points",
        fontsize=8,
        va="center",
    )
    _label(axis, "error (% of ||x||), mean of images")
    axis.set_title("worst found for each (solid), random (dotted)", fontsize=9)


def _draw_amplifications(axis: Axes, result: Stability) -> None:
    """Draw the largest amplification in image space over images against size."""
    for method in METHODS:
        for perturbation, style in ((method, "o-"), (RANDOM, ":")):
            sizes = _by_size(result.select(method, perturbation))
            largest = [max(row.amplification or 0 for row in rows) for rows in sizes.values()]
            label = method if perturbation == method else None
            axis.plot(list(sizes), largest, style, color=_COLOURS[method], ms=4, label=label)
    _label(axis, "largest ||change|| / ||r||")
    axis.set_title("worst found for each (solid), random (dotted)", fontsize=9)


def _draw_bounds(axis: Axes, result: Stability) -> None:
    """Draw amplifications in data space, one point per image and size, below the proven bounds."""
    for method in METHODS:
        if method == ZERO_FILLING:
            continue
        rows = result.select(method, method)
        axis.plot(
            [100 * row.relative_data_size for row in rows],
            [row.data_amplification or 0 for row in rows],
            "o",
            color=_COLOURS[method],
            ms=4,
        )
        bound = result.bounds[method]
        if bound is not None:
            axis.axhline(bound, color=_COLOURS[method], lw=1)
            axis.annotate(
                f"proven bound, {method}: {bound:.2f}",
                (0.02, bound),
                xycoords=("axes fraction", "data"),
                xytext=(0, 2),
                textcoords="offset points",
                fontsize=8,
                color=_COLOURS[method],
            )
    _label(axis, "||change|| / ||A r||, worst found")
    axis.set_xlabel("size ||A r|| (% of ||A x||)")
    axis.set_title("data space; an AUTOMAP-type network has no bound", fontsize=9)


def _label(axis: Axes, what: str) -> None:
    axis.set_xlabel("size ||r|| (% of ||x||)")
    axis.set_ylabel(what)
    axis.set_xlim(left=0)
    axis.set_ylim(bottom=0)
    axis.spines[["top", "right"]].set_visible(False)


def _image_by_image(result: Stability, firenet: str) -> list[str]:
    """Return how the network and a FIRENET compare on every image, and where it is ahead."""
    images = list(dict.fromkeys(row.image for row in result.rows))
    pairs = zip(result.select(AUTOMAP, NONE), result.select(firenet, NONE), strict=True)
    accuracy = {a.image: (a.psnr_db, b.psnr_db) for a, b in pairs}
    amplification = {
        image: (
            result.largest_amplification(AUTOMAP, AUTOMAP, image),
            result.largest_amplification(firenet, firenet, image),
        )
        for image in images
    }
    both = f"of the {AUTOMAP} network and {firenet}"
    return [
        _comparison(
            f"PSNR {both}, dB",
            {name: (f"{a:.1f}", f"{b:.1f}") for name, (a, b) in accuracy.items()},
            "more accurate",
            [name for name, (a, b) in accuracy.items() if a > b],
        ),
        _comparison(
            f"Largest amplification found {both}",
            {name: (f"{a:.2f}", f"{b:.2f}") for name, (a, b) in amplification.items()},
            "stabler",
            [name for name, (a, b) in amplification.items() if a < b],
        ),
    ]


def _comparison(
    what: str, values: Mapping[str, tuple[str, str]], better: str, ahead: Sequence[str]
) -> str:
    numbers = ", ".join(f"{name} {a} and {b}" for name, (a, b) in values.items())
    return f"{what}: {numbers}; the network is {better} on: {', '.join(ahead) or 'none'}"


def _transfer(result: Stability) -> str:
    """Return what the network's largest perturbation does to all methods."""
    size = max(row.relative_size for row in result.select(AUTOMAP, AUTOMAP))
    changes = {name: max(row.change for row in result.select(name, AUTOMAP)) for name in METHODS}
    return (
        f"The worst perturbations found for the {AUTOMAP} network, up to {size:.0%} of the image, "
        "change "
        + ", ".join(f"{name} by {change:.1%}" for name, change in changes.items())
        + " of the image at most"
    )


def _attack_strength(result: Stability) -> str:
    """Return how much stronger than noise the ascents are; says where one is not."""
    ratios = {}
    for name in METHODS:
        pairs = zip(result.select(name, name), result.select(name, RANDOM), strict=True)
        ratios[name] = min(own.change / noise.change for own, noise in pairs)
    weak = [name for name, ratio in ratios.items() if ratio <= 1]
    if weak:
        return f"DEFECT: the ascent found nothing worse than noise for {', '.join(weak)}"
    return (
        "The ascents change the images at least "
        + ", ".join(f"{ratio:.1f} times ({name})" for name, ratio in ratios.items())
        + " as much as the worst of the random perturbations of the same norm"
    )
