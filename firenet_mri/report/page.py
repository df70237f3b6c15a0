"""Writes a report as one self-contained HTML page, which needs no network and no other file.

:mod:`firenet_mri.report.markup` escapes everything in it, and a Content-Security-Policy lets the
browser use only the page's own script and style.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.resources import files

import firenet_mri
from firenet_mri.firenet.certificate import Certificate, Entry
from firenet_mri.report.answers import MEANINGS, answers, kept_fixed, title
from firenet_mri.report.content import Content
from firenet_mri.report.layers import REFERENCE, SENSITIVE, Layers, data_url
from firenet_mri.report.markup import Markup, data_block, element, join, source_hash
from firenet_mri.report.settings import Settings

#: Generator that a page names.
GENERATOR = "firenet_mri report"

_STATUS_CLASSES = {
    "proven": "proven",
    "verified on this scan": "proven",
    "measured": "measured",
    "assumed": "assumed",
    "not verified": "assumed",
}

# Headings, and the entries below each.
_GROUPS = (
    ("Proven", ("proven",)),
    ("Verified or measured on this scan", ("verified on this scan", "measured")),
    ("Taken as given, or not known", ("assumed", "not verified")),
)


def page_of(content: Content, *, volume_link: str | None = None) -> str:
    """Return the page.

    Parameters
    ----------
    content
        The content of the page.
    volume_link
        Address of a viewer of the whole volume, if there is one.
    """
    body = join(
        element("a", "Skip to the images", class_="skip", href="#images"),
        _header(content),
        element(
            "main",
            _warnings(content),
            _images(content, volume_link),
            _certificate(content),
            _sampling(content),
            _settings(content.settings),
            _details(content),
        ),
        _footer(),
    )
    ratio = content.layers.height_over_width
    # The height is limited, and the width follows it.
    shape = f"#frame {{ aspect-ratio: {1 / ratio:.5f}; max-width: calc(78vh / {ratio:.5f}); }}\n"
    return document(content.title, body, style=shape, script=_source("report.js"))


def document(heading: str, body: Markup, *, style: str = "", script: str = "") -> str:
    """Return a whole HTML page in the report's style, which loads and runs nothing else.

    Parameters
    ----------
    heading
        Title of the browser's tab.
    body
        The page.
    style, script
        Style rules in addition to the report's own, and the page's script.
    """
    style = _source("report.css") + style
    scripts = source_hash(script) if script else "'none'"
    policy = (
        f"default-src 'none'; img-src data:; style-src {source_hash(style)}; "
        f"script-src {scripts}; base-uri 'none'; form-action 'none'"
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="generator", content=GENERATOR),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{heading} · firenet"),
        element("style", Markup(style)),
    )
    code = element("script", Markup(script)) if script else None
    page = element("html", head, element("body", body, code), lang="en")
    return f"<!doctype html>\n{page}\n"


def badge(text: str, kind: str) -> Markup:
    """Return a word in a coloured frame."""
    return element("span", text, class_=f"badge {kind}")


def _source(name: str) -> str:
    return files("firenet_mri.report").joinpath(name).read_text(encoding="utf-8")


def _header(content: Content) -> Markup:
    kind = None
    if content.simulated is not None:
        kind = badge(*(("simulated", "assumed") if content.simulated else ("scan", "measured")))
    facts = [
        element(
            "div",
            element("dt", fact.name),
            element("dd", fact.value),
            element("dd", fact.status, class_=f"how {_STATUS_CLASSES[fact.status]}")
            if fact.status
            else None,
        )
        for fact in content.facts
    ]
    return element(
        "header",
        element("p", "firenet report", class_="kicker"),
        element("h1", content.title),
        element("p", kind, " " if kind else None, content.subtitle, class_="subtitle"),
        element("dl", *facts, class_="facts") if facts else None,
    )


def _warnings(content: Content) -> Markup | None:
    if content.certificate is None:
        return None
    if not content.warnings:
        text = (
            "There is no warning about the data. This does not show that the data are right: the "
            "warnings cover only some faults."
        )
        return element("p", text, class_="quiet")
    rows = [element("p", line) for line in content.warnings]
    return element("section", *rows, class_="warnings", aria_label="Warnings about the data")


def _images(content: Content, volume_link: str | None) -> Markup:
    layers = content.layers
    names = [layer.name for layer in layers.layers]
    left, right = 0, min(1, len(names) - 1)
    middle = len(layers.slices) // 2 * _shown_frames(layers)
    shown = [layers.layers[index].urls()[middle] for index in (left, right)]
    pictures = [
        element("img", id="right", src=shown[1], alt=f"{names[right]}, one slice"),
        element("img", id="left", src=shown[0], alt=f"{names[left]}, one slice")
        if right > left
        else None,
    ]
    sides = zip(("w", "e", "n", "s"), layers.letters or (), strict=False)
    letters = [element("span", letter, class_=f"edge {side}") for side, letter in sides]
    mark = element("div", id="mark") if layers.series is not None else None
    frame = element("div", *pictures, *letters, element("div", id="line"), mark, id="frame")
    shown_side = element("div", frame, _curve(layers))
    return element(
        "section",
        element("h2", "Images"),
        element("div", shown_side, _controls(content, volume_link), class_="viewer"),
        data_block("data", _data(layers)),
        id="images",
    )


def _data(layers: Layers) -> dict[str, object]:
    """Return the data that the page's script shows."""
    series = layers.series
    return {
        "layers": [
            {"name": x.name, "legend": x.legend, "png": x.urls(), "grey": x.is_grey}
            for x in layers.layers
        ],
        "slices": list(layers.slices),
        "frames": [""] if series is None else list(series.names),
        "counter": "" if series is None else series.counter.lower(),
        "frame_ms": 0 if series is None else series.frame_ms,
        "mark": list(layers.mark),
    }


def _shown_frames(layers: Layers) -> int:
    return 1 if layers.series is None else len(layers.series.names)


def _curve(layers: Layers) -> Markup | None:
    """Return the element for a pixel's curve over a series."""
    if layers.series is None:
        return None
    return element(
        "figure",
        element("div", "", id="curve", role="img", aria_label="The marked pixel over time"),
        element("figcaption", "", id="curve-text", class_="quiet"),
        class_="curve",
    )


def _film_controls(layers: Layers) -> Iterator[Markup]:
    """Yield the controls that move through a series."""
    series = layers.series
    if series is None:
        return
    yield _slider("time", series.counter, 0, len(series.names) - 1, 0)
    yield element("p", element("button", "Play", type="button", id="play"))
    if series.note:
        yield element("p", series.note, class_="quiet")
    box = element("input", type="checkbox", id="marking")
    yield element("p", element("label", box, " Touch the image to choose the pixel of the curve"))
    if layers.frames > len(series.names):
        text = f"The page shows {len(series.names)} of {layers.frames} images, evenly spaced."
        yield element("p", text, class_="quiet")


def _controls(content: Content, volume_link: str | None) -> Markup:
    layers = content.layers
    names = [layer.name for layer in layers.layers]
    rows: list[Markup | None] = [*_film_controls(layers)]
    if len(names) > 1:
        rows.append(_slider("split", "Compare", 0, 100, 50))
        rows.append(_choice("left-choice", "On the left", names, 0))
        rows.append(_choice("right-choice", "On the right", names, 1))
    count = len(layers.slices)
    if count > 1:
        rows.append(_slider("slice", "Slice", 0, count - 1, count // 2))
    rows.append(_slider("brightness", "Brightness", 25, 400, 100))
    pixels = element("input", type="checkbox", id="pixels")
    rows.append(element("p", element("label", pixels, " Show pixels as squares")))
    rows.append(element("p", "", id="legend", class_="quiet"))
    if content.certificate is not None:
        is_joint = any(entry.name == "frames" for entry in content.certificate.entries)
        lines = _not_shown(names, is_joint=is_joint)
        rows += [element("p", line, class_="quiet") for line in lines]
    if layers.count > count:
        text = f"The page shows {count} of {layers.count} slices, evenly spaced."
        rows.append(element("p", text, class_="quiet"))
    if volume_link is not None:
        link = element("a", "Open the volume in three planes", href=volume_link)
        rows.append(element("p", link))
    without = element(
        "noscript", element("p", "The sliders need JavaScript, which is switched off.")
    )
    return element("div", *rows, without, class_="controls")


def _not_shown(names: Sequence[str], *, is_joint: bool) -> Iterator[str]:
    """Yield which options would show more; --jacobian refuses joint images."""
    if REFERENCE not in names:
        yield "Give --reference to see errors."
    if SENSITIVE not in names and not is_joint:
        yield "Give --jacobian to see where small changes of the data matter most."


def _slider(name: str, label: str, low: int, high: int, value: int) -> Markup:
    """Return a slider with its label, followed by its current value."""
    return element(
        "p",
        element("label", label, for_=name),
        element("output", "", id=f"{name}-value", for_=name),
        element("input", type="range", id=name, min=low, max=high, value=value, step=1),
        class_="slider",
    )


def _choice(name: str, label: str, options: Sequence[str], chosen: int) -> Markup:
    entries = [
        element("option", text, value=index, selected=index == chosen)
        for index, text in enumerate(options)
    ]
    return element(
        "p",
        element("label", label, for_=name),
        element("select", *entries, id=name),
        class_="choice",
    )


def _certificate(content: Content) -> Markup | None:
    certificate = content.certificate
    if certificate is None:
        return None
    cards = [
        element("div", element("h3", answer.question), element("p", answer.text), class_="card")
        # The warnings about the data are above the images.
        for answer in answers(certificate)
    ]
    fixed = kept_fixed(certificate)
    kept = None
    if fixed:
        kept = element(
            "div",
            element("h3", "What was kept fixed?"),
            element(
                "p",
                "The bounds hold as long as these parts do not change. They do not cover the "
                "effect of a change of the data on a part that was made from the data.",
            ),
            element("ul", *(element("li", part) for part in fixed)),
            class_="card",
        )
    last = cards.pop()
    stale = certificate.not_checkable
    return element(
        "section",
        element("h2", "What the certificate says"),
        element("p", f"It cannot be checked. {stale}.", class_="warnings") if stale else None,
        element(
            "p",
            content.checked,
            " Anybody who has the scan can recompute it with ",
            element("code", "firenet certify"),
            " and its option ",
            element("code", "--scan"),
            ".",
            class_="quiet",
        ),
        element("div", *cards, kept, last, class_="cards"),
        element("h2", "Every statement"),
        element("p", *_legend(certificate), class_="quiet"),
        *_groups(certificate),
        id="certificate",
    )


def _legend(certificate: Certificate) -> Iterator[Markup]:
    for status in dict.fromkeys(entry.status for entry in certificate.entries):
        yield join(badge(status, _STATUS_CLASSES[status]), f" {MEANINGS[status]}. ")


def _groups(certificate: Certificate) -> Iterator[Markup]:
    for heading, statuses in _GROUPS:
        entries = [entry for entry in certificate.entries if entry.status in statuses]
        if entries:
            yield element("h3", heading)
            yield from (_entry(entry, certificate.items) for entry in entries)


def _entry(entry: Entry, items: int) -> Markup:
    of_some = None
    if len(entry.items) < items:
        slices = ", ".join(str(item) for item in entry.items)
        of_some = element("p", f"For slice {slices} only, counted from 0.", class_="quiet")
    rows = []
    for name, numbers in entry.values.items():
        if numbers:
            low, high = min(numbers), max(numbers)
            text = f"{low:.5g}" if low == high else f"{low:.5g} to {high:.5g} over the slices"
            rows.append(element("tr", element("th", name, scope="row"), element("td", text)))
    return element(
        "details",
        element("summary", title(entry), " ", badge(entry.status, _STATUS_CLASSES[entry.status])),
        of_some,
        element("p", entry.statement),
        element("p", element("strong", "Limits: "), entry.limits) if entry.limits else None,
        element("table", element("tbody", *rows)) if rows else None,
    )


def _sampling(content: Content) -> Markup | None:
    if content.sampling is None:
        return None
    picture = element("img", src=data_url(content.sampling.png), alt="Sampling pattern of k-space")
    return element(
        "section",
        element("h2", "What was measured"),
        element(
            "figure",
            picture,
            element("figcaption", content.sampling.text, " The zero frequency is in the middle."),
            class_="sampling",
        ),
    )


def _settings(settings: Settings) -> Markup | None:
    if settings.why_not:
        text = f"{settings.why_not} There is therefore no command that reproduces it."
        return element("section", element("h2", "Reproduce the image"), element("p", text))
    if not settings.command:
        return None
    return element(
        "section",
        element("h2", "Reproduce the image"),
        _copied("command", "On the command line", settings.command),
        _copied("python", "In Python", settings.python),
        *(element("p", line, class_="quiet") for line in settings.files),
    )


def _copied(name: str, label: str, text: str) -> Markup:
    button = element(
        "button", "Copy", type="button", class_="copy", data_of=name, aria_label=f"Copy: {label}"
    )
    return element(
        "div",
        element("h3", label),
        element("div", element("pre", text, id=name, tabindex=0), button, class_="code"),
    )


def _details(content: Content) -> Markup | None:
    rows = [*content.versions, *((f"SHA-256 of {name}", value) for name, value in content.digests)]
    if not rows:
        return None
    lines = [element("tr", element("th", key, scope="row"), element("td", v)) for key, v in rows]
    return element(
        "section",
        element(
            "details",
            element("summary", "Versions and digests"),
            element("table", element("tbody", *lines), class_="digests"),
        ),
        class_="last",
    )


def _footer() -> Markup:
    return element(
        "footer",
        element(
            "p",
            f"firenet_mri {firenet_mri.__version__}. This is research software, not a medical "
            "device; do not use it for diagnosis.",
        ),
    )
